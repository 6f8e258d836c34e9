//! Pure: from what the sources said to text in Prometheus' format (version 0.0.4). The names documented here are the
//! interface; each family appears once.

use std::collections::BTreeSet;
use std::fmt::{Display, Write};

use kbagent_protocol::{AgentReport, EtcdState, MemberView, Role};

/// What a scrape found.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// etcd's own exposition text; `None` when etcd gave none.
    pub etcd: Option<String>,
    /// kbagent's view of the member; `None` when kbagent gave none.
    pub view: Option<MemberView>,
    /// What kbagent says of itself.
    pub agent: Option<AgentReport>,
    /// The data volume.
    pub volume: Option<Volume>,
}

/// Sizes of the data volume in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// All of it.
    pub capacity: u64,
    /// What an unprivileged process may still write.
    pub available: u64,
}

/// Older than this a status says nothing about now.
const FRESH_MS: u64 = 3000;

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn one(&mut self, (name, kind, help): (&str, &str, &str), value: impl Display) {
        self.family(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.one((name, "gauge", help), value);
    }
}

/// The whole answer of a scrape.
#[must_use]
pub fn render(sources: &Sources) -> String {
    let mut text = Text(String::new());
    let up = u8::from(sources.etcd.is_some());
    text.gauge(
        "kb_etcd_up",
        "1 when this pod's etcd gave its own metrics to this scrape.",
        up,
    );
    let agent_up = u8::from(sources.view.is_some());
    text.gauge(
        "kb_etcd_agent_up",
        "1 when this pod's kbagent answered this scrape.",
        agent_up,
    );
    if let Some(view) = &sources.view {
        member(&mut text, view);
    }
    if let Some(agent) = &sources.agent {
        fencing(&mut text, agent);
        elections(&mut text, agent);
        relay(&mut text, agent);
        certificates(&mut text, agent);
    }
    if let Some(volume) = sources.volume {
        let help = "Size of the data volume in bytes.";
        text.gauge("kb_etcd_pvc_capacity_bytes", help, volume.capacity);
        let help = "Bytes of the data volume that can still be written.";
        text.gauge("kb_etcd_pvc_available_bytes", help, volume.available);
    }
    if let Some(etcd) = &sources.etcd {
        let own: BTreeSet<String> = families(&text.0).map(str::to_owned).collect();
        pass_through(&mut text.0, etcd, &own);
    }
    text.0
}

fn member(text: &mut Text, view: &MemberView) {
    let fresh =
        view.etcd == EtcdState::Running && view.status_age_ms.is_some_and(|age| age <= FRESH_MS);
    let status = view.status.as_ref().filter(|_| fresh);
    let name = "kb_etcd_role";
    text.family(
        name,
        "gauge",
        "1 for the role that this member has, 0 for the others; all 0 when it is not known.",
    );
    for role in [Role::Leader, Role::Follower, Role::Learner] {
        let held = u8::from(status.is_some_and(|status| status.role() == role));
        let _ = writeln!(text.0, "{name}{{role=\"{}\"}} {held}", role.as_str());
    }
    let quorate = u8::from(status.is_some_and(|status| status.leader_id.is_some()));
    text.gauge(
        "kb_etcd_quorate",
        "1 when this member answers and knows a leader.",
        quorate,
    );
    let refused = u8::from(matches!(view.etcd, EtcdState::Refused { .. }));
    text.gauge(
        "kb_etcd_refused",
        "1 when etcd is kept from starting because its data is lost, foreign or of a removed member.",
        refused,
    );
    if let Some(status) = status {
        text.gauge("kb_etcd_term", "Raft term of this member.", status.term);
        text.gauge(
            "kb_etcd_alarms",
            "Number of alarms and errors this member reports.",
            status.alarms.len(),
        );
    }
}

