//! PURE: a report -> text for `status`, as the owner reads it from top to bottom: how it is, who serves, each member,
//! what is in progress.

use crate::model::{ClaimReport, ComponentReport, MemberReport, NOT_REACHED, Report};
use crate::table::{NONE, bytes, table};

const HEAD: [&str; 12] = [
    "POD", "READY", "ROLE", "MEMBER", "TERM", "LAG", "DB", "QUOTA", "VERSION", "ALARMS", "NODE",
    "CLAIM",
];

/// What to do where policies keep the API server from agents.
const LET_IN: &str = "roles are those of labels; where NetworkPolicies are enforced, let the API server's nodes in to \
     see the rest: docs/tasks.md, \"Who may reach the members\"";

/// Everything.
pub(crate) fn view(report: &Report) -> String {
    let mut lines = head(report);
    for part in &report.components {
        lines.push(String::new());
        component(part, &mut lines);
    }
    for request in &report.requests {
        lines.push(String::new());
        lines.push(format!(
            "request {} ({}): {} {}: {}",
            request.name,
            request.kind,
            request.phase.as_deref().unwrap_or("new"),
            request.progress.as_deref().unwrap_or_default(),
            request.message.as_deref().unwrap_or_default(),
        ));
    }
    lines.join("\n") + "\n"
}

/// The Cluster's phase, and its message where it has one.
pub(crate) fn head(report: &Report) -> Vec<String> {
    let phase = report.phase.as_deref().unwrap_or("not known");
    let mut lines = vec![format!("cluster {}: {phase}", report.cluster)];
    lines.extend(report.message.iter().map(|message| format!("  {message}")));
    lines
}

fn component(part: &ComponentReport, lines: &mut Vec<String>) {
    let name = &part.name;
    let id = part.cluster_id.as_deref().unwrap_or("not bootstrapped yet");
    lines.push(format!(
        "{name}: {} of {} ready, {} voters (quorum {}), etcd cluster {id}",
        part.ready, part.replicas, part.voters, part.quorum
    ));
    let target = match part.service_leads_to.is_empty() {
        true => "<none>".to_owned(),
        false => part.service_leads_to.join(", "),
    };
    lines.push(format!("service {name} leads to {target}"));
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(part.members.iter().map(row));
    lines.push(table(&rows));
    for member in &part.members {
        let silence = member.silence.iter();
        lines.extend(silence.map(|why| format!("  {}: {why}", member.pod)));
    }
    let not_reached = |member: &MemberReport| {
        let why = member.silence.as_deref();
        why.is_some_and(|why| why.starts_with(NOT_REACHED))
    };
    if part.members.iter().any(not_reached) {
        lines.push(format!("  {LET_IN}"));
    }
    for gone in &part.members_without_pod {
        lines.push(format!(
            "  member {} ({}) has no pod",
            gone.member_id, gone.pod
        ));
    }
    if part.waiting_on.is_empty() {
        lines.push("waiting on: none".to_owned());
    }
    for waits in &part.waiting_on {
        lines.push(format!("waiting on: {}: {}", waits.reason, waits.message));
    }
    if part.paused {
        lines.push("paused: no changes until spec.paused is unset".to_owned());
    }
}

fn row(member: &MemberReport) -> [String; 12] {
    let none = || NONE.to_owned();
    let etcd = member.etcd.as_ref();
    let of = |tell: &dyn Fn(&crate::model::EtcdReport) -> String| etcd.map_or_else(none, tell);
    [
        member.pod.clone(),
        if member.ready { "yes" } else { "no" }.to_owned(),
        match (etcd, &member.label) {
            (Some(etcd), _) => etcd.role.clone(),
            (None, Some(label)) => label.clone(),
            (None, None) => none(),
        },
        of(&|e| e.member_id.clone()),
        of(&|e| e.term.to_string()),
        of(&|e| e.index_lag.to_string()),
        of(&|e| bytes(e.db_size_bytes)),
        of(&|e| e.db_quota_bytes.map_or_else(none, bytes)),
        of(&|e| e.version.clone()),
        of(&|e| match e.alarms.is_empty() {
            true => none(),
            false => e.alarms.join(","),
        }),
        member.node.clone().unwrap_or_else(none),
        claims(&member.claims),
    ]
}

