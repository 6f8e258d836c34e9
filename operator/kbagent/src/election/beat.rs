//! Signs of life: sends those of the own etcd to other agents, receives those of the leader's, and asks the judge.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use futures::stream;
use hyper::Request;
use hyper::header::HOST;
use kbagent_protocol::{Beat, PATH_BEATS};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::cutoff::{CutOff, Peers};
use super::hold::Held;
use super::plan::{Died, Planner};
use super::suspicion::{BEAT, Judge, Opinion, Punctuality};
use crate::actions::Token;
use crate::config::Config;
use crate::http::{Lines, Session};
use crate::tls::Tls;
use crate::watch::Trouble;

/// Agents that may read beats at the same time: those of all other members, and some that are about to go.
const READERS: usize = 16;
/// Longest wait for an etcd that is asked whether it lives.
const ANSWER: Duration = Duration::from_millis(500);
/// Of a leader that is about to be suspected, or was.
pub(super) const QUICK: Duration = Duration::from_millis(150);
/// Longest wait for the leader's agent to open its stream, and pause before the next attempt.
const OPEN: Duration = Duration::from_secs(1);
/// Longest line that is read.
const LINE: usize = 4096;
/// Signs that wait for the judge; what does not fit is lost, as beats may be.
const SIGNS: usize = 16;
/// How long the processes of the agent's own control group have waited for a processor. `/proc/pressure` would tell how
/// busy the machine is, which delays only some.
const PRESSURE: &str = "/sys/fs/cgroup/cpu.pressure";
/// How often it is read.
const PRESSURE_EVERY: Duration = Duration::from_millis(500);
/// What an etcd is asked. It answers from memory, whether or not there is a leader.
const QUESTION: &str = "/version";

/// The own side of beats.
pub(super) struct Beats {
    beat: watch::Sender<Beat>,
    places: Arc<Semaphore>,
}

impl Default for Beats {
    fn default() -> Self {
        Self {
            beat: watch::Sender::new(Beat::default()),
            places: Arc::new(Semaphore::new(READERS)),
        }
    }
}

struct Reader {
    beat: watch::Receiver<Beat>,
    _place: OwnedSemaphorePermit,
}

impl Beats {
    /// The body of one reader's stream; `None` when there are too many.
    pub(super) fn body(&self) -> Option<Body> {
        let reader = Reader {
            _place: Arc::clone(&self.places).try_acquire_owned().ok()?,
            beat: self.beat.subscribe(),
        };
        let lines = stream::unfold(reader, |mut reader| async move {
            reader.beat.changed().await.ok()?;
            let beat = *reader.beat.borrow_and_update();
            let mut line = serde_json::to_vec(&beat).ok()?;
            line.push(b'\n');
            Some((Ok::<_, Infallible>(Bytes::from(line)), reader))
        });
        Some(Body::from_stream(lines))
    }

    /// Whether any agent reads them.
    pub(super) fn read(&self) -> bool {
        self.beat.receiver_count() > 0
    }
}

/// What the tasks share.
pub(super) struct Watch {
    pub(super) config: Arc<Config>,
    pub(super) beats: Arc<Beats>,
    pub(super) held: watch::Receiver<Option<Held>>,
    pub(super) suspected: watch::Sender<Option<Died>>,
    pub(super) planner: Arc<Mutex<Planner>>,
    pub(super) trouble: Trouble,
}

/// What was received about a leader, and when.
type Signal = (Died, Sign, Instant);

enum Sign {
    /// Its agent says this.
    Beat(Beat),
    /// Its etcd answered.
    Answer,
}

/// What is known of the own etcd.
struct Seen {
    answered: watch::Receiver<Option<Instant>>,
    cut_off: watch::Receiver<Option<CutOff>>,
}

/// Starts sending, receiving and judging.
pub(super) fn start(watch: Watch, peers: Peers) {
    let (answered_to, answered) = watch::channel(None);
    let (cut_off_to, cut_off) = watch::channel(None);
    let beats = Arc::clone(&watch.beats);
    tokio::spawn(peers.watch(move || beats.read(), cut_off_to));
    tokio::spawn(pulse(
        (watch.config.etcd_address(), watch.config.tls.clone()),
        Arc::clone(&watch.beats),
        answered_to,
    ));
    let (signs_to, signs) = mpsc::channel(SIGNS);
    tokio::spawn(listen(
        Arc::clone(&watch.config),
        watch.held.clone(),
        signs_to.clone(),
    ));
    let seen = Seen { answered, cut_off };
    tokio::spawn(watch.judge(seen, signs_to, signs));
}

