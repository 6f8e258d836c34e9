//! PURE: what the page shows -> HTML, without any resource from elsewhere and without script.

use super::text::{Html, bytes};
use super::view::{ClusterView, ComponentView, FailoverView, MemberRow, State, View};

/// The one style sheet. The policy of the page allows it by its hash.
pub(super) const STYLE: &str = include_str!("page.css");

/// The page.
pub(super) fn html(view: &View) -> String {
    let mut out = Html::default();
    out.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")
        .raw("<meta name=\"color-scheme\" content=\"light dark\">")
        .raw("<meta http-equiv=\"refresh\" content=\"5\"><title>etcd clusters</title><style>")
        .raw(STYLE)
        .raw("</style></head><body>\n");
    head(view, &mut out);
    out.raw("<main>");
    if view.total == 0 && view.unread.is_empty() {
        out.raw("<p>There is no Cluster in this Kubernetes cluster.</p>");
    }
    for one in &view.clusters {
        cluster(one, &mut out);
    }
    out.raw("</main>\n");
    pages(view, &mut out);
    out.raw("</body></html>\n");
    out.finish()
}

fn head(view: &View, out: &mut Html) {
    let well = view.total - view.needs_attention - view.changing;
    out.raw("<header><h1>etcd clusters</h1><p>");
    out.text(&format!(
        "{} in all: {} need attention, {} changing, {well} ok.",
        view.total, view.needs_attention, view.changing
    ));
    out.raw("</p><p class=\"quiet\">As replica <b>")
        .text(&view.replica);
    out.raw("</b> saw them at ")
        .text(&format!("{:.0}", view.at));
    out.raw(", again every 5 s. <a href=\"/page.json?page=");
    out.text(&view.page.to_string()).raw("\">JSON</a></p>");
    for kind in &view.unread {
        out.raw("<p class=\"wrong\">This replica has no list of ")
            .text(kind);
        out.raw(" objects yet: what comes from them is missing here.</p>");
    }
    out.raw("</header>\n");
}

fn pages(view: &View, out: &mut Html) {
    if view.pages < 2 {
        return;
    }
    out.raw("<nav aria-label=\"Pages\">");
    let mut link = |number: usize, name: &'static str| {
        out.raw("<a href=\"/?page=").text(&number.to_string());
        out.raw("\">").raw(name).raw("</a> ");
    };
    if view.page > 1 {
        link(view.page - 1, "Previous");
    }
    if view.page < view.pages {
        link(view.page + 1, "Next");
    }
    out.text(&format!("page {} of {}", view.page, view.pages));
    out.raw("</nav>\n");
}

fn cluster(view: &ClusterView, out: &mut Html) {
    let (open, sign) = match view.state {
        State::NeedsAttention => ("<section class=\"wrong\"><h2>", "▲ needs attention"),
        State::Changing => ("<section class=\"changing\"><h2>", "◐ changing"),
        State::Ok => ("<section class=\"ok\"><h2>", "● ok"),
    };
    out.raw(open)
        .raw("<span class=\"quiet\">")
        .text(&view.namespace);
    out.raw("/</span>").text(&view.name);
    out.raw(" <span class=\"state\">")
        .raw(sign)
        .raw("</span></h2><p>Phase: ");
    out.text(view.phase.as_deref().unwrap_or("not known yet"));
    out.raw("</p>");
    if let Some(message) = view
        .message
        .as_deref()
        .filter(|message| !message.is_empty())
    {
        out.raw("<p class=\"message\">").text(message).raw("</p>");
    }
    for one in &view.components {
        component(one, out);
    }
    out.raw("</section>\n");
}

fn component(view: &ComponentView, out: &mut Html) {
    out.raw("<h3>").text(&view.name).raw("</h3><p>");
    out.text(&format!("{} of {} ready. ", view.ready, view.wanted));
    match view.service_leads_to.as_slice() {
        [] => out
            .raw("<b class=\"bad\">No pod has the leader's label: the service leads to none.</b>"),
        [one] => out.raw("The service leads to <b>").text(one).raw("</b>."),
        more => out
            .raw("<b class=\"bad\">More than one pod has the leader's label: ")
            .text(&more.join(", "))
            .raw(".</b>"),
    };
    if view.paused {
        out.raw(" <b>Paused</b>: no changes until spec.paused is unset.");
    }
    out.raw("</p>");
    for waits in &view.waiting_on {
        out.raw("<p class=\"message\">Waits: <b>")
            .text(&waits.reason)
            .raw("</b>: ");
        out.text(&waits.message).raw("</p>");
    }
    if let (true, Some(message)) = (view.waiting_on.is_empty(), &view.message) {
        out.raw("<p class=\"message\">").text(message).raw("</p>");
    }
    members(view, out);
    failovers(&view.failovers, out);
}

fn members(view: &ComponentView, out: &mut Html) {
    if view.members.is_empty() {
        out.raw("<p class=\"quiet\">No pods.</p>");
        return;
    }
    out.raw(
        "<table class=\"members\"><thead><tr><th>Member</th><th>Role</th><th>Term</th><th>Lag</th>",
    )
    .raw("<th>Database</th><th>Version</th><th>Alarms</th></tr></thead><tbody>");
    for row in &view.members {
        member(row, out);
    }
    out.raw("</tbody></table>");
    if view.more_members > 0 {
        out.raw("<p class=\"quiet\">And ")
            .text(&view.more_members.to_string())
            .raw(" more.</p>");
    }
}

