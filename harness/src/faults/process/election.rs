//! An election on demand: a follower is told to campaign by the message that a leader sends to the member that is to
//! lead next. Nothing is killed; the leader of before steps down when it sees the higher term.

use serde::Deserialize;

use crate::cluster::NodeShell;
use crate::faults::members::roster;
use crate::faults::running::{Injected, Running};
use crate::faults::seen::until_seen;
use crate::faults::{Evidence, Fault, FaultContext, FaultError, Selector, Target};

/// `MsgTimeoutNow` of `raftpb.MessageType`.
const TIMEOUT_NOW: u64 = 14;
/// Oldest version of members that etcd 3.5 to 3.7 accept messages of.
const MIN_CLUSTER: &str = "3.0.0";

/// What an agent says of its member.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    /// Hexadecimal, as are the other identifiers.
    member_id: String,
    cluster_id: String,
    leader_id: Option<String>,
    term: u64,
    version: String,
}

impl Status {
    fn leads(&self) -> bool {
        self.leader_id.as_ref() == Some(&self.member_id)
    }
}

/// Tells one follower to campaign.
pub(crate) async fn inject(
    context: &FaultContext,
    fault: &Fault,
    of: &Selector,
) -> Result<Injected, FaultError> {
    let roster = roster(context).await?;
    let chosen = of.select(&roster.members, context.seed)?;
    let [member] = chosen.as_slice() else {
        let reason = format!(
            "{} were chosen: two campaigns would split the votes",
            chosen.len()
        );
        return Err(FaultError::find("the one member to campaign", reason));
    };
    let shell = context.cluster.shell(member.node()?)?;
    let ip = member.ip()?.to_owned();
    let before = ask(&shell, &ip).await?;
    let refused = |why: &str| FaultError::find(format!("a follower in pod {}", member.pod), why);
    if before.leads() {
        return Err(refused("it leads"));
    }
    if before.leader_id.is_none() {
        return Err(refused("it knows no leader: an election is in progress"));
    }
    let script = post(&before, &ip).ok_or_else(|| refused("its agent tells no identifier"))?;
    shell.check("tell a member to campaign", &script).await?;
    let evidence = Evidence::new()
        .with("roles from", roster.roles_from)
        .with(
            "leader before",
            before.leader_id.clone().unwrap_or_default(),
        )
        .with("term before", before.term.to_string());
    Ok(Injected {
        targets: vec![Target::Member {
            pod: member.pod.clone(),
            node: member.node.clone(),
            part: "told to campaign".to_owned(),
        }],
        evidence,
        running: Box::new(Told {
            fault: fault.to_string(),
            shell,
            ip,
            before,
        }),
    })
}

async fn ask(shell: &NodeShell, ip: &str) -> Result<Status, FaultError> {
    let script = format!("curl -sf -m 2 http://{ip}:5001/v1.0/member");
    let output = shell.check("ask an agent", &script).await?;
    status(&output).ok_or_else(|| {
        FaultError::find(
            format!("the member at {ip}"),
            "its agent knows no status of etcd",
        )
    })
}

fn status(view: &str) -> Option<Status> {
    let view: serde_json::Value = serde_json::from_str(view).ok()?;
    (view["etcd"]["state"] == "running").then_some(())?;
    serde_json::from_value(view.get("status")?.clone()).ok()
}

/// Posts the message to the peer port. etcd answers 204, whether or not raft heeds it.
fn post(to: &Status, ip: &str) -> Option<String> {
    let id = u64::from_str_radix(&to.member_id, 16).ok()?;
    let known = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
    };
    // They are put into a shell command.
    (known(&to.cluster_id) && known(&to.member_id) && known(&to.version)).then_some(())?;
    let octal = message(id, to.term).into_iter();
    let octal: Vec<String> = octal.map(|byte| format!("\\{byte:03o}")).collect();
    let headers = [
        ("Content-Type", "application/protobuf"),
        ("X-Etcd-Cluster-ID", to.cluster_id.as_str()),
        ("X-Raft-To", to.member_id.as_str()),
        ("X-Server-From", to.member_id.as_str()),
        ("X-Server-Version", to.version.as_str()),
        ("X-Min-Cluster-Version", MIN_CLUSTER),
    ];
    let headers = headers.map(|(name, value)| format!(" -H '{name}: {value}'"));
    let (octal, headers) = (octal.concat(), headers.concat());
    Some(format!(
        "code=$(printf '{octal}' | curl -s -m 2 -o /dev/null -w '%{{http_code}}' -X POST{headers} \
         --data-binary @- http://{ip}:2380/raft)\n\
         [ \"$code\" = 204 ] || {{ echo \"etcd's peer port answered $code, not 204\" >&2; exit 1; }}"
    ))
}

/// `raftpb.Message` of this member to itself: kind, to, from, term.
fn message(member: u64, term: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (tag, value) in [(1, TIMEOUT_NOW), (2, member), (3, member), (4, term)] {
        bytes.push(tag << 3);
        let mut rest = value;
        while rest >= 0x80 {
            bytes.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        bytes.push(rest.to_le_bytes()[0]);
    }
    bytes
}

/// A member that was told. It leads in a later term: nothing is to be healed, and nothing is left.
struct Told {
    fault: String,
    shell: NodeShell,
    ip: String,
    before: Status,
}

impl Running for Told {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let what = format!("the member at {} leads in a later term", self.ip);
        // An election that costs its agent an answer is one anyway.
        let seen = until_seen(&self.fault, what, async || {
            let now = ask(&self.shell, &self.ip).await?;
            let leads = now.leads() && now.term > self.before.term;
            let instead = format!("term {}, leader {:?}", now.term, now.leader_id);
            Ok(leads.then_some(now).ok_or(instead))
        })
        .await?;
        Ok(Evidence::new().with("term", seen.term.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: &str = r#"{"instance":"m-1","etcd":{"state":"running"},"status":{"memberId":"12c","clusterId":"ff","leaderId":"a1",
        "leader":"m-0","term":5,"isLearner":false,"version":"3.6.16"}}"#;

    #[test]
    fn the_message_is_rafts() {
        let wanted: [u8; 10] = [8, 14, 16, 0xac, 2, 24, 0xac, 2, 32, 5];
        assert_eq!(message(300, 5), wanted);
        assert_eq!(message(u64::MAX, 1).len(), 2 + 11 + 11 + 2);
    }

    #[test]
    fn it_is_posted_to_the_member_in_its_own_term() {
        let status = status(VIEW).expect("a status");
        assert!(!status.leads());
        let script = post(&status, "10.0.0.1").expect("a script");
        assert!(
            script.contains(r"printf '\010\016\020\254\002\030\254\002\040\005'"),
            "{script}"
        );
        assert!(
            script.contains("-H 'X-Etcd-Cluster-ID: ff'")
                && script.contains("http://10.0.0.1:2380/raft")
        );
    }

    #[test]
    fn what_an_agent_says_is_no_command() {
        for (from, to) in [
            ("3.6.16", "3'; reboot; '"),
            ("\"ff\"", "\"$(x)\""),
            ("12c", "xyz"),
            ("12c", ""),
        ] {
            let told = status(&VIEW.replace(from, to)).expect("a status");
            assert_eq!(post(&told, "10.0.0.1"), None, "{to}");
        }
        assert_eq!(status(&VIEW.replace("running", "unreachable")), None);
        assert_eq!(status("no view"), None);
    }
}
