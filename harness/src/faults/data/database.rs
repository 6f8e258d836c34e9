//! What happens to a member's database itself: it reaches its quota, or single bytes of it are corrupted. Nothing heals
//! it but the operator.

use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};

use crate::cluster::NodeShell;
use crate::faults::data::loss::data_volume;
use crate::faults::members::roster;
use crate::faults::running::{Injected, Running};
use crate::faults::{Evidence, Fault, FaultContext, FaultError, Member, Selector, Target};
use crate::timeouts;
use crate::wait::{Poll, wait_every};

/// Prints the revision of an answer of etcd's JSON gateway.
const PRINT_REVISION: &str = r#"grep -o '"revision":"[0-9]*"'"#;
/// Most writes of half a MiB that are tried: a quota much larger than the smallest is not filled.
const MOST_WRITES: u32 = 256;
/// How etcd's JSON tells a revision, in front of the figure in quotes.
const REVISION: &str = "\"revision\":";
/// How often etcd is asked for alarms: the operator may have dealt with one a second later.
const LOOK: Duration = Duration::from_millis(100);

/// Overwrites one key until etcd takes no more data.
pub(crate) async fn fill(context: &FaultContext) -> Result<Injected, FaultError> {
    let roster = roster(context).await?;
    let mut leaders = Selector::Leader.select(&roster.members, context.seed)?;
    let Some(leader) = leaders.pop() else {
        return Err(FaultError::find("the leader", "there is none"));
    };
    let shell = context.cluster.shell(leader.node()?)?;
    let script = fill_script(address(&leader)?);
    let output = shell.check("fill etcd's quota", &script).await?;
    let (told, writes) = told_and_written(&output);
    let mut evidence = Evidence::new()
        .with("roles from", roster.roles_from)
        .with("etcd's answer", told);
    evidence.add_writes(writes);
    Ok(Injected {
        targets: vec![hit(&leader, "the database of all, through it")],
        evidence: evidence.clone(),
        running: Box::new(Filled(evidence)),
    })
}

fn hit(member: &Member, part: &str) -> Target {
    Target::Member {
        pod: member.pod.clone(),
        node: None,
        part: part.to_owned(),
    }
}

fn address(member: &Member) -> Result<&str, FaultError> {
    let what = || format!("the address of pod {}", member.pod);
    let ip = member.ip.as_deref();
    ip.ok_or_else(|| FaultError::find(what(), "it has none"))
}

/// What a script said last, and the revisions that etcd gave its writes: the history has them, since no client made
/// them.
fn told_and_written(output: &str) -> (String, Vec<i64>) {
    let (written, told): (Vec<&str>, Vec<&str>) = output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .partition(|line| line.starts_with(REVISION));
    let revisions = written.iter().filter_map(|line| {
        let digits = line.strip_prefix(REVISION)?.trim_matches('"');
        digits.parse().ok()
    });
    (told.join(" "), revisions.collect())
}

/// Through etcd's JSON gateway: a node has curl, and no client of etcd.
fn fill_script(ip: &str) -> String {
    format!(
        "value=$(head -c 524288 /dev/urandom | base64 -w0)\nkey=$(printf etcd-harness-filler | base64 -w0)\nwrites=0\n\
         while [ $writes -lt {MOST_WRITES} ]; do\n\
         answer=$(printf '{{\"key\":\"%s\",\"value\":\"%s\"}}' \"$key\" \"$value\" | \
         curl -s -m 10 -X POST http://{ip}:2379/v3/kv/put -d @- | head -c 300)\n\
         case \"$answer\" in *'database space exceeded'*) echo \"after $writes writes of 512 KiB: $answer\"; exit 0;; esac\n\
         printf %s \"$answer\" | {PRINT_REVISION} || \
         {{ echo \"write $writes has no revision, it may have happened; etcd: $answer\" >&2; exit 1; }}\n\
         writes=$((writes+1))\ndone\n\
         echo \"etcd has taken $writes writes of 512 KiB and has space still; its last answer: $answer\" >&2; exit 1"
    )
}

/// A quota that was reached: etcd's own answer is the effect.
struct Filled(Evidence);

impl Running for Filled {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        Ok(self.0.clone())
    }
}