fn member(row: &MemberRow, out: &mut Html) {
    let number =
        |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    out.raw("<tr><th scope=\"row\">")
        .text(&row.pod)
        .raw("</th><td data-name=\"Role\">");
    if row.role.as_deref() == Some("leader") {
        out.raw("<b>★ leader</b>");
    } else {
        out.text(row.role.as_deref().unwrap_or("-"));
    }
    out.raw("</td><td data-name=\"Term\">")
        .text(&number(row.term));
    out.raw("</td><td data-name=\"Lag\">")
        .text(&number(row.lag));
    out.raw("</td><td data-name=\"Database\">");
    database(row, out);
    out.raw("</td><td data-name=\"Version\">")
        .text(row.version.as_deref().unwrap_or("-"));
    out.raw("</td><td data-name=\"Alarms\">");
    if row.alarms.is_empty() {
        out.raw("-");
    } else {
        out.raw("<b class=\"bad\">")
            .text(&row.alarms.join(", "))
            .raw("</b>");
    }
    out.raw("</td></tr>");
    if let Some(trouble) = &row.trouble {
        out.raw("<tr class=\"trouble\"><td colspan=\"7\"><b class=\"bad\">")
            .text(&row.pod);
        out.raw("</b>: ").text(trouble).raw("</td></tr>");
    }
}

fn database(row: &MemberRow, out: &mut Html) {
    let Some(size) = row.db_bytes else {
        out.raw("-");
        return;
    };
    out.text(&bytes(size));
    let Some(quota) = row.quota_bytes.filter(|quota| *quota > 0) else {
        return;
    };
    let percent = u128::from(size) * 100 / u128::from(quota);
    let (size, all) = (size.to_string(), quota.to_string());
    out.raw(" of ").text(&bytes(quota));
    out.text(&format!(", {percent} %"));
    out.raw(" <meter aria-hidden=\"true\" min=\"0\" max=\"")
        .text(&all);
    out.raw("\" high=\"").text(&(quota / 5 * 4).to_string());
    out.raw("\" value=\"").text(&size).raw("\"></meter>");
}

fn failovers(all: &[FailoverView], out: &mut Html) {
    if all.is_empty() {
        return;
    }
    out.raw("<h4>Last changes of the leader</h4><ul>");
    for one in all {
        out.raw("<li>").text(&format!("{:.0}: ", one.at));
        out.text(&one.from).raw(" → <b>").text(&one.to).raw("</b>");
        out.text(&format!(
            ", term {}, labelled after {} ms",
            one.term, one.labelled_ms
        ));
        out.raw(" <span class=\"quiet\">(").text(one.seen_first);
        if let Some(unlabelled) = one.unlabelled_ms {
            out.text(&format!("; old label gone after {unlabelled} ms"));
        }
        if let Some(endpoints) = one.endpoints_ms {
            out.text(&format!("; in the service after {endpoints} ms"));
        }
        out.raw(")</span></li>");
    }
    out.raw("</ul>");
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{facts, hostile};
    use super::super::view::{Facts, clusters, page};
    use super::*;

    fn shown(facts: &Facts) -> String {
        let at = "2026-11-28T12:00:00Z".parse().expect("a time");
        html(&page(&clusters(facts), 1, "operator-0", at, &facts.unread))
    }

    #[test]
    fn everything_that_one_look_needs_is_on_the_page() {
        let page = shown(&facts());
        for text in [
            "<title>etcd clusters</title>",
            "4 in all: 2 need attention, 1 changing, 1 ok.",
            "<span class=\"quiet\">shop/</span>orders <span class=\"state\">● ok</span>",
            "The service leads to <b>orders-etcd-1</b>.",
            "<b>★ leader</b>",
            "<td data-name=\"Lag\">20</td>",
            "24.4 KiB of 2 GiB, 0 %",
            "1.9 GiB of 2 GiB, 99 %",
            "Waits: <b>CatchingUp</b>: new-etcd-2 has applied 100 of 120",
            "<b class=\"bad\">NOSPACE</b>",
            "<b class=\"bad\">full-etcd-2</b>: its agent does not answer",
            "orders-etcd-0 → <b>orders-etcd-1</b>, term 3, labelled after 140 ms",
            "(the old leader was lost; old label gone after 12 ms; in the service after 171 ms)",
        ] {
            assert!(page.contains(text), "{text}\n{page}");
        }
    }

    #[test]
    fn a_hostile_name_is_text_wherever_it_stands() {
        let mark = "\"'><script>alert(1)</script>";
        let page = shown(&hostile(mark));
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("\"'>"), "{page}");
        let safe = "&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;";
        // Namespace, name, phase, two messages, component, service, reason and text of what is waited for, pod,
        // version, alarm, pod and text of its trouble, both pods of a failover.
        assert!(page.matches(safe).count() >= 15, "{page}");
    }

    #[test]
    fn nothing_is_loaded_and_no_style_stands_beside_the_sheet() {
        let page = shown(&facts());
        for never in [
            "<script", "src=", " style=", "http://", "https://", "<link", "@import", "url(",
        ] {
            assert!(!page.contains(never), "{never}");
        }
    }

    #[test]
    fn a_kind_without_a_list_is_not_taken_for_none() {
        let unread = Facts {
            unread: vec!["Cluster"],
            ..Facts::default()
        };
        let page = shown(&unread);
        assert!(page.contains("no list of Cluster objects yet"), "{page}");
        assert!(!page.contains("There is no Cluster"), "{page}");
        assert!(shown(&Facts::default()).contains("There is no Cluster"));
    }

    /// Writes the sample to the path in PAGE_OUT, to be looked at in a browser.
    #[test]
    #[ignore = "writes a file for a person"]
    fn sample() {
        let path = std::env::var("PAGE_OUT").expect("PAGE_OUT names the file");
        std::fs::write(path, shown(&facts())).expect("written");
    }
}
