//! The members of one run: their names, their addresses, the flags of their etcd. Pure.

use crate::bare::{gofail, release};

/// Milliseconds between two heartbeats of a leader, as the operator's clusters have it.
const HEARTBEAT_MS: u32 = 50;
/// Milliseconds without one until a follower asks for an election.
const ELECTION_MS: u32 = 500;

/// Port at which a member receives the others.
pub(crate) const PEER_PORT: u16 = 2380;

/// The members of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    run: String,
    members: u32,
    settings: Vec<(String, String)>,
    /// Versions of etcd that members have in turn; none for one that has every flag.
    versions: Vec<String>,
    /// True when members talk to each other on a network of their own.
    peers_apart: bool,
    /// True when members reach each other through a proxy.
    proxied: bool,
    /// True when disks are slowed.
    slow_disks: bool,
    /// True when a supervisor stands between members and their disks.
    supervised: bool,
    /// True when etcd serves its failpoints.
    failpoints: bool,
    /// True when each joins those before it.
    joining: bool,
    /// The version that members have later.
    next: Option<String>,
}

/// Folder of a member's data, in a folder that every image has.
pub(crate) const DATA: &str = "/var/lib/etcd/data";
pub(crate) const FOLDER: &str = "/var/lib/etcd";
/// etcd in its images.
pub(crate) const ETCD: &str = "/usr/local/bin/etcd";

/// Where a supervisor finds the order that it obeys before etcd begins, where there is one.
pub(crate) const FIRST_ORDER: (&str, &str) = ("/", "disk-first-order");

/// Where the client's program is, in its image and in members that have it: as a supervisor, or to ask for failpoints.
pub(crate) const SUPERVISOR: (&str, &str) = ("/", "workload");

