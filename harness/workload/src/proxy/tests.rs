//! The proxy between two sockets of this machine. Lower bounds of times only: a busy machine is late, never early.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::proxy::carry::{WINDOW, places, serve};
use crate::proxy::config::Config;
use crate::proxy::link::Told;
use crate::proxy::net::Net;
use crate::schedule::pause;

const A: &str = "127.0.0.11";
const B: &str = "127.0.0.12";

/// Member `b` behind a proxy.
struct Rig {
    net: Arc<Net>,
    member: TcpListener,
    port: u16,
}

impl Rig {
    async fn new() -> Self {
        let member = TcpListener::bind((B, 0)).await.unwrap();
        let proxy = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = proxy.local_addr().unwrap().port();
        let own = member.local_addr().unwrap().port();
        let text = format!(
            r#"{{"seed":1,"members":[{{"name":"{A}","listen":1,"port":1}},{{"name":"{B}","listen":2,"port":{own}}}]}}"#
        );
        let net = Arc::new(Net::new(&Config::parse(&text).unwrap()));
        tokio::spawn(serve(Arc::clone(&net), proxy, 1, places()));
        Self { net, member, port }
    }

    /// A connection from an address, as the one who dials has it.
    async fn dial(&self, from: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let to = format!("127.0.0.1:{}", self.port).parse().unwrap();
        socket.connect(to).await.unwrap()
    }

    /// Both ends of a connection of `a` to `b`.
    async fn connect(&self) -> (TcpStream, TcpStream) {
        let (a, b) = tokio::join!(self.dial(A), self.member.accept());
        (a, b.unwrap().0)
    }