fn fencing(text: &mut Text, agent: &AgentReport) {
    let fencing = &agent.fencing;
    let name = "kb_etcd_fencing_supported";
    text.gauge(
        name,
        "1 when the launcher takes demands to restart a deposed leader.",
        u8::from(fencing.supported),
    );
    let name = "kb_etcd_fencing_voters_known";
    text.gauge(
        name,
        "1 when kbagent knows all other voters, which it asks whether the majority is elsewhere.",
        u8::from(fencing.voters_known),
    );
    let name = "kb_etcd_fencing_active";
    text.gauge(
        name,
        "1 while kbagent wants this member restarted, because it cannot serve its clients.",
        u8::from(fencing.active),
    );
    let name = "kb_etcd_fence_restarts_total";
    let help = "Restarts of a deposed etcd without a leader, since kbagent came up.";
    text.one((name, "counter", help), fencing.restarts);
}

fn elections(text: &mut Text, agent: &AgentReport) {
    let elections = &agent.elections;
    let name = "kb_etcd_fast_election_enabled";
    let help = "1 when kbagent shortens the election after a leader has died.";
    text.gauge(name, help, u8::from(elections.enabled));
    let name = "kb_etcd_leader_suspicion_enabled";
    let help =
        "1 when kbagent also shortens the election after a leader has been silent for too long.";
    text.gauge(name, help, u8::from(elections.suspicion));
    let name = "kb_etcd_leader_suspicions_total";
    let help = "Times at which kbagent suspected a leader that was silent, whether or not a campaign came of it.";
    text.one((name, "counter", help), elections.suspected);
    let name = "kb_etcd_fast_elections_total";
    text.family(
        name,
        "counter",
        "Elections after a leader has died: campaigns that kbagent started; of these, won, late, won and needless; deaths that \
         it left to raft's own timeout.",
    );
    for (outcome, value) in [
        ("started", elections.started),
        ("won", elections.won),
        ("late", elections.late),
        ("needless", elections.needless),
        ("left_to_raft", elections.left_to_raft),
    ] {
        let _ = writeln!(text.0, "{name}{{outcome=\"{outcome}\"}} {value}");
    }
}

fn relay(text: &mut Text, agent: &AgentReport) {
    let relay = &agent.relay;
    let name = "kb_etcd_relay_ready";
    let help = "1 when kbagent accepts clients in front of etcd, and leads them to the leader while etcd is dead.";
    text.gauge(name, help, u8::from(relay.listens));
    let name = "kb_etcd_relayed_connections_total";
    text.family(
        name,
        "counter",
        "Connections that came while etcd was dead: those that kbagent passed on to the leader or to its own etcd that was \
         back, and those that it closed because there was none.",
    );
    for (outcome, value) in [("passed", relay.passed), ("given_up", relay.given_up)] {
        let _ = writeln!(text.0, "{name}{{outcome=\"{outcome}\"}} {value}");
    }
}

fn certificates(text: &mut Text, agent: &AgentReport) {
    let Some(report) = agent.certificates else {
        return;
    };
    let name = "kb_etcd_certificate_expiry_seconds";
    text.family(
        name,
        "gauge",
        "When the member's certificate, and the CA that it believes, end: seconds since 1970.",
    );
    for (certificate, ends) in [("member", report.certificate_ends), ("ca", report.ca_ends)] {
        let _ = writeln!(text.0, "{name}{{certificate=\"{certificate}\"}} {ends}");
    }
    let name = "kb_etcd_certificate_renewal_seconds";
    text.family(
        name,
        "gauge",
        "When the renewal of these certificates is due: seconds since 1970.",
    );
    for (certificate, due) in [("member", report.certificate_due), ("ca", report.ca_due)] {
        if let Some(due) = due {
            let _ = writeln!(text.0, "{name}{{certificate=\"{certificate}\"}} {due}");
        }
    }
}

/// Names of the families of an exposition text.
fn families(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|rest| rest.split(' ').next())
}