impl Layout {
    /// So many members of the run with this name. `settings` are flags of etcd by name, in place of the usual ones.
    pub(crate) fn new(run: &str, members: u32, settings: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            run: run.to_owned(),
            members,
            settings: settings.iter().map(owned).collect(),
            versions: Vec::new(),
            peers_apart: false,
            proxied: false,
            slow_disks: false,
            supervised: false,
            failpoints: false,
            joining: false,
            next: None,
        }
    }

    /// Members have these versions of etcd in turn.
    pub(crate) fn with_versions<'a>(mut self, versions: impl Iterator<Item = &'a str>) -> Self {
        self.versions = versions.map(str::to_owned).collect();
        self
    }

    /// The version of a member; empty where none was named.
    fn version(&self, member: &str) -> &str {
        let place = self.names().iter().position(|name| name == member);
        let mut versions = self.versions.iter().cycle();
        let version = place.and_then(|place| versions.nth(place));
        version.map_or("", String::as_str)
    }

    /// The client's container can slow the members' disks.
    pub(crate) fn with_slow_disks(mut self, slow: bool) -> Self {
        self.slow_disks = slow;
        self
    }

    /// A supervisor stands between each member and its disk.
    pub(crate) fn with_supervisor(mut self, supervised: bool) -> Self {
        self.supervised = supervised;
        self
    }

    /// True when a supervisor stands between members and their disks.
    pub(crate) fn is_supervised(&self) -> bool {
        self.supervised
    }

    /// Members serve the failpoints that their etcd was built with.
    pub(crate) fn with_failpoints(mut self, failpoints: bool) -> Self {
        self.failpoints = failpoints;
        self
    }

    /// True when members serve failpoints.
    pub(crate) fn has_failpoints(&self) -> bool {
        self.failpoints
    }

    /// True when members have the client's program.
    pub(crate) fn needs_program(&self) -> bool {
        self.is_supervised() || self.has_failpoints()
    }

    /// Each member joins those before it.
    pub(crate) fn with_joining(mut self, joining: bool) -> Self {
        self.joining = joining;
        self
    }

    /// Members have this version later.
    pub(crate) fn with_next(mut self, version: Option<&str>) -> Self {
        self.next = version.map(str::to_owned);
        self
    }

    /// The version that members have later, where it is another one.
    pub(crate) fn next_version(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// Name of the container that its program is taken from.
    pub(crate) fn next_tools(&self) -> String {
        format!("bare-{}-next", self.run)
    }

    /// Name of the member whose store others are restored from.
    pub(crate) fn origin(&self) -> String {
        format!("bare-{}-origin", self.run)
    }

    /// What a member's container has in its environment.
    pub(crate) fn environment(&self) -> Vec<String> {
        let served = self.failpoints.then(|| gofail::SERVED.to_owned());
        served.into_iter().collect()
    }

    /// Name of the container that the program of members is taken from.
    pub(crate) fn tools(&self) -> String {
        format!("bare-{}-tools", self.run)
    }

    /// The command of a member's container.
    pub(crate) fn command(&self, member: &str) -> Vec<String> {
        let mut command = Vec::new();
        if self.supervised {
            command.push([SUPERVISOR.0, SUPERVISOR.1].concat());
            command.extend(["disk", "run", "--folder", DATA, "--first"].map(str::to_owned));
            command.push([FIRST_ORDER.0, FIRST_ORDER.1].concat());
            command.push("--".to_owned());
        }
        command.push(ETCD.to_owned());
        command.extend(self.flags(member));
        command
    }

    /// Folders of the host that the recording client has: none, but for a run that slows disks.
    pub(crate) fn client_binds(&self) -> Vec<String> {
        let groups = self.slow_disks.then(|| "/sys/fs/cgroup:/cgroup".to_owned());
        groups.into_iter().collect()
    }

    /// Members reach each other through a proxy, so that each link between two can be disturbed by itself.
    pub(crate) fn with_proxy(mut self, proxied: bool) -> Self {
        self.proxied = proxied;
        self
    }

    /// Name of the proxy's container, where there is one.
    pub(crate) fn proxy(&self) -> Option<String> {
        self.proxied.then(|| format!("bare-{}-proxy", self.run))
    }

    /// The members, and the port of the proxy at which the others reach each.
    pub(crate) fn proxied_ports(&self) -> Vec<(String, u16)> {
        self.names().into_iter().zip(PEER_PORT + 1..).collect()
    }

    /// Where the others reach a member.
    pub(crate) fn peer_url(&self, member: &str) -> String {
        let mut ports = self.proxied_ports().into_iter();
        match (self.proxy(), ports.find(|(name, _)| name == member)) {
            (Some(proxy), Some((_, port))) => format!("http://{proxy}:{port}"),
            _ => format!("http://{}:{PEER_PORT}", self.peer(member)),
        }
    }

    /// Members talk to each other on a network of their own, so that it can be taken from one without its clients.
    pub(crate) fn with_peers_apart(mut self, apart: bool) -> Self {
        self.peers_apart = apart;
        self
    }

    /// Name of the network of the members alone, where there is one.
    pub(crate) fn peers(&self) -> Option<String> {
        self.peers_apart
            .then(|| format!("{}-peers", self.network()))
    }

    /// Name by which other members find this one.
    pub(crate) fn peer(&self, member: &str) -> String {
        if self.peers_apart {
            format!("{member}-peer")
        } else {
            member.to_owned()
        }
    }

    /// Name of the run, which is the value of the label of all that it makes.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// Name of the network.
    pub(crate) fn network(&self) -> String {
        format!("bare-{}", self.run)
    }

    /// Names of the members, which are those of their containers and hosts.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |number| format!("bare-{}-{number}", self.run);
        (0..self.members).map(name).collect()
    }

    /// Name of the recording client's container.
    pub(crate) fn client(&self) -> String {
        format!("bare-{}-client", self.run)
    }

    /// Flags of the etcd of this member.
    pub(crate) fn flags(&self, member: &str) -> Vec<String> {
        let peer = |name: &str| self.peer_url(name);
        let mut known = self.names();
        let place = known.iter().position(|name| name == member);
        let joins = self.joining && place.is_some_and(|place| place > 0);
        if let Some(place) = place.filter(|_| self.joining) {
            known.truncate(place + 1);
        }
        let initial: Vec<String> = known
            .iter()
            .map(|name| format!("{name}={}", peer(name)))
            .collect();
        let mut flags = vec![
            ("name", member.to_owned()),
            ("data-dir", DATA.to_owned()),
            ("listen-client-urls", "http://0.0.0.0:2379".to_owned()),
            ("listen-peer-urls", format!("http://0.0.0.0:{PEER_PORT}")),
            (
                "advertise-client-urls",
                format!("http://{}", address(member)),
            ),
            ("initial-advertise-peer-urls", peer(member)),
            ("initial-cluster", initial.join(",")),
            (
                "initial-cluster-state",
                if joins { "existing" } else { "new" }.to_owned(),
            ),
            ("initial-cluster-token", self.network()),
            ("heartbeat-interval", HEARTBEAT_MS.to_string()),
            ("election-timeout", ELECTION_MS.to_string()),
            // The default from 3.5 on, as is its logger.
            ("pre-vote", "true".to_owned()),
            ("logger", "zap".to_owned()),
            ("log-outputs", "stderr".to_owned()),
        ];
        let version = self.version(member);
        for (name, value) in &self.settings {
            // One that this version has not is refused before a run; else etcd itself does.
            let name = release::flag(version, name).unwrap_or(name);
            match flags.iter_mut().find(|(known, _)| *known == name) {
                Some((_, usual)) => usual.clone_from(value),
                None => flags.push((name, value.clone())),
            }
        }
        let flag = |(name, value)| format!("--{name}={value}");
        flags.into_iter().map(flag).collect()
    }
}

