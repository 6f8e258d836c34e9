//! The failovers of a measurement as a picture: every gap as a point, median and 95th percentile, and the parts of the
//! median gap. One SVG file that needs nothing else, light or dark as its reader is. Pure.

use std::fmt::Write as _;

use etcd_history::record::Route;

use super::failover::{FailoverReport, ROUTES};
use super::table::{route, stage};
use crate::report::continuity::Stage;

/// Pixels from the left to the axis, and its length.
const LEFT: f64 = 190.0;
const LENGTH: f64 = 620.0;
/// Pixels of a row, and of what stands above the rows of a report.
const ROW: f64 = 34.0;
const HEAD: f64 = 46.0;
/// Pixels of the line that says what the colours are.
const LEGEND: f64 = 40.0;
/// Longest gap of the axis of an empty report.
const SHORTEST_MS: f64 = 100.0;

/// Colours for light and for dark, by class.
const STYLE: &str = "text{font:12px sans-serif;fill:#24292f}.title{font-weight:bold}.note{fill:#57606a}\
.axis{stroke:#8c959f}.grid{stroke:#d0d7de}.gap{fill:#0969da;fill-opacity:.45}.median{stroke:#24292f;stroke-width:2}\
.p95{stroke:#cf222e;stroke-width:2}.election{fill:#bf8700}.label{fill:#8250df}.endpoints{fill:#1a7f37}\
.client{fill:#6e7781}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#8b949e}.grid{stroke:#30363d}\
.gap{fill:#58a6ff}.median{stroke:#e6edf3}}";

/// The picture of these reports, one below the other on one axis.
pub(crate) fn picture(reports: &[FailoverReport]) -> String {
    let longest = reports
        .iter()
        .flat_map(|report| report.gap_ms.values())
        .map(|summary| summary.max)
        .fold(SHORTEST_MS, f64::max);
    let axis = Axis::up_to(longest);
    let (mut body, mut y) = (String::new(), 0.0);
    for report in reports {
        y = one(&mut body, report, &axis, y);
    }
    legend(&mut body, y);
    let (width, height) = (LEFT + LENGTH + 60.0, y + LEGEND);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\"><style>{STYLE}</style>\n{body}</svg>\n"
    )
}

/// Milliseconds from the left to the right.
struct Axis {
    most_ms: f64,
    step_ms: f64,
}

impl Axis {
    /// With five to ten steps of a round number.
    fn up_to(longest_ms: f64) -> Self {
        let steps = [
            20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0,
        ];
        let fits = |step: &&f64| longest_ms / **step <= 10.0;
        let step_ms = steps.iter().find(fits).copied().unwrap_or(longest_ms);
        Self {
            most_ms: (longest_ms / step_ms).ceil() * step_ms,
            step_ms,
        }
    }

    fn x(&self, ms: f64) -> f64 {
        LEFT + LENGTH * (ms / self.most_ms).clamp(0.0, 1.0)
    }

    /// Where there are lines.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (step, most) = (self.step_ms, self.most_ms);
        let all = std::iter::successors(Some(0.0), move |at| Some(at + step));
        all.take_while(move |at| *at <= most + step / 2.0)
    }
}

/// Draws a report from this height on, and says where it ends.
fn one(body: &mut String, report: &FailoverReport, axis: &Axis, top: f64) -> f64 {
    let shown: Vec<Route> = ROUTES
        .into_iter()
        .filter(|route| report.gap_ms.contains_key(route))
        .collect();
    let rows: f64 = shown.iter().map(|_| ROW).sum();
    let bottom = top + HEAD + rows;
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "<text class=\"title\" x=\"8\" y=\"{:.0}\">Leader {}, {} members, {} failovers: longest time without an \
         acknowledged write</text>",
        top + 18.0,
        escaped(&report.kind),
        report.members,
        report.failovers.len()
    );
    for ms in axis.ticks() {
        let x = axis.x(ms);
        let _ = writeln!(
            body,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.0}\" y2=\"{bottom:.0}\"/>\
             <text class=\"note\" x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{ms:.0} ms</text>",
            top + HEAD - 6.0,
            top + HEAD - 10.0
        );
    }
    let mut y = top + HEAD;
    for route in shown {
        row(body, report, (route, axis), y);
        y += ROW;
    }
    bottom
}

