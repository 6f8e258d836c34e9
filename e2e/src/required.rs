//! What is red where the suite is required (`E2E_REQUIRED=1`): a trial that cannot be run here, unless `E2E_LACKS`
//! names what it needs, and a filter that leaves no trial. Pure.

use std::collections::BTreeSet;

/// Why a trial cannot be run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The name of what is not there; none where that is not known.
    pub word: Option<&'static str>,
    /// Why, in words.
    pub reason: String,
}

/// What may be missing where the suite is required.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(BTreeSet<String>);

impl Allowed {
    /// Names with commas between them, each one of those that are known.
    ///
    /// # Errors
    /// When another one is among them; it says which names there are.
    pub fn read(text: &str, known: &[&str]) -> Result<Self, String> {
        let words = text.split(',').map(str::trim);
        let words: BTreeSet<String> = match text.trim() {
            "" => BTreeSet::new(),
            _ => words.map(str::to_owned).collect(),
        };
        match words.iter().find(|word| !known.contains(&word.as_str())) {
            None => Ok(Self(words)),
            Some(word) => Err(format!(
                "E2E_LACKS={text}: {word:?} is nothing that a machine may be without; there are, with commas between them: {}",
                known.join(", ")
            )),
        }
    }

    fn as_text(&self) -> String {
        let words: Vec<&str> = self.0.iter().map(String::as_str).collect();
        words.join(",")
    }
}

/// What becomes of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is run.
    Runs,
    /// It is not, and that is as it should be; why.
    Ignored(String),
    /// It is not, and that is red; why.
    Fails(String),
}

/// The fate of a trial that misses this, where the suite is required but for what is allowed, or is not required.
pub fn fate(missing: Option<Missing>, required: Option<&Allowed>) -> Fate {
    let Some(Missing { word, reason }) = missing else {
        return Fate::Runs;
    };
    match (required, word) {
        (None, _) => Fate::Ignored(reason),
        (Some(allowed), Some(word)) if allowed.0.contains(word) => Fate::Ignored(reason),
        (Some(allowed), Some(word)) => Fate::Fails(format!(
            "{reason} (E2E_LACKS={} does not name {word})",
            allowed.as_text()
        )),
        (Some(_), None) => Fate::Fails(reason),
    }
}

/// Which trials a command line names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named<'a> {
    /// What is in their names.
    pub filter: Option<&'a str>,
    /// The filter is the whole name.
    pub exact: bool,
    /// What is not in their names.
    pub skipped: &'a [String],
}

impl Named<'_> {
    /// What to say when none of so many trials is left.
    pub fn none_of(&self, count: usize) -> String {
        if count == 0 {
            return "no trial is left to run: this part of the suite has none".to_owned();
        }
        let filter = self.filter.map(|filter| match self.exact {
            true => format!("has the name {filter:?}"),
            false => format!("has {filter:?} in its name"),
        });
        let skipped = match self.skipped {
            [] => None,
            skipped => Some(format!("is left by --skip {}", skipped.join(" --skip "))),
        };
        let wanted: Vec<String> = filter.into_iter().chain(skipped).collect();
        format!(
            "no trial is left to run: of the {count} of this suite none {}; `harness list` names the scenarios",
            wanted.join(" and ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["manifests", "node_power", "loop_mount"];

    fn allowed(text: &str) -> Allowed {
        Allowed::read(text, &KNOWN).expect("names that are known")
    }

    fn missing(word: Option<&'static str>) -> Option<Missing> {
        let reason = "it is not there".to_owned();
        Some(Missing { word, reason })
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_that_there_are() {
        for (text, word) in [
            ("manifest", "manifest"),
            ("manifests,node-power", "node-power"),
            ("manifests,,loop_mount", ""),
            ("manifests loop_mount", "manifests loop_mount"),
            ("MANIFESTS", "MANIFESTS"),
        ] {
            let error = Allowed::read(text, &KNOWN).expect_err(text);
            let told = [format!("E2E_LACKS={text}: {word:?}"), KNOWN.join(", ")];
            assert!(told.iter().all(|part| error.contains(part)), "{error}");
        }
        assert_eq!(allowed(" "), allowed(""));
        assert_eq!(
            allowed("manifests, loop_mount"),
            allowed("loop_mount,manifests")
        );
    }

    #[test]
    fn where_the_suite_is_not_required_what_cannot_be_run_is_ignored() {
        for word in [Some("manifests"), None] {
            let told = Fate::Ignored("it is not there".to_owned());
            assert_eq!(fate(missing(word), None), told);
        }
        assert_eq!(fate(None, None), Fate::Runs);
    }

    #[test]
    fn where_it_is_required_only_what_is_allowed_is_ignored() {
        let (some, none) = (allowed("manifests,node_power"), allowed(""));
        assert_eq!(fate(None, Some(&none)), Fate::Runs);
        let manifests = || missing(Some("manifests"));
        let ignored = Fate::Ignored("it is not there".to_owned());
        assert_eq!(fate(manifests(), Some(&some)), ignored);
        for (missing, allowed, told) in [
            (
                manifests(),
                &none,
                "it is not there (E2E_LACKS= does not name manifests)",
            ),
            (
                missing(Some("loop_mount")),
                &some,
                "it is not there (E2E_LACKS=manifests,node_power does not name loop_mount)",
            ),
            // What is not known to be missing is not allowed to be.
            (missing(None), &some, "it is not there"),
        ] {
            assert_eq!(fate(missing, Some(allowed)), Fate::Fails(told.to_owned()));
        }
    }

    #[test]
    fn a_filter_that_leaves_no_trial_is_named() {
        let told = |filter, exact, skipped: &[String]| {
            let named = Named {
                filter,
                exact,
                skipped,
            };
            named.none_of(65)
        };
        let skipped = ["failover".to_owned(), "node".to_owned()];
        for (told, part) in [
            (
                told(Some("faliover"), false, &[]),
                "none has \"faliover\" in its name;",
            ),
            (told(Some("a::b"), true, &[]), "none has the name \"a::b\";"),
            (
                told(None, false, &skipped),
                "none is left by --skip failover --skip node;",
            ),
            (
                told(Some("node"), false, &skipped[1..]),
                "none has \"node\" in its name and is left by --skip node;",
            ),
        ] {
            assert!(
                told.contains(&format!("of the 65 of this suite {part}")),
                "{told}"
            );
        }
        let empty = Named::default().none_of(0);
        assert!(empty.contains("this part of the suite has none"), "{empty}");
    }
}
