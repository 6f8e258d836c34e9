//! What a container has said since its last start. Docker keeps one log of all its lives and cuts it by whole seconds,
//! so the time of each line is compared with the start.

use bollard::query_parameters::LogsOptionsBuilder;
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};

use crate::bare::cluster::BareCluster;

/// Docker notes when a container was started after its process runs: what one that ends at once has said may be older
/// by this.
const NOTED: SignedDuration = SignedDuration::from_secs(1);

impl BareCluster {
    /// The end of what a container has said since its last start: of so many last lines of its log.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    pub(crate) async fn log_since_start(&self, name: &str, lines: &str) -> Result<String, String> {
        let failed = |why: &dyn std::fmt::Display| {
            format!("failed to read the log of container {name}: {why}")
        };
        let seen = self.seen(name).await.map_err(|error| error.to_string())?;
        let started = seen.started_at.parse::<Timestamp>();
        let started = started.map_err(|error| failed(&error))?;
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .tail(lines)
            .build();
        let mut chunks = self.docker().logs(name, Some(options));
        let (mut text, mut just_before) = (String::new(), String::new());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| failed(&error))?.into_bytes();
            let chunk = String::from_utf8_lossy(&chunk);
            let said = |since| said_since(since, &chunk).map_err(|why| failed(&why));
            text.push_str(said(started)?);
            just_before.push_str(said(started - NOTED)?);
        }
        let ended_at_once = text.is_empty() && !seen.running;
        Ok(if ended_at_once { just_before } else { text })
    }
}

/// What Docker gives out at once, a line or a part of one, without its time; nothing where that is before the start.
fn said_since(started: Timestamp, chunk: &str) -> Result<&str, String> {
    let (time, said) = chunk.split_once(' ').unwrap_or((chunk.trim_end(), ""));
    let time = time.parse::<Timestamp>();
    let time = time.map_err(|error| format!("a line without its time: {error}"))?;
    Ok(if time < started { "" } else { said })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare::member::Layout;
    use crate::cluster::fake_docker::{FakeDocker, log_line};

    const STARTED: &str = "2026-11-30T06:00:00.5Z";

    fn docker(log: Vec<u8>, running: bool) -> FakeDocker {
        FakeDocker::new(move |request| match request {
            "GET /containers/m0/json" => {
                let state = format!(r#""Running":{running},"StartedAt":"{STARTED}""#);
                (200, format!(r#"{{"State":{{{state}}}}}"#).into_bytes())
            }
            "GET /containers/m0/logs" => (200, log.clone()),
            _ => (404, br#"{"message":"no such container"}"#.to_vec()),
        })
    }

    async fn read(log: Vec<u8>) -> Result<String, String> {
        read_of(log, false).await
    }

    async fn read_of(log: Vec<u8>, running: bool) -> Result<String, String> {
        let fake = docker(log, running);
        let cluster = BareCluster::new(fake.docker.clone(), Layout::new("r", 1, &[]));
        cluster.log_since_start("m0", "400").await
    }

    #[tokio::test]
    async fn lines_of_a_former_life_are_left_out() {
        // Within one second: a panic, the next start, and an end without one.
        let log = [
            log_line("2026-11-30T06:00:00.200000000Z panic: failpoint panic: raftBeforeSave\n"),
            log_line("2026-11-30T06:00:00.500000000Z {\"msg\":\"starts\"}\n"),
            log_line("2026-11-30T06:00:00.750000000Z killed\n"),
        ];
        let read = read(log.concat()).await.expect("it is read");
        assert_eq!(read, "{\"msg\":\"starts\"}\nkilled\n");
    }

    #[tokio::test]
    async fn what_ended_before_docker_had_noted_its_start_is_not_left_out() {
        let log = [
            log_line("2026-11-30T05:59:58.000000000Z of a former life\n"),
            log_line("2026-11-30T06:00:00.400000000Z {\"level\":\"fatal\"}\n"),
        ];
        let ended = read(log.concat()).await.expect("it is read");
        assert_eq!(ended, "{\"level\":\"fatal\"}\n");
        // One that runs has said nothing yet.
        let runs = read_of(log.concat(), true).await;
        assert_eq!(runs.as_deref(), Ok(""));
    }

    #[tokio::test]
    async fn a_log_that_says_no_times_is_no_answer() {
        let error = read(log_line("panic: somewhen\n"))
            .await
            .expect_err("no time");
        assert!(error.contains("a line without its time"), "{error}");
    }

    #[test]
    fn an_empty_line_and_a_part_of_a_long_one_are_kept() {
        let started = STARTED.parse().expect("a time");
        let later = "2026-11-30T06:00:01.000000000Z";
        assert_eq!(said_since(started, &format!("{later} \n")), Ok("\n"));
        assert_eq!(said_since(started, &format!("{later} part")), Ok("part"));
        assert_eq!(said_since(started, later), Ok(""));
    }
}
