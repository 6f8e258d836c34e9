//! What the tests of this folder share: the site of a cluster without a node, whose Docker is a fake one.

use std::cell::Cell;

use crate::cluster::fake_docker::FakeDocker;
use crate::faults::residue::find::Site;

/// What set the weight of the nodes of the cluster `lab`, and of another one.
pub(super) const WEIGHTS: &str = r#"[{"Names":["/etcd-harness-weight-lab-worker"],"State":"exited"},
    {"Names":["/etcd-harness-weight-lab2-worker"],"State":"exited"}]"#;

/// A cluster `lab`, whose Docker lists nodes, timers and what sets weights, in this order, and has this answer to all
/// else.
pub(super) fn lab(
    timers: &'static str,
    weights: &'static str,
    (code, body): (u16, &'static str),
) -> (FakeDocker, Site) {
    let lists = Cell::new(0);
    let fake = FakeDocker::new(move |request| match request {
        "GET /containers/json" => {
            lists.set(lists.get() + 1);
            let shown = ["[]", timers, weights][(lists.get() - 1) % 3];
            (200, shown.as_bytes().to_vec())
        }
        _ => (code, body.as_bytes().to_vec()),
    });
    let site = Site {
        name: "lab".into(),
        docker: Ok(Some(fake.docker.clone())),
        kube: Ok(None),
    };
    (fake, site)
}
