//! Pure: etcd's command line. Flags that decide identity and membership are the launcher's and come last, where they
//! win; listen addresses are added only when the user's flags name none.

use std::net::{IpAddr, SocketAddr};

use kbagent_protocol::flags;

use crate::config::{Config, Peer, without_scheme};
use crate::etcd::Member;
use crate::tls::FILES;

use super::decide::Decision;

/// etcd's flag for where clients come.
const CLIENTS: &str = "listen-client-urls";
/// etcd's flags for where its API is served, to clients and to peers.
const LISTENS: [&str; 3] = [CLIENTS, "listen-client-http-urls", "listen-peer-urls"];
/// etcd's flag for the entries between two snapshots; 0 is its default of ten thousand.
const SNAPSHOT_COUNT: &str = "snapshot-count";

/// etcd's flag, before 3.6, that lets clients use its API v2.
const OPEN: &str = "enable-v2";

/// The arguments for `decision` after the user's own.
pub(super) fn arguments(config: &Config, decision: &Decision, user: &[String]) -> Vec<String> {
    let (user, front) = (&flags::joined(user), front(config, user));
    let own = |flag: &String| match front {
        true => encrypted(config, &behind(config, flag)),
        false => encrypted(config, flag),
    };
    let mut all: Vec<String> = user.iter().map(own).collect();
    let clients = match front {
        true => format!("{}://{}", config.tls.scheme(), config.etcd_address()),
        false => config.client_url("0.0.0.0"),
    };
    let listens = [
        (CLIENTS, clients),
        ("listen-peer-urls", config.peer_url("0.0.0.0")),
        ("listen-metrics-urls", "http://0.0.0.0:2381".to_owned()),
    ];
    for (flag, value) in listens {
        if values(user, flag).next().is_none() {
            all.push(format!("--{flag}={value}"));
        }
    }
    let own_host = config.host_of(&config.pod_name);
    let own_peer_url = config.peer_url(&own_host);
    let (state, initial) = match decision {
        Decision::Bootstrap => ("new", frozen(config)),
        Decision::Join(members) => ("existing", live(members, &config.pod_name, &own_peer_url)),
        // With a log present etcd reads the member set from it; these only have to agree with the name.
        Decision::Start
        | Decision::Shorten(_)
        | Decision::Force(_)
        | Decision::Ask
        | Decision::Refuse(_) => ("existing", format!("{}={own_peer_url}", config.pod_name)),
    };
    let owned = [
        ("name", config.pod_name.clone()),
        ("data-dir", config.data_dir.display().to_string()),
        ("initial-advertise-peer-urls", own_peer_url),
        ("advertise-client-urls", config.client_url(&own_host)),
        (
            "initial-cluster-token",
            format!("etcd-{}", config.cluster_uid),
        ),
        ("initial-cluster-state", state.to_owned()),
        ("initial-cluster", initial),
    ];
    all.extend(
        owned
            .into_iter()
            .map(|(flag, value)| format!("--{flag}={value}")),
    );
    match decision {
        Decision::Shorten(count) if snapshot_count(user).is_none_or(|own| own > *count) => {
            all.push(format!("--{SNAPSHOT_COUNT}={count}"));
        }
        _ => {}
    }
    if matches!(decision, Decision::Force(_)) {
        all.push("--force-new-cluster=true".to_owned());
    }
    all.extend(certificates(config));
    all
}

/// True when clients come to the agent and etcd listens where that asks it: see [`crate::relay`]. Only where the user's
/// flags have etcd listen at all addresses, and at no other of that port.
pub(super) fn front(config: &Config, user: &[String]) -> bool {
    if !config.relay_clients || config.front_ips().is_empty() {
        return false;
    }
    let user = flags::joined(user);
    let mut listens = values(&user, CLIENTS);
    match (listens.next(), listens.next()) {
        (None, _) => true,
        (Some(urls), None) => urls.is_some_and(|urls| {
            let mut there = urls.split(',').filter_map(|url| of_clients(config, url));
            there.next().is_some_and(|ip| ip.is_unspecified()) && there.next().is_none()
        }),
        (Some(_), Some(_)) => false,
    }
}

