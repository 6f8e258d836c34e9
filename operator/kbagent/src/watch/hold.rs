//! Holds an idle connection to an etcd: the kernel ends it in the moment in which the process dies.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::tls::{Speaks, Tls};

/// Longest time to wait for a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// One question first: etcd that stops waits for a connection that never said anything (N8), and closes one that is
/// idle after an answer at once.
const QUESTION: &[u8] = b"GET /version HTTP/1.1\r\nHost: etcd\r\n\r\n";
/// Pause before the next attempt.
pub(crate) const AGAIN: Duration = Duration::from_secs(1);

/// Connects to `host:port` and waits until the connection ends. Silence is no end. With TLS a connection that says
/// nothing in it would be closed by etcd at once.
///
/// # Errors
/// When there was no connection.
pub(crate) async fn until_it_ends(address: &str, tls: &Tls) -> io::Result<()> {
    let mut stream = timeout(CONNECT, tls.connect(address, Speaks::Http1)).await??;
    stream.write_all(QUESTION).await?;
    let mut answer = [0; 512];
    while stream.read(&mut answer).await.is_ok_and(|read| read > 0) {}
    Ok(())
}

/// Notifies `alarm` whenever the etcd at `address` ends.
pub(super) async fn own(address: String, tls: Tls, alarm: Arc<Notify>) {
    loop {
        if until_it_ends(&address, &tls).await.is_ok() {
            alarm.notify_one();
        }
        sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_connection_is_held_until_the_other_end_goes() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let address = listener.local_addr().expect("address");
        let alarm = Arc::new(Notify::new());
        let (plain, address) = (Tls::default(), address.to_string());
        let holding = tokio::spawn(own(address.clone(), plain.clone(), Arc::clone(&alarm)));
        let (peer, _) = listener.accept().await.expect("accept");
        let silence = timeout(Duration::from_millis(50), alarm.notified()).await;
        assert!(silence.is_err(), "silence is no end");
        drop(peer);
        // Only against hanging.
        let guard = Duration::from_secs(30);
        assert!(timeout(guard, alarm.notified()).await.is_ok());
        holding.abort();
        drop(listener);
        let refused = until_it_ends(&address, &plain)
            .await
            .expect_err("no listener");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
