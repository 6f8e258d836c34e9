//! The check of etcd's store of API v2 with real members: what it says, and that etcd 3.6 agrees. Needs the path of an
//! `etcd` of 3.6 in `ETCD_BIN`, and of one of the newest 3.5, with `etcdutl` beside it, in `ETCD_OLDER_BIN`.

#[expect(dead_code, reason = "the bench serves other tests too")]
mod bench;

use std::time::Duration;

use bench::{CLIENT_PORT, Pod, settled_leader, until};
use hyper::Method;
use kbagent::http::Call;
use kbagent_protocol::V2Store;

/// A cluster of one, of 3.5.
fn older(net: u8, flags: &[&str]) -> Pod {
    let mut pod = Pod::new(net, 0, &[0]).bootstraps();
    pod.start_etcd_with("ETCD_OLDER_BIN", flags);
    pod.start_agent();
    pod
}

async fn told(pod: &Pod, what: &str, says: impl Fn(&V2Store) -> bool) -> V2Store {
    until(what, 30, async || {
        pod.view().await.v2_store.filter(|store| says(store))
    })
    .await
}

async fn write_v2(pod: &Pod) {
    let address = format!("{}:{CLIENT_PORT}", pod.host);
    let call = Call {
        method: Method::PUT,
        deadline: Duration::from_secs(5),
        ..Call::get(&address, "/v2/keys/old?value=1")
    };
    let (status, body) = call.send(String::new()).await.expect("an answer");
    assert!(status.is_success(), "{}", String::from_utf8_lossy(&body));
}

async fn again(pod: &mut Pod, variable: &str) {
    pod.signal("TERM");
    pod.ended();
    let _stale = std::fs::remove_file(pod.path("run/v2store.json"));
    pod.start_etcd_of(variable);
}

#[tokio::test]
#[ignore = "needs ETCD_BIN and ETCD_OLDER_BIN"]
async fn what_a_client_left_there_is_found_beside_a_running_etcd_and_3_6_does_not_start_with_it() {
    let mut pod = older(71, &["--enable-v2"]);
    settled_leader(std::slice::from_ref(&pod)).await;
    // Clean now, and for how long nothing can say.
    let open = told(&pod, "a check", |_| true).await;
    assert!(open.clean.is_none(), "{open:?}");
    assert!(open.message.expect("why").contains("--enable-v2"));
    write_v2(&pod).await;
    again(&mut pod, "ETCD_OLDER_BIN").await;
    let found = told(&pod, "another check", |store| store.clean.is_some()).await;
    assert_eq!(found.clean, Some(false), "{found:?}");
    assert!(found.message.expect("what").contains("custom"));
    assert!(!pod.path("data/.v2store").exists(), "the links are gone");
    // It is as etcd said: its log is whole, and the next minor ends on it.
    again(&mut pod, "ETCD_OLDER_BIN").await;
    settled_leader(std::slice::from_ref(&pod)).await;
    again(&mut pod, "ETCD_BIN").await;
    assert!(!pod.ended().success());
}

#[tokio::test]
#[ignore = "needs ETCD_BIN and ETCD_OLDER_BIN"]
async fn a_clean_store_is_said_to_be_and_3_6_starts_with_it_and_says_nothing() {
    let mut pod = older(72, &[]);
    settled_leader(std::slice::from_ref(&pod)).await;
    let clean = told(&pod, "a check", |store| store.clean.is_some()).await;
    assert_eq!(clean.clean, Some(true), "{clean:?}");
    // What the older minor has left in the run directory is taken back.
    pod.signal("TERM");
    pod.ended();
    pod.start_etcd_of("ETCD_BIN");
    settled_leader(std::slice::from_ref(&pod)).await;
    until("nothing is said", 30, async || {
        pod.view().await.v2_store.is_none().then_some(())
    })
    .await;
}