/// Whether the user's flags let clients write to the store of API v2.
pub(super) fn opens_v2(user: &[String]) -> bool {
    let user = flags::joined(user);
    let last = values(&user, OPEN).next_back();
    last.is_some_and(|value| value != Some("false"))
}

/// Whether the user's flags name a file of settings: etcd then takes no flag at all, neither these nor the launcher's.
pub(super) fn has_config_file(user: &[String]) -> bool {
    values(user, flags::CONFIG_FILE).next().is_some()
}

/// The address of a URL, if its port is the clients'.
fn of_clients(config: &Config, url: &str) -> Option<IpAddr> {
    let address: SocketAddr = without_scheme(url).parse().ok()?;
    (address.port() == config.client_port).then(|| address.ip())
}

/// The argument, with the agent's way to etcd in the place of all addresses.
fn behind(config: &Config, argument: &str) -> String {
    let Some(urls) = value_of(argument, CLIENTS) else {
        return argument.to_owned();
    };
    let moved = |url: &str| match of_clients(config, url) {
        Some(_) => format!("{}://{}", config.tls.scheme(), config.etcd_address()),
        None => url.to_owned(),
    };
    let urls: Vec<String> = urls.split(',').map(moved).collect();
    format!("--{CLIENTS}={}", urls.join(","))
}

/// The user's entries between two snapshots.
fn snapshot_count(user: &[String]) -> Option<u64> {
    let count = flags::last(user, SNAPSHOT_COUNT).and_then(|value| value.parse().ok());
    count.filter(|count| *count > 0)
}

/// Value of `--flag=value`.
fn value_of<'a>(argument: &'a str, flag: &str) -> Option<&'a str> {
    let (name, value) = flags::read(argument)?;
    value.filter(|_| name == flag)
}

/// With TLS no port of etcd's API stays open to plain text: a definition's listen addresses keep host and port.
fn encrypted(config: &Config, argument: &str) -> String {
    match flags::read(argument) {
        Some((flag, Some(urls))) if config.tls.is_on() && LISTENS.contains(&flag) => {
            let urls: Vec<String> = urls.split(',').map(https).collect();
            format!("--{flag}={}", urls.join(","))
        }
        _ => argument.to_owned(),
    }
}

/// etcd takes the scheme of a URL in capitals, too.
fn https(url: &str) -> String {
    match url.trim().split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => format!("https://{rest}"),
        _ => url.to_owned(),
    }
}

/// etcd's files, of which it reads certificate and key again for every handshake. It takes no version before TLS 1.2.
fn certificates(config: &Config) -> Vec<String> {
    let Some(directory) = config.tls.directory() else {
        return Vec::new();
    };
    let [ca, cert, key] = FILES.map(|name| directory.join(name).display().to_string());
    let mut flags = Vec::new();
    for side in ["", "peer-"] {
        flags.extend([
            format!("--{side}cert-file={cert}"),
            format!("--{side}key-file={key}"),
            format!("--{side}trusted-ca-file={ca}"),
            format!("--{side}client-cert-auth=true"),
        ]);
    }
    let name = config.tls_peer_name.iter();
    flags.extend(name.map(|name| format!("--peer-cert-allowed-cn={name}")));
    flags
}

/// Values of a flag, in their order; etcd takes the last.
fn values<'a>(
    user: &'a [String],
    flag: &'a str,
) -> impl DoubleEndedIterator<Item = Option<&'a str>> {
    let flags = user.iter().filter_map(|argument| flags::read(argument));
    flags
        .filter(move |(name, _)| *name == flag)
        .map(|(_, value)| value)
}

/// The set of the first start, the same on every member (B1).
fn frozen(config: &Config) -> String {
    let peers = config.bootstrap.as_deref().unwrap_or_default();
    let entry = |peer: &Peer| format!("{}={}", peer.name, config.peer_url(&peer.host));
    peers.iter().map(entry).collect::<Vec<_>>().join(",")
}

