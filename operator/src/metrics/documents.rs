//! docs/metrics.md has the names that the code has, and alerts and dashboard use no other ones.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::roles::RoleMetrics;

const PAGE: &str = include_str!("../../../docs/metrics.md");
const RULES: &str = include_str!("../../../deploy/monitoring/prometheus-rule.yaml");
const DASHBOARD: &str = include_str!("../../../deploy/monitoring/grafana-dashboard.json");
const SOURCES: [&str; 6] = [
    include_str!("../metrics.rs"),
    include_str!("backups.rs"),
    include_str!("../roles/metrics.rs"),
    include_str!("../watches.rs"),
    include_str!("../../kbagent/src/exporter/exposition.rs"),
    include_str!("../../etcd-backup/src/archive/serve.rs"),
];

/// The label with a Cluster's name.
const INSTANCE: &str = "app_kubernetes_io_instance";

/// The words in a text; some are names of metrics.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(move |c| !is_word(c))
}

fn is_own(word: &str) -> bool {
    word.starts_with("kb_etcd_") || word.starts_with("etcd_operator_")
}

fn is_metric(word: &str) -> bool {
    is_own(word) || word.starts_with("etcd_")
}

/// Names in the first column of the page's tables.
fn on_page() -> BTreeSet<&'static str> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next());
    names.filter(|name| is_metric(name)).collect()
}

/// Names in the code of operator and exporter, as a scrape shows them: a counter of the operator ends with `_total`.
fn in_code() -> BTreeSet<String> {
    let page = on_page();
    let quoted = SOURCES
        .iter()
        .flat_map(|text| text.split('"').skip(1).step_by(2));
    let names = quoted.filter(|text| is_own(text) && words(text).count() == 1);
    let shown = names.map(|name| {
        let counted = format!("{name}_total");
        let is_counter = is_counter(name).unwrap_or(page.contains(counted.as_str()));
        if is_counter { counted } else { name.to_owned() }
    });
    shown.collect()
}

/// What the registry says of a name; nothing of a family without values.
fn is_counter(name: &str) -> Option<bool> {
    let metrics = Metrics::default();
    metrics.reconciled("Cluster", RoundEnd::Done, Duration::ZERO);
    metrics.register(|registry| RoleMetrics::default().register(registry));
    let text = metrics.text().expect("text");
    let mut types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let kind = types.find_map(|rest| rest.strip_prefix(name)?.strip_prefix(' '));
    kind.map(|kind| kind == "counter")
}

/// The metrics that an expression asks for.
fn asked(expression: &str) -> impl Iterator<Item = &str> {
    let names = words(expression).filter(|word| is_metric(word));
    names.map(|name| {
        let histogram = ["_bucket", "_sum", "_count"];
        let mut ends = histogram.iter().filter_map(|end| name.strip_suffix(end));
        ends.next().unwrap_or(name)
    })
}

/// What is wrong with an expression: brackets that do not close, no metric, or one that is not on the page.
fn wrong_with(expression: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
        if expression.matches(open).count() != expression.matches(close).count() {
            wrong.push(format!("{open} without {close}: {expression}"));
        }
    }
    let known = on_page();
    let names: Vec<&str> = asked(expression).collect();
    if names.is_empty() {
        wrong.push(format!("no metric: {expression}"));
    }
    let unknown = names.iter().filter(|name| !known.contains(*name));
    wrong.extend(unknown.map(|name| format!("docs/metrics.md has no {name}: {expression}")));
    wrong
}

#[test]
fn the_page_has_the_names_that_the_code_has() {
    let page: BTreeSet<String> = on_page()
        .into_iter()
        .filter(|name| is_own(name))
        .map(str::to_owned)
        .collect();
    assert_eq!(page, in_code());
}

#[test]
fn every_alert_can_be_read_asks_for_what_is_there_and_is_on_the_page() {
    let rule: Value = serde_saphyr::from_str(RULES).expect("YAML");
    assert_eq!(rule["kind"], "PrometheusRule");
    let rules = rule["spec"]["groups"][0]["rules"]
        .as_array()
        .expect("rules");
    assert!(rules.len() > 9);
    for rule in rules {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (name, expression) = (text(&rule["alert"]), text(&rule["expr"]));
        assert_eq!(wrong_with(&expression), Vec::<String>::new(), "{name}");
        assert!(
            PAGE.contains(&format!("`{name}`")),
            "{name} is not on the page"
        );
        let held = text(&rule["for"]);
        let (number, unit) = held.split_at(held.len().saturating_sub(1));
        assert!(
            number.parse::<u32>().is_ok() && ["m", "h"].contains(&unit),
            "{name}: {held}"
        );
        let severity = text(&rule["labels"]["severity"]);
        assert!(
            ["critical", "warning"].contains(&severity.as_str()),
            "{name}"
        );
        for note in ["summary", "description"] {
            assert!(
                !text(&rule["annotations"][note]).is_empty(),
                "{name} has no {note}"
            );
        }
        // Labels that a summary shows are those that the expression keeps.
        let summary = text(&rule["annotations"]["summary"]);
        let by = expression
            .split("by (")
            .nth(1)
            .and_then(|rest| rest.split(')').next());
        let shown = summary
            .split("$labels.")
            .skip(1)
            .map(|rest| words(rest).next());
        for label in shown.flatten() {
            assert!(
                by.is_none_or(|by| words(by).any(|own| own == label)),
                "{name}: {label}"
            );
        }
    }
}

#[test]
fn every_panel_asks_for_what_is_there() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() > 9);
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    for target in targets {
        let expression = target["expr"].as_str().unwrap_or_default();
        assert_eq!(wrong_with(expression), Vec::<String>::new());
        let kept = kept(expression);
        let legend = target["legendFormat"].as_str().unwrap_or_default();
        assert!(!legend.is_empty(), "no legend: {expression}");
        for label in legend
            .split("{{")
            .skip(1)
            .filter_map(|rest| rest.split('}').next())
        {
            assert!(
                kept.is_empty() || kept.contains(&label),
                "{label}: {expression}"
            );
        }
        // Clusters of one name may be in several namespaces, and a Cluster may have several components.
        let has = |label| kept.contains(&label);
        assert!(
            has("namespace") || !(has("pod") || has(INSTANCE)),
            "{expression}"
        );
        assert_eq!(
            has(INSTANCE),
            has("apps_kubeblocks_io_component_name"),
            "{expression}"
        );
    }
}

/// The labels that an expression keeps; none when it keeps all.
fn kept(expression: &str) -> Vec<&str> {
    let by = expression.split("by (").nth(1);
    let by = by.and_then(|rest| rest.split(')').next());
    words(by.unwrap_or_default())
        .filter(|label| !label.is_empty())
        .collect()
}

#[test]
fn a_name_that_is_nowhere_is_found() {
    assert_eq!(wrong_with("max(kb_etcd_up) == 0"), Vec::<String>::new());
    assert_eq!(wrong_with("max(kb_etcd_upp) == 0").len(), 1);
    assert_eq!(wrong_with("rate(etcd_no_such_bucket[5m])").len(), 1);
    assert_eq!(wrong_with("max(kb_etcd_up == 0").len(), 1);
    assert_eq!(wrong_with("vector(1)").len(), 1);
}
