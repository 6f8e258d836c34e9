//! GitHub's workflows: actions by commit, rights by name, node images by digest.

use crate::tree::{files, report};

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
