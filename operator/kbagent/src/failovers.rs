//! What the agent saw of a failover, as spans of its trace: how long the own member had no leader or no etcd, its own
//! campaign, and the first write where it leads then. [`Follower`] is pure; [`start`] feeds it. Off unless a collector
//! is named.

use std::time::{Duration, Instant};

use failover_traces::{BadCollector, COLLECTOR_VARIABLE, FailoverId, Sender, Span};
use kbagent_protocol::{Campaign, EtcdState, Id, MemberStatus, MemberView, Outcome};
use tokio::sync::watch;

use crate::config::Config;
use crate::watch::{FirstWrite, Knowledge};

/// Begins to follow the own member. A collector that cannot be is logged: the member must not suffer for it.
pub(crate) fn start(
    config: &Config,
    knowledge: watch::Receiver<Knowledge>,
    written: watch::Receiver<Option<FirstWrite>>,
) {
    let Some(collector) = &config.collector else {
        return;
    };
    match sender(config, collector) {
        Ok(sender) => drop(tokio::spawn(follow(sender, knowledge, written))),
        Err(error) => {
            tracing::error!(%error, "no traces of failovers are sent: correct {COLLECTOR_VARIABLE}");
        }
    }
}

fn sender(config: &Config, collector: &str) -> Result<Sender, BadCollector> {
    let pod = vec![
        ("service.instance.id", config.pod_uid.clone()),
        ("k8s.pod.name", config.pod_name.clone()),
        ("k8s.pod.uid", config.pod_uid.clone()),
    ];
    Sender::start(collector, "kbagent", pod)
}

async fn follow(
    sender: Sender,
    mut knowledge: watch::Receiver<Knowledge>,
    mut written: watch::Receiver<Option<FirstWrite>>,
) {
    let mut follower = Follower::default();
    loop {
        let now = Instant::now();
        let view = knowledge.borrow_and_update().at(now);
        let spans = follower.look(&view, now);
        if !spans.is_empty() {
            sender.send(spans);
        }
        let goes_on = tokio::select! {
            changed = knowledge.changed() => changed.is_ok(),
            changed = written.changed() => {
                let first = written.borrow_and_update().filter(|_| changed.is_ok());
                if let Some(first) = first {
                    sender.send(vec![first_write(first)]);
                }
                changed.is_ok()
            }
        };
        if !goes_on {
            return;
        }
    }
}

/// Of the new leader alone: until a write was seen, from when it was seen to lead.
fn first_write(first: FirstWrite) -> Span {
    Span {
        failover: FailoverId::of(first.cluster.0, first.term),
        whole: false,
        name: "first_write",
        from: first.led,
        to: first.written,
        attributes: vec![("etcd.term", first.term.to_string())],
    }
}

/// A leader that the own member knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Led {
    cluster: Id,
    term: u64,
}

/// What the member lacked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lack {
    name: &'static str,
    since: Instant,
}

/// Follows the own member from leader to leader.
#[derive(Clone, Debug, Default)]
pub(crate) struct Follower {
    led: Option<Led>,
    lack: Option<Lack>,
    campaign: Option<Campaign>,
}

impl Follower {
    /// Takes in what is known at `now`; the spans that have ended with it.
    pub(crate) fn look(&mut self, view: &MemberView, now: Instant) -> Vec<Span> {
        let mut ended = Vec::new();
        let status = match &view.etcd {
            EtcdState::Running => view.status.as_ref(),
            EtcdState::Starting { .. } => None,
            EtcdState::Unreachable { .. } | EtcdState::Refused { .. } => {
                self.lacks("etcd-down", now);
                None
            }
        };
        if let Some(status) = status {
            match status.leader_id {
                Some(_) => ended.extend(self.led(status, now)),
                None => self.lacks("leaderless", now),
            }
        }
        ended.extend(self.campaign(view, now));
        ended
    }

    fn lacks(&mut self, name: &'static str, now: Instant) {
        if self.led.is_some() {
            self.lack.get_or_insert(Lack { name, since: now });
        }
    }