/// Draws a route: its gaps above, the parts of the median gap below.
fn row(body: &mut String, report: &FailoverReport, (of, axis): (Route, &Axis), y: f64) {
    let _ = writeln!(
        body,
        "<text x=\"8\" y=\"{:.0}\">{}</text>",
        y + 15.0,
        route(of)
    );
    let usable = report.failovers.iter().filter(|failover| failover.usable());
    for cost in usable.filter_map(|failover| failover.routes.get(&of)) {
        let _ = writeln!(
            body,
            "<circle class=\"gap\" cx=\"{:.1}\" cy=\"{:.0}\" r=\"4\"><title>{:.0} ms</title></circle>",
            axis.x(cost.gap_ms),
            y + 10.0,
            cost.gap_ms
        );
    }
    if let Some(summary) = report.gap_ms.get(&of) {
        for (class, ms) in [("median", summary.median), ("p95", summary.p95)] {
            let x = axis.x(ms);
            let _ = writeln!(
                body,
                "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.0}\" y2=\"{:.0}\">\
                 <title>{class} {ms:.0} ms</title></line>",
                y + 3.0,
                y + 17.0
            );
        }
    }
    let mut from = 0.0;
    for (part, summary) in report.stages_ms.get(&of).into_iter().flatten() {
        let to = from + summary.median;
        let (x, end) = (axis.x(from), axis.x(to));
        let _ = writeln!(
            body,
            "<rect class=\"{}\" x=\"{x:.1}\" y=\"{:.0}\" width=\"{:.1}\" height=\"7\"><title>{} {:.0} ms</title></rect>",
            stage(*part),
            y + 20.0,
            end - x,
            stage(*part),
            summary.median
        );
        from = to;
    }
}

/// What the colours are.
fn legend(body: &mut String, top: f64) {
    let parts = [
        Stage::Election,
        Stage::Label,
        Stage::Endpoints,
        Stage::Client,
    ];
    let y = top + 24.0;
    let _ = writeln!(
        body,
        "<text class=\"note\" x=\"8\" y=\"{y:.0}\">points: gaps; lines: median, p95; bars: medians of</text>"
    );
    let mut x = LEFT + 120.0;
    for part in parts {
        let _ = writeln!(
            body,
            "<rect class=\"{0}\" x=\"{x:.0}\" y=\"{1:.0}\" width=\"12\" height=\"8\"/>\
             <text class=\"note\" x=\"{2:.0}\" y=\"{y:.0}\">{0}</text>",
            stage(part),
            y - 8.0,
            x + 17.0
        );
        x += 95.0;
    }
}

/// A text in an element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::failover::{Cost, Failover};

    fn failover(gap_ms: f64) -> Failover {
        let cost = Cost {
            gap_ms,
            closed: true,
            stages_ms: [
                (Stage::Election, gap_ms / 2.0),
                (Stage::Client, gap_ms / 2.0),
            ]
            .into(),
        };
        Failover {
            run: "1".to_owned(),
            fault: "kill".to_owned(),
            target: "a-0".to_owned(),
            effective: true,
            routes: ROUTES.map(|route| (route, cost.clone())).into(),
            probes: BTreeMap::new(),
        }
    }

    fn drawn(kind: &str, gaps: &[f64]) -> String {
        let failovers = gaps.iter().copied().map(failover).collect();
        picture(&[FailoverReport::of(kind, 3, failovers, &[])])
    }

    #[test]
    fn every_gap_is_a_point_and_every_route_has_its_parts() {
        let svg = drawn("killed", &[100.0, 200.0, 400.0]);
        assert_eq!(svg.matches("<circle").count(), 3 * ROUTES.len());
        assert_eq!(svg.matches("class=\"median\"").count(), ROUTES.len());
        assert_eq!(svg.matches("<title>election 100 ms").count(), ROUTES.len());
        assert_eq!(svg.matches("<title>client 100 ms").count(), ROUTES.len());
        assert!(
            svg.contains("Leader killed, 3 members, 3 failovers"),
            "{svg}"
        );
        assert!(!svg.contains("label 0 ms"), "a part that did not happen");
    }

    #[test]
    fn nothing_is_outside_of_the_picture_and_no_text_breaks_it() {
        for longest in [0.0_f64, 1.0, 99.0, 1234.0, 90_000.0] {
            let axis = Axis::up_to(longest.max(SHORTEST_MS));
            assert!(axis.most_ms >= longest, "{longest}");
            assert!(axis.x(longest) <= LEFT + LENGTH, "{longest}");
            let ticks = axis.ticks().count();
            assert!((2..=12).contains(&ticks), "{longest}: {ticks}");
        }
        let svg = drawn("a < b & c", &[]);
        assert!(svg.contains("a &lt; b &amp; c") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("<circle") && !svg.contains("NaN"), "{svg}");
    }
}
