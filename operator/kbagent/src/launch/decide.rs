//! Pure: may etcd start on this data, and as what? (M9-M11, B1-B6)

use kbagent_protocol::{Id, OLD_LOG};
use serde::{Deserialize, Serialize};

use crate::etcd::Member;
use crate::wal::Content;
use crate::watch::Refusal;

/// Fewest entries between two snapshots of a member that was started for one: at some ten thousand writes a second that
/// commits the database no more often than etcd does anyway, every 100 ms.
const FEWEST: u64 = 1000;
/// The last minor that reads requests of the API v2 in its log.
const READS_OLD: (u64, u64) = (3, 6);

/// Whose data a volume holds (B4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// UID of the Cluster object.
    pub cluster_uid: String,
    /// The pod, which is the member's name.
    pub pod_name: String,
}

/// What the identity file said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityFile {
    /// There is none.
    Absent,
    /// It cannot be understood.
    Unreadable(String),
    /// It was read.
    Present(Identity),
}

/// How far etcd came in this pod before, by the marks in the run directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Never started.
    None,
    /// Started, but never seen to answer.
    Begun,
    /// It answered: it may have voted and acknowledged.
    Answered,
}

/// A log with requests of the API v2 that a start replays, and who is to read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldLog {
    /// What it holds.
    pub content: Content,
    /// Index of the last such request.
    pub request: u64,
    /// The minor of the etcd that is to be started.
    pub minor: (u64, u64),
}

/// All that the decision rests on.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The data directory holds a write-ahead log.
    pub wal: bool,
    /// That log, when it holds requests of the API v2.
    pub old_log: Option<OldLog>,
    /// The identity file.
    pub identity: IdentityFile,
    /// What it has to say.
    pub expected: Identity,
    /// Marks in the run directory.
    pub trace: Trace,
    /// The pod belongs to the frozen set of the first start.
    pub bootstrap: bool,
    /// The learner that the pod was made for.
    pub join_member_id: Option<Id>,
    /// The mark by which the member is to become the only one of its cluster.
    pub force: Option<String>,
    /// The mark by which that was last tried on this volume.
    pub forced: Option<String>,
    /// The own peer URL.
    pub own_peer_url: String,
    /// The member list that a quorum agreed on just now; `None` when no member returned one.
    pub members: Option<Vec<Member>>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The data is ours: start on it.
    Start,
    /// The data is ours: start on it, and have a snapshot made after so many entries, behind requests of the API v2.
    Shorten(u64),
    /// The data is ours: start on it as the only member, this time.
    Force(String),
    /// First start of the frozen set.
    Bootstrap,
    /// First start of a learner that the live list holds.
    Join(Vec<Member>),
    /// The member list is needed and not known: ask again, start nothing.
    Ask,
    /// Do not start.
    Refuse(Refusal),
}

/// Decides.
#[must_use]
pub fn decide(evidence: &Evidence) -> Decision {
    if let Some(refusal) = foreign(evidence) {
        return Decision::Refuse(refusal);
    }
    if evidence.wal {
        if let Some(refusal) = evidence.old_log.and_then(unreadable) {
            return Decision::Refuse(refusal);
        }
        // Once for a mark: a write that etcd acknowledged since then may be one that a second time would discard.
        return match &evidence.force {
            Some(mark) if evidence.forced.as_ref() != Some(mark) => Decision::Force(mark.clone()),
            _ => shorten(evidence),
        };
    }
    if evidence.force.is_some() {
        return lost(
            "the member is to become the only one of its cluster, and its data directory holds no log",
        );
    }
    if evidence.trace == Trace::Answered {
        return lost("etcd has answered in this pod, and now its data directory holds no log");
    }
    match (
        evidence.bootstrap && evidence.join_member_id.is_none(),
        evidence.trace,
    ) {
        // Identity is written before the mark: without it the volume is not the one that etcd was begun on.
        (true, Trace::Begun) if evidence.identity == IdentityFile::Absent => {
            lost("etcd was begun in this pod, and now its volume is empty")
        }
        (true, _) => Decision::Bootstrap,
        (false, _) => join(evidence),
    }
}

/// A start on the log. etcd makes a snapshot when more entries than its `--snapshot-count` were applied since the last
/// one, replayed ones too: with this count the first is made behind the last old request.
fn shorten(evidence: &Evidence) -> Decision {
    match evidence.old_log.filter(|old| old.minor == READS_OLD) {
        Some(old) => {
            let before = old.request.saturating_sub(old.content.snapshot);
            Decision::Shorten(before.saturating_sub(1).max(FEWEST))
        }
        None => Decision::Start,
    }
}

