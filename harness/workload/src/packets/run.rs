//! The daemon: reads the queue, does what was asked for, prints what it has done.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Runtime;

use crate::packets::harm::{Buffer, Draw, Harm, Held};
use crate::packets::kernel::Kernel;
use crate::packets::netlink::{MESSAGE_MAX, messages};
use crate::packets::packet::Parts;
use crate::packets::queue::{Fate, Queue, Waiting, waiting};
use crate::packets::report::{Counts, End, Report};
use crate::packets::rule::{self, MARK, OUT, Rule};

/// Between two lines.
const LINE: Duration = Duration::from_millis(250);
/// Most messages that are read until the time is looked at.
const AT_ONCE: usize = 64;

/// What is asked for.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Harms packets until it is told to end or its time is over; prints what it has done, a line of JSON at a time.
    Harm(Order),
    /// Prints whether this namespace has a rule that gives packets to it.
    Look,
}

/// Which packets, and what is done to them.
#[derive(Debug, clap::Args)]
pub(crate) struct Order {
    /// What is done.
    #[arg(long)]
    harm: Harm,
    /// To so many packets of a hundred.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=99))]
    percent: u8,
    /// Port of TCP, at either end.
    #[arg(long, default_value_t = 2380)]
    port: u16,
    /// Chooses the packets.
    #[arg(long)]
    seed: u64,
    /// It ends by itself after so many seconds.
    #[arg(long, default_value_t = 180)]
    seconds: u64,
}

impl Command {
    /// Does it, until `ends` says so.
    pub(crate) fn run(
        self,
        runtime: &Runtime,
        ends: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> anyhow::Result<()> {
        match self {
            Self::Harm(order) => {
                let told = Arc::new(AtomicBool::new(false));
                let tells = Arc::clone(&told);
                runtime.spawn(async move {
                    if ends.await.is_ok() {
                        tells.store(true, Ordering::Relaxed);
                    }
                });
                harm(&order, &told)
            }
            Self::Look => {
                let set = rule::is_set().context("failed to look for the rule")?;
                println!("{}", serde_json::json!({"rule": set}));
                Ok(())
            }
        }
    }
}

fn harm(order: &Order, told: &AtomicBool) -> anyhow::Result<()> {
    let queue = Queue::open()?;
    let mut daemon = Daemon::new(order, &queue)?;
    // Last: from here on packets wait for answers.
    let rule = Rule::set(order.port)?;
    let limit = Instant::now() + Duration::from_secs(order.seconds);
    let mut line = Instant::now();
    let end = loop {
        let now = Instant::now();
        if told.load(Ordering::Relaxed) {
            break End::Asked;
        }
        if limit <= now {
            break End::Limit;
        }
        if line <= now {
            daemon.print(None)?;
            line = now + LINE;
        }
        let over = daemon.held.due(now);
        daemon.release(over)?;
        let until = daemon.held.next().map_or(line, |due| due.min(line));
        wait(&queue, until.saturating_duration_since(now))?;
        daemon.read_some()?;
    };
    rule.remove().context("failed to remove the rule")?;
    // What waits is not lost with the queue.
    daemon.draw = None;
    while daemon.read_some()? {}
    let held = daemon.held.all();
    daemon.release(held)?;
    daemon.print(Some(end))
}

/// Waits for packets, for so long at most.
fn wait(queue: &Queue, longest: Duration) -> anyhow::Result<()> {
    let longest = Timespec::try_from(longest)?;
    let mut fds = [PollFd::new(queue.socket(), PollFlags::IN)];
    match poll(&mut fds, Some(&longest)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error).context("failed to wait for packets"),
    }
}

struct Daemon<'a> {
    queue: &'a Queue,
    harm: Harm,
    /// Which packets; none when it is ending.
    draw: Option<Draw>,
    held: Buffer,
    /// Sends copies.
    copies: Option<Socket>,
    report: Report,
    before: Kernel,
    buffer: Vec<u8>,
}

impl<'a> Daemon<'a> {
    fn new(order: &Order, queue: &'a Queue) -> anyhow::Result<Self> {
        let copies = (order.harm == Harm::Duplicate).then(copies);
        let copies = copies.transpose();
        Ok(Self {
            queue,
            harm: order.harm,
            draw: Some(Draw::new(order.seed, order.percent)),
            held: Buffer::default(),
            copies: copies
                .context("failed to open a raw socket for copies: it needs CAP_NET_RAW")?,
            report: Report::default(),
            before: Kernel::read()?,
            buffer: vec![0; MESSAGE_MAX],
        })
    }

