//! `junit.xml`: the verdicts for continuous-integration systems. A violation is a failure, an inconclusive check an
//! error: neither is green. A claim about time that was not judged is skipped.

use std::fmt::Write as _;

use super::markup::escape;
use super::run_header::RunHeader;
use super::{Finding, Severity, Verdict};

/// The whole document.
pub(crate) fn document(header: &RunHeader, verdicts: &[Verdict]) -> String {
    let count = |severity| verdicts.iter().filter(|j| j.severity() == severity).count();
    let suite = escape(&format!("{}-{}", header.scenario, header.seed));
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a string cannot fail.
    let _ = writeln!(
        xml,
        "<testsuite name=\"{suite}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">",
        verdicts.len(),
        count(Severity::Violation),
        count(Severity::Inconclusive),
        count(Severity::NotJudged)
    );
    for verdict in verdicts {
        case(&mut xml, &header.scenario, verdict);
    }
    xml.push_str("</testsuite>\n");
    xml
}

fn case(xml: &mut String, scenario: &str, verdict: &Verdict) {
    let _ = write!(
        xml,
        "  <testcase classname=\"{}\" name=\"{}\"",
        escape(scenario),
        escape(&verdict.check)
    );
    let (tag, text) = match &verdict.finding {
        Finding::Pass => {
            xml.push_str("/>\n");
            return;
        }
        Finding::NotJudged { reason } => ("skipped", reason),
        Finding::Inconclusive { reason } => ("error", reason),
        Finding::Violation { explanation, .. } => ("failure", explanation),
    };
    let first = text.lines().next().unwrap_or_default();
    let _ = writeln!(
        xml,
        ">\n    <{tag} message=\"{}\">{}</{tag}>\n  </testcase>",
        escape(first),
        escape(text)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_violation_nor_a_doubt_is_green() {
        let explanation = "key \"a<b\"\u{0} & more".to_owned();
        let verdicts = [
            Verdict::new("one", Finding::Pass),
            Verdict::new(
                "two",
                Finding::Violation {
                    explanation,
                    ops: vec![],
                },
            ),
            Verdict::new(
                "three",
                Finding::Inconclusive {
                    reason: "no traffic".to_owned(),
                },
            ),
        ];
        let xml = document(&RunHeader::default(), &verdicts);
        assert!(
            xml.contains("tests=\"3\" failures=\"1\" errors=\"1\""),
            "{xml}"
        );
        assert!(
            xml.contains("key &quot;a&lt;b&quot;\u{fffd} &amp; more"),
            "{xml}"
        );
        assert_eq!(xml.matches("<testcase ").count(), 3);
    }
}
