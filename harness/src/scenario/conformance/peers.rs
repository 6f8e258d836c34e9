//! The peer port, dialled from a member's own address: with a member's certificate it answers, so that it is the
//! address for which it refuses the same certificate from the pod of an unknown client.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::checklist::Checklist;
use crate::scenario::Lab;
use crate::scenario::subject::Subject;

/// What etcd's answer to `/version` holds.
const ANSWER: &str = "etcdserver";

/// From the first member to the second, with its certificate and without.
pub(super) async fn check(lab: &Lab, subject: &Subject, list: &mut Checklist) {
    if !lab.cluster.has_node_shells() {
        lab.live
            .say("nodes have no shells: a member's own address is not tried");
        return;
    }
    let pods = subject.pods().await;
    let Some(pods) = list.came_about("the members' pods are read", pods) else {
        return;
    };
    let [from, to, ..] = pods.as_slice() else {
        list.wrong("there are no two members".to_owned());
        return;
    };
    for (certificate, answers) in [(true, true), (false, false)] {
        let asked = ask(lab, subject, (from, to), certificate).await;
        let what = format!("the peer port, from a member's address, certificate: {certificate}");
        let Some(told) = list.came_about(format!("{what}, is tried"), asked) else {
            continue;
        };
        list.holds(
            format!("{what}: answers {told:?}"),
            told.contains(ANSWER) == answers,
        );
    }
}

async fn ask(
    lab: &Lab,
    subject: &Subject,
    (from, to): (&Pod, &Pod),
    certificate: bool,
) -> Result<String, String> {
    let node = from.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let shell = lab.cluster.shell(&node.unwrap_or_default());
    let shell = shell.map_err(|error| error.to_string())?;
    let address = subject.member_address(&to.name_any());
    let host = address.split(':').next().unwrap_or_default();
    let ip = to.status.as_ref().and_then(|status| status.pod_ip.clone());
    let script = script(
        &from.uid().unwrap_or_default(),
        host.trim_end_matches('.'),
        &ip.unwrap_or_default(),
        certificate,
    );
    let told = shell
        .run(&script)
        .await
        .map_err(|error| error.to_string())?;
    if told.stdout.starts_with(FOUND) {
        return Ok(told.stdout);
    }
    Err(format!("{}{}", told.stdout, told.stderr))
}

/// What the script begins with once it has found the member.
const FOUND: &str = "found";

/// Asks from the network of a process of the pod, with the files that are mounted there. Not by HTTP/2: etcd serves
/// nothing to its peers by that.
fn script(uid: &str, host: &str, ip: &str, certificate: bool) -> String {
    let shows = if certificate {
        "--cert $T/cert.pem --key $T/key.pem"
    } else {
        ""
    };
    format!(
        r#"B=/run/containerd/io.containerd.runtime.v2.task/k8s.io
i=
for f in $(grep -lsF '"io.kubernetes.cri.sandbox-uid":"{uid}"' $B/*/config.json); do
  p=$(cat ${{f%/config.json}}/init.pid 2>/dev/null) && [ -e /proc/$p/root/etc/pki/tls/cert.pem ] && i=$p && break
done
[ -n "$i" ] || {{ echo 'no process of the member has its certificate' >&2; exit 1; }}
T=/proc/$i/root/etc/pki/tls
echo {FOUND}
nsenter -t $i -n curl --http1.1 -sS -m 5 --resolve {host}:2380:{ip} --cacert $T/ca.pem {shows} https://{host}:2380/version 2>&1
true"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::assert_is_shell;

    #[test]
    fn the_script_is_valid_shell_and_shows_a_certificate_only_where_it_is_to() {
        let with = script("uid", "a.b.svc", "10.0.0.1", true);
        let without = script("uid", "a.b.svc", "10.0.0.1", false);
        assert_is_shell(&with);
        assert_is_shell(&without);
        assert!(with.contains("--cert ") && !without.contains("--cert "));
        assert!(with.contains("--resolve a.b.svc:2380:10.0.0.1"));
    }
}
