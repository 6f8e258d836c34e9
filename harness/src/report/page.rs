//! The HTML page of a run: one file, no other resource, opens from disk.
//!
//! The timeline travels as gzipped JSON in base64, in which no text of a run can end the element that holds it.
//! Whatever else comes from a run is escaped here or set as text by the page's scripts.

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use etcd_history::History;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::markup::escape;
use super::prose::figure;
use super::run_header::RunHeader;
use super::{Finding, Verdict, worst};
use super::{prose, timeline};

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// The scripts, in the order in which they need each other.
const SCRIPTS: [&str; 6] = [
    include_str!("page/model.js"),
    include_str!("page/axis.js"),
    include_str!("page/lanes.js"),
    include_str!("page/details.js"),
    include_str!("page/selftest.js"),
    include_str!("page/page.js"),
];

/// What a page shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    /// Scenario and seed.
    pub header: &'a RunHeader,
    /// The whole plan.
    pub plan: &'a serde_json::Value,
    /// What happened.
    pub history: &'a History,
    /// What the checks say of it.
    pub verdicts: &'a [Verdict],
}

/// The page.
pub(crate) fn render(run: &Run<'_>) -> String {
    let data = pack(&timeline::build(run.history, run.verdicts));
    let (severity, _) = worst(run.verdicts);
    let header = run.header;
    let plan = serde_json::to_string_pretty(run.plan).unwrap_or_default();
    let slots = [
        (
            "title",
            escape(&format!(
                "{} - {} seed {}",
                severity.word(),
                header.scenario,
                header.seed
            )),
        ),
        ("style", STYLE.to_owned()),
        ("severity", severity.word().to_owned()),
        ("headline", escape(&prose::headline(run.verdicts))),
        ("facts", facts(header)),
        ("verdicts", verdicts(run.verdicts)),
        ("plan", escape(&plan)),
        ("data", data),
        ("script", SCRIPTS.concat()),
    ];
    fill(TEMPLATE, &slots)
}

/// Puts values into `<!--slot:name-->` marks in one pass: a value that looks like a mark stays what it is.
fn fill(template: &str, slots: &[(&str, String)]) -> String {
    const OPEN: &str = "<!--slot:";
    let mut page = String::with_capacity(
        template.len() + slots.iter().map(|(_, value)| value.len()).sum::<usize>(),
    );
    let mut parts = template.split(OPEN);
    page.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, rest) = part.split_once("-->").unwrap_or((part, ""));
        if let Some((_, value)) = slots.iter().find(|(slot, _)| *slot == name) {
            page.push_str(value);
        }
        page.push_str(rest);
    }
    page
}