/// Corrupts bytes of the members' databases under the running etcd, as a faulty disk does.
pub(crate) async fn corrupt(
    context: &FaultContext,
    fault: &Fault,
    of: &Selector,
) -> Result<Injected, FaultError> {
    let roster = roster(context).await?;
    let victims = of.select(&roster.members, context.seed)?;
    let corrupted = victims.iter().map(async |victim| {
        let volume = data_volume(&context.cluster, &context.namespace, victim).await?;
        let shell = context.cluster.shell(victim.node()?)?;
        let script = corrupt_script(address(victim)?, &volume.path);
        let output = shell.check("corrupt bytes of a database", &script).await?;
        let (told, writes) = told_and_written(&output);
        Ok::<_, FaultError>((format!("pod/{}", victim.pod), told, writes))
    });
    let mut evidence = Evidence::new().with("roles from", roster.roles_from);
    for (pod, told, writes) in try_join_all(corrupted).await? {
        evidence.add(pod, told);
        evidence.add_writes(writes);
    }
    let ips = roster.members.iter().filter_map(|m| m.ip.clone());
    let Some(first) = victims.first() else {
        return Err(FaultError::find("a member to corrupt", "none was chosen"));
    };
    Ok(Injected {
        targets: victims.iter().map(|one| hit(one, "database")).collect(),
        evidence,
        running: Box::new(Corrupted {
            fault: fault.to_string(),
            shell: context.cluster.shell(first.node()?)?,
            pods: Api::namespaced(context.cluster.kube.clone(), &context.namespace),
            ips: ips.collect(),
            victims,
        }),
    })
}

/// Writes a value that is nowhere else, then changes its first letter wherever the file has it. etcd reads the file
/// through the kernel's page cache, so it sees that at once. A page that was being written meanwhile has the old letter
/// again: the file is searched until it stays clean.
fn corrupt_script(ip: &str, path: &str) -> String {
    format!(
        "db=$(find '{path}' -path '*/snap/db' | head -n1)\n\
         [ -n \"$db\" ] || {{ echo \"there is no database below {path}\" >&2; exit 1; }}\n\
         mark=\"e$(cat /proc/sys/kernel/random/uuid)\"\n\
         key=$(printf etcd-harness-mark | base64 -w0); value=$(printf %s \"$mark\" | base64 -w0)\n\
         answer=$(printf '{{\"key\":\"%s\",\"value\":\"%s\"}}' \"$key\" \"$value\" | \
         curl -s -m 10 -X POST http://{ip}:2379/v3/kv/put -d @-)\n\
         printf %s \"$answer\" | {PRINT_REVISION} || \
         {{ echo \"the write has no revision, it may have happened; etcd: $answer\" >&2; exit 1; }}\n\
         changed=0; clean=0; looks=0\n\
         while [ $looks -lt 100 ] && [ $clean -lt 5 ]; do\n\
         sleep 0.1; looks=$((looks+1)); clean=$((clean+1))\n\
         for at in $(grep -obUaF \"$mark\" \"$db\" | cut -d: -f1); do\n\
         printf E | dd of=\"$db\" bs=1 seek=\"$at\" conv=notrunc 2>/dev/null && changed=$((changed+1)); clean=0\ndone\n\
         [ $changed -gt 0 ] || clean=0\ndone\n\
         [ $changed -gt 0 ] && [ $clean -eq 5 ] || {{ echo \"$changed bytes changed, $clean clean looks; etcd: $answer\" >&2; exit 1; }}\n\
         echo \"$changed bytes changed in $db\""
    )
}

/// Databases that differ from the others'.
struct Corrupted {
    fault: String,
    shell: NodeShell,
    pods: Api<Pod>,
    ips: Vec<String>,
    victims: Vec<Member>,
}

impl Corrupted {
    /// What shows that etcd has found it: an alarm, or that a victim's pod is another one already.
    async fn found(&self) -> Result<String, String> {
        let ips = self.ips.join(" ");
        let ask =
            format!("for ip in {ips}; do curl -s -m 1 http://$ip:2381/health; echo; done; true");
        let answers = self.shell.run(&ask).await.map_err(|e| e.to_string())?;
        let answers = answers.stdout.split_whitespace().collect::<Vec<_>>();
        let answers = answers.join(" ");
        if answers.contains("CORRUPT") {
            return Ok(answers);
        }
        for victim in &self.victims {
            let pod = self.pods.get_opt(&victim.pod).await;
            let uid = pod.map_err(|e| e.to_string())?.and_then(|pod| pod.uid());
            if uid.as_ref() != Some(&victim.uid) {
                return Ok(format!("pod {} was replaced", victim.pod));
            }
        }
        Err(answers)
    }
}