    /// A leader is known: that of a later term ends a failover, the same one ends a false alarm.
    fn led(&mut self, status: &MemberStatus, now: Instant) -> Option<Span> {
        let led = Led {
            cluster: status.cluster_id,
            term: status.term,
        };
        let before = self.led.replace(led)?;
        let lack = self.lack.take();
        if before.cluster != led.cluster || led.term <= before.term {
            return None;
        }
        // One that was elected between two looks was missed by none.
        let lack = lack.unwrap_or(Lack {
            name: "leaderless",
            since: now,
        });
        let attributes = vec![
            ("etcd.term", led.term.to_string()),
            ("etcd.term.before", before.term.to_string()),
            ("etcd.member.id", status.member_id.to_string()),
            ("etcd.leader", status.leader.clone().unwrap_or_default()),
        ];
        Some(Span {
            failover: FailoverId::of(led.cluster.0, led.term),
            whole: false,
            name: lack.name,
            from: lack.since,
            to: now,
            attributes,
        })
    }

    /// A campaign of the own member that has just been won.
    fn campaign(&mut self, view: &MemberView, now: Instant) -> Option<Span> {
        if self.campaign == view.campaign {
            return None;
        }
        self.campaign.clone_from(&view.campaign);
        let campaign = self.campaign.as_ref()?;
        let won = matches!(campaign.outcome, Outcome::Won | Outcome::Needless);
        let cluster = view.status.as_ref()?.cluster_id;
        let from = now.checked_sub(Duration::from_millis(campaign.after_ms))?;
        won.then(|| Span {
            failover: FailoverId::of(cluster.0, campaign.term.saturating_add(1)),
            whole: false,
            name: "campaign",
            from,
            to: now,
            attributes: vec![
                ("etcd.term.before", campaign.term.to_string()),
                ("etcd.leader.before.id", campaign.leader.to_string()),
                ("etcd.leader.suspected", campaign.suspected.to_string()),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::test_support;

    const STEP: Duration = Duration::from_millis(10);

    /// The own member, 1 of cluster 9.
    fn view(leader: Option<u64>, term: u64) -> MemberView {
        test_support::view(1, leader, term)
    }

    fn down(term: u64) -> MemberView {
        MemberView {
            etcd: EtcdState::Unreachable {
                reason: "refused".to_owned(),
                refused: true,
            },
            ..view(Some(1), term)
        }
    }

    fn won(term: u64, outcome: Outcome) -> Campaign {
        Campaign {
            term,
            leader: Id(2),
            suspected: false,
            outcome,
            after_ms: 8,
        }
    }

    /// What each of these views ends, one a step; each with its trace, name and length in milliseconds.
    fn followed(views: &[MemberView]) -> Vec<(FailoverId, &'static str, u128)> {
        let mut follower = Follower::default();
        let mut now = Instant::now() + Duration::from_secs(1);
        let mut all = Vec::new();
        for view in views {
            now += STEP;
            let ended = follower.look(view, now).into_iter();
            all.extend(ended.map(|span| {
                assert!(!span.whole && span.to == now);
                (span.failover, span.name, (span.to - span.from).as_millis())
            }));
        }
        all
    }

    #[test]
    fn a_follower_tells_how_long_it_had_no_leader() {
        let views = [
            view(Some(2), 4),
            view(None, 4),
            view(None, 5),
            view(Some(3), 5),
            view(Some(3), 5),
        ];
        let id = FailoverId::of(9, 5);
        assert_eq!(followed(&views), [(id, "leaderless", 20)]);
        let at_once = [view(Some(2), 4), view(Some(3), 5)];
        assert_eq!(followed(&at_once), [(id, "leaderless", 0)]);
    }

    #[test]
    fn a_member_whose_etcd_died_tells_how_long_it_was_down() {
        let views = [
            view(Some(1), 4),
            down(4),
            down(4),
            view(None, 5),
            view(Some(3), 5),
        ];
        let expected = [(FailoverId::of(9, 5), "etcd-down", 30)];
        assert_eq!(followed(&views), expected);
    }

    #[test]
    fn a_false_alarm_and_a_first_leader_are_no_failover() {
        let alarm = [view(Some(2), 4), view(None, 4), view(Some(2), 4)];
        let first = [down(0), view(None, 1), view(Some(1), 2)];
        let mut other = view(Some(2), 7);
        other.status.as_mut().expect("a status").cluster_id = Id(8);
        let replaced = [view(Some(2), 4), other];
        for none in [alarm.as_slice(), &first, &replaced] {
            assert_eq!(followed(none), []);
        }
        let after_an_alarm = [alarm.as_slice(), &[view(Some(3), 5)]].concat();
        let expected = [(FailoverId::of(9, 5), "leaderless", 0)];
        assert_eq!(followed(&after_an_alarm), expected);
    }

    #[test]
    fn a_campaign_that_was_won_is_told_once() {
        let with = |outcome| MemberView {
            campaign: Some(won(4, outcome)),
            ..view(Some(1), 5)
        };
        let id = FailoverId::of(9, 5);
        let views = [
            view(Some(2), 4),
            view(None, 4),
            with(Outcome::Won),
            with(Outcome::Won),
        ];
        assert_eq!(
            followed(&views),
            [(id, "leaderless", 10), (id, "campaign", 8)]
        );
        let late = [view(Some(2), 4), with(Outcome::Late)];
        assert_eq!(followed(&late), [(id, "leaderless", 0)]);
    }

    /// What a collector gets first after this has become known, up to `wanted`.
    async fn sent(
        change: impl FnOnce(&watch::Sender<Knowledge>, &watch::Sender<Option<FirstWrite>>),
        wanted: &[u8],
    ) -> Vec<u8> {
        let collector = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", collector.local_addr().expect("its address"));
        let config = Config::from_lookup(&|name| match name {
            COLLECTOR_VARIABLE => Some(url.clone()),
            "POD_NAME" => Some("c-etcd-1".to_owned()),
            "POD_UID" | "KB_CLUSTER_UID" | "KB_HEADLESS_DOMAIN" => Some("x".to_owned()),
            _ => None,
        });
        let config = config.expect("config");
        let (known, knowledge) = watch::channel(Knowledge::of(view(Some(2), 4)));
        let (writes, written) = watch::channel(None);
        start(&config, knowledge, written);
        tokio::task::yield_now().await;
        change(&known, &writes);
        let (mut peer, _) = collector.accept().await.expect("a connection");
        let mut request = Vec::new();
        while !contains(&request, wanted) {
            let read = peer.read_buf(&mut request).await.expect("a request");
            assert!(read > 0, "the whole request: {}", request.escape_ascii());
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        peer.write_all(answer).await.expect("the answer is taken");
        assert!(request.starts_with(b"POST /v1/traces HTTP/1.1\r\n"));
        request
    }

    #[tokio::test]
    async fn what_an_agent_saw_reaches_the_collector_in_the_trace_of_the_failover() {
        let elected = Knowledge::of(view(Some(1), 5));
        let tell = |known: &watch::Sender<Knowledge>, _: &watch::Sender<Option<FirstWrite>>| {
            known.send_replace(elected);
        };
        let request = sent(tell, b"leaderless").await;
        let id = FailoverId::of(9, 5).trace();
        for part in [b"kbagent".as_slice(), b"c-etcd-1", b"etcd.term", &id] {
            assert!(contains(&request, part), "{}", part.escape_ascii());
        }
    }

    #[tokio::test]
    async fn a_first_write_reaches_the_collector_in_the_trace_of_the_failover() {
        let led = Instant::now();
        let first = FirstWrite {
            cluster: Id(9),
            term: 5,
            led,
            written: led + Duration::from_millis(40),
        };
        let span = first_write(first);
        assert!(!span.whole && (span.from, span.to) == (first.led, first.written));
        let tell = |_: &watch::Sender<Knowledge>, writes: &watch::Sender<Option<FirstWrite>>| {
            writes.send_replace(Some(first));
        };
        let request = sent(tell, b"first_write").await;
        let id = FailoverId::of(9, 5).trace();
        assert!(contains(&request, &id) && contains(&request, b"etcd.term"));
    }

    fn contains(text: &[u8], wanted: &[u8]) -> bool {
        text.windows(wanted.len()).any(|window| window == wanted)
    }
}
