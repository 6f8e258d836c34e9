//! The images of a machine with a registry, where everything is pulled: `images/node.sh` and `images/etcd.sh` against a
//! Docker that is imitated. Nothing is built there, and what no registry has is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::tree::root;

/// Writes down what it was asked, and has a store of images. With `REGISTRY=1` everything can be pulled.
const DOCKER: &str = r#"#!/bin/sh
echo "docker $*" >>"$CALLS"
case "$1 $2" in
    "image inspect") grep -qxF "$3" "$STORE" ;;
    "pull -q") [ "$REGISTRY" = 1 ] && echo "$3" >>"$STORE" ;;
    tag*) echo "$3" >>"$STORE" ;;
    *) exit 1 ;;
esac
"#;
/// What builds, and must not here.
const BUILDER: &str = "#!/bin/sh\necho \"$(basename \"$0\") $*\" >>\"$CALLS\"\nexit 1\n";

/// A copy of the scripts, and the programs that they find first.
struct Machine(TempDir);

/// How a script ended: true for success, what it printed, what it said beside, and what was called.
struct Ended {
    well: bool,
    printed: String,
    said: String,
    calls: String,
}

impl Machine {
    fn new() -> Self {
        let machine = Self(TempDir::new().expect("a temporary folder"));
        for folder in ["images", "bin", "state"] {
            fs::create_dir(machine.path(folder)).expect("a folder");
        }
        for file in ["lib.sh", "versions.env", "node.sh", "etcd.sh"] {
            let (from, to) = (root().join("images").join(file), machine.path("images"));
            fs::copy(from, to.join(file)).expect("copied");
        }
        // kind, as far as it is looked at: it names its own node image.
        let kind = machine.path("kind");
        fs::write(&kind, machine.node_image()).expect("written");
        let tools = format!("#!/bin/sh\necho '{}'\n", kind.display());
        machine.program("images/tools.sh", &tools);
        machine.program("bin/docker", DOCKER);
        for builder in ["go", "apt-get", "mmdebstrap"] {
            machine.program(&format!("bin/{builder}"), BUILDER);
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    }

    /// The node image of `images/versions.env`.
    fn node_image(&self) -> String {
        setting(&self.path("images/versions.env"), "KIND_NODE_IMAGE=")
    }

    fn run(&self, script: &str, arguments: &[&str], registry: bool) -> Ended {
        let (calls, store) = (self.path("calls"), self.path("store"));
        fs::write(&calls, "").expect("written");
        fs::write(&store, "").expect("written");
        let own = std::env::var("PATH").unwrap_or_default();
        let output = Command::new(self.path("images").join(script))
            .args(arguments)
            .env("PATH", format!("{}:{own}", self.path("bin").display()))
            .env("ETCD_HARNESS_STATE", self.path("state"))
            .env("CALLS", &calls)
            .env("STORE", &store)
            .env("REGISTRY", if registry { "1" } else { "0" })
            .env_remove("ETCD_HARNESS_NO_PULL")
            .output()
            .expect("the script starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended {
            well: output.status.success(),
            printed: text(&output.stdout),
            said: text(&output.stderr),
            calls: fs::read_to_string(&calls).expect("calls"),
        }
    }
}

/// The value of a setting, without quotes.
fn setting(path: &Path, name: &str) -> String {
    let text = fs::read_to_string(path).expect("settings");
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.expect(name).trim_matches('"').to_owned()
}

/// True when something was built, or was to be.
fn builds(calls: &str) -> bool {
    calls.lines().any(|call| !call.starts_with("docker "))
}

#[test]
fn where_a_registry_answers_the_node_image_is_kinds_own_and_nothing_is_built() {
    let machine = Machine::new();
    let Ended {
        well,
        printed,
        said,
        calls,
    } = machine.run("node.sh", &[], true);
    assert!(well, "{said}");
    let image = machine.node_image();
    assert_eq!(printed.lines().last(), Some(image.as_str()), "{said}");
    assert!(
        calls.contains(&format!("docker pull -q {image}")),
        "{calls}"
    );
    assert!(!builds(&calls), "{calls}");
}

#[test]
fn where_a_registry_answers_etcd_is_pulled_in_each_version_and_nothing_is_built() {
    let machine = Machine::new();
    let Ended {
        well, said, calls, ..
    } = machine.run("etcd.sh", &["v3.6.1", "v3.6.16"], true);
    assert!(well, "{said}");
    let source = setting(&machine.path("images/versions.env"), "ETCD_IMAGE_SOURCE=");
    for version in ["v3.6.1", "v3.6.16"] {
        let tag = format!("docker tag {source}:{version} etcd-harness/etcd:{version}");
        assert!(calls.contains(&tag), "{calls}");
    }
    assert!(!builds(&calls), "{calls}");
}

#[test]
fn what_no_registry_has_is_built() {
    let machine = Machine::new();
    for (script, arguments) in [("node.sh", &[][..]), ("etcd.sh", &["v3.6.16"][..])] {
        let Ended {
            well, said, calls, ..
        } = machine.run(script, arguments, false);
        assert!(!well && builds(&calls), "{script}: {said}\n{calls}");
    }
    // A build with failpoints is in no registry, and none is asked for it.
    let Ended { well, calls, .. } = machine.run("etcd.sh", &["v3.6.16-gofail"], true);
    assert!(
        !well && builds(&calls) && !calls.contains("pull"),
        "{calls}"
    );
}

#[test]
fn of_the_releases_before_3_5_those_are_built_whose_commit_is_known() {
    let machine = Machine::new();
    let Ended {
        well, said, calls, ..
    } = machine.run("etcd.sh", &["v3.4.9"], false);
    assert!(!well && builds(&calls), "{said}\n{calls}");
    for version in ["v3.4.30", "v3.3.27", "v3.4.9-gofail"] {
        let Ended {
            well, said, calls, ..
        } = machine.run("etcd.sh", &[version], false);
        assert!(!well && !builds(&calls), "{said}\n{calls}");
        let why = match version.ends_with("-gofail") {
            true => "needs etcd 3.5 at least",
            false => "these can be built: v3.4.3, v3.4.9, ",
        };
        assert!(said.contains(version) && said.contains(why), "{said}");
    }
    let Ended { well, calls, .. } = machine.run("etcd.sh", &["v3.4.30"], true);
    assert!(well && !builds(&calls), "{calls}");
}