/// Adds etcd's text but for families that are there already, and makes it end in a line feed.
fn pass_through(text: &mut String, etcd: &str, own: &BTreeSet<String>) {
    let mut skipping = false;
    for line in etcd.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line
            .strip_prefix("# HELP ")
            .or_else(|| line.strip_prefix("# TYPE "))
        {
            skipping = rest
                .split(' ')
                .next()
                .is_some_and(|name| own.contains(name));
        }
        if !skipping {
            text.push_str(line);
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use kbagent_protocol::{CertificateReport, ElectionReport, FencingReport, RelayReport};

    use super::*;
    use crate::test_support;

    fn view(age: u64, leader: u64) -> MemberView {
        MemberView {
            status_age_ms: Some(age),
            ..test_support::view(1, (leader != 0).then_some(leader), 4)
        }
    }

    fn value(text: &str, series: &str) -> Option<String> {
        text.lines()
            .find_map(|line| line.strip_prefix(&format!("{series} ")).map(str::to_owned))
    }

    #[test]
    fn nothing_answers_and_the_scrape_still_says_so() {
        let text = render(&Sources::default());
        assert_eq!(value(&text, "kb_etcd_up").as_deref(), Some("0"));
        assert_eq!(value(&text, "kb_etcd_agent_up").as_deref(), Some("0"));
        assert_eq!(
            value(&text, "kb_etcd_term"),
            None,
            "what is not known is not written"
        );
    }

    #[test]
    fn roles_come_from_fresh_knowledge_only() {
        let cases = [
            ("fresh leader", 10, 1, "1", "1"),
            ("fresh, no leader", 10, 0, "0", "0"),
            ("old", 9000, 1, "0", "0"),
        ];
        for (name, age, leader, role, quorate) in cases {
            let text = render(&Sources {
                view: Some(view(age, leader)),
                ..Sources::default()
            });
            assert_eq!(
                value(&text, "kb_etcd_role{role=\"leader\"}").as_deref(),
                Some(role),
                "{name}"
            );
            assert_eq!(
                value(&text, "kb_etcd_quorate").as_deref(),
                Some(quorate),
                "{name}"
            );
        }
    }

    fn busy_agent() -> AgentReport {
        AgentReport {
            version: "0".into(),
            agent_incarnation: 1,
            fencing: FencingReport {
                supported: true,
                voters_known: true,
                restarts: 3,
                ..FencingReport::default()
            },
            elections: ElectionReport {
                enabled: true,
                started: 2,
                won: 1,
                ..ElectionReport::default()
            },
            relay: RelayReport {
                passed: 4,
                ..RelayReport::default()
            },
            certificates: Some(CertificateReport {
                certificate_ends: 7,
                ca_ends: 8,
                certificate_due: Some(5),
                ca_due: Some(6),
            }),
        }
    }

    #[test]
    fn every_family_appears_once_and_has_help_and_type() {
        let etcd = "# HELP etcd_x x\n# TYPE etcd_x counter\netcd_x{a=\"b\"} 1\n# HELP kb_etcd_up mine\n\
                    # TYPE kb_etcd_up gauge\nkb_etcd_up 7\n# HELP last l\n# TYPE last gauge\nlast 2";
        let text = render(&Sources {
            etcd: Some(etcd.into()),
            view: Some(view(1, 1)),
            agent: Some(busy_agent()),
            volume: Some(Volume {
                capacity: 10,
                available: 5,
            }),
        });
        assert_eq!(
            value(&text, "kb_etcd_up").as_deref(),
            Some("1"),
            "ours wins"
        );
        assert_eq!(value(&text, "last").as_deref(), Some("2"));
        assert_eq!(
            value(&text, "kb_etcd_fence_restarts_total").as_deref(),
            Some("3")
        );
        assert_eq!(
            value(&text, "kb_etcd_fencing_voters_known").as_deref(),
            Some("1")
        );
        let won = value(&text, "kb_etcd_fast_elections_total{outcome=\"won\"}");
        assert_eq!(won.as_deref(), Some("1"));
        let passed = value(
            &text,
            "kb_etcd_relayed_connections_total{outcome=\"passed\"}",
        );
        assert_eq!(passed.as_deref(), Some("4"));
        for (of, end, due) in [("member", "7", "5"), ("ca", "8", "6")] {
            let told = |what: &str| {
                let name = format!("kb_etcd_certificate_{what}_seconds");
                value(&text, &format!("{name}{{certificate=\"{of}\"}}"))
            };
            assert_eq!(told("expiry").as_deref(), Some(end));
            assert_eq!(told("renewal").as_deref(), Some(due));
        }
        let names: Vec<_> = families(&text).collect();
        let once: BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), once.len(), "{names:?}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().expect("a name");
            assert!(names.contains(&name), "{name} has a type");
        }
        assert!(text.ends_with('\n'));
    }
}
