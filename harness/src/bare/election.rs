//! An election on demand: the leader transfers leadership to a follower. Nothing is killed, nothing is to be healed and
//! nothing is left.

use crate::bare::cluster::BareCluster;
use crate::bare::effect::until_shown;
use crate::bare::status::Status;
use crate::faults::{Evidence, Fault, FaultError, Healing, Injected, Member, Running, Target};

/// A member that is to lead.
struct Chosen {
    cluster: BareCluster,
    fault: String,
    member: String,
    term_before: u64,
}

/// Lets the leader transfer leadership to one follower.
///
/// # Errors
/// What is not as it must be, or the step that failed.
pub(crate) async fn inject(
    cluster: &BareCluster,
    fault: &Fault,
    chosen: Vec<Member>,
    status: &Status,
) -> Result<Injected, FaultError> {
    let [member] = chosen.as_slice() else {
        let reason = format!(
            "{} were chosen: two campaigns would split the votes",
            chosen.len()
        );
        return Err(FaultError::find("the one member to campaign", reason));
    };
    let name = member.pod.clone();
    let refused = |why: &str| FaultError::find(format!("a follower in {name}"), why);
    let leader = status
        .leader()
        .ok_or_else(|| refused("there is no leader"))?;
    if leader == name {
        return Err(refused("it leads"));
    }
    let id = status
        .id(&name)
        .ok_or_else(|| refused("it does not answer"))?;
    let term_before = status.term();
    let id = format!("{id:x}");
    let own = "--endpoints=127.0.0.1:2379";
    // The leader answers when it knows its successor, which takes as long as its links are late.
    let limit = "--command-timeout=20s";
    let command = ["/usr/local/bin/etcdctl", own, limit, "move-leader", &id];
    let output = cluster.run(leader, &command).await;
    let output = output.map_err(|error| FaultError::docker(format!("inject {fault}"), error))?;
    if !output.success() {
        let said = output.stderr.trim().to_owned();
        return Err(FaultError::docker(format!("inject {fault}"), said));
    }
    let evidence = Evidence::new()
        .with("leader", leader)
        .with("term before", term_before);
    Ok(Injected {
        targets: vec![Target::member(&name)],
        evidence,
        running: Box::new(Chosen {
            cluster: cluster.clone(),
            fault: fault.to_string(),
            member: name,
            term_before,
        }),
    })
}

impl Chosen {
    async fn shown(&self) -> Result<Evidence, String> {
        let now = self.cluster.look().await?;
        if now.leader() == Some(&self.member) && now.term() > self.term_before {
            return Ok(Evidence::new().with("term", now.term()));
        }
        Err(format!("term {}, leader {:?}", now.term(), now.leader()))
    }
}

impl Running for Chosen {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let what = format!("{} leads in a later term", self.member);
        until_shown(&self.fault, &what, || self.shown()).await
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        Ok(Healing::default())
    }
}