/// Why this etcd would panic at each start: it replays a request that it does not read.
fn unreadable(old: OldLog) -> Option<Refusal> {
    let (major, minor) = old.minor;
    let (reads_major, reads_minor) = READS_OLD;
    (old.minor > READS_OLD).then(|| Refusal {
        code: OLD_LOG.into(),
        message: format!(
            "etcd {major}.{minor} would panic at entry {} of its log, a request of the API v2 behind the last \
             snapshot (entry {}): set serviceVersion back to {reads_major}.{reads_minor}, whose members make a snapshot \
             behind it, and then upgrade",
            old.request, old.content.snapshot
        ),
    })
}

fn foreign(evidence: &Evidence) -> Option<Refusal> {
    let message = match &evidence.identity {
        IdentityFile::Present(found) if *found == evidence.expected => return None,
        IdentityFile::Absent if !evidence.wal => return None,
        IdentityFile::Present(found) => format!(
            "the volume belongs to pod {} of cluster {}, this is pod {} of cluster {}: \
             delete the volume or restore it elsewhere",
            found.pod_name,
            found.cluster_uid,
            evidence.expected.pod_name,
            evidence.expected.cluster_uid
        ),
        IdentityFile::Absent => "the volume holds etcd data but not whose it is: \
             delete the volume, or restore it the way backups are restored"
            .into(),
        IdentityFile::Unreadable(why) => {
            format!("the volume's identity file cannot be read ({why}): delete the volume")
        }
    };
    Some(Refusal {
        code: "ForeignData".into(),
        message,
    })
}

fn lost(what: &str) -> Decision {
    let message = format!(
        "{what}: starting again under the same member would forget votes and acknowledged writes (M11); \
         remove the member by its ID and let a new one join"
    );
    Decision::Refuse(Refusal {
        code: "DataLost".into(),
        message,
    })
}

