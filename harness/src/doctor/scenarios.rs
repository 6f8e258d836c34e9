//! Which scenarios this machine cannot run, and why: those that the suite leaves out.

use crate::doctor::{Standing, Symptom};
use crate::faults::{Capabilities, Need};
use crate::scenario::catalog;

/// A line for each, or one that says that there is none.
pub(crate) fn findings(capabilities: &Capabilities) -> Vec<Symptom> {
    let all = catalog::all();
    let skipped: Vec<Symptom> = all
        .iter()
        .filter_map(|scenario| {
            let lack = scenario.impossible(capabilities)?;
            let finding = Symptom::new(scenario.name, Standing::Unavailable, &lack.reason);
            Some(finding.remedy(&remedy(lack.need)))
        })
        .collect();
    if skipped.is_empty() {
        let text = format!("all {} can be run", all.len());
        return vec![Symptom::new("scenarios", Standing::Available, &text)];
    }
    skipped
}

/// What becomes of a scenario without this.
fn remedy(need: Option<Need>) -> String {
    match need {
        Some(need) => format!(
            "the suite ignores it and says so; `make e2e` fails unless E2E_LACKS names {}",
            need.word()
        ),
        None => "try again: it is not known, and `make e2e` fails".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Lack;

    fn able() -> Capabilities {
        Capabilities {
            nft: true,
            nft_random: true,
            loop_mount: true,
            sigstop: true,
            ..Capabilities::default()
        }
    }

    #[test]
    fn a_machine_that_can_do_everything_skips_nothing() {
        let findings = findings(&able());
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].standing, Standing::Available);
    }

    #[test]
    fn what_needs_nodes_that_are_containers_is_named_where_there_are_none() {
        let findings = findings(&Capabilities {
            node_shells: Some(Lack::known(Need::NodeShells, "no Docker answers here")),
            ..able()
        });
        let balanced = |one: &&Symptom| one.subject == "outside::load_balancer_exposed";
        let found = findings.iter().find(balanced).expect("it cannot be run");
        assert!(
            found.detail.contains("no Docker answers"),
            "{}",
            found.detail
        );
    }

    #[test]
    fn what_cannot_be_done_is_named_with_its_scenarios() {
        let findings = findings(&Capabilities {
            loop_mount: false,
            ..able()
        });
        let names: Vec<&str> = findings.iter().map(|one| one.subject.as_str()).collect();
        assert_eq!(names, ["storage::disk_full", "storage::leaders_disk_full"]);
        assert!(
            findings
                .iter()
                .all(|one| one.detail.contains("mount a file"))
        );
        let told = &findings[0].remedy;
        assert!(told.contains("E2E_LACKS names loop_mount"), "{told}");
    }
}
