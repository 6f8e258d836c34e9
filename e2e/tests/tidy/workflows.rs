//! GitHub's workflows: actions by commit, rights by name, node images by digest, commands that are there, time limits.

use std::fs;

use crate::tree::{files, report, root};

/// Name and text of each workflow.
fn workflows() -> Vec<(String, String)> {
    let all = files(Some("yml")).into_iter();
    let found: Vec<_> = all
        .filter(|(name, _)| name.starts_with(".github/workflows/"))
        .collect();
    assert!(found.len() > 3, "{} workflows", found.len());
    found
}

/// What is wrong with a workflow.
fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.lines().any(|line| line.starts_with("permissions:")) {
        faults
            .push("no permissions: at the top: jobs would have those of the repository".to_owned());
    }
    if text.contains("write-all") || text.contains("read-all") {
        faults.push("a right to everything: name those that are needed".to_owned());
    }
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start().trim_start_matches("- ");
        let number = at + 1;
        if let Some(action) = line.strip_prefix("uses: ")
            && !is_pinned(action)
        {
            faults.push(format!(
                "{number}: {action}: name a commit, and its version behind a #"
            ));
        }
        if line.contains("kindest/node:") && !line.contains("@sha256:") {
            faults.push(format!("{number}: a node image without its digest"));
        }
    }
    faults
}

/// Names and texts of a workflow's jobs.
fn jobs(text: &str) -> Vec<(&str, String)> {
    let mut jobs: Vec<(&str, String)> = Vec::new();
    let lines = text.lines().skip_while(|line| *line != "jobs:").skip(1);
    for line in lines {
        let name = line
            .strip_prefix("  ")
            .and_then(|key| key.strip_suffix(':'));
        if let Some(name) = name.filter(|name| !name.starts_with([' ', '#'])) {
            jobs.push((name, String::new()));
        } else if let Some((_, job)) = jobs.last_mut() {
            job.push_str(line);
            job.push('\n');
        }
    }
    jobs
}

/// What a job needs and does not have: a time limit, and where it makes a cluster, disk and a place for what it left.
fn lacks(job: &str) -> Vec<&'static str> {
    let clusters = job.contains("run: make e2e");
    let needed = [
        ("    timeout-minutes: ", true),
        ("run: .github/free-space\n", clusters),
        ("if: failure() || cancelled()\n", clusters),
        ("path: runs/\n", clusters),
    ];
    let missing = needed
        .iter()
        .filter(|(text, is)| *is && !job.contains(text));
    missing.map(|(text, _)| text.trim()).collect()
}

/// What a workflow calls that is not there: targets of make, and scripts by what `is_there` says of their path.
fn calls_nothing(text: &str, makefile: &str, is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let made = words.windows(2).filter(|pair| pair[0] == "make");
    let targets = made.map(|pair| pair[1]);
    let folders = ["hack/", "images/", ".github/"];
    let scripts = words.iter().copied();
    let scripts = scripts.filter(|word| folders.iter().any(|folder| word.starts_with(folder)));
    targets
        .filter(|target| !makefile.contains(&format!("\n{target}:")))
        .chain(scripts.filter(|script| !is_there(script)))
        .map(str::to_owned)
        .collect()
}

/// `owner/action@COMMIT # vX.Y.Z`.
fn is_pinned(action: &str) -> bool {
    let Some((name, version)) = action.split_once(" # v") else {
        return false;
    };
    let commit = name.split_once('@').map_or("", |(_, commit)| commit);
    let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit && version.starts_with(|first: char| first.is_ascii_digit())
}

#[test]
fn workflows_name_commits_digests_and_rights() {
    let findings: Vec<String> = workflows()
        .iter()
        .flat_map(|(name, text)| {
            let faults = faults(text).into_iter();
            faults.map(move |fault| format!("{name}: {fault}"))
        })
        .collect();
    report("workflows", &findings);
}

#[test]
fn workflows_call_what_is_there_and_their_jobs_end() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("Makefile");
    let mut findings = Vec::new();
    for (name, text) in workflows() {
        let is_there = |script: &str| root().join(script).is_file();
        let missing = calls_nothing(&text, &makefile, is_there).into_iter();
        findings.extend(missing.map(|what| format!("{name}: {what} is not there")));
        let jobs = jobs(&text);
        assert!(!jobs.is_empty(), "{name} has no jobs");
        for (job, text) in jobs {
            let lacks = lacks(&text).into_iter();
            findings.extend(lacks.map(|what| format!("{name}: {job} has no `{what}`")));
        }
    }
    report("workflows", &findings);
}

#[test]
fn a_job_without_an_end_or_a_command_that_is_not_there_is_found() {
    let text = "on: push\njobs:\n  # First.\n  one:\n    steps:\n      - run: make test\n  two:\n    \
        timeout-minutes: 9\n    steps:\n      - run: make e2e PART=1/6\n      - run: hack/gone now\n";
    let found = jobs(text);
    let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(lacks(&found[0].1), ["timeout-minutes:"]);
    assert_eq!(lacks(&found[1].1).len(), 3);
    let none = calls_nothing(text, "\ntest: ## t\n", |_| false);
    assert_eq!(none, ["e2e", "hack/gone"]);
}

#[test]
fn what_is_not_pinned_is_found() {
    let commit = "11bd71901bbe5b1630ceea73d27597364c9af683";
    let good = format!("permissions: {{}}\n      - uses: actions/checkout@{commit} # v4.2.2\n");
    assert_eq!(faults(&good), Vec::<String>::new());
    for (wrong, what) in [
        (good.replace("permissions", "name"), "no permissions"),
        (good.replace("{}", "read-all"), "a right to everything"),
        (good.replace(commit, "v4"), "name a commit"),
        (good.replace(" # v4.2.2", ""), "name a commit"),
        (
            good.clone() + "image: kindest/node:v1.36.4\n",
            "without its digest",
        ),
    ] {
        let found = faults(&wrong);
        assert!(found.len() == 1 && found[0].contains(what), "{found:?}");
    }
}