/// Asks the own etcd whether it lives, on one connection, while beats are read.
async fn pulse(
    (address, tls): (String, Tls),
    beats: Arc<Beats>,
    answered: watch::Sender<Option<Instant>>,
) {
    let mut session = None;
    loop {
        if beats.read() {
            if session.is_none() {
                session = timeout(ANSWER, Session::open(&address, &tls))
                    .await
                    .ok()
                    .and_then(Result::ok);
            }
            if let Some(open) = &mut session
                && answers(open, ANSWER).await
            {
                answered.send_replace(Some(Instant::now()));
            } else {
                session = None;
            }
        } else {
            // What was seen before the next reader comes would look like a long silence to it.
            session = None;
            answered.send_replace(None);
        }
        sleep(BEAT).await;
    }
}

/// Whether the etcd of a session answers.
async fn answers(session: &mut Session, within: Duration) -> bool {
    let exchange = async {
        let request = Request::get(QUESTION).header(HOST, "etcd");
        session.ask(request).await
    };
    timeout(within, exchange)
        .await
        .is_ok_and(|answer| answer.is_ok())
}

/// Whether the etcd at `address` answers a new connection.
pub(super) async fn lives(address: SocketAddr, tls: &Tls, within: Duration) -> bool {
    let exchange = async {
        let mut session = Session::open(&address.to_string(), tls).await.ok()?;
        answers(&mut session, within).await.then_some(())
    };
    timeout(within, exchange)
        .await
        .is_ok_and(|answer| answer.is_some())
}

