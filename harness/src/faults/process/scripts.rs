//! Processes of a container, found inside the node: by containerd's bundles, which tell the pod's UID and the
//! container's name without asking the API server, and by cgroup, which tells every process of it. Pure: scripts and
//! their output.
//!
//! A signal from the node's process namespace reaches a container's first process too, SIGKILL and SIGSTOP included.
//! In etcd's container that is the launcher, etcd's parent: what is harmed there is etcd alone, by its name.

/// Shell functions that the scripts below begin with.
pub(crate) const CONTAINERS: &str = r#"
B=/run/containerd/io.containerd.runtime.v2.task/k8s.io
# ids UID NAME: containers NAME of pod UID (of any pod when UID is empty) that have a process
ids() {
  for f in $(grep -lsF "\"io.kubernetes.cri.container-name\":\"$2\"" $B/*/config.json); do
    [ -z "$1" ] || grep -qF "\"io.kubernetes.cri.sandbox-uid\":\"$1\"" $f || continue
    d=${f%/config.json}
    [ -s $d/init.pid ] && [ -d /proc/$(cat $d/init.pid) ] && echo ${d##*/}
  done
}
pids() { grep -lsF "$1" /proc/[0-9]*/cgroup | sed 's|/cgroup$||; s|.*/||'; }
# main ID NAME: the process that the container is for: of its name, or the first one. In etcd's container the first one
# is the launcher, which is left alone: none where no etcd runs.
main() {
  for p in $(pids $1); do
    [ "$(cat /proc/$p/comm 2>/dev/null)" = "$2" ] && { echo $p; return; }
  done
  [ "$2" = etcd ] || cat $B/$1/init.pid
}
# harmed ID NAME: the processes that are stopped: in etcd's container all but the launcher
harmed() {
  if [ "$2" = etcd ]; then for p in $(pids $1); do [ "$(cat /proc/$p/comm 2>/dev/null)" = kbagent ] || echo $p; done
  else pids $1; fi
}
# show ID PID: one line about a process
show() {
  [ -r /proc/$2/status ] || return 0
  echo "process $1 $2 $(cut -d' ' -f22 /proc/$2/stat) $(awk '/^Name:/{n=$2} /^State:/{s=$2} END{print s, n}' /proc/$2/status)"
}
"#;

/// A process as the node shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Identifier of its container.
    pub container_id: String,
    /// Its number in the node.
    pub pid: u32,
    /// When it started, in ticks since boot: with the number it names the process permanently.
    pub started: u64,
    /// The kernel's letter for its state; `T` is stopped.
    pub state: char,
    /// Its command.
    pub command: String,
}

impl Process {
    /// True for the launcher in etcd's container, which a fault of etcd leaves alone.
    pub(crate) fn launches(&self, which: Which<'_>) -> bool {
        which.container == "etcd" && self.command == "kbagent"
    }
}

/// Which containers: all of this name, of one pod or of any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Which<'a> {
    /// UID of the pod; empty for any.
    pub uid: &'a str,
    /// Name of the container.
    pub container: &'a str,
}

impl Which<'_> {
    fn ids(&self) -> String {
        format!("$(ids '{}' '{}')", self.uid, self.container)
    }
}

/// Lists every process of the containers.
pub(crate) fn list(which: Which<'_>) -> String {
    format!(
        "{CONTAINERS}for i in {}; do for p in $(pids $i); do show $i $p; done; done",
        which.ids()
    )
}

/// Kills the process that each container is for and lists it as it was.
pub(crate) fn kill(which: Which<'_>) -> String {
    format!(
        "{CONTAINERS}n=0\nfor i in {}; do p=$(main $i {1}); [ -n \"$p\" ] || continue\n\
         show $i $p; kill -KILL $p && n=$((n+1)); done\n\
         [ $n -gt 0 ] || {{ echo 'no process of container {1} runs in the pod' >&2; exit 1; }}",
        which.ids(),
        which.container,
    )
}

