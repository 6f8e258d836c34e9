//! What an archive's Backup says of it although it is in step: of its repository, and of its times.

use etcd_operator_api::backup::BackupStatus;
use kbagent_protocol::ArchiveReport;

use super::archives::{begun, decided_of, full, keeper, report, with};

#[test]
fn an_archive_that_has_less_than_it_had_says_so_until_it_has_come_as_far_again() {
    let mut backup = begun();
    let mut told = |report: ArchiveReport, now: i64| {
        let seen = with(vec![full("f", 7)], Some(keeper(Some(report))));
        let status = decided_of(&backup, &seen, now).status;
        backup.status = Some(status.clone());
        (status.revision, status.failure_reason)
    };
    assert_eq!(told(report(40, 100, 300), 100), (Some(40), None));
    // Its process was restarted, and has not looked yet.
    let starts = ArchiveReport {
        lag: 300,
        ..ArchiveReport::default()
    };
    assert_eq!(told(starts, 110), (Some(40), None));
    let (revision, why) = told(report(31, 170, 300), 170);
    let text = why.clone().expect("a reason");
    assert!(text.contains("up to revision 40"), "{text}");
    assert_eq!(revision, Some(40), "a restore to its end asks for that");
    // It comes nearer, and its status is not written for that.
    assert_eq!(told(report(35, 180, 300), 180), (Some(40), why));
    assert_eq!(told(report(40, 240, 300), 240), (Some(40), None));
}

#[test]
fn an_archive_whose_clock_is_an_hour_off_says_so_and_goes_on_to_be_recorded() {
    let told = |status: &BackupStatus| status.failure_reason.clone().unwrap_or_default();
    let seen = |report| with(vec![full("f", 7)], Some(keeper(Some(report))));
    for (off, word) in [(3600, "ahead of"), (-3600, "behind")] {
        let mut backup = begun();
        let first = decided_of(&backup, &seen(report(20, 10_000 + off, 300)), 10_000);
        let text = told(&first.status);
        assert!(
            text.contains("about 60 minutes") && text.contains(word),
            "{text}"
        );
        backup.status = Some(first.status);
        let minute = decided_of(&backup, &seen(report(30, 10_061 + off, 300)), 10_061);
        assert_eq!(minute.status.revision, Some(30), "{word}");
        assert_eq!(told(&minute.status), text, "it is not written again");
    }
    // An idle cluster's last segment is a minute old, and one that is behind says nothing of clocks.
    let idle = decided_of(&begun(), &seen(report(20, 9_930, 300)), 10_000);
    assert_eq!(told(&idle.status), "");
    let late = decided_of(&begun(), &seen(report(20, 6_400, 3_600_000)), 10_000);
    assert!(told(&late.status).contains("more than 10 s behind"));
}