    /// Answers for packets that have come, so many that times are kept; false when there was none.
    fn read_some(&mut self) -> anyhow::Result<bool> {
        for done in 0..AT_ONCE {
            if !self.read()? {
                return Ok(done > 0);
            }
        }
        Ok(true)
    }

    /// Answers for those of one message; false when there was none.
    fn read(&mut self) -> anyhow::Result<bool> {
        let length = match self.queue.socket().receive(&mut self.buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // Some could not be put here: they have passed.
            Err(error) if error.raw_os_error() == Some(NO_BUFFERS) => return Ok(true),
            Err(error) => return Err(error).context("failed to read packets"),
        };
        // An end is that of an answer to a packet that is gone: its connection has ended.
        let come: Vec<Waiting> = messages(&self.buffer[..length])
            .iter()
            .filter_map(waiting)
            .collect();
        for packet in come {
            self.one(packet)?;
        }
        Ok(true)
    }

    fn one(&mut self, mut packet: Waiting) -> anyhow::Result<()> {
        let parts = Parts::of(&packet.bytes);
        let drawn = self.draw.as_mut().is_some_and(Draw::next);
        let (id, hook) = (packet.id, packet.hook);
        let Some(parts) = parts.filter(|_| drawn) else {
            return self.pass(&packet);
        };
        match self.harm {
            Harm::Lose => {
                self.counts(hook).lost += 1;
                self.answer(id, Fate::Lost)
            }
            Harm::Duplicate => {
                self.answer(id, Fate::Passes)?;
                let sent = self.copy(&packet.bytes);
                sent.context("failed to send a copy of a packet")?;
                self.counts(hook).duplicated += 1;
                Ok(())
            }
            Harm::Corrupt => {
                let number = self.draw.as_mut().map(Draw::number);
                if !parts.flip(&mut packet.bytes, number.unwrap_or_default()) {
                    return self.pass(&packet);
                }
                self.counts(hook).corrupted += 1;
                self.answer(id, Fate::Changed(&packet.bytes))
            }
            Harm::Reorder => {
                if self.held.hold(Instant::now(), (id, hook), parts.flow) {
                    return Ok(());
                }
                self.pass(&packet)
            }
        }
    }

    /// Lets one pass as it is, and behind it those that wait for it.
    fn pass(&mut self, packet: &Waiting) -> anyhow::Result<()> {
        self.counts(packet.hook).passed += 1;
        self.answer(packet.id, Fate::Passes)?;
        match Parts::of(&packet.bytes) {
            Some(parts) => {
                let over = self.held.pass(&parts.flow);
                self.release(over)
            }
            None => Ok(()),
        }
    }

    fn release(&mut self, over: Vec<Held>) -> anyhow::Result<()> {
        for held in over {
            let counts = self.counts(held.hook);
            match held.passed {
                0 => counts.delayed += 1,
                _ => counts.reordered += 1,
            }
            self.answer(held.id, Fate::Passes)?;
        }
        Ok(())
    }

    fn answer(&self, id: u32, fate: Fate<'_>) -> anyhow::Result<()> {
        let answered = self.queue.answer(id, fate);
        answered.context("failed to answer for a packet")
    }

    /// Sends a packet once more. One that came in goes to its receiver by the loopback.
    fn copy(&self, packet: &[u8]) -> io::Result<()> {
        let Some(socket) = &self.copies else {
            return Ok(());
        };
        let to: [u8; 4] = packet[16..20].try_into().map_err(io::Error::other)?;
        let to = SocketAddr::from((Ipv4Addr::from(to), 0));
        socket.send_to(packet, &to.into()).map(drop)
    }

    fn counts(&mut self, hook: u8) -> &mut Counts {
        if hook == OUT {
            &mut self.report.sent
        } else {
            &mut self.report.received
        }
    }

    fn print(&mut self, end: Option<End>) -> anyhow::Result<()> {
        self.report.kernel = Kernel::read()?.since(&self.before);
        self.report.ended = end;
        println!("{}", serde_json::to_string(&self.report)?);
        Ok(())
    }
}

/// `ENOBUFS`.
const NO_BUFFERS: i32 = 105;

/// A socket that sends whole packets, which the rule lets pass.
fn copies() -> io::Result<Socket> {
    // `IPPROTO_RAW`.
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?;
    socket.set_header_included_v4(true)?;
    socket.set_mark(MARK)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
