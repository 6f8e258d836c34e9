//! Real members that get users while they are written to: who may do what, that agents and writers continue, and what
//! comes of passwords. Needs the path of an `etcd` in `ETCD_BIN`, as `members.rs` does.

#[expect(dead_code, reason = "the bench serves other tests too")]
mod bench;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bench::keys::Keys;
use bench::secured::{Ca, MEMBER, secured_as, with};
use bench::{CLIENT_PORT, Pod, output, settled_leader, until};
use kbagent::etcd::Client;
use kbagent_protocol::{
    Access, Account, Accounts, EtcdState, MemberList, PATH_MEMBERS, Password, Permission, ROOT,
    SwitchoverOutput, action,
};
use tonic::Code;

/// The common name of applications' certificates.
const CLIENT: &str = "etcd-client";

fn account(name: &str, admin: bool, prefix: Option<&str>, password: Option<&str>) -> Account {
    let permission = |key: &str| Permission {
        key: key.to_owned(),
        prefix: true,
        access: Access::ReadWrite,
    };
    Account {
        name: name.to_owned(),
        admin,
        permissions: prefix.map(permission).into_iter().collect(),
        password: password.map(|password| Password(password.to_owned())),
    }
}

/// Root, the members, every application's certificate, and one user with a password.
fn accounts(generation: &str, password: &str) -> Accounts {
    Accounts {
        generation: generation.to_owned(),
        accounts: vec![
            account(ROOT, true, None, Some("r00t")),
            account(MEMBER, true, None, None),
            account(CLIENT, false, Some(""), None),
            account("billing", false, Some("/billing/"), Some(password)),
        ],
    }
}

fn three(net: u8, ca: &Ca) -> Vec<Pod> {
    three_as(MEMBER, net, ca)
}

fn three_as(name: &str, net: u8, ca: &Ca) -> Vec<Pod> {
    secured_as(name, net, ca, |pod| {
        let directory = pod.path("accounts");
        fs::create_dir_all(&directory).expect("a directory");
        pod.set("KB_ACCOUNTS_DIR", &directory.display().to_string());
    })
}

/// As the kubelet does, at all members.
fn gives(pods: &[Pod], accounts: &Accounts) {
    for pod in pods {
        let text = serde_json::to_string(accounts).expect("JSON");
        let partial = pod.path("accounts/partial");
        fs::write(&partial, text).expect("write");
        fs::rename(&partial, pod.path("accounts/accounts.json")).expect("rename");
    }
}

async fn applied(pods: &[Pod], generation: &str) {
    let what = format!("generation {generation} of the users");
    until(&what, 90, async || {
        for pod in pods {
            let report = pod.view().await.accounts.unwrap_or_default();
            if report.applied.as_deref() == Some(generation) {
                assert_eq!(report.fault, None);
                return Some(());
            }
        }
        None
    })
    .await;
}

fn address(pod: &Pod) -> String {
    format!("{}:{CLIENT_PORT}", pod.host)
}

/// Writes without a pause until it is stopped, and counts.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<Vec<tonic::Status>>,
}

impl Writer {
    fn starts(keys: Keys) -> Self {
        let (stop, written) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let (stops, counts) = (Arc::clone(&stop), Arc::clone(&written));
        let task = tokio::spawn(async move {
            let mut failed = Vec::new();
            while !stops.load(Ordering::Relaxed) {
                match keys.put("/written").await {
                    Ok(()) => drop(counts.fetch_add(1, Ordering::Relaxed)),
                    Err(status) => failed.push(status),
                }
            }
            failed
        });
        Self {
            stop,
            written,
            task,
        }
    }