/// Lets the memory of the containers run out, until the kernel has killed the process that each is for; lists it as it
/// was.
///
/// A process in the container's control group takes more than there is left; the kernel prefers to kill what a kubelet
/// has given a higher score. The limit is lowered first, so that this takes a moment and no memory of others. The
/// kernel's own count of such kills is the proof.
pub(crate) fn exhaust(which: Which<'_>) -> String {
    format!(
        "{CONTAINERS}{EXHAUST}n=0\nfor i in {}; do p=$(main $i {1}); [ -n \"$p\" ] || continue\n\
         show $i $p; exhaust $i $p || exit 1; n=$((n+1)); done\n\
         [ $n -gt 0 ] || {{ echo 'no process of container {1} runs in the pod' >&2; exit 1; }}",
        which.ids(),
        which.container,
    )
}

const EXHAUST: &str = r#"
kills() { sed -n 's/^oom_kill //p' /proc/vmstat; }
# group ID: the control group that holds a container's memory
group() {
  find /sys/fs/cgroup -type d -name "*$1*" | while read -r d; do
    if [ -e $d/memory.max ] || [ -e $d/memory.limit_in_bytes ]; then echo $d; return; fi
  done
}
exhaust() {
  d=$(group $1)
  [ -n "$d" ] || { echo "no control group holds the memory of container $1" >&2; return 1; }
  l=memory.max u=memory.current
  [ -e $d/$l ] || { l=memory.limit_in_bytes u=memory.usage_in_bytes; }
  old=$(cat $d/$l) before=$(kills)
  echo $(($(cat $d/$u) + 8388608)) >$d/$l
  n=0
  while [ -d /proc/$2 ] && [ $n -lt 20 ]; do
    sh -c "echo \$\$ >$d/cgroup.procs && head -c 67108864 /dev/zero | tail -c 67108864 >/dev/null" 2>/dev/null
    n=$((n+1)); sleep 0.1
  done
  # The group goes with its container; one that lives on gets its limit back.
  [ -e $d/$l ] && echo $old >$d/$l 2>/dev/null
  [ ! -d /proc/$2 ] && [ $(kills) -gt $before ] && return 0
  echo "the kernel did not kill process $2 for its memory" >&2; return 1
}
"#;

/// Stops every process of the containers but etcd's launcher. Twice, for one may have forked in between.
pub(crate) fn stop(which: Which<'_>) -> String {
    format!(
        "{CONTAINERS}n=0\nfor i in {}; do for r in 1 2; do for p in $(harmed $i {1}); do kill -STOP $p && n=$((n+1)); done; done; done\n\
         [ $n -gt 0 ] || {{ echo 'no process of container {1} runs in the pod' >&2; exit 1; }}\n\
         for i in {0}; do for p in $(harmed $i {1}); do show $i $p; done; done",
        which.ids(),
        which.container,
    )
}

/// Continues every process of the containers. Fails while one of them is still stopped.
pub(crate) fn go_on(which: Which<'_>) -> String {
    format!(
        "{CONTAINERS}for i in {0}; do for p in $(pids $i); do kill -CONT $p; done; done\n\
         for i in {0}; do for p in $(pids $i); do show $i $p; done; done | grep -q ' T ' && exit 1\ntrue",
        which.ids()
    )
}

/// Kills the process that the containers are for whenever there is one, until [`stop_loop`]; one line a kill goes to a
/// file.
pub(crate) fn keep_killing(which: Which<'_>, dir: &str, trace: &str) -> String {
    let turn = format!(
        "for i in {}; do p=$(main $i {}); [ -n \"$p\" ] || continue\n\
         kill -KILL $p && show $i $p >>{dir}/{trace}.kills; done",
        which.ids(),
        which.container,
    );
    format!(": >{dir}/{trace}.kills\n{}", start_loop(&turn, dir, trace))
}

