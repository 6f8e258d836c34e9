//! One link, which leads one way from a member to another: its rule, and what it has done.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use std::time::Instant;

use serde::Serialize;
use tokio::sync::watch;

use crate::proxy::rule::{Gate, Rule};
use crate::schedule::until;

/// What a link has done. Times are those of pieces that came under the rule of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Told {
    /// The rule of now.
    pub(crate) rule: Rule,
    /// For how long it has been so.
    pub(crate) since_ms: u64,
    /// Bytes that are under way.
    pub(crate) waiting: u64,
    /// Bytes and pieces that arrived under the rule.
    pub(crate) bytes: u64,
    /// See `bytes`.
    pub(crate) pieces: u64,
    /// Pieces and new connections that met a closed link.
    pub(crate) stopped: u64,
    /// Pieces that waited for others to pass a slow link.
    pub(crate) queued: u64,
    /// Shortest and longest time that a piece took, in microseconds.
    pub(crate) least_us: u64,
    /// See `least_us`.
    pub(crate) most_us: u64,
    /// Connections that were reset.
    pub(crate) resets: u64,
    /// How often it has gone down.
    pub(crate) downs: u32,
    /// Pieces that were lost, once or several times.
    pub(crate) lost: u64,
}

/// One link.
#[derive(Debug)]
pub(crate) struct Link {
    rule: watch::Sender<(Rule, Instant)>,
    told: Mutex<Told>,
    /// When the last piece that a slow link has accepted will have passed.
    free: Mutex<Instant>,
    waiting: Arc<AtomicU64>,
    random: AtomicU64,
}

/// Bytes that were read and not written yet.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    arrived: Instant,
    random: u64,
    waiting: Arc<AtomicU64>,
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.waiting
            .fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}

impl Link {
    /// A link that everything passes at once. `seed` is that of its jitter.
    pub(crate) fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            rule: watch::channel((Rule::default(), now)).0,
            told: Mutex::default(),
            free: Mutex::new(now),
            waiting: Arc::default(),
            random: AtomicU64::new(seed),
        }
    }

    /// Sets its rule.
    pub(crate) fn set(&self, rule: Rule) {
        let now = Instant::now();
        *self.told() = Told::default();
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.rule.send_replace((rule, now));
    }

    /// What it has done.
    pub(crate) fn tell(&self) -> Told {
        let (rule, set) = *self.rule.borrow();
        let since = set.elapsed();
        Told {
            rule,
            since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            waiting: self.waiting.load(Ordering::Relaxed),
            downs: rule.downs(since),
            ..*self.told()
        }
    }

    /// A piece that has just been read.
    pub(crate) fn piece(&self, bytes: &[u8]) -> Piece {
        self.waiting
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Piece {
            bytes: bytes.to_vec(),
            arrived: Instant::now(),
            random: self.random(),
            waiting: Arc::clone(&self.waiting),
        }
    }

    /// Waits until a new connection passes.
    pub(crate) async fn open(&self) {
        let mut rules = self.rule.subscribe();
        let mut stopped = false;
        loop {
            let (rule, set) = *rules.borrow_and_update();
            let gate = rule.gate(set.elapsed());
            if gate == Gate::Open {
                return;
            }
            if !std::mem::replace(&mut stopped, true) {
                self.told().stopped += 1;
            }
            wait(&mut rules, set, gate).await;
        }
    }

    /// Waits until a piece may be written.
    pub(crate) async fn pass(&self, piece: &Piece) {
        let mut rules = self.rule.subscribe();
        let mut stopped = false;
        loop {
            let (rule, set) = *rules.borrow_and_update();
            let gate = rule.gate(set.elapsed());
            if gate != Gate::Open {
                if !std::mem::replace(&mut stopped, true) {
                    self.told().stopped += 1;
                }
                wait(&mut rules, set, gate).await;
                continue;
            }
            let due = piece.arrived + rule.delay(piece.random);
            if due > Instant::now() {
                either(&mut rules, due).await;
                continue;
            }
            if rule.bytes_s > 0 {
                let passed = self.reserve(&rule, piece.bytes.len());
                either(&mut rules, passed).await;
                if rules.has_changed().unwrap_or_default() {
                    continue;
                }
            }
            return;
        }
    }

    /// A piece was written.
    pub(crate) fn passed(&self, piece: &Piece) {
        let (rule, set) = *self.rule.borrow();
        if piece.arrived < set {
            return;
        }
        let took = u64::try_from(piece.arrived.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut told = self.told();
        told.least_us = if told.pieces == 0 {
            took
        } else {
            told.least_us.min(took)
        };
        told.most_us = told.most_us.max(took);
        told.pieces += 1;
        told.lost += u64::from(rule.losses(piece.random) > 0);
        told.bytes += piece.bytes.len() as u64;
    }

    /// Returns when connections are to be reset.
    pub(crate) async fn reset(&self) {
        let mut rules = self.rule.subscribe();
        loop {
            let (rule, set) = *rules.borrow_and_update();
            match rule.next_reset(set.elapsed()) {
                Some(at) => {
                    either(&mut rules, set + at).await;
                    if !rules.has_changed().unwrap_or_default() {
                        self.told().resets += 1;
                        return;
                    }
                }
                None => changed(&mut rules).await,
            }
        }
    }

    /// When a piece that begins now has passed a slow link, which is then free again.
    fn reserve(&self, rule: &Rule, bytes: usize) -> Instant {
        let now = Instant::now();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if *free > now {
            self.told().queued += 1;
        }
        *free = (*free).max(now) + rule.transmission(bytes);
        *free
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Splitmix64: the next of its random numbers.
    fn random(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self
            .random
            .fetch_add(STEP, Ordering::Relaxed)
            .wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

type Rules = watch::Receiver<(Rule, Instant)>;

/// Waits for another rule; the sender lives as long as the link.
async fn changed(rules: &mut Rules) {
    if rules.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Waits until a moment, or for another rule.
async fn either(rules: &mut Rules, at: Instant) {
    // Only looked at: who waits asks afterwards whether it has changed.
    let mut look = rules.clone();
    tokio::select! {
        () = until(at) => {}
        () = changed(&mut look) => {}
    }
}

/// Waits until a gate may have opened.
async fn wait(rules: &mut Rules, set: Instant, gate: Gate) {
    match gate {
        Gate::ClosedUntil(at) => either(rules, set + at).await,
        Gate::Open | Gate::Closed => {
            let mut look = rules.clone();
            changed(&mut look).await;
        }
    }
}
