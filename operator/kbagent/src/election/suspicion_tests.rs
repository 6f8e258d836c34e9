//! Tables for one judge.

use kbagent_protocol::Id;

use super::*;

pub(super) const ELECTION: Duration = Duration::from_secs(1);
pub(super) const LED: Died = Died {
    leader: Id(1),
    term: 5,
};

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A pause that a timer must notice.
const STALLED: Duration = Duration::from_millis(100);

/// A judge that knows its leader, and the moment of the newest sign.
fn judge(pace: Duration) -> (Judge, Punctuality, Instant) {
    let (mut judge, mut own) = (Judge::new(ELECTION), Punctuality::default());
    judge.watch(Some(LED));
    let mut now = Instant::now();
    let known = now + KNOWN + pace * 2;
    while now < known {
        now += pace;
        judge.sign(LED, now, now);
    }
    own.tick(now, None);
    (judge, own, now)
}

/// Ticks on time until `end`.
fn ticks(own: &mut Punctuality, from: Instant, end: Instant) {
    let mut now = from;
    while now + BEAT <= end {
        now += BEAT;
        own.tick(now, None);
    }
    own.tick(end, None);
}

#[test]
fn silence_is_suspicious_from_the_floor_to_the_election_timeout() {
    let (judge, mut own, last) = judge(BEAT);
    assert_eq!(judge.patience(), FLOOR);
    for (silence, suspected) in [
        (ms(0), false),
        (FLOOR, false),
        (FLOOR + ms(1), true),
        (ELECTION, true),
        (ELECTION + ms(1), false),
    ] {
        let now = last + silence;
        ticks(&mut own, last, now);
        let found = judge.suspects(&own, now);
        assert_eq!(found, suspected.then_some(LED), "{silence:?}");
        assert_eq!(judge.asks(now), silence >= FLOOR / 2, "{silence:?}");
    }
}

#[test]
fn patience_grows_with_what_was_silent_lately_and_is_forgotten() {
    let (mut judge, mut own, mut now) = judge(ms(100));
    assert_eq!(judge.patience(), ms(300));
    let end = now + MEMORY * 3;
    while now < end {
        now += BEAT;
        judge.sign(LED, now, now);
    }
    assert_eq!(judge.patience(), FLOOR);
    now += ms(260);
    judge.sign(LED, now, now);
    let later = now + ms(900);
    ticks(&mut own, now, later);
    assert_eq!(
        judge.suspects(&own, later),
        None,
        "three times that is as long as raft's own timeout"
    );
}

#[test]
fn only_a_leader_that_is_known_is_judged_by_its_own_signs() {
    let (mut judge, mut own, last) = judge(BEAT);
    let now = last + FLOOR * 2;
    ticks(&mut own, last, now);
    let other = Died {
        term: LED.term + 1,
        ..LED
    };
    judge.sign(other, now, now);
    assert_eq!(judge.suspects(&own, now), Some(LED), "another's sign");
    let mut after = judge;
    after.sign(LED, now + ms(50), now);
    assert_eq!(after.suspects(&own, now), None, "none is of the future");
    after = judge;
    after.watch(None);
    assert_eq!(after.suspects(&own, now), None);
    after.watch(Some(other));
    after.sign(other, now, now);
    let later = now + FLOOR * 2;
    ticks(&mut own, now, later);
    assert_eq!(after.suspects(&own, later), None, "known for too short");
}

#[test]
fn a_judge_that_is_late_says_nothing_for_a_while() {
    let (judge, mut own, last) = judge(BEAT);
    let now = last + FLOOR * 2;
    own.tick(now, None);
    assert!(own.starved(now), "it was late");
    assert_eq!(judge.suspects(&own, now), None);
    ticks(&mut own, now, now + STARVED);
    assert!(!own.starved(now + STARVED));
    assert!(own.starved(now + STARVED + BEAT + LATE + ms(1)), "overdue");
    let mut pressed = own;
    pressed.tick(now + STARVED + ms(1), Some(PRESSURE + 0.01));
    assert!(pressed.starved(now + STARVED + ms(2)));
    own.tick(now + STARVED + ms(1), Some(PRESSURE));
    assert!(!own.starved(now + STARVED + ms(2)));
    assert!(Punctuality::default().starved(now), "it has not begun");
}

/// A beat of an etcd that answered just now and reaches no majority for so many milliseconds.
fn claim(cut_off_ms: u64) -> Beat {
    Beat {
        silent_ms: Some(5),
        starved: false,
        cut_off_ms: Some(cut_off_ms),
    }
}

/// A beat without a claim, as all of an older agent are.
const BEATS: Beat = Beat {
    silent_ms: Some(0),
    starved: false,
    cut_off_ms: None,
};

#[test]
fn a_leader_that_claims_to_be_cut_off_is_silent_whatever_it_answers() {
    let (judge, mut own, last) = judge(BEAT);
    let now = last + BEAT;
    own.tick(now, None);
    for (cut_off, suspected) in [
        (0, false),
        (150, false),
        (151, true),
        (1000, true),
        (1001, false),
        (u64::MAX, false),
    ] {
        let mut judge = judge;
        judge.beat(LED, &claim(cut_off), now);
        let found = judge.suspects(&own, now);
        assert_eq!(found, suspected.then_some(LED), "{cut_off}");
        judge.sign(LED, now, now);
        assert_eq!(judge.suspects(&own, now), found, "{cut_off}: an answer");
        assert!(!judge.asks(now), "{cut_off}");
    }
    let mut other = judge;
    let led = Died { term: 6, ..LED };
    other.beat(led, &claim(200), now);
    assert_eq!(other.suspects(&own, now), None, "another's beat");
}

#[test]
fn a_claim_ends_with_a_beat_without_it_and_is_a_silence_that_ended() {
    let (mut judge, mut own, last) = judge(BEAT);
    let mut now = last + BEAT;
    own.tick(now, None);
    for ends in [
        BEATS,
        Beat {
            starved: true,
            ..claim(230)
        },
    ] {
        let mut judge = judge;
        judge.beat(LED, &claim(200), now);
        let after = now + BEAT;
        judge.beat(LED, &ends, after);
        assert_eq!(judge.suspects(&own, after), None);
        assert_eq!(judge.patience(), ms(230) * TIMES);
    }
    judge.beat(LED, &claim(200), now);
    now += FLOOR;
    ticks(&mut own, last + BEAT, now);
    judge.sign(LED, now, now);
    assert_eq!(judge.suspects(&own, now), None, "not claimed any more");
    assert_eq!(judge.patience(), (FLOOR + BEAT) * TIMES);
}

#[test]
fn a_claim_counts_by_the_rules_of_silence() {
    let (mut judge, mut own, last) = judge(ms(100));
    let now = last + BEAT;
    own.tick(now, None);
    for (cut_off, suspected) in [(300, false), (301, true)] {
        judge.beat(LED, &claim(cut_off), now);
        let found = judge.suspects(&own, now);
        assert_eq!(found, suspected.then_some(LED), "longest was 100 ms");
    }
    own.tick(now + STALLED, None);
    let found = judge.opinion(&own, now + STALLED);
    assert_eq!(found, Opinion::Left(Left::Starved));
    let mut young = Judge::new(ELECTION);
    young.watch(Some(LED));
    let mut own = Punctuality::default();
    own.tick(last, None);
    young.beat(LED, &claim(500), last);
    assert_eq!(young.suspects(&own, last), None, "no sign of life yet");
    young.beat(LED, &BEATS, last);
    young.beat(LED, &claim(500), last);
    assert_eq!(young.suspects(&own, last), None, "known for too short");
}
