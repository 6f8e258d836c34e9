//! The proof that a cut is a cut: for each sender and receiver that it names, a connection is tried that must not come
//! about, its packet is seen to be dropped, and packets of the cluster's own are too. Pure: scripts, their output and
//! the judgement.
//!
//! Probes leave from ports above those that a kernel gives out by itself, so that packets of theirs are never taken for
//! the cluster's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::faults::Member;
use crate::faults::network::plan::{Parties, Proof};
use crate::faults::network::rules::{Address, Addresses, Dropped, PROBE_PORTS, Port, RuleSet, Way};

/// Seconds that a probe waits for an answer; within the cluster one takes a millisecond.
const PROBE_S: &str = "0.5";
/// Stands in place of curl's status where the pod has no process in the node.
const NO_POD: &str = "none";
/// curl's status for an answer that did not come in time.
const NO_ANSWER: i32 = 28;

/// curl's statuses for a connection that the other end refused, closed at once or broke.
const REFUSED: i32 = 7;
const EMPTY: i32 = 52;
const BROKEN: i32 = 56;

/// A connection that must not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// The node that it starts in.
    pub node: String,
    /// The pod that it starts in.
    pub uid: String,
    /// From and to which address.
    pub way: Way,
    /// To which port.
    pub port: u16,
    /// Which of its packets must be dropped: the first, or the answer to it.
    pub drops: Way,
}

/// What must be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proofs {
    /// Connections to try.
    pub probes: Vec<Probe>,
    /// Senders and receivers of which packets of the cluster's own must be dropped.
    pub own: BTreeSet<Way>,
    /// Addresses from which packets to all others must be dropped.
    pub own_from: BTreeSet<Ipv4Addr>,
    /// Addresses to which packets of all others must be dropped.
    pub own_to: BTreeSet<Ipv4Addr>,
}

/// What must be seen of a cut, with the pods where they are now.
pub(crate) fn proofs(
    proof: &Proof,
    parties: &Parties,
    cut: (&RuleSet, &Addresses),
    pods: &[Member],
) -> Proofs {
    let (rules, addresses) = cut;
    let mut proofs = Proofs::default();
    let ways = ways(rules, addresses, pods);
    let start = |from: Ipv4Addr| {
        pods.iter()
            .find(|pod| ip(pod) == Some(from))
            .and_then(|pod| Some((pod.node.clone()?, pod.uid.clone())))
    };
    let mut add = |from: Ipv4Addr, to: Ipv4Addr, port: u16, drops: Way| {
        if let Some((node, uid)) = start(from) {
            proofs.probes.push(Probe {
                node,
                uid,
                way: (from, to),
                port,
                drops,
            });
        }
    };
    match proof {
        Proof::Pairs(ports) => {
            for way in &ways {
                ports.iter().for_each(|port| add(way.0, way.1, *port, *way));
            }
            proofs.own = ways;
        }
        Proof::Server(port) => {
            let (outgoing, incoming) = directions(rules);
            for server in &addresses.single {
                let clients = pods.iter().filter_map(ip);
                for client in clients.filter(|ip| !addresses.single.contains(ip)) {
                    let (ask, answer) = ((client, *server), (*server, client));
                    add(client, *server, *port, if incoming { ask } else { answer });
                }
            }
            proofs.own_from = if outgoing {
                addresses.single.clone()
            } else {
                BTreeSet::new()
            };
            proofs.own_to = if incoming {
                addresses.single.clone()
            } else {
                BTreeSet::new()
            };
        }
        Proof::Remote(servers, port) => {
            let near = pods.iter().filter(|pod| parties.near.contains(&pod.pod));
            for from in near.filter_map(ip) {
                servers
                    .iter()
                    .for_each(|to| add(from, *to, *port, (from, *to)));
            }
            proofs.own_from.clone_from(&addresses.single);
        }
        Proof::Any | Proof::Lookups => {}
    }
    proofs
}

/// Senders and receivers among the pods that the rules name.
fn ways(rules: &RuleSet, addresses: &Addresses, pods: &[Member]) -> BTreeSet<Way> {
    let mut ways = addresses.pairs.clone();
    let (outgoing, incoming) = directions(rules);
    let everybody: Vec<Ipv4Addr> = pods.iter().filter_map(ip).collect();
    for one in &addresses.single {
        for other in everybody.iter().filter(|other| *other != one) {
            if outgoing {
                ways.insert((*one, *other));
            }
            if incoming {
                ways.insert((*other, *one));
            }
        }
    }
    ways
}

/// Whether the rules drop what single addresses send, and what is sent to them.
fn directions(rules: &RuleSet) -> (bool, bool) {
    let has = |wanted: Address| rules.rules.iter().any(|(address, _)| *address == wanted);
    (has(Address::From), has(Address::To))
}

fn ip(pod: &Member) -> Option<Ipv4Addr> {
    pod.ip.as_deref()?.parse().ok()
}

/// What came of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing came back.
    None,
    /// Something came back: the other end took or refused the connection.
    Some,
    /// The pod that it starts in is not in its node any more.
    Gone,
    /// It could not be made.
    Unknown,
}

