//! Where a member stands that serves no client: an etcd that was restarted without a quorum answers no status before it
//! has a leader, but its metrics tell what its disk holds (D11).

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use kbagent_protocol::{EtcdState, Id, MemberStanding};
use tokio::sync::watch;

use super::view::Knowledge;
use crate::config::Config;
use crate::http::Call;

/// How often the metrics are read while etcd answers no status.
const EVERY: Duration = Duration::from_secs(1);
/// How long it must have answered none: an ordinary restart reads no metrics.
const AWAY: Duration = Duration::from_secs(3);

/// Reads the metrics of a silent member and publishes what they say.
pub(super) async fn look(
    config: Arc<Config>,
    knowledge: watch::Receiver<Knowledge>,
    standing: watch::Sender<Option<MemberStanding>>,
) {
    let mut silent_since: Option<Instant> = None;
    let mut leaderless = Leaderless::default();
    loop {
        tokio::time::sleep(EVERY).await;
        let silent = is_silent(knowledge.borrow().etcd());
        let since = silent.then(|| *silent_since.get_or_insert_with(Instant::now));
        silent_since = since;
        let read = match since {
            Some(since) if since.elapsed() >= AWAY => read(&config.metrics_address).await,
            _ => None,
        };
        let now = Instant::now();
        let found = read.map(|read| leaderless.fold(read, now));
        if found.is_none() {
            leaderless = Leaderless::default();
        }
        standing.send_if_modified(|known| {
            let changed = *known != found;
            *known = found;
            changed
        });
    }
}

fn is_silent(etcd: &EtcdState) -> bool {
    match etcd {
        EtcdState::Running | EtcdState::Refused { .. } => false,
        EtcdState::Starting { .. } | EtcdState::Unreachable { .. } => true,
    }
}

async fn read(address: &str) -> Option<MemberStanding> {
    match Call::get(address, "/metrics").send(String::new()).await {
        Ok((StatusCode::OK, body)) => parse(std::str::from_utf8(&body).ok()?),
        _ => None,
    }
}

/// For how long one process has had no leader.
#[derive(Default)]
struct Leaderless {
    since: Option<Instant>,
}

impl Leaderless {
    fn fold(&mut self, read: MemberStanding, now: Instant) -> MemberStanding {
        if read.has_leader {
            self.since = None;
            return read;
        }
        let since = *self.since.get_or_insert(now);
        MemberStanding {
            leaderless_seconds: now.saturating_duration_since(since).as_secs(),
            ..read
        }
    }
}

/// What a scrape says; `None` unless it says all of it.
fn parse(text: &str) -> Option<MemberStanding> {
    let value = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(' ')?
                .parse::<f64>()
                .ok()
        })
    };
    let id = text.lines().find_map(|line| {
        let rest = line.strip_prefix("etcd_server_id{server_id=\"")?;
        rest.split_once('"')?.0.parse::<Id>().ok()
    });
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a counter of etcd; what is too large is the largest, what is no number is 0"
    )]
    let whole = |number: f64| number as i64;
    Some(MemberStanding {
        member_id: id?,
        has_leader: value("etcd_server_has_leader")? > 0.0,
        // etcd's word for the index that it has applied.
        index: u64::try_from(whole(value("etcd_server_proposals_applied_total")?)).unwrap_or(0),
        revision: whole(value("etcd_debugging_mvcc_current_revision")?),
        leaderless_seconds: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = "# TYPE etcd_server_has_leader gauge\netcd_server_has_leader 0\n\
        etcd_server_id{server_id=\"5b48b4e58036e242\"} 1\netcd_server_proposals_applied_total 1.2345e+06\n\
        etcd_debugging_mvcc_current_revision 6\n";

    #[test]
    fn a_scrape_is_read_whole_or_not_at_all() {
        let standing = parse(SCRAPE).expect("a standing");
        assert_eq!(standing.member_id, Id(0x5b48_b4e5_8036_e242));
        assert_eq!((standing.index, standing.revision), (1_234_500, 6));
        assert!(!standing.has_leader);
        for line in SCRAPE.lines().skip(1) {
            assert_eq!(parse(&SCRAPE.replace(line, "")), None, "without {line}");
        }
        let odd = SCRAPE.replace(" 6\n", " NaN\n").replace("1.2345e+06", "-1");
        let odd = parse(&odd).expect("a standing");
        assert_eq!((odd.index, odd.revision), (0, 0));
    }

    #[test]
    fn the_time_without_a_leader_counts_while_there_is_none() {
        let (start, mut leaderless) = (Instant::now(), Leaderless::default());
        let none = parse(SCRAPE).expect("a standing");
        let some = MemberStanding {
            has_leader: true,
            ..none
        };
        let seen = [
            (0, &none, 0),
            (40, &none, 40),
            (41, &some, 0),
            (50, &none, 0),
            (55, &none, 5),
        ];
        for (at, read, seconds) in seen {
            let told = leaderless.fold(read.clone(), start + Duration::from_secs(at));
            assert_eq!(told.leaderless_seconds, seconds, "at {at}");
        }
    }
}