    fn set(&self, from: &str, to: &str, rule: &str) {
        let text = format!(r#"{{"set":[{{"from":"{from}","to":"{to}","rule":{rule}}}]}}"#);
        self.net
            .take(&serde_json::from_str(&text).unwrap())
            .unwrap();
    }

    /// What the link from `a` to `b` has done, as soon as it has done that.
    async fn when(&self, wanted: impl Fn(&Told) -> bool) -> Told {
        let begun = Instant::now();
        loop {
            let told = self.net.link(0, 1).tell();
            if wanted(&told) {
                return told;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{told:?}");
            pause(Duration::from_millis(5)).await;
        }
    }
}

async fn read(from: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn a_member_reaches_another_and_an_unknown_client_none() {
    let rig = Rig::new().await;
    let (mut a, mut b) = rig.connect().await;
    a.write_all(b"to b").await.unwrap();
    assert_eq!(read(&mut b, 4).await, b"to b");
    b.write_all(b"to a").await.unwrap();
    assert_eq!(read(&mut a, 4).await, b"to a");
    a.shutdown().await.unwrap();
    assert_eq!(b.read(&mut [0]).await.unwrap(), 0, "the end passes too");

    let mut unknown = rig.dial("127.0.0.99").await;
    assert_eq!(unknown.read(&mut [0]).await.unwrap_or(0), 0);
    let mut itself = rig.dial(B).await;
    assert_eq!(itself.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_delay_holds_for_one_way_and_is_measured() {
    let rig = Rig::new().await;
    let (mut a, mut b) = rig.connect().await;
    rig.set(A, B, r#"{"delay_ms":80,"jitter_ms":20}"#);
    let begun = Instant::now();
    for n in 0..3 {
        a.write_all(&[n]).await.unwrap();
        assert_eq!(read(&mut b, 1).await, [n]);
    }
    assert!(begun.elapsed() >= Duration::from_millis(240));
    let told = rig.when(|told| told.pieces == 3).await;
    assert!(
        told.least_us >= 80_000 && told.least_us <= told.most_us,
        "{told:?}"
    );
    b.write_all(b"x").await.unwrap();
    read(&mut a, 1).await;
    assert_eq!(rig.net.link(1, 0).tell().rule.delay_ms, 0);
}

#[tokio::test]
async fn what_meets_a_closed_link_waits_and_the_other_way_passes() {
    let rig = Rig::new().await;
    let (mut a, mut b) = rig.connect().await;
    rig.set(A, B, r#"{"blocked":true}"#);
    a.write_all(b"first").await.unwrap();
    rig.when(|told| told.stopped == 1 && told.waiting == 5)
        .await;
    a.write_all(b"second").await.unwrap();
    b.write_all(b"answer").await.unwrap();
    assert_eq!(read(&mut a, 6).await, b"answer");
    rig.when(|told| told.waiting == 11 && told.bytes == 0).await;
    let mut nothing = [0];
    assert!(b.try_read(&mut nothing).is_err(), "nothing has arrived");
    rig.set(A, B, "{}");
    assert_eq!(read(&mut b, 11).await, b"firstsecond");
    rig.when(|told| told.waiting == 0).await;
}

#[tokio::test]
async fn a_connection_does_not_come_about_while_a_way_is_closed() {
    let rig = Rig::new().await;
    for (from, to) in [(A, B), (B, A)] {
        rig.set(from, to, r#"{"blocked":true}"#);
        let mut a = rig.dial(A).await;
        a.write_all(b"late").await.unwrap();
        let begun = Instant::now();
        let net = Arc::clone(&rig.net);
        let place = usize::from(from == B);
        while net.link(place, 1 - place).tell().stopped == 0 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            pause(Duration::from_millis(5)).await;
        }
        rig.set(from, to, "{}");
        let (mut b, _) = rig.member.accept().await.unwrap();
        assert_eq!(read(&mut b, 4).await, b"late");
    }
}

#[tokio::test]
async fn a_slow_link_takes_its_time_and_says_who_waited() {
    let rig = Rig::new().await;
    let (mut a, mut b) = rig.connect().await;
    rig.set(A, B, r#"{"bytes_s":20000}"#);
    let begun = Instant::now();
    for _ in 0..5 {
        a.write_all(&[7; 2000]).await.unwrap();
    }
    read(&mut b, 10_000).await;
    assert!(begun.elapsed() >= Duration::from_millis(500));
    rig.when(|told| told.bytes == 10_000).await;
}

#[tokio::test]
async fn what_is_lost_comes_later_and_in_order() {
    let rig = Rig::new().await;
    let (mut a, mut b) = rig.connect().await;
    rig.set(A, B, r#"{"lost_percent":30}"#);
    for piece in 0..30 {
        a.write_all(&[piece]).await.unwrap();
        pause(Duration::from_millis(5)).await;
    }
    assert_eq!(read(&mut b, 30).await, (0..30).collect::<Vec<u8>>());
    let told = rig.when(|told| told.bytes == 30).await;
    assert!(told.lost > 0 && told.most_us >= 200_000, "{told:?}");
}

#[tokio::test]
async fn a_flapping_link_passes_what_came_while_it_was_down_when_it_is_up() {
    let rig = Rig::new().await;
    let (mut a, mut b) = rig.connect().await;
    let begun = Instant::now();
    rig.set(A, B, r#"{"down_ms":200,"up_ms":100}"#);
    a.write_all(b"x").await.unwrap();
    read(&mut b, 1).await;
    assert!(begun.elapsed() >= Duration::from_millis(200));
    // A machine that stood still was too late for the first time down: what is sent meets the next one.
    let begun = Instant::now();
    while rig.net.link(0, 1).tell().stopped == 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it is never down"
        );
        a.write_all(b"x").await.unwrap();
        read(&mut b, 1).await;
    }
    rig.when(|told| told.downs >= 2).await;
}

#[tokio::test]
async fn a_reset_is_one_at_both_ends_and_the_next_connection_lives() {
    let rig = Rig::new().await;
    let (mut a, mut b) = rig.connect().await;
    rig.set(A, B, r#"{"reset_ms":50}"#);
    let broken = |end: std::io::Result<usize>| end.unwrap_err().kind();
    assert_eq!(
        broken(a.read(&mut [0]).await),
        std::io::ErrorKind::ConnectionReset
    );
    assert_eq!(
        broken(b.read(&mut [0]).await),
        std::io::ErrorKind::ConnectionReset
    );
    assert!(rig.when(|told| told.resets >= 1).await.resets >= 1);
    rig.set(A, B, "{}");
    let (mut a, mut b) = rig.connect().await;
    a.write_all(b"on").await.unwrap();
    assert_eq!(read(&mut b, 2).await, b"on");
}

#[tokio::test]
async fn orders_come_over_the_socket_and_bad_ones_are_refused_in_words() {
    let rig = Rig::new().await;
    let dir = tempfile::tempdir().unwrap();
    let listener = super::control::listen(dir.path()).unwrap();
    tokio::spawn(super::control::serve(Arc::clone(&rig.net), listener));
    let rule = format!(r#"{{"set":[{{"from":"{A}","to":"{B}","rule":{{"delay_ms":7}}}}]}}"#);
    let told = super::ask(dir.path(), &rule).await.unwrap();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["links"].as_array().map(Vec::len), Some(2));
    assert_eq!(told["links"][0]["from"], A);
    assert_eq!(told["links"][0]["rule"]["delay_ms"], 7);
    let refused = super::ask(dir.path(), r#"{"set":[{"from":"c"}]}"#).await;
    assert!(refused.unwrap_err().to_string().contains("refused"));
    let refused = super::ask(dir.path(), &rule.replace(B, "c")).await;
    assert!(refused.unwrap_err().to_string().contains("no member"));
}

#[tokio::test]
async fn small_pieces_wait_one_by_one_and_large_ones_as_a_window_holds() {
    let rig = Rig::new().await;
    let (mut a, b) = rig.connect().await;
    rig.set(A, B, r#"{"blocked":true}"#);
    // Each is read before the next is sent: together they would be one piece.
    for sent in 1..=200 {
        a.write_all(b"x").await.unwrap();
        rig.when(|told| told.waiting == sent).await;
    }
    let (_, mut out) = a.into_split();
    let full = vec![0; 8 * WINDOW];
    let sending = tokio::spawn(async move { out.write_all(&full).await });
    let window = WINDOW as u64;
    let told = rig.when(|told| told.waiting > window * 9 / 10).await;
    pause(Duration::from_millis(50)).await;
    let later = rig.when(|_| true).await.waiting;
    let most = window + 16 * 1024;
    assert!(told.waiting <= most && later <= most, "{told:?}, {later}");
    sending.abort();
    drop(b);
}