/// The live list (M9), in which the own entry has no name yet.
fn live(members: &[Member], own_name: &str, own_peer_url: &str) -> String {
    let mut entries = Vec::new();
    for member in members {
        let own = member.peer_urls.iter().any(|url| url == own_peer_url);
        let name = match (own, member.name.is_empty()) {
            (true, _) => own_name.to_owned(),
            (false, true) => format!("{:x}", member.id),
            (false, false) => member.name.clone(),
        };
        entries.extend(member.peer_urls.iter().map(|url| format!("{name}={url}")));
    }
    entries.join(",")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::tls::Tls;

    fn config() -> Config {
        Config::from_lookup(&|name| {
            let value = match name {
                "POD_NAME" => "p1",
                "POD_UID" | "KB_CLUSTER_UID" => "u",
                "KB_HEADLESS_DOMAIN" => "h",
                "KB_BOOTSTRAP_MEMBERS" => "p0,p1,p2",
                _ => return None,
            };
            Some(value.to_owned())
        })
        .expect("config")
    }

    #[test]
    fn the_first_start_names_the_frozen_set() {
        let flags = arguments(&config(), &Decision::Bootstrap, &[]);
        let wanted =
            "--initial-cluster=p0=http://p0.h:2380,p1=http://p1.h:2380,p2=http://p2.h:2380";
        assert!(flags.iter().any(|flag| flag == wanted), "{flags:?}");
        assert!(
            flags
                .iter()
                .any(|flag| flag == "--initial-cluster-state=new")
        );
        assert!(
            flags
                .iter()
                .any(|flag| flag == "--initial-cluster-token=etcd-u")
        );
    }

    #[test]
    fn a_learner_starts_with_the_live_list_and_its_own_name() {
        let member = |id, name: &str, url: &str| Member {
            id,
            name: name.into(),
            peer_urls: vec![url.into()],
            ..Member::default()
        };
        let list = vec![
            member(1, "p0", "http://p0.h:2380"),
            member(2, "", "http://p1.h:2380"),
        ];
        let flags = arguments(&config(), &Decision::Join(list), &[]);
        let wanted = "--initial-cluster=p0=http://p0.h:2380,p1=http://p1.h:2380";
        assert!(flags.iter().any(|flag| flag == wanted), "{flags:?}");
        assert!(
            flags
                .iter()
                .any(|flag| flag == "--initial-cluster-state=existing")
        );
    }

    #[test]
    fn the_flag_of_the_old_api_is_seen_as_etcd_reads_it() {
        for (flags, open) in [
            (&[][..], false),
            (&["--enable-v2"], true),
            (&["-enable-v2=true"], true),
            (&["--enable-v2=false"], false),
            (&["--enable-v2", "--enable-v2=false"], false),
            (&["--enable-v2v3=x"], false),
        ] {
            let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
            assert_eq!(opens_v2(&flags), open, "{flags:?}");
        }
    }

    #[test]
    fn only_a_forced_start_has_the_flag() {
        let has = |decision: &Decision| {
            let flags = arguments(&config(), decision, &[]);
            flags
                .iter()
                .any(|flag| flag.starts_with("--force-new-cluster"))
        };
        assert!(has(&Decision::Force("m".into())));
        assert!(!has(&Decision::Start) && !has(&Decision::Bootstrap));
    }

    #[test]
    fn with_certificates_no_port_of_the_api_is_plain() {
        let config = Config {
            tls: Tls::new(Some(Path::new("/tls"))),
            tls_peer_name: Some("member".to_owned()),
            ..config()
        };
        let user = [
            "--listen-client-urls=http://10.0.0.1:2379,http://127.0.0.1:2379",
            "--listen-client-http-urls=http://0.0.0.0:2382",
            "--listen-peer-urls",
            "http://0.0.0.0:2380",
            "--listen-metrics-urls=http://0.0.0.0:2381",
        ];
        let user: Vec<String> = user.iter().map(ToString::to_string).collect();
        let flags = arguments(&config, &Decision::Bootstrap, &user);
        let plain: Vec<_> = flags
            .iter()
            .filter(|flag| flag.contains("http://"))
            .collect();
        // Probes and scrapes have no certificate.
        assert_eq!(plain, ["--listen-metrics-urls=http://0.0.0.0:2381"]);
        for wanted in [
            "--listen-client-urls=https://10.0.0.1:2379,https://127.0.0.1:2379",
            "--listen-client-http-urls=https://0.0.0.0:2382",
            "--listen-peer-urls=https://0.0.0.0:2380",
            "--cert-file=/tls/cert.pem",
            "--key-file=/tls/key.pem",
            "--trusted-ca-file=/tls/ca.pem",
            "--client-cert-auth=true",
            "--peer-cert-file=/tls/cert.pem",
            "--peer-key-file=/tls/key.pem",
            "--peer-trusted-ca-file=/tls/ca.pem",
            "--peer-client-cert-auth=true",
            "--peer-cert-allowed-cn=member",
        ] {
            assert!(
                flags.iter().any(|flag| flag == wanted),
                "{wanted}: {flags:?}"
            );
        }
        let flags = arguments(&super::tests::config(), &Decision::Start, &user);
        assert!(!flags.iter().any(|flag| flag.contains("cert")), "{flags:?}");
    }

    #[test]
    fn with_certificates_no_form_of_a_flag_keeps_a_port_plain() {
        let config = Config {
            tls: Tls::new(Some(Path::new("/tls"))),
            ..config()
        };
        let wanted = "https://0.0.0.0:2382,https://127.0.0.1:2382";
        for flag in LISTENS {
            let urls = "http://0.0.0.0:2382,http://127.0.0.1:2382";
            let forms = [
                vec![format!("--{flag}={urls}")],
                vec![format!("-{flag}={urls}")],
                vec![format!("--{flag}"), urls.to_owned()],
                vec![format!("-{flag}"), urls.to_owned()],
                vec![
                    "--pre-vote".to_owned(),
                    format!("--{flag}"),
                    urls.to_owned(),
                ],
                vec![format!("--{flag}"), urls.replace("http", "HTTP")],
                vec![format!("--{flag}= {}", urls.replace(',', ", "))],
            ];
            for user in forms {
                let flags = arguments(&config, &Decision::Start, &user);
                let mut plain = flags.iter().filter(|flag| {
                    flag.to_lowercase().contains("http://")
                        && value_of(flag, "listen-metrics-urls").is_none()
                });
                assert_eq!(plain.next(), None, "{user:?}");
                let found: Vec<_> = values(&flags, flag).collect();
                assert_eq!(found, [Some(wanted)], "{user:?}");
            }
        }
    }

    #[test]
    fn a_file_of_settings_is_seen_in_every_form() {
        for (user, there) in [
            (&["--config-file=/x"][..], true),
            (&["-config-file=/x"], true),
            (&["--pre-vote", "--config-file", "/x"], true),
            (&["-config-file", "/x"], true),
            (&["--config-file-of-mine=/x", "config-file"], false),
            (&[], false),
        ] {
            let user: Vec<String> = user.iter().map(ToString::to_string).collect();
            assert_eq!(has_config_file(&user), there, "{user:?}");
        }
    }

    #[test]
    fn etcd_leaves_the_pods_address_to_the_agent_where_it_listened_at_all() {
        let config = |tls: Option<&Path>| Config {
            pod_ip: Some("10.0.0.1".to_owned()),
            relay_clients: true,
            tls: Tls::new(tls),
            ..config()
        };
        let listens = |config: &Config, user: &[&str]| {
            let user: Vec<String> = user.iter().map(ToString::to_string).collect();
            let flags = arguments(config, &Decision::Start, &user);
            let urls = flags.iter().find_map(|flag| value_of(flag, CLIENTS));
            (
                front(config, &user),
                urls.map(str::to_owned).expect("an address"),
            )
        };
        let (plain, own) = (config(None), "http://127.0.0.1:2379");
        let moved = [
            (&[][..], own.to_owned()),
            (
                &["--listen-client-urls=http://0.0.0.0:2379"],
                own.to_owned(),
            ),
            (&["-listen-client-urls=http://[::]:2379"], own.to_owned()),
            (
                &["--listen-client-urls", "http://0.0.0.0:2379"],
                own.to_owned(),
            ),
            (
                &["--listen-client-urls=http://10.0.0.9:99,http://0.0.0.0:2379"],
                format!("http://10.0.0.9:99,{own}"),
            ),
        ];
        for (user, wanted) in moved {
            assert_eq!(listens(&plain, user), (true, wanted), "{user:?}");
        }
        let urls = "--listen-client-urls=http://0.0.0.0:2379";
        let encrypted = listens(&config(Some(Path::new("/tls"))), &[urls]);
        assert_eq!(encrypted, (true, "https://127.0.0.1:2379".to_owned()));
        let kept: [&[&str]; 6] = [
            &["--listen-client-urls=http://10.0.0.1:2379"],
            &["--listen-client-urls=http://127.0.0.1:2379"],
            &["--listen-client-urls=http://0.0.0.0:2379,http://10.0.0.1:2379"],
            &["--listen-client-urls=http://127.0.0.1:99"],
            &["--listen-client-urls=unix:///x"],
            &[urls, urls],
        ];
        for user in kept {
            let (front, urls) = listens(&plain, user);
            assert!(!front, "{user:?}");
            assert_eq!(Some(urls.as_str()), value_of(user[0], CLIENTS));
        }
        let off = Config {
            relay_clients: false,
            ..config(None)
        };
        assert_eq!(
            listens(&off, &[urls]),
            (false, "http://0.0.0.0:2379".to_owned())
        );
    }

    #[test]
    fn a_snapshot_is_made_sooner_unless_the_user_has_it_sooner_still() {
        let cases: [(&[&str], Option<&str>); 7] = [
            (&[], Some("--snapshot-count=1000")),
            (&["--snapshot-count=0"], Some("--snapshot-count=1000")),
            (&["--snapshot-count=100000"], Some("--snapshot-count=1000")),
            (
                &["--snapshot-count", "100000"],
                Some("--snapshot-count=1000"),
            ),
            (&["--snapshot-count=500"], None),
            (&["-snapshot-count", "500"], None),
            (
                &["--snapshot-count=5", "--snapshot-count=5000"],
                Some("--snapshot-count=1000"),
            ),
        ];
        for (user, wanted) in cases {
            let user: Vec<String> = user.iter().map(ToString::to_string).collect();
            let flags = arguments(&config(), &Decision::Shorten(1000), &user);
            let own = flags[user.len()..].iter();
            let mut added = own.filter(|flag| flag.starts_with("--snapshot-count"));
            assert_eq!(added.next().map(String::as_str), wanted, "{user:?}");
            let plain = arguments(&config(), &Decision::Start, &user);
            assert!(
                !plain[user.len()..]
                    .iter()
                    .any(|flag| flag.contains("snapshot"))
            );
        }
    }

    #[test]
    fn the_users_listen_flags_stay_and_identity_flags_come_last() {
        let user = [
            "--listen-client-urls=http://10.0.0.1:2379",
            "--name=mine",
            "--quota=1",
        ];
        let user: Vec<String> = user.iter().map(ToString::to_string).collect();
        let flags = arguments(&config(), &Decision::Start, &user);
        let listens = flags
            .iter()
            .filter(|flag| flag.starts_with("--listen-client-urls"))
            .count();
        assert_eq!(listens, 1);
        let last = flags
            .iter()
            .rfind(|flag| flag.starts_with("--name"))
            .expect("a name");
        assert_eq!(last, "--name=p1");
    }
}
