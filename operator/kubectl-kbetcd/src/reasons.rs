//! PURE: what docs/troubleshooting.md says of a reason. The document is part of the program, so that the two cannot
//! differ.

use serde::Serialize;

const DOCUMENT: &str = include_str!("../../../docs/troubleshooting.md");

/// What a reason means, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Explained {
    pub(crate) meaning: String,
    pub(crate) remedy: String,
}

/// The first row for one of these words.
pub(crate) fn explained(words: &[&str]) -> Option<Explained> {
    words.iter().find_map(|word| row(DOCUMENT, word))
}

/// The row of a table whose first cell is the word.
fn row(document: &str, word: &str) -> Option<Explained> {
    let begin = format!("| `{word}` | ");
    let rest = document
        .lines()
        .find_map(|line| line.strip_prefix(&begin))?;
    let (meaning, remedy) = rest.split_once(" | ")?;
    Some(Explained {
        meaning: plain(meaning),
        remedy: plain(remedy.trim_end().trim_end_matches('|').trim_end()),
    })
}

/// Links of Markdown as their text.
fn plain(cell: &str) -> String {
    let mut text = String::new();
    let mut rest = cell;
    while let Some((before, inside)) = rest.split_once('[') {
        text.push_str(before);
        let link = inside.split_once("](").and_then(|(label, after)| {
            let (_, after) = after.split_once(')')?;
            Some((label, after))
        });
        match link {
            Some((label, after)) => {
                text.push_str(label);
                rest = after;
            }
            None => {
                text.push('[');
                rest = inside;
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use etcd_operator_api::condition::ConditionType;

    use super::*;

    #[test]
    fn a_row_is_found_by_its_word() {
        let document =
            "| reason | means | do |\n| `A` | it [waits](x.md) | see [b.md](b.md), [c] |\n";
        let found = row(document, "A").expect("a row");
        assert_eq!(found.meaning, "it waits");
        assert_eq!(found.remedy, "see b.md, [c]");
        assert_eq!(row(document, "B"), None);
        assert_eq!(row("| `A` | one cell |", "A"), None);
    }

    #[test]
    fn every_row_of_the_document_can_be_read() {
        let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
        let words: Vec<&str> = rows.filter_map(|line| line.split('`').nth(1)).collect();
        assert!(words.len() > 40, "{words:?}");
        for word in words {
            let found = row(DOCUMENT, word);
            assert!(found.is_some_and(|e| !e.remedy.is_empty()), "{word}");
        }
    }

    #[test]
    fn every_condition_that_owners_see_is_explained() {
        use ConditionType as T;
        let all = [
            T::ProvisioningStarted,
            T::ApplyResources,
            T::Ready,
            T::Available,
            T::Terminating,
            T::InstanceReady,
            T::InstanceAvailable,
            T::InstanceFailure,
            T::InstanceUpdateRestricted,
            T::Reconciled,
            T::Quorate,
            T::ClusterIdConsistent,
            T::StorageClassAssumed,
            T::NodeTainted,
            T::AlarmRaised,
            T::UpdateHeld,
            T::CertificatesValid,
            T::AccountsReady,
            T::Unprotected,
        ];
        let missing = all
            .iter()
            .filter(|kind| explained(&[kind.as_str()]).is_none());
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<&T>::new());
    }
}
