//! Holds an idle connection to an etcd: the kernel ends it in the moment in which the process dies.

use std::io::{self, ErrorKind};
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
/// How the answer of an etcd begins that keeps the connection, whatever its status: with `--host-whitelist` it is 421.
/// One with TLS answers a question without it in HTTP/1.0.
const ANSWER: &[u8] = b"HTTP/1.1 ";
/// Pause before the next attempt.
pub(crate) const AGAIN: Duration = Duration::from_secs(1);

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// etcd had answered, and then it ended as the kernel of a process that dies ends it. Without TLS an etcd that
    /// closes it looks the same.
    Cut,
    /// Otherwise: by an alert of TLS, which a process sends, before there was an answer, or by the own kernel.
    Other,
}

/// Connects to `host:port` and waits until the connection ends. Silence is no end. With TLS a connection that says
/// nothing in it would be closed by etcd at once.
///
/// # Errors
/// When there was no connection.
pub(crate) async fn until_it_ends(address: &str, tls: &Tls) -> io::Result<End> {
    let mut stream = timeout(CONNECT, tls.connect(address, Speaks::Http1)).await??;
    stream.write_all(QUESTION).await?;
    let mut answer = [0; 512];
    let mut answered = false;
    let cut = loop {
        match stream.read(&mut answer).await {
            // Within TLS this is the alert `close_notify`.
            Ok(0) => break !tls.is_on(),
            Ok(_) => answered |= answer.starts_with(ANSWER),
            // Of TLS whose connection ended without that alert, and of the kernel. An alert that refuses is
            // `InvalidData`.
            Err(error) => {
                break matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                );
            }
        }
    };
    Ok(if answered && cut {
        End::Cut
    } else {
        End::Other
    })
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
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair};
    use tokio::net::TcpListener;

    use super::*;
    use crate::tls::{FILES, Stream};

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

    /// A certificate that is its own CA.
    fn member(directory: &Path) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        let made = params.self_signed(&key).expect("a certificate");
        let texts = [made.pem(), made.pem(), key.serialize_pem()];
        for (file, text) in FILES.iter().zip(texts) {
            std::fs::write(directory.join(file), text).expect("written");
        }
    }

    /// What the other end does.
    #[derive(Clone, Copy, Debug)]
    enum Does {
        /// Reads the question and answers so; says that it closes, or is just gone.
        Answers(&'static str, bool),
        /// Closes as soon as the connection is there.
        Closes,
    }

    const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

    /// How the connection to an end that does this is found to have ended.
    async fn ended(does: Does, server: Option<&Tls>, client: &Tls) -> End {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        let serve = async {
            let (stream, _) = listener.accept().await.expect("accept");
            let mut stream: Box<dyn Stream> = match server {
                // One that refuses has sent its alert.
                Some(tls) => match tls.accept(stream).await {
                    Ok((stream, _)) => stream,
                    Err(_) => return,
                },
                None => Box::new(stream),
            };
            let Does::Answers(answer, says) = does else {
                return;
            };
            let mut question = [0; 512];
            assert!(stream.read(&mut question).await.is_ok_and(|read| read > 0));
            stream.write_all(answer.as_bytes()).await.expect("answered");
            stream.flush().await.expect("answered");
            if says {
                stream.shutdown().await.expect("closed");
            }
        };
        let (end, ()) = tokio::join!(until_it_ends(&address, client), serve);
        // One that refuses may be quicker than the question.
        end.unwrap_or(End::Other)
    }

    #[tokio::test]
    async fn only_a_connection_that_was_good_and_ends_without_a_word_is_cut() {
        let plain = Tls::default();
        let other =
            "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.";
        let listed = "HTTP/1.1 421 Misdirected Request\r\ncontent-length: 0\r\n\r\n";
        for (does, end) in [
            (Does::Answers(GOOD, false), End::Cut),
            (Does::Answers(listed, false), End::Cut),
            (Does::Answers(other, false), End::Other),
            (Does::Closes, End::Other),
        ] {
            assert_eq!(ended(does, None, &plain).await, end, "{does:?}");
        }
    }

    #[tokio::test]
    async fn an_alert_of_tls_is_no_cut() {
        let [ours, others, strict] = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
        member(ours.path());
        let tls = Tls::new(Some(ours.path()));
        for (does, end) in [
            (Does::Answers(GOOD, false), End::Cut),
            (Does::Answers(GOOD, true), End::Other),
            (Does::Closes, End::Other),
        ] {
            assert_eq!(ended(does, Some(&tls), &tls).await, end, "{does:?}");
        }
        // One that shows the certificate that is trusted, and trusts another one itself.
        member(others.path());
        for (file, from) in FILES.iter().zip([&others, &ours, &ours]) {
            std::fs::copy(from.path().join(file), strict.path().join(file)).expect("a copy");
        }
        let strict = Tls::new(Some(strict.path()));
        let found = ended(Does::Answers(GOOD, false), Some(&strict), &tls).await;
        assert_eq!(found, End::Other, "the handshake ends with an alert");
    }
}
