//! A quorum that does not come back: one member becomes the only one of its cluster, once, and others join it.
//! Needs the path of an `etcd` in `ETCD_BIN`; run with `-- --ignored`.

#[expect(dead_code, reason = "the bench serves other tests too")]
mod bench;

use std::time::Duration;

use bench::{CLIENT_PORT, Pod, output, settled_leader, three, until};
use kbagent::etcd::Client;
use kbagent::fence::Launcher;
use kbagent::launch::Demand;
use kbagent::tls::Tls;
use kbagent_protocol::{EtcdState, Member, MemberList, PATH_MEMBERS, Role, action, parameter};

fn client(pod: &Pod) -> Client {
    Client::new(
        &format!("http://{}:{CLIENT_PORT}", pod.host),
        &Tls::default(),
    )
    .expect("url")
}

async fn list(pod: &Pod) -> MemberList {
    until("a member list", 20, async || pod.get(PATH_MEMBERS).await).await
}

/// The member list that etcd has now, which has so many members.
async fn list_of(pod: &Pod, members: usize) -> MemberList {
    let found = until("etcd's own list", 20, async || {
        let status = client(pod).status(Duration::from_secs(1)).await.ok()?;
        if status.leader == 0 {
            return None;
        }
        pod.get::<MemberList>(PATH_MEMBERS).await
    })
    .await;
    assert_eq!(found.members.len(), members, "{found:?}");
    found
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_survivor_is_forced_once_keeps_its_identity_and_takes_learners() {
    let mut pods = three(11);
    settled_leader(&pods).await;
    let before = list(&pods[0]).await;
    let mut survivor = pods.pop().expect("three pods");
    let status = client(&survivor)
        .status(Duration::from_secs(1))
        .await
        .expect("status");
    let own = status.header.expect("a header").member_id;
    drop(pods);
    let alone = until("a member without a leader", 20, async || {
        let view = survivor.view().await;
        view.status.filter(|status| status.leader_id.is_none())
    })
    .await;
    survivor.kill_etcd();
    survivor.set("KB_FORCE_NEW_CLUSTER", "request-1");
    survivor.start_etcd();
    let after = list(&survivor).await;
    assert_eq!(after.cluster_id, before.cluster_id);
    let ids: Vec<u64> = after.members.iter().map(|member| member.id.0).collect();
    assert_eq!(ids, [own], "the others are no members any more");
    let status = client(&survivor)
        .status(Duration::from_secs(1))
        .await
        .expect("status");
    assert!(status.raft_term >= alone.term && status.raft_index >= alone.raft_index);
    assert!(status.header.expect("a header").revision >= alone.revision);

    let mut joining = Pod::new(11, 3, &[2, 3]);
    let host = joining.host.clone();
    let by = [
        (parameter::JOIN_MEMBER_POD_NAME, "p3"),
        (parameter::JOIN_MEMBER_POD_FQDN, host.as_str()),
    ];
    let joined: Member = until("the survivor takes a learner", 15, async || {
        let answer = survivor.action(action::MEMBER_JOIN, &by).await;
        (answer.error.as_deref() != Some("preconditionFailed")).then(|| output(&answer))
    })
    .await;
    joining.set("KB_JOIN_MEMBER_ID", &joined.id.to_string());
    let joining = joining.start();
    until("the learner serves", 20, async || {
        let role = joining.role().await;
        role.filter(|(role, _)| *role == Role::Learner)
    })
    .await;

    // Its launcher starts etcd again in place: the mark is used, and the learner stays a member.
    let (forced, term) = (survivor.etcd_pid(), status.raft_term + 1);
    let launcher = Launcher::new(&survivor.path("run"));
    let demanded = launcher.demand(Demand::Restart { term }).await;
    demanded.expect("the launcher starts it again");
    until("another etcd", 20, async || {
        survivor
            .etcd_pid()
            .filter(|pid| Some(pid) != forced.as_ref())
    })
    .await;
    let again = list_of(&survivor, 2).await;
    assert!(again.members.iter().any(|member| member.id == joined.id));

    // The same environment in another container: as before.
    survivor.kill_etcd();
    survivor.start_etcd();
    list_of(&survivor, 2).await;
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_member_that_was_given_up_finds_that_it_was_removed() {
    let mut pods = three(12);
    settled_leader(&pods).await;
    for pod in &mut pods {
        pod.kill_etcd();
    }
    pods[2].set("KB_FORCE_NEW_CLUSTER", "request-1");
    pods[2].start_etcd();
    assert_eq!(list(&pods[2]).await.members.len(), 1);
    // It comes back with its old disk, and is the only one of the old members to do so.
    pods[0].start_etcd();
    until("the old member ends by itself", 20, async || {
        let etcd = pods[0].etcd.as_mut().expect("a process");
        etcd.try_wait().expect("its state")
    })
    .await;
    assert_eq!(list(&pods[2]).await.members.len(), 1);
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_survivor_that_was_restarted_without_a_quorum_says_where_it_stands_and_is_forced() {
    let mut pods = three(13);
    settled_leader(&pods).await;
    let status = client(&pods[2]).status(Duration::from_secs(1)).await;
    let own = status.expect("status").header.expect("a header").member_id;
    for pod in &mut pods {
        pod.kill_etcd();
    }
    pods[2].start_etcd();
    let standing = until("where it stands", 20, async || {
        let view = pods[2].view().await;
        view.standing.filter(|own| own.leaderless_seconds > 0)
    })
    .await;
    assert_eq!((standing.member_id.0, standing.has_leader), (own, false));
    assert!(standing.index > 0 && standing.revision > 0, "{standing:?}");
    let status = client(&pods[2]).status(Duration::from_secs(1)).await;
    assert!(status.is_err(), "it serves no client: {status:?}");

    pods[2].kill_etcd();
    pods[2].set("KB_FORCE_NEW_CLUSTER", "request-1");
    pods[2].start_etcd();
    assert_eq!(list(&pods[2]).await.members.len(), 1);
    let view = until("a status again", 20, async || {
        let view = pods[2].view().await;
        let led = view
            .status
            .as_ref()
            .is_some_and(|status| status.leader_id.is_some());
        (led && view.etcd == EtcdState::Running).then_some(view)
    })
    .await;
    assert_eq!(view.standing, None);
    let status = view.status.expect("a status");
    assert!(status.revision >= standing.revision && status.raft_index >= standing.index);
}
