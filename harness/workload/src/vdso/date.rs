//! The time that etcd itself has: each of its answers by HTTP says it, to the second.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;

use crate::vdso::rate::Answer;

/// Longest wait for each step of an answer.
const LONGEST: Duration = Duration::from_secs(2);
const QUESTION: &str = "GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// Most of an answer that is read.
const MOST: u64 = 8 * 1024;

/// What an answer shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// By how many seconds it is ahead of this machine.
    pub(super) ahead_s: i64,
    pub(super) answer: Answer,
}

/// Asks the etcd at a port of the loopback.
pub(super) fn seen(port: u16) -> anyhow::Result<Seen> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let asked = Instant::now();
    let answer = ask(&at, QUESTION, LONGEST);
    let came = Instant::now();
    let answer = answer.with_context(|| format!("failed to ask etcd at {at} for its time"))?;
    let date = date(&answer).with_context(|| format!("etcd at {at} said no time: {answer:?}"))?;
    Ok(Seen {
        ahead_s: seconds(date, SystemTime::now()),
        answer: Answer {
            seconds: seconds(date, SystemTime::UNIX_EPOCH),
            asked,
            came,
        },
    })
}

/// Asks by HTTP, and waits for so long for each step of the answer.
pub(super) fn ask(at: &SocketAddr, question: &str, longest: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(at, LONGEST)?;
    stream.set_read_timeout(Some(longest))?;
    stream.set_write_timeout(Some(LONGEST))?;
    stream.write_all(question.as_bytes())?;
    let mut answer = String::new();
    stream.take(MOST).read_to_string(&mut answer)?;
    Ok(answer)
}

/// The time in an answer.
fn date(answer: &str) -> Option<SystemTime> {
    let mut heads = answer.lines().filter_map(|line| line.split_once(':'));
    let (_, date) = heads.find(|(name, _)| name.eq_ignore_ascii_case("date"))?;
    httpdate::parse_http_date(date.trim()).ok()
}

/// Seconds from one time to another that is earlier, or less than none; what is less than one is left out.
fn seconds(time: SystemTime, from: SystemTime) -> i64 {
    let whole = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(from) {
        Ok(ahead) => whole(ahead),
        Err(behind) => -whole(behind.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_from_the_head_of_an_answer() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ndate: Mon, 30 Nov 2026 06:00:00 GMT\r\n\r\n{}";
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_018_400);
        assert_eq!(date(answer), Some(at));
        assert_eq!(date("HTTP/1.1 200 OK\r\n\r\n"), None);
        assert_eq!(date("HTTP/1.1 200 OK\r\nDate: noon\r\n\r\n"), None);
    }

    #[test]
    fn a_time_is_ahead_or_behind() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let hour = Duration::from_secs(3_600);
        assert_eq!(seconds(now + hour, now), 3_600);
        assert_eq!(seconds(now - hour, now), -3_600);
        assert_eq!(seconds(now, now + Duration::from_millis(900)), 0);
    }
}