fn join(evidence: &Evidence) -> Decision {
    let Some(members) = &evidence.members else {
        return Decision::Ask;
    };
    let url = &evidence.own_peer_url;
    let Some(own) = members.iter().find(|member| member.peer_urls.contains(url)) else {
        let message = format!("the member list does not hold {url}: add it as a learner first");
        return Decision::Refuse(Refusal {
            code: "NotAMember".into(),
            message,
        });
    };
    let id = Id(own.id);
    if !own.name.is_empty() {
        return lost(&format!(
            "member {id} has been started before, and its data is not here"
        ));
    }
    if evidence.join_member_id != Some(id) {
        let made_for = evidence
            .join_member_id
            .map_or("none".to_owned(), |id| id.to_string());
        return lost(&format!(
            "the list holds member {id} here, this pod was made for {made_for}"
        ));
    }
    Decision::Join(members.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://p1:2380";

    fn identity(cluster: &str, pod: &str) -> Identity {
        Identity {
            cluster_uid: cluster.into(),
            pod_name: pod.into(),
        }
    }

    fn evidence() -> Evidence {
        Evidence {
            wal: false,
            old_log: None,
            identity: IdentityFile::Absent,
            expected: identity("c", "p1"),
            trace: Trace::None,
            bootstrap: false,
            join_member_id: None,
            force: None,
            forced: None,
            own_peer_url: URL.into(),
            members: None,
        }
    }

    fn member(id: u64, name: &str, url: &str) -> Member {
        Member {
            id,
            name: name.into(),
            peer_urls: vec![url.into()],
            ..Member::default()
        }
    }

    fn word(decision: &Decision) -> &str {
        match decision {
            Decision::Start => "start",
            Decision::Shorten(_) => "shorten",
            Decision::Force(_) => "force",
            Decision::Bootstrap => "bootstrap",
            Decision::Join(_) => "join",
            Decision::Ask => "ask",
            Decision::Refuse(refusal) => &refusal.code,
        }
    }

    #[test]
    fn a_volume_with_a_log_starts_only_when_it_is_ours() {
        let own = IdentityFile::Present(identity("c", "p1"));
        let cases = [
            ("ours", true, own.clone(), "start"),
            (
                "other cluster",
                true,
                IdentityFile::Present(identity("old", "p1")),
                "ForeignData",
            ),
            (
                "other pod",
                true,
                IdentityFile::Present(identity("c", "p2")),
                "ForeignData",
            ),
            ("no identity", true, IdentityFile::Absent, "ForeignData"),
            (
                "garbled",
                true,
                IdentityFile::Unreadable("x".into()),
                "ForeignData",
            ),
            (
                "empty, other cluster",
                false,
                IdentityFile::Present(identity("old", "p1")),
                "ForeignData",
            ),
            ("empty, ours", false, own, "ask"),
        ];
        for (name, wal, identity, expected) in cases {
            let decision = decide(&Evidence {
                wal,
                identity,
                ..evidence()
            });
            assert_eq!(word(&decision), expected, "{name}");
        }
        let bare = decide(&Evidence {
            wal: true,
            identity: IdentityFile::Present(identity("c", "p1")),
            bootstrap: true,
            trace: Trace::Answered,
            ..evidence()
        });
        assert_eq!(
            bare,
            Decision::Start,
            "with a log, flags of the first start mean nothing (B3)"
        );
    }

    #[test]
    fn a_member_becomes_the_only_one_once_for_a_mark_and_only_on_its_own_data() {
        let own = IdentityFile::Present(identity("c", "p1"));
        let other = IdentityFile::Present(identity("c", "p2"));
        let mark = |text: &str| Some(text.to_owned());
        let cases = [
            ("first time", true, own.clone(), mark("a"), None, "force"),
            ("again", true, own.clone(), mark("a"), mark("a"), "start"),
            (
                "another mark",
                true,
                own.clone(),
                mark("b"),
                mark("a"),
                "force",
            ),
            ("none", true, own.clone(), None, mark("a"), "start"),
            ("foreign", true, other, mark("a"), None, "ForeignData"),
            ("no log", false, own, mark("a"), None, "DataLost"),
        ];
        for (name, wal, identity, force, forced, expected) in cases {
            let decision = decide(&Evidence {
                wal,
                identity,
                force,
                forced,
                bootstrap: true,
                ..evidence()
            });
            assert_eq!(word(&decision), expected, "{name}");
        }
    }

    #[test]
    fn a_log_with_old_requests_is_left_to_those_who_read_it() {
        let start = |minor, (snapshot, request, last), force: Option<&str>| {
            decide(&Evidence {
                wal: true,
                identity: IdentityFile::Present(identity("c", "p1")),
                force: force.map(str::to_owned),
                old_log: Some(OldLog {
                    content: Content {
                        snapshot,
                        last,
                        old_request: Some(request),
                    },
                    request,
                    minor,
                }),
                ..evidence()
            })
        };
        assert_eq!(start((3, 5), (0, 9, 4000), None), Decision::Start);
        let counts = [
            ((0, 9, 4000), FEWEST),
            ((0, 9, 12), FEWEST),
            ((0, 3921, 3927), 3920),
            ((10_001, 13_922, 14_000), 3920),
        ];
        for (log, count) in counts {
            assert_eq!(
                start((3, 6), log, None),
                Decision::Shorten(count),
                "{log:?}"
            );
        }
        assert_eq!(word(&start((3, 6), (0, 9, 12), Some("a"))), "force");
        for minor in [(3, 7), (3, 8), (4, 0)] {
            for force in [None, Some("a")] {
                let Decision::Refuse(refusal) = start(minor, (0, 3921, 3927), force) else {
                    panic!("{minor:?} started");
                };
                assert_eq!(refusal.code, OLD_LOG);
                for told in ["entry 3921", "back to 3.6"] {
                    assert!(refusal.message.contains(told), "{}", refusal.message);
                }
            }
        }
    }

    #[test]
    fn the_first_start_happens_once_and_never_on_a_wiped_volume() {
        let own = IdentityFile::Present(identity("c", "p1"));
        let cases = [
            ("fresh", Trace::None, IdentityFile::Absent, "bootstrap"),
            (
                "stopped before the mark",
                Trace::None,
                own.clone(),
                "bootstrap",
            ),
            (
                "etcd died before its log",
                Trace::Begun,
                own.clone(),
                "bootstrap",
            ),
            (
                "volume wiped after the start",
                Trace::Begun,
                IdentityFile::Absent,
                "DataLost",
            ),
            (
                "wiped after it answered",
                Trace::Answered,
                IdentityFile::Absent,
                "DataLost",
            ),
            (
                "log wiped after it answered",
                Trace::Answered,
                own,
                "DataLost",
            ),
        ];
        for (name, trace, identity, expected) in cases {
            let decision = decide(&Evidence {
                bootstrap: true,
                trace,
                identity,
                ..evidence()
            });
            assert_eq!(word(&decision), expected, "{name}");
        }
    }

    #[test]
    fn an_empty_volume_joins_only_as_the_learner_it_was_made_for() {
        let other = member(1, "p0", "http://p0:2380");
        let with = |own: Option<Member>| {
            Some(
                std::iter::once(other.clone())
                    .chain(own)
                    .collect::<Vec<_>>(),
            )
        };
        let cases = [
            ("no answer", None, Some(Id(2)), "ask"),
            (
                "unstarted and ours",
                with(Some(member(2, "", URL))),
                Some(Id(2)),
                "join",
            ),
            (
                "started before",
                with(Some(member(2, "p1", URL))),
                Some(Id(2)),
                "DataLost",
            ),
            (
                "another learner",
                with(Some(member(3, "", URL))),
                Some(Id(2)),
                "DataLost",
            ),
            (
                "made for none",
                with(Some(member(3, "", URL))),
                None,
                "DataLost",
            ),
            ("not there", with(None), Some(Id(2)), "NotAMember"),
            ("all empty (B6)", None, None, "ask"),
        ];
        for (name, members, join_member_id, expected) in cases {
            let decision = decide(&Evidence {
                members,
                join_member_id,
                ..evidence()
            });
            assert_eq!(word(&decision), expected, "{name}");
        }
    }
}
