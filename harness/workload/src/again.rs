//! What is tried again until it is done or the time is over, and what is done side by side.

use std::time::Duration;

use etcd_client::Client;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{connection::Held, schedule::pause};

/// Longest time for one answer: one that is lost costs no more than this.
const ANSWER: Duration = Duration::from_secs(30);
/// Pause between two tries.
pub(crate) const AGAIN: Duration = Duration::from_millis(100);

/// Tries until it succeeds or the time is over, and once at least.
///
/// # Errors
/// That of the last try.
pub(crate) async fn until_done<T, F>(
    until: Instant,
    mut attempt: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => pause(AGAIN).await,
        }
    }
}

/// Asks something on a held connection, which is given up where it brings no answer.
///
/// # Errors
/// Without a connection or an answer.
pub(crate) async fn ask<T, F>(
    held: &Held,
    until: Instant,
    question: impl FnOnce(Client) -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, etcd_client::Error>>,
{
    let limit = until.min(Instant::now() + ANSWER);
    let (number, client) = held.get_patiently(limit).await?;
    let error = match timeout_at(limit, question(client)).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => anyhow::Error::from(error),
        Err(elapsed) => anyhow::Error::from(elapsed).context("no answer in time"),
    };
    held.give_up(number).await;
    Err(error)
}

/// Does this with all of them, so many at a time, each in a lane that it has for itself.
///
/// # Errors
/// The first one; what is under way is given up.
pub(crate) async fn side_by_side<T, F>(
    lanes: u32,
    all: Vec<T>,
    work: impl Fn(u32, T) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut free: Vec<u32> = (0..lanes).rev().collect();
    let mut left = all.into_iter();
    let mut under_way = JoinSet::new();
    loop {
        while !free.is_empty()
            && let Some(next) = left.next()
            && let Some(lane) = free.pop()
        {
            let done = work(lane, next);
            under_way.spawn(async move { (lane, done.await) });
        }
        let Some(ended) = under_way.join_next().await else {
            return Ok(());
        };
        let (lane, done) = ended?;
        done?;
        free.push(lane);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    };

    use anyhow::bail;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_tried_until_the_end_of_the_time() {
        let begun = Instant::now();
        let until = begun + Duration::from_secs(100);
        let tries = AtomicU32::new(0);
        let late = until_done(until, async || {
            pause(Duration::from_secs(20)).await;
            match tries.fetch_add(1, Ordering::Relaxed) {
                0..3 => Err(anyhow::anyhow!("the member does not answer")),
                tries => Ok(tries),
            }
        });
        assert_eq!(late.await.unwrap(), 3, "after 80 s");
        let tries = AtomicU32::new(0);
        let never = until_done(until, async || {
            tries.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(anyhow::anyhow!("no hash"))
        });
        assert_eq!(never.await.unwrap_err().to_string(), "no hash");
        assert!(tries.load(Ordering::Relaxed) > 100);
        assert!(begun.elapsed() < Duration::from_secs(101));
    }

    #[tokio::test]
    async fn a_connection_that_brings_no_answer_is_dialled_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = listener.local_addr().unwrap().to_string();
        let accepted = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    pause(Duration::from_millis(200)).await;
                    drop(stream);
                });
            }
        });
        let reach = Arc::new(crate::reach::Reach::with(None, None));
        let held = Held::new(reach, &name);
        let until = Instant::now() + Duration::from_secs(30);
        for n in 1..=3 {
            let asked = ask(&held, until, |client| async move {
                client.maintenance_client().status().await
            });
            assert!(asked.await.is_err());
            assert!(accepted.load(Ordering::Relaxed) >= n);
        }
    }

    /// Does ten things in three lanes: the most at a time, what was done, and how it ended.
    async fn ten(fails: Option<u32>) -> (u32, Vec<u32>, anyhow::Result<()>) {
        let (now, most) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicU32::new(0)),
        );
        let done = Arc::new(Mutex::new(Vec::new()));
        let (lanes, at_a_time, ended) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&done));
        let result = side_by_side(3, (0..10).collect(), move |lane, n| {
            let (lanes, most, ended) = (lanes.clone(), at_a_time.clone(), ended.clone());
            async move {
                {
                    let mut lanes = lanes.lock().unwrap();
                    assert!(!lanes.contains(&lane), "two in lane {lane}");
                    lanes.push(lane);
                    let count = u32::try_from(lanes.len()).unwrap();
                    most.fetch_max(count, Ordering::Relaxed);
                }
                pause(Duration::from_millis(10 + u64::from(n % 3))).await;
                lanes.lock().unwrap().retain(|other| *other != lane);
                if fails == Some(n) {
                    bail!("{n} failed");
                }
                ended.lock().unwrap().push(n);
                Ok(())
            }
        });
        let result = result.await;
        let mut done = done.lock().unwrap().clone();
        done.sort_unstable();
        (most.load(Ordering::Relaxed), done, result)
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_done_at_a_time_and_all_in_the_end() {
        let (most, done, result) = ten(None).await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!((most, done), (3, (0..10).collect()));
        let (_, done, result) = ten(Some(4)).await;
        assert_eq!(result.unwrap_err().to_string(), "4 failed");
        assert!(!done.contains(&9), "{done:?}");
    }
}