/// Tries the connections that start in one node, all at once; one line each.
pub(crate) fn script(probes: &[(usize, &Probe)]) -> String {
    let calls: Vec<String> = probes
        .iter()
        .map(|(number, probe)| {
            let ((_, to), port, uid) = (probe.way, probe.port, &probe.uid);
            format!("probe {number} '{uid}' http://{to}:{port}/ &\n")
        })
        .collect();
    let functions = FUNCTIONS
        .replace("NO_POD", NO_POD)
        .replace("SECONDS", PROBE_S)
        .replace("PORTS", PROBE_PORTS);
    format!("{functions}{}wait", calls.concat())
}

/// Enters the network of a pod through any process of it; all its containers share one.
const FUNCTIONS: &str = r#"
B=/run/containerd/io.containerd.runtime.v2.task/k8s.io
inside() {
  for f in $(grep -lsF "\"io.kubernetes.cri.sandbox-uid\":\"$1\"" $B/*/config.json); do
    p=$(cat ${f%/config.json}/init.pid 2>/dev/null) && [ -d /proc/$p ] && { echo $p; return; }
  done
  return 1
}
probe() {
  p=$(inside "$2") || { echo "probe $1 NO_POD 0"; return; }
  t=$(nsenter -t $p -n curl -s -o /dev/null -m SECONDS --local-port PORTS -w '%{time_connect}' $3)
  echo "probe $1 $? $t"
}
"#;

/// What came of each probe, by its number.
pub(crate) fn parse(text: &str) -> BTreeMap<usize, Answer> {
    let line = |line: &str| {
        let mut words = line.strip_prefix("probe ")?.split_whitespace();
        let number = words.next()?.parse().ok()?;
        let status = words.next()?;
        let connected: f64 = words.next().and_then(|word| word.parse().ok())?;
        let answer = match status.parse::<i32>().ok() {
            None if status == NO_POD => Answer::Gone,
            Some(NO_ANSWER) if connected == 0.0 => Answer::None,
            Some(0 | REFUSED | NO_ANSWER | EMPTY | BROKEN) => Answer::Some,
            _ => Answer::Unknown,
        };
        Some((number, answer))
    };
    text.lines().filter_map(line).collect()
}

/// What is still to be seen before the cut is one; nothing when it is.
pub(crate) fn missing(
    proofs: &Proofs,
    answers: &BTreeMap<usize, Answer>,
    dropped: &Dropped,
) -> Option<String> {
    for (number, probe) in proofs.probes.iter().enumerate() {
        let ((from, to), port) = (probe.way, probe.port);
        let what = format!("{from} -> {to}:{port}");
        match answers.get(&number) {
            Some(Answer::None) if dropped.probes.contains_key(&probe.drops) => {}
            Some(Answer::None) => return Some(format!("{what}: no answer, but nothing dropped")),
            Some(Answer::Some) => return Some(format!("{what}: still connects")),
            Some(Answer::Unknown | Answer::Gone) | None => {
                return Some(format!("{what}: could not be tried"));
            }
        }
    }
    let own = |wanted: &dyn Fn(&Way) -> bool| dropped.own.keys().any(wanted);
    let nothing = |from: String, to: String| {
        Some(format!(
            "{from} -> {to}: no packet of the cluster's own yet"
        ))
    };
    let anybody = || "anybody".to_owned();
    if let Some((from, to)) = proofs.own.iter().find(|way| !own(&|seen| seen == *way)) {
        return nothing(from.to_string(), to.to_string());
    }
    if let Some(from) = proofs
        .own_from
        .iter()
        .find(|ip| !own(&|(from, _)| from == *ip))
    {
        return nothing(from.to_string(), anybody());
    }
    let to = proofs.own_to.iter().find(|ip| !own(&|(_, to)| to == *ip))?;
    nothing(anybody(), to.to_string())
}

/// What came about although it must not.
pub(crate) fn connected(proofs: &Proofs, answers: &BTreeMap<usize, Answer>) -> Vec<String> {
    named(proofs, |number| answers.get(&number) == Some(&Answer::Some))
}

/// What could not be tried, so that it is not known whether it would have come about. A pod that is gone connects to
/// nothing.
pub(crate) fn untried(proofs: &Proofs, answers: &BTreeMap<usize, Answer>) -> Vec<String> {
    named(proofs, |number| {
        matches!(answers.get(&number), None | Some(Answer::Unknown))
    })
}

/// The connections of these numbers, in words.
fn named(proofs: &Proofs, meant: impl Fn(usize) -> bool) -> Vec<String> {
    let probes = proofs.probes.iter().enumerate();
    let words = probes
        .filter(|(number, _)| meant(*number))
        .map(|(_, probe)| {
            let ((from, to), port) = (probe.way, probe.port);
            format!("{from} -> {to}:{port}")
        });
    words.collect()
}

/// Ports of the rules that packets of a probe have: those that it leaves from, or those that its answer goes to.
pub(crate) fn of_probe(port: Port) -> Vec<&'static str> {
    match port {
        Port::Any => vec!["sport", "dport"],
        Port::To("tcp", _) => vec!["sport"],
        Port::From("tcp", _) => vec!["dport"],
        Port::To(..) | Port::From(..) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
