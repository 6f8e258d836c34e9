//! What a revision changed in the model, beside what the watches saw of it.

use std::borrow::Borrow;

use super::few::Places;
use super::keyspace::Keys;
use super::log;
use super::store::{Changed, Text};
use crate::record::KeyEvent;

/// Compares what the model changed with what the watches saw. `scope`: the keys that every watcher was asked for,
/// of which nothing may be missing, when they were all asked for the same.
pub(crate) fn agree<S: Text, E: Borrow<KeyEvent>>(
    changes: &[Changed<S>],
    events: &[E],
    revision: i64,
    scope: Option<Keys<'_>>,
) -> Result<(), String> {
    let keys = changes.iter().map(|change| change.key.text());
    let places = Places::of(keys, events.len());
    for event in events {
        let event: &KeyEvent = event.borrow();
        let key = log::key(event);
        let one_by_one = || changes.iter().position(|change| change.key.is(key));
        let change = places.find(key, one_by_one).map(|place| &changes[place]);
        let Some(change) = change else {
            return Err(format!("revision {revision} changed {key} as well"));
        };
        let same = match (event, &change.after) {
            (KeyEvent::Put { kv, .. }, Some(item)) => item.is(kv),
            (KeyEvent::Delete { .. }, None) => true,
            _ => false,
        };
        if !same {
            return Err(format!("revision {revision} left {key} otherwise"));
        }
    }
    if let Some(scope) = scope {
        let asked = changes
            .iter()
            .filter(|change| scope.hold(change.key.text()));
        let (wanted, came) = (asked.count(), events.len());
        if wanted != came {
            return Err(format!(
                "revision {revision} changed {wanted} keys that they were asked for, they saw {came}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::check::test_support::gone;

    thread_local! {
        static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    /// A key that counts how often it is compared.
    #[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
    struct Counted(String);

    impl Text for Counted {
        fn text(&self) -> &str {
            &self.0
        }

        fn is(&self, text: &str) -> bool {
            COMPARED.set(COMPARED.get() + 1);
            self.0 == text
        }
    }

    #[test]
    fn a_range_that_was_deleted_does_not_cost_the_square_of_its_keys() {
        let names: Vec<String> = (0..2_000).map(|n| format!("k{n}")).collect();
        let changes: Vec<Changed<Counted>> = (names.iter())
            .map(|name| Changed {
                key: Counted(name.clone()),
                after: None,
            })
            .collect();
        let mut events: Vec<KeyEvent> = names.iter().map(|name| gone(name, 5)).collect();
        assert_eq!(agree(&changes, &events, 5, None), Ok(()));
        assert!(COMPARED.get() < 10 * names.len(), "{}", COMPARED.get());
        events.push(gone("other", 5));
        let told = Err("revision 5 changed other as well".to_owned());
        assert_eq!(agree(&changes, &events, 5, None), told);
    }
}