fn claims(claims: &[ClaimReport]) -> String {
    let told: Vec<String> = claims.iter().map(claim).collect();
    match told.is_empty() {
        true => NONE.to_owned(),
        false => told.join(","),
    }
}

fn claim(claim: &ClaimReport) -> String {
    let name = &claim.name;
    match (&claim.phase, &claim.size) {
        (None, _) => format!("{name} (gone)"),
        (Some(phase), None) => format!("{name} {phase}"),
        (Some(phase), Some(size)) => format!("{name} {phase} {size}"),
    }
}

#[cfg(test)]
mod tests {
    use etcd_operator_api::labels;
    use kube::ResourceExt;
    use serde_json::json;

    use super::*;
    use crate::model::report;
    use crate::test_support::{ops, seen};

    #[test]
    fn a_look_tells_members_service_and_what_is_waited_for() {
        let text = view(&report(&seen()));
        let expected = "\
cluster db: Updating

db-etcd: 3 of 3 ready, 3 voters (quorum 2), etcd cluster 7
service db-etcd leads to db-etcd-0
POD        READY  ROLE      MEMBER  TERM  LAG  DB        QUOTA     VERSION  ALARMS   NODE  CLAIM
db-etcd-0  yes    leader    10      3     0    24.4 KiB  48.8 KiB  3.6.16   -        n0    data-db-etcd-0 Bound 1Gi
db-etcd-1  yes    follower  11      3     20   24.4 KiB  48.8 KiB  3.6.16   NOSPACE  n1    data-db-etcd-1 (gone)
  member 12 (db-etcd-2) has no pod
waiting on: CatchingUp: db-etcd-1 has applied 100 of 120
";
        assert_eq!(text, expected);
    }

    #[test]
    fn agents_that_policies_close_off_are_known_by_their_labels_and_the_way_in_is_told_once() {
        let mut seen = seen();
        for (pod, role) in [("db-etcd-0", "leader"), ("db-etcd-1", "follower")] {
            let refused = "error trying to reach service: dial tcp 10.0.0.1:5001: connect: connection refused";
            seen.views.insert(pod.into(), Err(refused.into()));
            let of = seen.pods.iter_mut().find(|of| of.name_any() == pod);
            of.expect("a pod")
                .labels_mut()
                .insert(labels::ROLE.into(), role.into());
        }
        let text = view(&report(&seen));
        assert!(text.contains("db-etcd-0  yes    leader "), "{text}");
        assert!(
            text.contains("db-etcd-1: the API server does not reach its agent: dial tcp"),
            "{text}"
        );
        assert_eq!(text.matches(LET_IN).count(), 1, "{text}");
    }

    #[test]
    fn a_silent_member_says_why() {
        let mut seen = seen();
        seen.views
            .insert("db-etcd-1".into(), Err("connection refused".into()));
        let text = view(&report(&seen));
        assert!(text.contains("db-etcd-1  yes    -"), "{text}");
        assert!(
            text.contains("db-etcd-1: its agent does not answer: connection refused"),
            "{text}"
        );
    }

    #[test]
    fn requests_are_shown_until_they_end() {
        let mut seen = seen();
        let running = json!({ "phase": "Running", "progress": "1/3" });
        seen.requests = vec![
            ops(&running),
            ops(&json!({ "phase": "Succeed" })),
            ops(&json!({})),
        ];
        let text = view(&report(&seen));
        assert!(
            text.contains("\nrequest r (Restart): Running 1/3: \n"),
            "{text}"
        );
        assert!(text.contains("\nrequest r (Restart): new : \n"), "{text}");
        assert_eq!(text.matches("request r").count(), 2, "{text}");
    }

    #[test]
    fn the_report_has_the_documented_fields_as_json() {
        let json = serde_json::to_value(report(&seen())).expect("JSON");
        let member = &json["components"][0]["members"][1];
        assert_eq!(json["phase"], "Updating");
        assert_eq!(
            json["components"][0]["serviceLeadsTo"],
            json!(["db-etcd-0"])
        );
        assert_eq!(
            json["components"][0]["waitingOn"][0]["reason"],
            "CatchingUp"
        );
        assert_eq!(member["etcd"]["indexLag"], 20);
        assert_eq!(member["etcd"]["memberId"], "11");
        assert_eq!(member["claims"][0]["phase"], json!(null));
    }
}
