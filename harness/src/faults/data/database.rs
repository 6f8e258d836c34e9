//! What happens to a member's database itself: it reaches its quota, or single bytes of it are corrupted. Nothing heals
//! it but the operator.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};

use crate::cluster::{NodeShell, ShellOutput};
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
/// Seconds of writing at most: with the last one and a read the script ends before its command is given up, with what
/// it has printed.
const WRITING_S: u32 = 15;
/// Seconds for which corrupted bytes are looked for at most: with the write before, the script ends as well before its
/// command is given up. Else the write's revision is lost, and the script continues in whatever database is there then.
const LOOKING_S: u32 = 12;
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
    let (told, writes) = write_by(&shell, "fill etcd's quota", &script).await?;
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

/// Runs a script that writes; what it said last, and the revisions that it has made.
async fn write_by(
    shell: &NodeShell,
    action: &str,
    script: &str,
) -> Result<(String, Vec<i64>), FaultError> {
    let output = shell.run(script).await?;
    written(shell.container(), action, output)
}

/// What a script that has ended in a node leaves; one that failed has made its revisions nevertheless.
fn written(
    node: &str,
    action: &str,
    output: ShellOutput,
) -> Result<(String, Vec<i64>), FaultError> {
    let (told, writes) = told_and_written(&output.stdout);
    match output.succeeded(node, action) {
        Ok(_) => Ok((told, writes)),
        Err(error) => Err(FaultError::from(error).with_writes(writes)),
    }
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

/// Shell function that prints the revision of the last write of `$key`, if there is one; it fails where etcd does not
/// say.
fn back(ip: &str) -> String {
    format!(
        "back() {{ seen=$(printf '{{\"key\":\"%s\",\"keys_only\":true}}' \"$key\" | \
         curl -s -m 5 -X POST http://{ip}:2379/v3/kv/range -d @-)\n\
         printf %s \"$seen\" | grep -o '\"mod_revision\":\"[0-9]*\"' | sed s/mod_//\n\
         case \"$seen\" in *'\"header\"'*) return 0;; *) return 1;; esac; }}"
    )
}

/// Through etcd's JSON gateway: a node has curl, and no client of etcd. etcd applies the write at which it finds its
/// quota exceeded and answers that there is no space, and one that is not answered may have been applied: the key is
/// read back, and its revision printed, before the script ends with either.
fn fill_script(ip: &str) -> String {
    let back = back(ip);
    format!(
        "value=$(head -c 524288 /dev/urandom | base64 -w0)\nkey=$(printf etcd-harness-filler | base64 -w0)\nwrites=0\n\
         {back}\n\
         end=$(($(date +%s)+{WRITING_S}))\n\
         while [ $writes -lt {MOST_WRITES} ]; do\n\
         [ $(date +%s) -lt $end ] || {{ echo \"{WRITING_S} s are not enough to fill it, after $writes writes of 512 KiB\" >&2; exit 1; }}\n\
         answer=$(printf '{{\"key\":\"%s\",\"value\":\"%s\"}}' \"$key\" \"$value\" | \
         curl -s -m 8 -X POST http://{ip}:2379/v3/kv/put -d @- | head -c 300)\n\
         case \"$answer\" in *'database space exceeded'*) \
         back || {{ echo \"the last write may have happened, and its key cannot be read back; etcd: $answer\" >&2; exit 1; }}\n\
         echo \"after $writes writes of 512 KiB: $answer\"; exit 0;; esac\n\
         printf %s \"$answer\" | {PRINT_REVISION} || \
         {{ back; echo \"write $writes has no revision, it may have happened; etcd: $answer\" >&2; exit 1; }}\n\
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
        let (told, writes) = write_by(&shell, "corrupt bytes of a database", &script).await?;
        Ok::<_, FaultError>((format!("pod/{}", victim.pod), told, writes))
    });
    let mut evidence = Evidence::new().with("roles from", roster.roles_from);
    // To the end of each: one that fails does not undo what others have written.
    all_written(join_all(corrupted).await, &mut evidence)?;
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

/// A pod, what was done to it, and the revisions that this has made.
type Corruption = (String, String, Vec<i64>);

/// What was done to each; when one failed, its error with the revisions of all.
fn all_written(
    done: Vec<Result<Corruption, FaultError>>,
    evidence: &mut Evidence,
) -> Result<(), FaultError> {
    let mut failed = None;
    for one in done {
        match one {
            Ok((pod, told, writes)) => {
                evidence.add(pod, told);
                evidence.add_writes(writes);
            }
            Err(error) => {
                evidence.add_writes(error.writes().iter().copied());
                failed.get_or_insert(error);
            }
        }
    }
    failed.map_or(Ok(()), |error: FaultError| {
        Err(error.with_writes(evidence.writes().to_vec()))
    })
}

/// Writes a value that is nowhere else, then changes its first letter wherever the file has it. etcd reads the file
/// through the kernel's page cache, so it sees that at once. A page that was being written meanwhile has the old letter
/// again: the file is searched until it stays clean. One that has been given to other data since it was found is left
/// alone: a letter there would be another fault.
fn corrupt_script(ip: &str, path: &str) -> String {
    let back = back(ip);
    format!(
        "db=$(find '{path}' -path '*/snap/db' | head -n1)\n\
         [ -n \"$db\" ] || {{ echo \"there is no database below {path}\" >&2; exit 1; }}\n\
         mark=\"e$(cat /proc/sys/kernel/random/uuid)\"\n\
         key=$(printf etcd-harness-mark | base64 -w0); value=$(printf %s \"$mark\" | base64 -w0)\n\
         {back}\n\
         answer=$(printf '{{\"key\":\"%s\",\"value\":\"%s\"}}' \"$key\" \"$value\" | \
         curl -s -m 8 -X POST http://{ip}:2379/v3/kv/put -d @-)\n\
         printf %s \"$answer\" | {PRINT_REVISION} || \
         {{ back; echo \"the write has no revision, it may have happened; etcd: $answer\" >&2; exit 1; }}\n\
         changed=0; clean=0; looks=0; end=$(($(date +%s)+{LOOKING_S}))\n\
         while [ $looks -lt 100 ] && [ $clean -lt 5 ] && [ $(date +%s) -lt $end ]; do\n\
         sleep 0.1; looks=$((looks+1)); clean=$((clean+1))\n\
         for at in $(grep -obUaF \"$mark\" \"$db\" | cut -d: -f1); do\n\
         clean=0; [ \"$(tail -c +$((at+1)) \"$db\" | head -c ${{#mark}})\" = \"$mark\" ] || continue\n\
         printf E | dd of=\"$db\" bs=1 seek=\"$at\" conv=notrunc 2>/dev/null && changed=$((changed+1))\ndone\n\
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

    /// An etcd that takes three writes. At the fourth its quota is exceeded, and it has been `applied` or not.
    fn full(applied: bool) -> String {
        format!(
            "cat >asked; [ -e last ] || echo 0 >last; last=$(cat last)\n\
             case \"$*\" in */v3/kv/range*)\n\
             echo '{{\"header\":{{\"revision\":\"99\"}},\"kvs\":[{{\"create_revision\":\"1\",\"mod_revision\":\"'$last'\"}}]}}'; exit;; esac\n\
             mv asked body; echo >>calls; n=$(wc -l <calls)\n\
             [ $n -gt 3 ] && ! {applied} || echo $n >last\n\
             [ $n -le 3 ] && echo '{{\"header\":{{\"revision\":\"'$n'\",\"raft_term\":\"2\"}}}}' || \
             echo 'etcdserver: mvcc: database space exceeded'"
        )
    }

    #[test]
    fn the_quota_is_full_when_etcd_says_so_and_not_before() {
        // etcd refuses the last write, or applies it and answers that there was no space for it.
        for (applied, made) in [(false, vec![1, 2, 3]), (true, vec![1, 2, 3, 4])] {
            let dir = tempfile::tempdir().expect("a folder");
            let output = run(&fill_script("10.0.0.1"), dir.path(), &full(applied));
            let told = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{output:?}");
            let (told, mut writes) = told_and_written(&told);
            assert!(told.starts_with("after 3 writes"), "{told}");
            writes.dedup();
            assert_eq!(writes, made);
            let body = fs::read(dir.path().join("body")).expect("the body");
            assert!(body.len() > 512 * 1024, "a write has {} bytes", body.len());
        }
    }

    /// As it is in a node, where a script has ended like this.
    fn ended(output: Output) -> Result<(String, Vec<i64>), FaultError> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let output = ShellOutput {
            status: output.status.code().expect("a status").into(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        written("node", "fill etcd's quota", output)
    }

    #[test]
    fn a_script_that_fails_after_two_writes_has_made_their_revisions() {
        let dir = tempfile::tempdir().expect("a folder");
        // The third is not answered, and was applied.
        let silent = "cat >asked\n\
            case \"$*\" in */v3/kv/range*) echo '{\"kvs\":[{\"mod_revision\":\"7\"}]}'; exit;; esac\n\
            echo >>calls; n=$(wc -l <calls)\n\
            [ $n -gt 2 ] || echo '{\"header\":{\"revision\":\"'$n'\"}}'";
        let error =
            ended(run(&fill_script("10.0.0.1"), dir.path(), silent)).expect_err("a failure");
        assert_eq!(error.writes(), [1, 2, 7]);
        assert!(
            error.to_string().contains("write 2 has no revision"),
            "{error}"
        );
    }

    #[test]
    fn of_several_victims_none_is_forgotten_when_one_fails() {
        let corrupted =
            |pod: &str, revision| Ok((pod.to_owned(), "bytes".to_owned(), vec![revision]));
        let failed = || FaultError::find("the mark", "clean").with_writes(vec![6]);
        let mut evidence = Evidence::new();
        let done = vec![corrupted("a", 5), Err(failed()), corrupted("c", 7)];
        let error = all_written(done, &mut evidence).expect_err("one failed");
        assert_eq!(error.writes(), [5, 6, 7]);
        let mut evidence = Evidence::new();
        all_written(vec![corrupted("a", 5)], &mut evidence).expect("all were");
        assert_eq!(
            (evidence.get("a"), evidence.writes()),
            (Some("bytes"), &[5][..])
        );
    }

    #[test]
    fn bytes_are_corrupted_until_the_file_stays_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let db = dir.path().join("member/snap/db");
        fs::create_dir_all(db.parent().expect("a parent")).expect("folders");
        fs::write(&db, "pages ").expect("write");
        // The value is in the file twice, and once more when the first has been changed, as etcd commits it.
        let curl = format!(
            "{PUT}\nprintf '%s %s' \"$value\" \"$value\" >>member/snap/db\n\
             echo '{{\"header\":{{\"revision\":\"106\"}}}}'"
        );
        let dd = "dd() { command dd \"$@\"; [ -e \"$db.late\" ] || \
                  { : >\"$db.late\"; printf ' %s' \"$mark\" >>\"$db\"; }; }";
        let script = corrupt_script("10.0.0.1", &dir.path().display().to_string());
        // Where the first look finds it at the file's begin, something else is by now.
        let grep = "grep() { command grep \"$@\"; [ \"$1\" != -obUaF ] || [ -e \"$db.once\" ] || \
                    { : >\"$db.once\"; echo \"0:$mark\"; }; }";
        let script = format!("{dd}\n{grep}\n{script}");
        let output = run(&script, dir.path(), &curl);
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8_lossy(&output.stdout);
        let (told, writes) = told_and_written(&told);
        assert!(told.starts_with("3 bytes changed"), "{told}");
        assert_eq!(writes, [106]);
        let text = fs::read_to_string(&db).expect("read");
        assert!(text.starts_with("pages "), "{text}");
        let words: Vec<&str> = text.split(' ').skip(1).collect();
        assert_eq!(words.len(), 3, "{text}");
        assert!(words.iter().all(|word| word.starts_with('E')), "{text}");
    }

    #[test]
    fn bytes_that_come_again_are_given_up_in_time_and_their_write_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let db = dir.path().join("member/snap/db");
        fs::create_dir_all(db.parent().expect("a parent")).expect("folders");
        fs::write(&db, "pages ").expect("write");
        let curl = format!(
            "{PUT}\nprintf %s \"$value\" >>member/snap/db\n\
             echo '{{\"header\":{{\"revision\":\"106\"}}}}'"
        );
        // The machine is slow: each look takes five seconds.
        let slow = "sleep() { echo >>\"$db.looks\"; }\n\
                    date() { n=0; [ ! -e \"$db.looks\" ] || n=$(wc -l <\"$db.looks\"); echo $((n*5)); }\n\
                    dd() { command dd \"$@\"; printf ' %s' \"$mark\" >>\"$db\"; }";
        let script = corrupt_script("10.0.0.1", &dir.path().display().to_string());
        let output = run(&format!("{slow}\n{script}"), dir.path(), &curl);
        let error = ended(output).expect_err("it is never clean");
        assert_eq!(error.writes(), [106]);
        let looks = fs::read_to_string(dir.path().join("member/snap/db.looks"));
        assert_eq!(looks.expect("looks").lines().count(), 3);
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
