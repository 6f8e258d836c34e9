//! kbagent with real members: etcd's downgrade by one minor. Needs the path of an `etcd` of 3.6 or newer in
//! `ETCD_BIN`, and of one of the minor before in `ETCD_OLDER_BIN`.

#[expect(dead_code, reason = "the bench serves other tests too")]
mod bench;

use std::process::Command;

use bench::{Pod, settled_leader, three, until};
use kbagent_protocol::{ActionAnswer, Format, action, parameter};

/// The minor of the `etcd` in a variable, as a target is written.
fn minor_of(variable: &str) -> String {
    let binary = std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set"));
    let told = Command::new(binary).arg("--version").output();
    let told = String::from_utf8(told.expect("it runs").stdout).expect("text");
    let version = told.split_whitespace().nth(2).expect("a version");
    let (minor, _patch) = version.rsplit_once('.').expect("three numbers");
    minor.to_owned()
}

async fn begin(pod: &Pod, to: &str) -> ActionAnswer {
    let target = [(parameter::DOWNGRADE_TARGET, to)];
    pod.action(action::DOWNGRADE, &target).await
}

/// Waits until every pod's member says this of its data.
async fn all_say(pods: &[Pod], what: &str, says: impl Fn(&Format) -> bool) {
    until(what, 15, async || {
        for pod in pods {
            says(&pod.view().await.status?.format).then_some(())?;
        }
        Some(())
    })
    .await;
}

fn is_of(version: Option<&String>, minor: &str) -> bool {
    version.is_some_and(|version| version.starts_with(&format!("{minor}.")))
}

#[tokio::test]
#[ignore = "needs ETCD_BIN and ETCD_OLDER_BIN"]
async fn members_go_back_by_a_minor_one_by_one_and_come_again() {
    let (newer, older) = (minor_of("ETCD_BIN"), minor_of("ETCD_OLDER_BIN"));
    let mut pods = three(61);
    let leader = settled_leader(&pods).await;
    let written = |format: &Format| is_of(format.storage_version.as_ref(), &newer);
    all_say(&pods, "the data of the newer minor", written).await;

    // Two minors, no minor, and the one that runs: etcd or the agent refuses, and nothing has begun.
    for target in ["3.3", "three", newer.as_str()] {
        let refused = begin(&pods[leader], target).await;
        assert!(refused.error.is_some(), "{target}");
    }
    all_say(&pods, "no downgrade", |format| {
        format.downgrade_to.is_none()
    })
    .await;

    // One that is cancelled leaves all as it was.
    let begun = begin(&pods[leader], &older).await;
    assert_eq!(begun.error, None, "{:?}", begun.message);
    let again = begin(&pods[leader], &older).await;
    assert_eq!(again.error, None, "it has begun: {:?}", again.message);
    let ready = |format: &Format| {
        is_of(format.storage_version.as_ref(), &older)
            && is_of(format.downgrade_to.as_ref(), &older)
    };
    all_say(&pods, "the data of the older minor", ready).await;
    for _ in 0..2 {
        let ended = pods[leader].action(action::CANCEL_DOWNGRADE, &[]).await;
        assert_eq!(ended.error, None, "{:?}", ended.message);
    }
    all_say(&pods, "the data of the newer minor again", |format| {
        written(format) && format.downgrade_to.is_none()
    })
    .await;

    let begun = begin(&pods[leader], &older).await;
    assert_eq!(begun.error, None, "{:?}", begun.message);
    all_say(&pods, "the data of the older minor", ready).await;
    for (variable, minor) in [("ETCD_OLDER_BIN", &older), ("ETCD_BIN", &newer)] {
        for pod in &mut pods {
            pod.signal("TERM");
            pod.ended();
            pod.start_etcd_of(variable);
            until("the other version", 20, async || {
                let status = pod.view().await.status?;
                (status.version.starts_with(minor.as_str()) && status.leader_id.is_some())
                    .then_some(())
            })
            .await;
        }
        settled_leader(&pods).await;
    }
    // What etcd may have left of the downgrade holds the way up closed until it is cancelled.
    let ended = pods[0].action(action::CANCEL_DOWNGRADE, &[]).await;
    assert_eq!(ended.error, None, "{:?}", ended.message);
    all_say(&pods, "the data of the newer minor at last", written).await;
}