/// `host:port` that clients of a member dial.
pub(crate) fn address(member: &str) -> String {
    format!("{member}:2379")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(flags: &'a [String], name: &str) -> Vec<&'a str> {
        let prefix = format!("--{name}=");
        let values = flags.iter().filter_map(|flag| flag.strip_prefix(&prefix));
        values.collect()
    }

    #[test]
    fn every_member_knows_all_and_itself() {
        let layout = Layout::new("7", 3, &[]);
        for name in layout.names() {
            let flags = layout.flags(&name);
            let all = "bare-7-0=http://bare-7-0:2380,bare-7-1=http://bare-7-1:2380,bare-7-2=http://bare-7-2:2380";
            assert_eq!(value(&flags, "initial-cluster"), [all]);
            assert_eq!(value(&flags, "name"), [name.as_str()]);
            let own = format!("http://{}", address(&name));
            assert_eq!(value(&flags, "advertise-client-urls"), [own.as_str()]);
        }
    }

    #[test]
    fn two_runs_share_no_name() {
        let names = |run| {
            let layout = Layout::new(run, 5, &[]);
            let mut all = layout.names();
            all.extend([layout.network(), layout.client()]);
            all
        };
        let (one, other) = (names("7"), names("8"));
        assert_eq!(one.len(), 7);
        assert!(one.iter().all(|name| !other.contains(name)));
    }

    #[test]
    fn members_on_a_network_of_their_own_have_a_name_there_that_clients_do_not_know() {
        let layout = Layout::new("7", 3, &[]);
        assert_eq!(layout.peers(), None);
        let apart = layout.with_peers_apart(true);
        assert_eq!(apart.peers().as_deref(), Some("bare-7-peers"));
        let flags = apart.flags("bare-7-1");
        let peer = "http://bare-7-1-peer:2380";
        assert_eq!(value(&flags, "initial-advertise-peer-urls"), [peer]);
        assert!(value(&flags, "initial-cluster")[0].contains(&format!("bare-7-1={peer},")));
        assert_eq!(
            value(&flags, "advertise-client-urls"),
            ["http://bare-7-1:2379"]
        );
    }

    #[test]
    fn members_behind_a_proxy_reach_each_other_nowhere_else() {
        let layout = Layout::new("7", 3, &[]);
        assert_eq!(layout.proxy(), None);
        let flags = layout.with_proxy(true).flags("bare-7-1");
        let own = "http://bare-7-proxy:2382";
        assert_eq!(value(&flags, "initial-advertise-peer-urls"), [own]);
        let all = value(&flags, "initial-cluster")[0];
        assert!(all.contains(&format!("bare-7-1={own},")), "{all}");
        assert!(!all.contains(":2380"), "{all}");
        assert_eq!(value(&flags, "listen-peer-urls"), ["http://0.0.0.0:2380"]);
    }

    #[test]
    fn only_a_run_that_slows_disks_has_something_of_the_host() {
        let layout = Layout::new("7", 3, &[]);
        assert!(layout.client_binds().is_empty());
        let slow = layout.with_slow_disks(true);
        assert_eq!(slow.client_binds(), ["/sys/fs/cgroup:/cgroup"]);
    }

    #[test]
    fn a_supervisor_stands_before_etcd_and_changes_none_of_its_flags() {
        let layout = Layout::new("7", 3, &[]);
        let plain = layout.command("bare-7-0");
        assert_eq!(plain[0], "/usr/local/bin/etcd");
        assert!(!layout.is_supervised());
        let supervised = layout.with_supervisor(true).command("bare-7-0");
        let first = "/workload disk run --folder /var/lib/etcd/data --first /disk-first-order --";
        assert_eq!(supervised.join(" "), format!("{first} {}", plain.join(" ")));
    }

    #[test]
    fn failpoints_are_served_to_the_container_alone_and_only_where_they_are_needed() {
        let layout = Layout::new("7", 3, &[]);
        assert!(layout.environment().is_empty() && !layout.needs_program());
        let command = layout.command("bare-7-0");
        let served = layout.with_failpoints(true);
        assert_eq!(served.environment(), ["GOFAIL_HTTP=127.0.0.1:22381"]);
        assert!(served.needs_program() && !served.is_supervised());
        assert_eq!(served.command("bare-7-0"), command);
    }

    #[test]
    fn one_that_joins_knows_those_before_it_and_that_they_are_there() {
        let layout = Layout::new("7", 3, &[]).with_joining(true);
        let of = |member| {
            let flags = layout.flags(member);
            let [cluster] = value(&flags, "initial-cluster")[..] else {
                panic!("{flags:?}");
            };
            let [state] = value(&flags, "initial-cluster-state")[..] else {
                panic!("{flags:?}");
            };
            (cluster.matches("=http").count(), state.to_owned())
        };
        assert_eq!(of("bare-7-0"), (1, "new".to_owned()));
        assert_eq!(of("bare-7-1"), (2, "existing".to_owned()));
        assert_eq!(of("bare-7-2"), (3, "existing".to_owned()));
    }

    #[test]
    fn a_setting_replaces_the_usual_flag_and_is_said_once() {
        let settings = [("election-timeout", "900"), ("snapshot-count", "100")];
        let flags = Layout::new("7", 3, &settings).flags("bare-7-0");
        assert_eq!(value(&flags, "election-timeout"), ["900"]);
        assert_eq!(value(&flags, "snapshot-count"), ["100"]);
    }
}
