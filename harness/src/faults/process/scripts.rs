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
pids() { grep -lsF "$1" /proc/[0-9]*/cgroup | cut -d/ -f3; }
# main ID NAME: the process that the container is for: of its name, or the first one
main() {
  for p in $(pids $1); do
    [ "$(cat /proc/$p/comm 2>/dev/null)" = "$2" ] && { echo $p; return; }
  done
  cat $B/$1/init.pid
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

/// Kills the first process of each container and lists it as it was.
pub(crate) fn kill(which: Which<'_>) -> String {
    format!(
        "{CONTAINERS}n=0\nfor i in {}; do p=$(main $i {1}); show $i $p; kill -KILL $p && n=$((n+1)); done\n\
         [ $n -gt 0 ] || {{ echo 'no process of container {1} runs in the pod' >&2; exit 1; }}",
        which.ids(),
        which.container,
    )
}

/// Lets the memory of the containers run out, until the kernel has killed the first process of each; lists it as it
/// was.
///
/// A process in the container's control group takes more than there is left; the kernel prefers to kill what a kubelet
/// has given a higher score. The limit is lowered first, so that this takes a moment and no memory of others. The
/// kernel's own count of such kills is the proof.
pub(crate) fn exhaust(which: Which<'_>) -> String {
    format!(
        "{CONTAINERS}{EXHAUST}n=0\nfor i in {}; do p=$(main $i {1}); show $i $p; exhaust $i $p || exit 1; n=$((n+1)); done\n\
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

/// Kills the first process of the containers whenever there is one, until `stop_killing`; one line a kill goes to a
/// file.
pub(crate) fn keep_killing(which: Which<'_>, dir: &str, trace: &str) -> String {
    format!(
        "cat >{dir}/{trace}.loop <<'END-OF-LOOP'\n{CONTAINERS}while [ -e {dir}/{trace}.loop ]; do\n\
         for i in {}; do p=$(main $i {}); kill -KILL $p && show $i $p >>{dir}/{trace}.kills; done\nsleep 0.1\ndone\nrm -f {dir}/{trace}.killing\nEND-OF-LOOP\n\
         : >{dir}/{trace}.kills\n: >{dir}/{trace}.killing\nsetsid -f sh {dir}/{trace}.loop </dev/null >/dev/null 2>&1",
        which.ids(),
        which.container,
    )
}

/// Stops the processes of the containers and those that come in their place, until `stop_killing`: etcd's launcher
/// kills a frozen etcd and starts another, and what made the first one hang does so to the next.
pub(crate) fn keep_stopping(which: Which<'_>, dir: &str, trace: &str) -> String {
    format!(
        "{}\ncat >{dir}/{trace}.loop <<'END-OF-LOOP'\n{CONTAINERS}while [ -e {dir}/{trace}.loop ]; do\n\
         for i in {}; do for p in $(harmed $i {}); do kill -STOP $p; done; done\nsleep 0.1\ndone\n\
         rm -f {dir}/{trace}.killing\nEND-OF-LOOP\n\
         : >{dir}/{trace}.killing\nsetsid -f sh {dir}/{trace}.loop </dev/null >/dev/null 2>&1",
        stop(which),
        which.ids(),
        which.container,
    )
}

/// Ends [`keep_killing`] and [`keep_stopping`]: waits for the turn that the loop is in, which would kill once more and
/// leave a line behind.
pub(crate) fn stop_killing(dir: &str, trace: &str) -> String {
    format!(
        "rm -f {dir}/{trace}.loop\nn=0\n\
         while [ -e {dir}/{trace}.killing ] && [ $n -lt 100 ]; do sleep 0.05; n=$((n+1)); done\n\
         rm -f {dir}/{trace}.killing {dir}/{trace}.kills"
    )
}

/// Prints how long the machine is up, and in which unit the starts of processes are.
pub(crate) const UPTIME: &str = r#"echo "uptime $(cut -d' ' -f1 /proc/uptime) $(getconf CLK_TCK)""#;

/// Age in seconds of the oldest process that counts in the output of [`list`] and [`UPTIME`]; 0 when there is none.
pub(crate) fn oldest_s(text: &str, counts: impl Fn(&Process) -> bool) -> f64 {
    let uptime = text.lines().find_map(|line| {
        let mut words = line.strip_prefix("uptime ")?.split_whitespace();
        let up: f64 = words.next()?.parse().ok()?;
        Some((up, words.next()?.parse::<f64>().ok()?))
    });
    let counted = parse(text).into_iter().filter(counts);
    let starts = counted.map(|process| process.started);
    match (starts.min(), uptime) {
        // Ticks since the machine's start are far below what a float holds exactly.
        #[expect(
            clippy::cast_precision_loss,
            reason = "ticks since the machine's start"
        )]
        (Some(start), Some((up, ticks))) if ticks > 0.0 => (up - start as f64 / ticks).max(0.0),
        _ => 0.0,
    }
}

/// Sends a packet to the DNS server that the containers are told to ask, from their own network.
pub(crate) fn ask_dns(which: Which<'_>) -> String {
    format!(
        "{CONTAINERS}for i in {}; do p=$(main $i {}); s=$(awk '/^nameserver/ {{print $2; exit}}' /proc/$p/root/etc/resolv.conf)\n\
         nsenter -t $p -n bash -c \"echo > /dev/udp/$s/53\"; done; true",
        which.ids(),
        which.container
    )
}

/// The processes in a script's output.
pub(crate) fn parse(text: &str) -> Vec<Process> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("process ")?.split_whitespace();
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
    fn the_oldest_process_tells_how_long_none_was_killed() {
        let text = "process a 5 9000 S etcd\nprocess b 6 9900 S etcd\nuptime 100.5 100\n";
        assert!((oldest_s(text, |_| true) - 10.5).abs() < 1e-9);
        assert!((oldest_s(text, |process| process.pid == 6) - 1.5).abs() < 1e-9);
        assert!(
            oldest_s("uptime 100.5 100\n", |_| true).abs() < 1e-9,
            "none runs"
        );
        let own = std::process::Command::new("sh")
            .args(["-c", UPTIME])
            .output();
        let own = String::from_utf8_lossy(&own.expect("a shell").stdout).into_owned();
        assert!(
            oldest_s(&format!("process a 1 1 S init\n{own}"), |_| true) > 1.0,
            "{own}"
        );
    }

    #[test]
    fn the_launcher_is_no_part_of_a_fault_of_etcd() {
        let found = parse("process a 5 1 S kbagent\n");
        let which = |container| Which { uid: "", container };
        assert!(found[0].launches(which("etcd")));
        assert!(!found[0].launches(which("kbagent")));
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
            ask_dns(which),
            exhaust(which),
        ];
        for script in all {
            assert_is_shell(&script);
        }
    }
}
