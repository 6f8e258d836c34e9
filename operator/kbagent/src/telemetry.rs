//! Logs: JSON lines on standard error, at INFO and above; INFO is written on change only, never each poll. No secrets.

use tracing_subscriber::filter::LevelFilter;

/// Installs the logger; `KB_LOG=debug` shows more.
pub fn install() {
    let wanted = std::env::var("KB_LOG").unwrap_or_default();
    let level = wanted.parse::<LevelFilter>().unwrap_or(LevelFilter::INFO);
    let level = if wanted.is_empty() {
        LevelFilter::INFO
    } else {
        level
    };
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .init();
}