    async fn stops(self) -> (u32, Vec<tonic::Status>) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.task.await.expect("no panic");
        (self.written.load(Ordering::Relaxed), failed)
    }
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn users_come_to_a_living_cluster_without_a_failed_write() {
    let ca = Ca::new();
    let pods = three(61, &ca);
    let leader = settled_leader(&pods).await;
    let (_kept, application) = with(&ca.signs(CLIENT, &["127.0.0.1"]));
    let (_kept, unknown) = with(&ca.signs("unknown", &["127.0.0.1"]));
    let keys = Keys::new(&address(&pods[leader]), &application);
    let unknown = Keys::new(&address(&pods[leader]), &unknown);
    until("a first write", 10, async || keys.put("/a").await.ok()).await;
    unknown.put("/a").await.expect("before there are users");
    let writer = Writer::starts(keys.clone());
    gives(&pods, &accounts("one", "first"));
    applied(&pods, "one").await;
    let (written, mut failed) = writer.stops().await;
    // A full machine may be late; what etcd refuses it refuses at once.
    failed.retain(|status| !matches!(status.code(), Code::DeadlineExceeded | Code::Unavailable));
    assert!(failed.is_empty() && written > 100, "{written}: {failed:?}");

    let denied = |put: Result<(), tonic::Status>| {
        let status = put.expect_err("it is denied");
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    };
    denied(unknown.put("/a").await);
    let billing = unknown.logs_in("billing", "first").await.expect("a token");
    billing.put("/billing/a").await.expect("its own keys");
    denied(billing.put("/other").await);
    unknown
        .logs_in("billing", "second")
        .await
        .err()
        .expect("another password");

    // A new password is taken, the old one and its tokens are not.
    gives(&pods, &accounts("two", "second"));
    applied(&pods, "two").await;
    unknown
        .logs_in("billing", "first")
        .await
        .err()
        .expect("the old password");
    billing.put("/billing/a").await.expect_err("the old token");
    let billing = unknown.logs_in("billing", "second").await.expect("a token");
    billing.put("/billing/a").await.expect("its own keys");

    // A user that is wanted no longer goes.
    let mut fewer = accounts("three", "");
    fewer.accounts.retain(|account| account.name != "billing");
    gives(&pods, &fewer);
    applied(&pods, "three").await;
    unknown
        .logs_in("billing", "second")
        .await
        .err()
        .expect("it is gone");
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn agents_continue_when_etcd_has_users() {
    let ca = Ca::new();
    let mut pods = three(62, &ca);
    settled_leader(&pods).await;
    gives(&pods, &accounts("one", "first"));
    applied(&pods, "one").await;
    let leader = settled_leader(&pods).await;
    let answer = pods[leader].action(action::SWITCHOVER, &[]).await;
    let moved: SwitchoverOutput = output(&answer);
    let leader = settled_leader(&pods).await;
    assert_eq!(moved.leader, pods[leader].name);
    let list: MemberList = pods[leader].get(PATH_MEMBERS).await.expect("a list");
    assert_eq!(list.members.len(), 3);
    let follower = &pods[(leader + 1) % 3];
    for name in [action::COMPACT, action::DEFRAGMENT] {
        let answer = follower.action(name, &[]).await;
        assert_eq!(answer.error, None, "{name}: {:?}", answer.message);
    }
    // The next leader, too, knows that all is as it must be, and etcd's own election needs no user.
    pods[leader].kill_etcd();
    pods[leader].start_etcd();
    let next = settled_leader(&pods).await;
    applied(&pods[next..=next], "one").await;
    for pod in &pods {
        assert_eq!(pod.view().await.etcd, EtcdState::Running);
    }
    // No password is in a log.
    for pod in &pods {
        for log in ["agent.log", "etcd.log"] {
            let text = fs::read_to_string(pod.path(log)).expect("a log");
            assert!(!text.contains("r00t") && !text.contains("first"), "{log}");
        }
    }
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn authentication_that_was_switched_on_by_hand_takes_one_user_to_let_the_agents_in() {
    let ca = Ca::new();
    let pods = three(63, &ca);
    let leader = settled_leader(&pods).await;
    let pod = &pods[leader];
    let (_kept, root) = with(&ca.signs(ROOT, &["127.0.0.1"]));
    let by_hand = Client::new(&format!("https://{}", address(pod)), &root).expect("a URL");
    by_hand.add_user(ROOT, None).await.expect("a user");
    by_hand.give_role(ROOT, ROOT).await.expect("a role");
    by_hand.auth_enable().await.expect("enabled");
    // Who has any certificate may ask; what changes something is refused.
    pod.get::<MemberList>(PATH_MEMBERS).await.expect("a list");
    let answer = pod.action(action::SWITCHOVER, &[]).await;
    let told = answer.message.unwrap_or_default();
    assert!(
        answer.error.is_some() && told.contains("user name not found"),
        "{told}"
    );
    by_hand.add_user(MEMBER, None).await.expect("a user");
    by_hand.give_role(MEMBER, ROOT).await.expect("a role");
    let answer = pod.action(action::SWITCHOVER, &[]).await;
    assert_eq!(answer.error, None, "{:?}", answer.message);
    // Users of ours cannot come: root has no password, and etcd gives it none. Who leads by now says so.
    gives(&pods, &accounts("one", "first"));
    let fault = until("the reason", 30, async || {
        let views = futures::future::join_all(pods.iter().map(Pod::view)).await;
        views.into_iter().find_map(|view| view.accounts?.fault)
    })
    .await;
    assert!(fault.contains("etcdctl auth disable"), "{fault}");
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn members_are_whom_a_users_certificates_name_and_are_never_shut_out() {
    let ca = Ca::new();
    let pods = three_as("ledger.example", 64, &ca);
    let leader = settled_leader(&pods).await;
    let (_kept, application) = with(&ca.signs("unknown", &["127.0.0.1"]));
    let keys = Keys::new(&address(&pods[leader]), &application);
    // Members of another name than their certificate's: authentication would shut the agents out, and stays off.
    gives(&pods, &accounts("one", "first"));
    let fault = until("the reason", 60, async || {
        pods[leader].view().await.accounts?.fault
    })
    .await;
    assert!(fault.contains("ledger.example"), "{fault}");
    keys.put("/a").await.expect("authentication is off");
    let mut named = accounts("two", "first");
    named.accounts[1].name = "ledger.example".to_owned();
    gives(&pods, &named);
    applied(&pods, "two").await;
    keys.put("/a").await.expect_err("authentication is on");
    let answer = pods[leader].action(action::SWITCHOVER, &[]).await;
    let _moved: SwitchoverOutput = output(&answer);
}