impl Running for Corrupted {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let what = "etcd has found data that differ";
        let seen = wait_every(LOOK, what, timeouts::EFFECT_SLOW, async || {
            match self.found().await {
                Ok(seen) => Poll::Ready(seen),
                Err(seen) => Poll::NotYet::<_, String>(seen),
            }
        });
        match seen.await {
            Ok(seen) => Ok(Evidence::new().with("etcd", seen)),
            Err(error) => Err(FaultError::NoEffect {
                fault: self.fault.clone(),
                waited_s: timeouts::EFFECT_SLOW.as_secs_f64(),
                seen: error.to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::{Command, Output};

    use super::*;

    /// Runs a script as a node does, with an etcd behind a `curl` of these lines.
    fn run(script: &str, dir: &Path, curl: &str) -> Output {
        let bin = dir.join("curl");
        fs::write(&bin, format!("#!/bin/sh\ncd {}\n{curl}\n", dir.display())).expect("write");
        fs::set_permissions(&bin, fs::Permissions::from_mode(0o755)).expect("chmod");
        let path = std::env::var("PATH").expect("a path");
        let path = format!("{}:{path}", dir.display());
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", script]).env("PATH", path);
        shell.output().expect("a shell")
    }

    const PUT: &str = "value=$(sed 's/.*\"value\":\"\\([^\"]*\\)\".*/\\1/' | base64 -d)";

    #[test]
    fn the_quota_is_full_when_etcd_says_so_and_not_before() {
        let dir = tempfile::tempdir().expect("a folder");
        let full = "cat >body; echo >>calls\n\
            n=$(wc -l <calls)\n\
            [ $n -le 3 ] && echo '{\"header\":{\"revision\":\"'$n'\",\"raft_term\":\"2\"}}' || \
            echo 'etcdserver: mvcc: database space exceeded'";
        let output = run(&fill_script("10.0.0.1"), dir.path(), full);
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        let (told, writes) = told_and_written(&told);
        assert!(told.starts_with("after 3 writes"), "{told}");
        assert_eq!(writes, [1, 2, 3]);
        let body = fs::read(dir.path().join("body")).expect("the body");
        assert!(body.len() > 512 * 1024, "a write has {} bytes", body.len());
    }

    #[test]
    fn bytes_are_corrupted_until_the_file_stays_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let db = dir.path().join("member/snap/db");
        fs::create_dir_all(db.parent().expect("a parent")).expect("folders");
        fs::write(&db, "pages ").expect("write");
        // The value is in the file twice, and once more a moment later, as etcd commits it.
        let curl = format!(
            "{PUT}\nprintf '%s %s' \"$value\" \"$value\" >>member/snap/db\n\
             (sleep 0.3; printf ' %s' \"$value\" >>member/snap/db) >/dev/null 2>&1 &\n\
             echo '{{\"header\":{{\"revision\":\"106\"}}}}'"
        );
        let script = corrupt_script("10.0.0.1", &dir.path().display().to_string());
        let output = run(&script, dir.path(), &curl);
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8_lossy(&output.stdout);
        let (told, writes) = told_and_written(&told);
        assert!(told.starts_with("3 bytes changed"), "{told}");
        assert_eq!(writes, [106]);
        let text = fs::read_to_string(&db).expect("read");
        let words: Vec<&str> = text.split(' ').skip(1).collect();
        assert_eq!(words.len(), 3, "{text}");
        assert!(words.iter().all(|word| word.starts_with('E')), "{text}");
    }

    #[test]
    fn a_write_without_a_revision_may_have_happened_and_is_an_error() {
        let dir = tempfile::tempdir().expect("a folder");
        let output = run(&fill_script("10.0.0.1"), dir.path(), "true");
        assert!(!output.status.success());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("may have happened"), "{told}");
    }

    #[test]
    fn a_member_without_a_database_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let script = corrupt_script("10.0.0.1", &dir.path().display().to_string());
        let output = run(&script, dir.path(), "true");
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("no database"));
    }
}