/// Stops the processes of the containers and those that come in their place, until [`stop_loop`]: etcd's launcher
/// kills a frozen etcd and starts another, and what made the first one hang does so to the next.
pub(crate) fn keep_stopping(which: Which<'_>, dir: &str, trace: &str) -> String {
    let turn = format!(
        "for i in {}; do for p in $(harmed $i {}); do kill -STOP $p; done; done",
        which.ids(),
        which.container,
    );
    format!("{}\n{}", stop(which), start_loop(&turn, dir, trace))
}

/// Begins to do this ten times a second. The loop writes down its process group before it does anything, and after each
/// turn when the turn before that one began.
fn start_loop(turn: &str, dir: &str, trace: &str) -> String {
    let place = format!("{dir}/{trace}");
    format!(
        "cat >{place}.loop <<'END-OF-LOOP'\n{CONTAINERS}echo $$ >{place}.group\nbefore=\n\
         while [ -e {place}.loop ]; do\nread begun rest </proc/uptime\n{turn}\n\
         [ -n \"$before\" ] && echo $before >{place}.turns\nbefore=$begun\nsleep 0.1\ndone\nrm -f {place}.group\nEND-OF-LOOP\n\
         setsid -f sh {place}.loop </dev/null >/dev/null 2>&1\n\
         n=0; while [ ! -s {place}.group ] && [ $n -lt 100 ]; do sleep 0.05; n=$((n+1)); done\n\
         [ -s {place}.group ] || {{ echo 'the loop did not begin' >&2; exit 1; }}"
    )
}

/// Ends [`keep_killing`] and [`keep_stopping`], whatever turn the loop is in: what it did after this would stay. Fails
/// while the loop is there.
pub(crate) fn stop_loop(dir: &str, trace: &str) -> String {
    let place = format!("{dir}/{trace}");
    // Without `--`, which dash takes for a number after a signal.
    format!(
        "rm -f {place}.loop\ng=$(cat {place}.group 2>/dev/null)\n\
         loops() {{ [ -n \"$g\" ] && grep -qsF {place}.loop /proc/$g/cmdline; }}\n\
         loops && kill -KILL -$g\nn=0\n\
         while loops && [ $n -lt 100 ]; do sleep 0.05; n=$((n+1)); done\n\
         loops && {{ echo 'the loop cannot be ended' >&2; exit 1; }}\n\
         rm -f {place}.group {place}.kills {place}.turns"
    )
}

/// Prints what is there before [`stop_loop`]: when the last turn but one began, the processes, how long the machine is
/// up and in which unit the starts of processes are, and what was killed. In this order, so that a process that is
/// there was passed over by every turn that is told.
pub(crate) fn before_the_end(which: Which<'_>, dir: &str, trace: &str) -> String {
    let place = format!("{dir}/{trace}");
    format!(
        "sed 's/^/turn /' {place}.turns 2>/dev/null\n{}\n\
         echo \"uptime $(cut -d' ' -f1 /proc/uptime) $(getconf CLK_TCK)\"\n\
         sed 's/^process /killed /' {place}.kills 2>/dev/null || :",
        list(which),
    )
}

/// What a loop has left alone, as [`before_the_end`] prints it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LeftAlone {
    /// Age in seconds of the oldest process; 0 when there is none.
    pub oldest_s: f64,
    /// True when it was there before the last turn but one of the loop: both have passed it over.
    pub passed_over: bool,
}

/// Processes that count and were not killed: one that dies slowly was not left alone.
pub(crate) fn left_alone(text: &str, counts: impl Fn(&Process) -> bool) -> LeftAlone {
    let numbers = |word: &str| -> Option<Vec<f64>> {
        let line = text.lines().find_map(|line| line.strip_prefix(word))?;
        line.split_whitespace()
            .map(|number| number.parse().ok())
            .collect()
    };
    let uptime = numbers("uptime ").unwrap_or_default();
    let &[up, ticks] = uptime.as_slice() else {
        return LeftAlone::default();
    };
    let killed = parse_lines(text, "killed ");
    let same = |a: &Process, b: &Process| a.pid == b.pid && a.started == b.started;
    let spared = |process: &Process| !killed.iter().any(|killed| same(killed, process));
    let there = parse(text).into_iter();
    let there = there.filter(|process| process.state != 'Z' && counts(process) && spared(process));
    let Some(start) = there.map(|process| process.started).min() else {
        return LeftAlone::default();
    };
    // Ticks since the machine's start are far below what a float holds exactly.
    #[expect(
        clippy::cast_precision_loss,
        reason = "ticks since the machine's start"
    )]
    let start = start as f64 / ticks.max(1.0);
    let turn = numbers("turn ").and_then(|turn| turn.first().copied());
    LeftAlone {
        oldest_s: (up - start).max(0.0),
        passed_over: turn.is_some_and(|turn| start < turn),
    }
}

