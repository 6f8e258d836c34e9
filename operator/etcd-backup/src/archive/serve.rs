//! Serves where the archive stands: for the operator as JSON, for Prometheus as text.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use kbagent_protocol::{ArchiveBase, ArchiveReport, PATH_ARCHIVE, PATH_HEALTHZ};
use sha2::{Digest, Sha256};
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::Instant;

use super::standing::Standing;
use crate::error::Error;
use crate::progress::listen;

/// Longest text of a failure that is told, in characters.
const TEXT: usize = 900;

#[derive(Clone)]
struct App {
    standing: Receiver<Standing>,
    told: Sender<Option<i64>>,
    backup_uid: Arc<str>,
}

/// Serves until it is dropped, and passes on which full backup counts, as who knows the Backup's UID says: that is
/// drawn, and a pod without rights cannot read it.
///
/// # Errors
/// When the port cannot be had.
pub async fn serve(
    port: u16,
    standing: Receiver<Standing>,
    told: Sender<Option<i64>>,
    backup_uid: &str,
) -> Result<std::convert::Infallible, Error> {
    let app = App {
        standing,
        told,
        backup_uid: backup_uid.into(),
    };
    let router = Router::new()
        .route(PATH_ARCHIVE, get(json))
        .route("/metrics", get(metrics))
        .route(PATH_HEALTHZ, get(async || "ok\n"))
        .with_state(app);
    listen(port, router).await
}

async fn json(
    State(app): State<App>,
    Query(ArchiveBase { base, backup }): Query<ArchiveBase>,
) -> Json<ArchiveReport> {
    if base.is_some() && is_same(backup.as_deref().unwrap_or_default(), &app.backup_uid) {
        app.told.send_replace(base);
    }
    let mut told = report(&app.standing.borrow(), Instant::now());
    // The object that names the Backup may be what could not be written.
    let hidden = |text: String| text.replace(&*app.backup_uid, "(hidden)");
    told.failure = told.failure.map(hidden);
    Json(told)
}

/// Hashes are compared: how long that takes says nothing of the UID.
fn is_same(said: &str, own: &str) -> bool {
    Sha256::digest(said) == Sha256::digest(own)
}

async fn metrics(State(App { standing, .. }): State<App>) -> impl IntoResponse {
    let text = text(&standing.borrow(), Instant::now());
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
}

/// Pure: what the operator is told.
fn report(standing: &Standing, now: Instant) -> ArchiveReport {
    let short = |text: String| text.chars().take(TEXT).collect();
    let gap = standing.gap.as_ref();
    ArchiveReport {
        after: standing.begins.map(|(after, _)| after),
        since: standing.begins.map(|(_, since)| since),
        through: standing.through,
        until: standing.until,
        lag: standing.lag(now),
        gap: gap.map(|gap| {
            short(format!(
                "revisions {} to {}: {}",
                gap.after + 1,
                gap.until,
                gap.why
            ))
        }),
        gap_until: gap.map(|gap| gap.until),
        failure: standing.failure.clone().map(short),
        warning: standing.warning(),
    }
}

/// Pure: the same for Prometheus.
fn text(standing: &Standing, now: Instant) -> String {
    let all = [
        (
            "kb_etcd_archive_lag_seconds",
            "gauge",
            "Seconds since the repository had all that the cluster had.",
            standing.lag(now) as f64 / 1000.0,
        ),
        (
            "kb_etcd_archive_revision",
            "gauge",
            "Last revision in the repository.",
            standing.through as f64,
        ),
        (
            "kb_etcd_archive_segments_total",
            "counter",
            "Segments that this process has stored.",
            standing.segments as f64,
        ),
        (
            "kb_etcd_archive_bytes_total",
            "counter",
            "Bytes of them.",
            standing.bytes as f64,
        ),
        (
            "kb_etcd_archive_gap_revision",
            "gauge",
            "Last revision of the last gap that is known; a full backup of a later one closes it.",
            standing.gap.as_ref().map_or(0, |gap| gap.until) as f64,
        ),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in all {
        let _never = write!(
            text,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::segment::Gap;

    #[test]
    fn lag_revision_gap_and_failure_are_told() {
        let began = Instant::now();
        let now = began + std::time::Duration::from_millis(500);
        let standing = Standing {
            begins: Some((5, 100)),
            through: 9,
            until: 2000,
            in_step: Some((began, 1000)),
            gap: Some(Gap {
                after: 6,
                until: 8,
                why: "compacted".into(),
            }),
            failure: Some("x".repeat(2000)),
            ..Standing::default()
        };
        let told = report(&standing, now);
        assert_eq!((told.lag, told.through, told.gap_until), (1500, 9, Some(8)));
        assert_eq!(told.gap.as_deref(), Some("revisions 7 to 8: compacted"));
        assert_eq!(told.failure.map(|text| text.len()), Some(TEXT));
        assert_eq!(told.warning, None);
        let text = text(&standing, now);
        assert!(
            text.contains("\nkb_etcd_archive_lag_seconds 1.5\n"),
            "{text}"
        );
        assert!(
            text.contains("\nkb_etcd_archive_gap_revision 8\n"),
            "{text}"
        );
    }

    #[test]
    fn an_archive_of_many_objects_warns_while_nothing_fails() {
        let warning = |objects| {
            let standing = Standing {
                objects,
                ..Standing::default()
            };
            report(&standing, Instant::now()).warning
        };
        assert_eq!(warning(250_000), None);
        let told = warning(250_001).expect("a warning");
        assert_eq!(warning(299_999), Some(told.clone()), "it stays the same");
        assert!(
            told.contains("250000 objects") && told.contains("retentionPeriod"),
            "{told}"
        );
    }

    /// What is answered at this port.
    async fn ask(port: u16, query: &str) -> ArchiveReport {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = loop {
            match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let request =
            format!("GET {PATH_ARCHIVE}{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        serde_json::from_str(body).expect("a report")
    }

    #[tokio::test]
    async fn it_is_served_as_json_and_believes_of_full_backups_who_knows_its_own() {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("one")
            .port();
        let (sender, receiver) = tokio::sync::watch::channel(Standing::default());
        let (tells, told) = tokio::sync::watch::channel(None);
        sender.send_modify(|standing| {
            standing.through = 77;
            standing.failure = Some("failed to write p/owner-u-1".to_owned());
        });
        let asked = async {
            for (query, base) in [
                ("", None),
                ("?base=9", None),
                ("?base=9&backup=", None),
                ("?base=9&backup=another", None),
                ("?base=9&backup=u-1", Some(9)),
                ("?base=7&backup=u-2", Some(9)),
                ("?base=-1&backup=u-1", Some(-1)),
            ] {
                let report = ask(port, query).await;
                let failure = report.failure.as_deref();
                let expected = (77, Some("failed to write p/owner-(hidden)"));
                assert_eq!((report.through, failure), expected);
                assert_eq!(*told.borrow(), base, "{query}");
            }
        };
        tokio::select! {
            () = asked => {}
            _ = serve(port, receiver, tells, "u-1") => unreachable!(),
        }
    }
}
