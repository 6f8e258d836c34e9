//! Passes on what a client and a member say to each other.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;

use super::sockets::bound;

/// Bytes that are on their way between the two sockets, in each direction of a connection.
pub(super) const BUFFER: usize = 8 * 1024;
/// How long a connection may be silent before the kernel asks, and between two questions.
const ALIVE: Duration = Duration::from_secs(15);
/// How long sent bytes may stay unacknowledged, or unread: who is gone goes.
const UNACKNOWLEDGED: Duration = Duration::from_mins(1);
/// What a client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// Length of the head of a frame of HTTP/2, which begins with the length of the rest.
const HEAD: usize = 9;
/// Where the type of a frame is in its head, and the type of the frame that follows the preface.
const SETTINGS: (usize, u8) = (3, 4);

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The conversation is over.
    Over,
    /// The member ended it without a word, and has done nothing: all that the client said may be said to another.
    Unanswered,
}

/// What came of a beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// The member has answered, or has what may be a request.
    Passed,
    /// The client says no more, and the member has not answered.
    Left,
    /// The member ended it before, and no request was passed on to it.
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
    match begin(client, &mut member, said).await {
        Ok(First::Passed) => answered(),
        Ok(First::Left) => {}
        Ok(First::Unanswered) => return End::Unanswered,
        Err(error) => {
            tracing::debug!(%error, "a connection ended");
            return End::Over;
        }
    }
    *said = Vec::new();
    if let Err(error) = copy_bidirectional_with_sizes(client, &mut member, BUFFER, BUFFER).await {
        tracing::debug!(%error, "a connection ended");
    }
    End::Over
}

/// Passes on until the member has said something. Before that it is told no request that is kept for another member:
/// what a client says without waiting for an answer may be done, and its answer lost with the member.
///
/// # Errors
/// Those of a connection that carries what may not be repeated.
async fn begin(
    client: &mut TcpStream,
    member: &mut TcpStream,
    said: &mut Vec<u8>,
) -> io::Result<First> {
    let (mut passed, mut left) = (0, false);
    let mut answer = vec![0; BUFFER];
    loop {
        let Some(end) = without_request(said).filter(|end| left || *end < BUFFER) else {
            member.write_all(&said[passed..]).await?;
            return Ok(First::Passed);
        };
        if member.write_all(&said[passed..end]).await.is_err() {
            return Ok(First::Unanswered);
        }
        passed = end;
        if left && end == said.len() {
            return Ok(First::Left);
        }
        tokio::select! {
            biased;
            read = member.read(&mut answer) => {
                let Some(read) = read.ok().filter(|read| *read > 0) else {
                    return Ok(First::Unanswered);
                };
                client.write_all(&answer[..read]).await?;
                member.write_all(&said[passed..]).await?;
                return Ok(First::Passed);
            }
            read = client.read_buf(said), if !left && said.len() < BUFFER => left = read? == 0,
        }
    }
}

/// Pure: how much of a beginning is told to a member that has answered nothing, because it can do nothing by it; `None`
/// when it may be a request. One of TLS answers a handshake, one of HTTP/2 the preface and the settings after it. Other
/// forms of HTTP begin with a request.
fn without_request(said: &[u8]) -> Option<usize> {
    let shared = said.len().min(PREFACE.len());
    if said.first().is_none_or(|first| *first == HANDSHAKE) {
        return Some(said.len());
    }
    if said[..shared] != PREFACE[..shared] {
        return None;
    }
    let frame = &said[shared..];
    let (at, settings) = SETTINGS;
    if frame.get(at).is_some_and(|kind| *kind != settings) {
        return None;
    }
    let Some([high, middle, low, ..]) = frame.get(..HEAD) else {
        return Some(said.len());
    };
    let length = (usize::from(*high) << 16) | (usize::from(*middle) << 8) | usize::from(*low);
    Some(said.len().min(shared + HEAD + length))
}

/// Sets a connection up: its buffers are bounded, nothing waits for more to come, and who is gone is noticed.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    bound(&socket)?;
    stream.set_nodelay(true)?;
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

    /// Settings of HTTP/2 with one of them, and the begin of the frame after it.
    const SET: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    const REQUEST: &[u8] = b"\0\0\x01\x01\x05\0\0\0\x01\x82";

    #[test]
    fn what_may_hold_a_request_is_not_repeated() {
        let settings = [PREFACE, SET].concat();
        let whole = [&settings, REQUEST].concat();
        let odd = [PREFACE, REQUEST].concat();
        // What was said, and how much of it may be told.
        let cases: [(&[u8], Option<usize>); 14] = [
            (b"", Some(0)),
            (&PREFACE[..5], Some(5)),
            (PREFACE, Some(PREFACE.len())),
            (&settings[..26], Some(26)),
            (&settings[..35], Some(35)),
            (&settings, Some(settings.len())),
            (&whole, Some(settings.len())),
            (b"\x16\x03\x01", Some(3)),
            (&odd, None),
            (b"P", Some(1)),
            (b"PO", None),
            (b"POST /v3/kv/put HTTP/1.1", None),
            (b"G", None),
            (b"PRI * HTTP/1", None),
        ];
        for (said, told) in cases {
            assert_eq!(without_request(said), told, "{}", said.escape_ascii());
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
    async fn a_member_that_has_not_answered_is_told_no_request() {
        let says = [PREFACE, SET, REQUEST].concat();
        let settings = PREFACE.len() + SET.len();
        let (mut outside, mut client) = pair().await;
        outside.write_all(&says).await.expect("says");
        let mut said = Vec::new();
        // The first one has read all that it was told, answers, and is killed before that is passed on.
        let (member, mut etcd) = pair().await;
        let dies = async move {
            let mut heard = vec![0; says.len()];
            let mut read = 0;
            while read < settings {
                read += etcd.read(&mut heard[read..]).await.expect("heard");
            }
            assert_eq!(heard[..read], says[..settings]);
            reset(etcd);
        };
        let (end, ()) = tokio::join!(pass(&mut client, member, &mut said, || ()), dies);
        assert_eq!(end, End::Unanswered);
        assert_eq!(said.len(), settings + REQUEST.len());
        let (member, mut etcd) = pair().await;
        let serves = async {
            let mut heard = vec![0; settings];
            etcd.read_exact(&mut heard).await.expect("heard");
            etcd.write_all(b"settings").await.expect("answers");
            let mut rest = vec![0; REQUEST.len()];
            etcd.read_exact(&mut rest).await.expect("heard");
            drop((outside, etcd));
            rest
        };
        let mut answered = 0;
        let passes = pass(&mut client, member, &mut said, || answered += 1);
        let (end, rest) = tokio::join!(passes, serves);
        assert_eq!((end, rest.as_slice()), (End::Over, REQUEST));
        assert_eq!(answered, 1);
    }

    #[tokio::test]
    async fn a_client_that_leaves_before_an_answer_is_not_counted() {
        for says in [&b""[..], PREFACE] {
            let (mut outside, mut client) = pair().await;
            let (member, mut etcd) = pair().await;
            outside.write_all(says).await.expect("says");
            outside.shutdown().await.expect("leaves");
            let (mut said, mut answered) = (Vec::new(), false);
            let hears = async move {
                let mut heard = Vec::new();
                etcd.read_to_end(&mut heard).await.expect("heard");
                heard
            };
            let passes = pass(&mut client, member, &mut said, || answered = true);
            let (end, heard) = tokio::join!(passes, hears);
            assert_eq!((end, heard.as_slice()), (End::Over, says));
            assert!(!answered, "{}", says.escape_ascii());
        }
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