/// Sends a packet to the DNS server that the containers are told to ask, from their own network.
pub(crate) fn ask_dns(which: Which<'_>) -> String {
    format!(
        "{CONTAINERS}for i in {}; do p=$(pids $i | head -n 1)\n\
         s=$(awk '/^nameserver/ {{print $2; exit}}' /proc/$p/root/etc/resolv.conf)\n\
         nsenter -t $p -n bash -c \"echo > /dev/udp/$s/53\"; done; true",
        which.ids(),
    )
}

/// The processes in a script's output.
pub(crate) fn parse(text: &str) -> Vec<Process> {
    parse_lines(text, "process ")
}

/// The processes of the lines that begin with a word.
fn parse_lines(text: &str, word: &str) -> Vec<Process> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix(word)?.split_whitespace();
            Some(Process {
                container_id: words.next()?.to_owned(),
                pid: words.next()?.parse().ok()?,
                started: words.next()?.parse().ok()?,
                state: words.next()?.chars().next()?,
                command: words.next()?.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::assert_is_shell;

    #[test]
    fn processes_are_read_and_other_lines_are_not() {
        let text = "noise\nprocess 0a1b 568 1234 T etcd\nprocess 0a1b x 1 S etcd\n";
        let found = parse(text);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].pid, found[0].state, found[0].command.as_str()),
            (568, 'T', "etcd")
        );
    }

    #[test]
    fn only_what_two_whole_turns_have_passed_over_was_left_alone() {
        // Ten seconds old, and half a second.
        let there = "process a 5 9000 S etcd\nprocess b 6 9950 S etcd\nuptime 100.0 100\n";
        let of = |more: &str, pid: Option<u32>| {
            let counts = |process: &Process| pid.is_none_or(|pid| process.pid == pid);
            let seen = left_alone(&format!("{more}{there}"), counts);
            (seen.oldest_s.round(), seen.passed_over)
        };
        assert_eq!(of("", None), (10.0, false), "no turn is told");
        assert_eq!(of("turn 99.00\n", None), (10.0, true));
        assert_eq!(of("turn 89.90\n", None), (10.0, false), "a slow turn");
        assert!(!of("turn 99.00\n", Some(6)).1);
        assert!(of("turn 99.60\n", Some(6)).1, "half a second old");
        assert_eq!(of("turn 99.00\n", Some(7)), (0.0, false), "none runs");
        let killed = "turn 99.00\nkilled a 5 9000 D etcd\n";
        assert_eq!(of(killed, None), (1.0, false), "it was killed, and dies");
        let other = "turn 99.00\nkilled a 5 8000 D etcd\n";
        assert_eq!(of(other, None), (10.0, true), "an old number");
        let dead = "turn 99.00\nprocess c 7 100 Z etcd\n";
        assert_eq!(of(dead, None).0, 10.0, "it was not reaped");
        assert_eq!(
            left_alone("process a 5 1 S etcd\n", |_| true),
            LeftAlone::default()
        );
    }

    #[test]
    fn the_launcher_is_no_part_of_a_fault_of_etcd() {
        let found = parse("process a 5 1 S kbagent\n");
        let which = |container| Which { uid: "", container };
        assert!(found[0].launches(which("etcd")));
        assert!(!found[0].launches(which("kbagent")));
    }

    /// A node in a folder: one container `c1` called `etcd`, whose first process is the launcher. Nothing is killed,
    /// what would be is printed.
    struct Node(tempfile::TempDir);

    impl Node {
        const LAUNCHER: u32 = 9_000_001;
        const ETCD: u32 = 9_000_002;

        fn new() -> Self {
            let node = Self(tempfile::tempdir().expect("a scratch folder"));
            let bundle = node.path("bundles/c1");
            std::fs::create_dir_all(&bundle).expect("a folder");
            let config = "\"io.kubernetes.cri.container-name\":\"etcd\"";
            std::fs::write(format!("{bundle}/config.json"), config).expect("written");
            let first = Self::LAUNCHER.to_string();
            std::fs::write(format!("{bundle}/init.pid"), first).expect("written");
            node.runs(Self::LAUNCHER, "kbagent");
            node
        }

        fn path(&self, of: &str) -> String {
            format!("{}/{of}", self.0.path().display())
        }

        fn runs(&self, pid: u32, command: &str) {
            let dir = self.path(&format!("proc/{pid}"));
            std::fs::create_dir_all(&dir).expect("a folder");
            let stat = ["1"; 22].join(" ");
            let status = format!("Name:\t{command}\nState:\tS (sleeping)\n");
            let files = [
                ("comm", command),
                ("stat", stat.as_str()),
                ("status", status.as_str()),
            ];
            for (name, text) in files.into_iter().chain([("cgroup", "0::/kubepods/c1")]) {
                std::fs::write(format!("{dir}/{name}"), text).expect("written");
            }
        }

        fn sh(&self, script: &str) -> (bool, String) {
            let script = script.replace(
                "/run/containerd/io.containerd.runtime.v2.task/k8s.io",
                &self.path("bundles"),
            );
            let script = script.replace("/proc", &self.path("proc"));
            let script = script.replace("kill -KILL $p", "echo killed $p");
            sh(&script)
        }
    }

    fn sh(script: &str) -> (bool, String) {
        let output = std::process::Command::new("sh")
            .args(["-c", script])
            .output();
        let output = output.expect("a shell");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text)
    }

    const ETCD: Which<'static> = Which {
        uid: "",
        container: "etcd",
    };

    #[test]
    fn where_no_etcd_runs_nothing_is_killed_and_its_launcher_never_is() {
        let node = Node::new();
        let (done, told) = node.sh(&kill(ETCD));
        assert!(!done && told.is_empty(), "{told}");
        node.runs(Node::ETCD, "etcd");
        let (done, told) = node.sh(&kill(ETCD));
        assert!(done, "{told}");
        assert!(told.contains(&format!("killed {}", Node::ETCD)), "{told}");
        assert!(!told.contains(&Node::LAUNCHER.to_string()), "{told}");
        let killed = parse(&told);
        assert_eq!(killed.len(), 1);
        assert_eq!(killed[0].command, "etcd");
    }

    #[test]
    fn an_etcd_that_is_the_first_process_is_killed_too() {
        let node = Node::new();
        node.runs(Node::LAUNCHER, "etcd");
        let (done, told) = node.sh(&kill(ETCD));
        assert!(
            done && told.contains(&format!("killed {}", Node::LAUNCHER)),
            "{told}"
        );
    }

    #[test]
    fn what_keeps_etcd_dead_leaves_the_launcher_alone() {
        let node = Node::new();
        let (dir, kills) = (node.path(""), node.path("f1.kills"));
        let (done, told) = node.sh(&keep_killing(ETCD, &dir, "f1"));
        assert!(done, "{told}");
        sh("sleep 0.5");
        let read = || std::fs::read_to_string(&kills).expect("kills");
        assert_eq!(read(), "");
        node.runs(Node::ETCD, "etcd");
        let begun = std::time::Instant::now();
        while read().is_empty() && begun.elapsed().as_secs() < 20 {
            sh("sleep 0.1");
        }
        let killed = parse(&read());
        assert!(
            !killed.is_empty() && killed.iter().all(|one| one.pid == Node::ETCD),
            "{killed:?}"
        );
        assert!(sh(&stop_loop(&dir, "f1")).0);
        for left in ["loop", "group", "kills", "turns"] {
            assert!(
                !std::path::Path::new(&node.path(&format!("f1.{left}"))).exists(),
                "{left}"
            );
        }
    }

    #[test]
    fn a_loop_tells_its_turns_and_the_look_at_the_end_has_what_it_needs() {
        let node = Node::new();
        node.runs(Node::ETCD, "etcd");
        std::fs::write(node.path("proc/uptime"), "71.25 9.00\n").expect("written");
        let (dir, turns) = (node.path(""), node.path("f4.turns"));
        let turn = format!("echo turned >>{dir}/turned");
        assert!(node.sh(&start_loop(&turn, &dir, "f4")).0);
        let begun = std::time::Instant::now();
        while !std::path::Path::new(&turns).exists() && begun.elapsed().as_secs() < 20 {
            sh("sleep 0.05");
        }
        let turned = std::fs::read_to_string(node.path("turned")).expect("turns");
        assert!(turned.lines().count() >= 2, "told after a second one");
        let (done, told) = node.sh(&before_the_end(ETCD, &dir, "f4"));
        assert!(done, "{told}");
        assert!(told.contains("turn 71.25\n"), "{told}");
        let etcd = |process: &Process| process.pid == Node::ETCD;
        // It has run since the machine's first tick.
        let seen = left_alone(&told, etcd);
        assert!(seen.passed_over && seen.oldest_s > 71.0, "{seen:?}: {told}");
        assert!(sh(&stop_loop(&dir, "f4")).0);
        assert!(!std::path::Path::new(&turns).exists());
    }

    #[test]
    fn a_loop_that_is_slow_does_nothing_more_once_it_was_ended() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let at = dir.path().display().to_string();
        let turn =
            format!(": >{at}/begun; until [ -e {at}/go ]; do sleep 0.05; done; : >{at}/late");
        assert!(sh(&start_loop(&turn, &at, "f2")).0);
        let begun = std::time::Instant::now();
        while !dir.path().join("begun").exists() && begun.elapsed().as_secs() < 20 {
            sh("sleep 0.05");
        }
        assert!(sh(&stop_loop(&at, "f2")).0);
        std::fs::write(dir.path().join("go"), "").expect("write");
        sh("sleep 1");
        assert!(dir.path().join("begun").exists());
        assert!(!dir.path().join("late").exists(), "it continued");
        assert!(sh(&stop_loop(&at, "f2")).0, "also when there is none");
    }

    #[test]
    fn a_loop_that_cannot_be_ended_leaves_the_heal_to_the_next_try() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let at = dir.path().display().to_string();
        assert!(sh(&start_loop("sleep 300", &at, "f3")).0);
        let held = format!("kill() {{ :; }}\n{}\necho continued", stop_loop(&at, "f3"));
        let (done, told) = sh(&held);
        assert!(!done && told.is_empty(), "{told}");
        assert!(sh(&stop_loop(&at, "f3")).0);
    }

    #[test]
    fn a_script_names_pod_and_container() {
        let which = Which {
            uid: "u-1",
            container: "etcd",
        };
        for script in [list(which), kill(which), stop(which), go_on(which)] {
            assert!(script.contains("$(ids 'u-1' 'etcd')"), "{script}");
        }
    }

    #[test]
    fn every_script_is_valid_shell() {
        let which = Which {
            uid: "",
            container: "etcd",
        };
        let all = [
            list(which),
            kill(which),
            stop(which),
            go_on(which),
            keep_killing(which, "/run/x", "f1"),
            keep_stopping(which, "/run/x", "f1"),
            stop_loop("/run/x", "f1"),
            before_the_end(which, "/run/x", "f1"),
            ask_dns(which),
            exhaust(which),
        ];
        for script in all {
            assert_is_shell(&script);
        }
    }
}