/// Reads the beats of the leader's agent.
async fn listen(
    config: Arc<Config>,
    mut held: watch::Receiver<Option<Held>>,
    signs: mpsc::Sender<Signal>,
) {
    let token = Token::new(config.token_file.clone());
    loop {
        let Some(leader) = held.borrow_and_update().clone() else {
            if held.changed().await.is_err() {
                return;
            }
            continue;
        };
        let address = SocketAddr::new(leader.address.ip(), config.listen.port());
        tokio::select! {
            () = follow(address, &config, &token, &leader, &signs) => sleep(OPEN).await,
            changed = held.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

async fn follow(
    address: SocketAddr,
    config: &Config,
    token: &Token,
    leader: &Held,
    signs: &mpsc::Sender<Signal>,
) {
    let address = address.to_string();
    let Ok(token) = token.read() else {
        return;
    };
    let opens = config.opens(&token, &leader.pod);
    let tls = config.agents_tls(&leader.pod);
    let open = Lines::open((&address, &tls), PATH_BEATS, Some(opens), LINE);
    let Ok(Ok(mut lines)) = timeout(OPEN, open).await else {
        return;
    };
    while let Some(line) = lines.next().await {
        let Ok(beat) = serde_json::from_slice::<Beat>(&line) else {
            return;
        };
        // A judge that does not keep up is starved, and knows it.
        let _lost = signs.try_send((leader.led, Sign::Beat(beat), Instant::now()));
    }
}

impl Watch {
    async fn judge(
        mut self,
        seen: Seen,
        signs_to: mpsc::Sender<Signal>,
        mut signs: mpsc::Receiver<Signal>,
    ) {
        let mut judge = Judge::new(self.config.election_timeout);
        let mut own = Punctuality::default();
        let mut pressure = Pressure::default();
        let mut left = Opinion::Well;
        let mut asking: Option<JoinHandle<()>> = None;
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(signal) = signs.recv() => learn(&mut judge, &signal),
                _ = beat.tick() => own.tick(Instant::now(), pressure.share()),
            }
            while let Ok(signal) = signs.try_recv() {
                learn(&mut judge, &signal);
            }
            let now = Instant::now();
            self.send(&seen, &own, now);
            let held = self.held.borrow().clone();
            judge.watch(held.as_ref().map(|held| held.led));
            let idle = asking.as_ref().is_none_or(JoinHandle::is_finished);
            if let Some(held) = held.filter(|_| idle && judge.asks(now)) {
                let signs = signs_to.clone();
                let tls = self.config.etcd_tls(&held.pod);
                asking = Some(tokio::spawn(async move {
                    if lives(held.address, &tls, QUICK).await {
                        let _lost = signs.try_send((held.led, Sign::Answer, Instant::now()));
                    }
                }));
            }
            let opinion = judge.opinion(&own, now);
            if let Opinion::Left(reason) = opinion
                && left != opinion
            {
                tracing::debug!(%reason, patience = ?judge.patience(), "the leader is silent: raft's own timeout decides");
            }
            left = opinion;
            self.suspect(judge.suspects(&own, now)).await;
        }
    }

    fn send(&self, seen: &Seen, own: &Punctuality, now: Instant) {
        if !self.beats.read() {
            return;
        }
        let ms = |silence: Duration| u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        let answered = *seen.answered.borrow();
        let cut_off = *seen.cut_off.borrow();
        self.beats.beat.send_replace(Beat {
            silent_ms: answered.map(|at| ms(now.saturating_duration_since(at))),
            starved: own.starved(now),
            cut_off_ms: cut_off.and_then(|found| found.silence(now)).map(ms),
        });
    }

    async fn suspect(&mut self, suspected: Option<Died>) {
        let before = *self.suspected.borrow();
        if before == suspected {
            return;
        }
        self.suspected.send_replace(suspected);
        match suspected {
            Some(led) => {
                tracing::info!(?led, "the leader has been silent for too long");
                self.trouble.news.notify_one();
                self.trouble.alarm.notify_one();
            }
            None => self.planner.lock().await.was_there(),
        }
    }
}

fn learn(judge: &mut Judge, (led, sign, at): &Signal) {
    match sign {
        Sign::Beat(beat) => judge.beat(*led, beat, *at),
        Sign::Answer => judge.sign(*led, *at, Instant::now()),
    }
}

/// The share of time in which some process of the agent's waited for a processor.
#[derive(Default)]
struct Pressure {
    read: Option<(Instant, Duration)>,
    share: Option<f64>,
}

impl Pressure {
    fn share(&mut self) -> Option<f64> {
        let now = Instant::now();
        let since = self.read.map(|(at, total)| (now - at, total));
        if since.is_none_or(|(since, _)| since >= PRESSURE_EVERY) {
            let text = std::fs::read_to_string(PRESSURE).unwrap_or_default();
            let total = waited(&text);
            self.share = since.zip(total).map(|((since, before), total)| {
                total.saturating_sub(before).as_secs_f64() / since.as_secs_f64()
            });
            self.read = total.map(|total| (now, total));
        }
        self.share
    }
}

/// The `total` of the line `some`.
fn waited(text: &str) -> Option<Duration> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = some
        .split_whitespace()
        .find_map(|word| word.strip_prefix("total="))?;
    total.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn the_kernels_figure_is_read_or_not_there() {
        let text =
            "some avg10=1.00 avg60=2.00 avg300=3.00 total=2500000\nfull avg10=0.00 total=7\n";
        assert_eq!(waited(text), Some(Duration::from_millis(2500)));
        for other in ["", "some avg10=1.00", "some total=x", "full total=1"] {
            assert_eq!(waited(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn who_accepts_and_says_nothing_does_not_live() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let address = listener.local_addr().expect("address");
        assert!(!lives(address, &Tls::default(), Duration::from_millis(50)).await);
    }

    /// Answers every request, as etcd does.
    async fn etcd(listener: TcpListener) {
        let (mut stream, _) = listener.accept().await.expect("accept");
        let mut question = [0; 512];
        while stream.read(&mut question).await.is_ok_and(|read| read > 0) {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
            stream.write_all(answer).await.expect("written");
        }
    }

    #[tokio::test]
    async fn the_own_etcd_is_asked_while_beats_are_read_and_what_was_before_is_forgotten() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        let etcd = tokio::spawn(etcd(listener));
        let beats = Arc::new(Beats::default());
        let (answered_to, mut answered) = watch::channel(None);
        let pulse = tokio::spawn(pulse(
            (address, Tls::default()),
            Arc::clone(&beats),
            answered_to,
        ));
        let reader = beats.body().expect("a place");
        let seen = answered.wait_for(Option::is_some).await;
        assert!(seen.is_ok());
        drop(seen);
        drop(reader);
        let forgotten = answered.wait_for(Option::is_none).await;
        assert!(forgotten.is_ok());
        drop(forgotten);
        pulse.abort();
        etcd.abort();
    }

    #[tokio::test]
    async fn readers_are_bounded_and_free_their_place() {
        let beats = Beats::default();
        let bodies: Vec<_> = (0..READERS).map_while(|_| beats.body()).collect();
        assert_eq!(bodies.len(), READERS);
        assert!(beats.body().is_none());
        assert!(beats.read());
        drop(bodies);
        assert!(!beats.read());
        assert!(beats.body().is_some());
    }
}