fn facts(header: &RunHeader) -> String {
    let mut facts = vec![
        ("scenario", header.scenario.clone()),
        ("seed", header.seed.to_string()),
        ("again", header.replay()),
    ];
    if header.members > 0 {
        facts.insert(1, ("members", header.members.to_string()));
    }
    if !header.started.is_empty() {
        facts.push(("started", header.started.clone()));
    }
    if !header.story.is_empty() {
        facts.push(("story", header.story.clone()));
    }
    let mut html = String::new();
    for (name, value) in facts {
        // Writing to a string cannot fail.
        let _ = write!(html, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    html
}

fn verdicts(verdicts: &[Verdict]) -> String {
    let mut order: Vec<&Verdict> = verdicts.iter().collect();
    order.sort_by_key(|verdict| std::cmp::Reverse(verdict.severity()));
    let mut html = String::new();
    for verdict in order {
        let figures: Vec<String> = verdict
            .figures
            .iter()
            .map(|(name, value)| {
                format!(
                    "<span class=\"figure\">{} <b>{}</b></span>",
                    escape(name),
                    escape(&figure(value))
                )
            })
            .collect();
        let word = verdict.severity().word();
        let _ = write!(
            html,
            "<tr class=\"{word}\"><td><span class=\"badge {word}\">{word}</span></td><th \
             scope=\"row\">{}</th><td>{}{}<div class=\"figures\">{}</div></td></tr>",
            escape(&verdict.check),
            escape(verdict.explanation()),
            evidence(verdict),
            figures.join(" ")
        );
    }
    html
}

/// Buttons that lead to the operations a violation names.
fn evidence(verdict: &Verdict) -> String {
    /// A violation may name thousands; the page marks all and lists some.
    const LISTED: usize = 12;
    let Finding::Violation { ops, .. } = &verdict.finding else {
        return String::new();
    };
    let mut html = String::new();
    for op in ops.iter().take(LISTED) {
        let _ = write!(
            html,
            " <button type=\"button\" data-op=\"{op}\">#{op}</button>"
        );
    }
    if ops.len() > LISTED {
        let _ = write!(html, " and {} more", ops.len() - LISTED);
    }
    html
}

fn pack(timeline: &timeline::Timeline) -> String {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory fails only if a value cannot be JSON; the columns are numbers and text.
    let written = serde_json::to_writer(&mut encoder, timeline)
        .map_err(std::io::Error::from)
        .and_then(|()| encoder.flush());
    debug_assert!(written.is_ok(), "{written:?}");
    STANDARD.encode(encoder.finish().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use etcd_history::record::{Call, Record, Request, Route};

    use super::*;

    const EVIL: &str = "</script><script>alert(1)</script><!--slot:plan--><img src=x onerror=1>";

    fn page() -> String {
        let header = RunHeader {
            scenario: EVIL.into(),
            seed: 1,
            ..RunHeader::default()
        };
        let request = Request::Put {
            key: EVIL.into(),
            value: EVIL.into(),
            lease: 0,
        };
        let call = Call {
            t: 1,
            op: 77,
            client: 0,
            route: Route::DialAll,
            scheduled: 1,
            request,
        };
        let history = History {
            records: vec![Record::Call(call)],
        };
        let mut verdict = Verdict::new(
            EVIL,
            Finding::Violation {
                explanation: EVIL.into(),
                ops: (70..90).collect(),
            },
        );
        verdict.figures.insert(EVIL.into(), 1.5);
        let plan = serde_json::json!({ "scenario": EVIL });
        let verdicts = [verdict];
        render(&Run {
            header: &header,
            plan: &plan,
            history: &history,
            verdicts: &verdicts,
        })
    }

    fn unpack(page: &str) -> serde_json::Value {
        let start = page.find("id=\"data\">").unwrap() + "id=\"data\">".len();
        let end = start + page[start..].find('<').unwrap();
        let packed = STANDARD.decode(&page[start..end]).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed.as_slice())
            .read_to_string(&mut text)
            .unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn text_of_a_run_never_becomes_markup() {
        let page = page();
        assert!(!page.contains("<img src=x"));
        assert!(!page.contains("<script>alert"));
        assert_eq!(
            page.matches("</script>").count(),
            TEMPLATE.matches("</script>").count()
        );
        assert!(page.contains("&lt;/script&gt;"));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = page();
        for outside in ["http://", "https://", "src=\"", "@import", "url(", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("prefers-color-scheme"));
        assert!(!page.contains("<!--slot:style-->"));
        assert!(
            SCRIPTS
                .iter()
                .all(|script| !script.contains("</") && !script.contains("<!--"))
        );
    }

    #[test]
    fn the_data_can_be_taken_out_again() {
        let data = unpack(&page());
        assert_eq!(data["ops"]["id_delta"], serde_json::json!([77]));
        assert_eq!(data["ops"]["request"][0], format!("put {EVIL} = {EVIL}"));
        assert_eq!(data["anomalies"].as_array().unwrap().len(), 20);
    }

    #[test]
    fn the_operations_of_a_violation_are_listed_up_to_a_number() {
        let page = page();
        assert_eq!(page.matches("data-op=").count(), 12);
        assert!(page.contains("and 8 more"));
    }
}
