//! Passes on what a client and a member say to each other.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;

/// Bytes that are on their way, in each direction of a connection.
const BUFFER: usize = 8 * 1024;
/// How long a connection may be silent before the kernel asks, and between two questions.
const ALIVE: Duration = Duration::from_secs(15);
/// How long sent bytes may stay unacknowledged, or unread: who is gone goes.
const UNACKNOWLEDGED: Duration = Duration::from_mins(1);
/// What a client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The conversation is over.
    Over,
    /// The member ended it without a word, and has done nothing: all that the client said may be said to another.
    Unanswered,
}

/// Passes on until one of them ends it. `said` holds what the client has said and no member has answered; it is said
/// first.
pub(super) async fn pass(
    client: &mut TcpStream,
    mut member: TcpStream,
    said: &mut Vec<u8>,
    answered: impl FnOnce(),
) -> End {
    match first_answer(client, &mut member, said).await {
        Ok(true) => {}
        Ok(false) if may_be_repeated(said) => return End::Unanswered,
        Ok(false) => return End::Over,
        Err(error) => {
            tracing::debug!(%error, "a connection ended");
            return End::Over;
        }
    }
    answered();
    *said = Vec::new();
    if let Err(error) = copy_bidirectional_with_sizes(client, &mut member, BUFFER, BUFFER).await {
        tracing::debug!(%error, "a connection ended");
    }
    End::Over
}

/// Passes on until the member has said something, or the client so much that it cannot be kept; false when the member
/// ended before.
///
/// # Errors
/// The client's.
async fn first_answer(
    client: &mut TcpStream,
    member: &mut TcpStream,
    said: &mut Vec<u8>,
) -> io::Result<bool> {
    if member.write_all(said).await.is_err() {
        return Ok(false);
    }
    let mut answer = vec![0; BUFFER];
    while may_be_repeated(said) && said.len() < BUFFER {
        let before = said.len();
        tokio::select! {
            read = member.read(&mut answer) => {
                let Some(read) = read.ok().filter(|read| *read > 0) else {
                    return Ok(false);
                };
                client.write_all(&answer[..read]).await?;
                return Ok(true);
            }
            read = client.read_buf(said) => {
                if read? == 0 {
                    return Ok(true);
                }
                if member.write_all(&said[before..]).await.is_err() {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// Pure: whether a member that has answered nothing can have done nothing of what was said. One of HTTP/2 sends its
/// settings before it reads a request, and one of TLS its handshake; another form of HTTP may be a request already.
fn may_be_repeated(said: &[u8]) -> bool {
    let shared = said.len().min(PREFACE.len());
    said.first().is_none_or(|first| *first == HANDSHAKE) || said[..shared] == PREFACE[..shared]
}

/// Sets a connection up: nothing waits for more to come, and who is gone is noticed.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let alive = TcpKeepalive::new().with_time(ALIVE).with_interval(ALIVE);
    socket.set_tcp_keepalive(&alive)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}

/// Resets a connection: its client must not take this for the end of a conversation.
pub(super) fn reset(stream: TcpStream) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn what_may_hold_a_request_is_not_repeated() {
        let (all, begun) = (PREFACE, &PREFACE[..5]);
        let more = [PREFACE, b"\0\0\0\x04"].concat();
        for said in [&b""[..], begun, all, &more, b"\x16\x03\x01"] {
            assert!(may_be_repeated(said), "{said:?}");
        }
        for said in [
            &b"P"[..1],
            b"PO",
            b"POST /v3/kv/put HTTP/1.1",
            b"G",
            b"PRI * HTTP/1",
        ] {
            assert_eq!(may_be_repeated(said), said == b"P", "{said:?}");
        }
    }

    /// A connection, and its other end.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
        let address = listener.local_addr().expect("an address");
        let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
        (one.expect("connects"), other.expect("accepts").0)
    }

    /// What a client says first, how the member takes it (`None`: it reads and ends), and how that ends.
    async fn ends(says: &[u8], answer: Option<&[u8]>) -> (End, Vec<u8>, bool) {
        let (mut outside, mut client) = pair().await;
        let (member, mut etcd) = pair().await;
        outside.write_all(says).await.expect("says");
        let (mut said, mut answered) = (Vec::new(), false);
        let etcd = async move {
            let mut heard = vec![0; says.len()];
            etcd.read_exact(&mut heard).await.expect("heard");
            assert_eq!(heard, says);
            if let Some(answer) = answer {
                etcd.write_all(answer).await.expect("answers");
            }
        };
        let passes = async {
            let end = pass(&mut client, member, &mut said, || answered = true).await;
            // Whatever is left is the end of the test.
            client.shutdown().await.expect("ended");
            end
        };
        let hears = async move {
            let mut heard = Vec::new();
            outside.read_to_end(&mut heard).await.expect("heard");
            heard
        };
        let (end, (), heard) = tokio::join!(passes, etcd, hears);
        assert_eq!(heard, answer.unwrap_or_default());
        (end, said, answered)
    }

    #[tokio::test]
    async fn what_a_dying_member_did_not_answer_is_kept_for_the_next_one() {
        let (end, said, answered) = ends(PREFACE, None).await;
        assert_eq!(
            (end, said.as_slice(), answered),
            (End::Unanswered, PREFACE, false)
        );
        let (end, said, answered) = ends(PREFACE, Some(b"settings")).await;
        assert_eq!((end, said.len(), answered), (End::Over, 0, true));
    }

    #[tokio::test]
    async fn a_request_that_a_dying_member_may_have_done_is_not_said_again() {
        let (end, ..) = ends(b"POST /v3/kv/put HTTP/1.1\r\n\r\n", None).await;
        assert_eq!(end, End::Over);
    }

    #[tokio::test]
    async fn the_next_member_is_told_what_the_first_did_not_answer() {
        let (mut outside, mut client) = pair().await;
        let (member, mut etcd) = pair().await;
        let mut said = PREFACE.to_vec();
        let passes = pass(&mut client, member, &mut said, || ());
        let talks = async {
            let mut heard = [0; 28];
            etcd.read_exact(&mut heard[..24]).await.expect("heard");
            etcd.write_all(b"settings").await.expect("answers");
            let mut answer = [0; 8];
            outside.read_exact(&mut answer).await.expect("answered");
            outside.write_all(b"more").await.expect("says");
            etcd.read_exact(&mut heard[24..]).await.expect("heard");
            drop((outside, etcd));
            [&heard[..], &answer].concat()
        };
        let (end, heard) = tokio::join!(passes, talks);
        assert_eq!(end, End::Over);
        assert_eq!(heard, [PREFACE, b"more", b"settings"].concat());
    }
}
