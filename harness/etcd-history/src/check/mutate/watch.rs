//! Spoiled watch streams.

use super::ends::add_operation;
use super::{Mutation, Spoiler};
use crate::record::{KeyEvent, MemberSample, Record, Request, Response, WatchEvent, WatchRecord};

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "dropped response",
        check: "watch",
        apply: dropped,
    },
    Mutation {
        name: "revision dropped for every watcher",
        check: "watch",
        apply: dropped_everywhere,
    },
    Mutation {
        name: "duplicate response",
        check: "watch",
        apply: duplicated,
    },
    Mutation {
        name: "swapped responses",
        check: "watch",
        apply: swapped,
    },
    Mutation {
        name: "split revision",
        check: "watch",
        apply: split,
    },
    Mutation {
        name: "event dropped out of a revision",
        check: "watch",
        apply: |s| {
            of_many(s, |events| {
                events.pop();
            })
        },
    },
    Mutation {
        name: "event twice in a response",
        check: "watch",
        apply: |s| of_any(s, |events| events.push(events[events.len() - 1].clone())),
    },
    Mutation {
        name: "key that was not asked for",
        check: "watch",
        apply: |s| of_any(s, |events| rename(&mut events[0])),
    },
    Mutation {
        name: "other value for one watcher",
        check: "watch",
        apply: |s| {
            of_puts(s, |event| {
                if let KeyEvent::Put { kv, .. } = event {
                    kv.value += "x";
                }
            })
        },
    },
    Mutation {
        name: "wrong version",
        check: "watch",
        apply: |s| {
            of_puts(s, |event| {
                if let KeyEvent::Put { kv, .. } = event {
                    kv.version += 1;
                }
            })
        },
    },
    Mutation {
        name: "wrong previous key",
        check: "watch",
        apply: wrong_previous,
    },
    Mutation {
        name: "previous key left out",
        check: "watch",
        apply: no_previous,
    },
    Mutation {
        name: "progress too early",
        check: "watch",
        apply: early_progress,
    },
    Mutation {
        name: "progress back",
        check: "watch",
        apply: progress_back,
    },
    Mutation {
        name: "event before the start",
        check: "watch",
        apply: before_start,
    },
    Mutation {
        name: "events below the header revision",
        check: "watch",
        apply: low_header,
    },
    Mutation {
        name: "cancelled as compacted without reason",
        check: "watch",
        apply: cancelled,
    },
    Mutation {
        name: "cancelled as compacted to what it was told",
        check: "watch",
        apply: cancelled_behind,
    },
    Mutation {
        name: "watcher that no stream serves on a member that answers",
        check: "watch",
        apply: |s| unserved(s, |message| WatchEvent::Broken { message }),
    },
    Mutation {
        name: "watcher whose streams are all cancelled",
        check: "watch",
        apply: |s| {
            unserved(s, |reason| WatchEvent::Cancelled {
                compact_revision: 0,
                reason,
            })
        },
    },
];

/// Behind the run one more watcher asks for everything, again and again, and is refused each time.
fn unserved(spoiler: &mut Spoiler, refused: fn(String) -> WatchEvent) -> bool {
    let last = spoiler.history.records.iter().map(Record::time).max();
    let mut samples = spoiler.history.records.iter().rev();
    let answered = samples.find_map(|record| match record {
        Record::Member(sample) if sample.status.is_some() => Some(sample.clone()),
        _ => None,
    });
    let mut records = spoiler.history.records.iter();
    let asked = records.find_map(|record| match record {
        Record::Watch(WatchRecord {
            event: WatchEvent::Opened { key, range_end, .. },
            ..
        }) => Some((key.clone(), range_end.clone())),
        _ => None,
    });
    let (Some(last), Some(sample), Some((key, range_end))) = (last, answered, asked) else {
        return false;
    };
    for stream in 0..25 {
        let t = last + i64::from(stream) * 1_200_000_000;
        let opened = WatchEvent::Opened {
            key: key.clone(),
            range_end: range_end.clone(),
            start_revision: 2,
        };
        for (t, event) in [(t, opened), (t + 1_000_000_000, refused("no".to_owned()))] {
            spoiler.add(Record::Member(MemberSample {
                t,
                ..sample.clone()
            }));
            spoiler.add(Record::Watch(WatchRecord {
                t,
                watcher: 900,
                stream,
                target: sample.pod.clone(),
                event,
            }));
        }
    }
    true
}

fn events_of(record: &mut Record) -> Option<&mut Vec<KeyEvent>> {
    match record {
        Record::Watch(WatchRecord {
            event: WatchEvent::Events { events, .. },
            ..
        }) => Some(events),
        _ => None,
    }
}

fn whole(record: &Record) -> bool {
    matches!(
        record,
        Record::Watch(WatchRecord {
            event: WatchEvent::Events {
                fragment: false,
                ..
            },
            ..
        })
    )
}

fn stream(record: &Record) -> Option<(u32, u32)> {
    match record {
        Record::Watch(watch) => Some((watch.watcher, watch.stream)),
        _ => None,
    }
}

/// A whole response that is followed by another one of the same stream, which follows no fragment.
fn followed(spoiler: &mut Spoiler) -> Option<(usize, usize)> {
    let positions = spoiler.positions(|record| events_of(&mut record.clone()).is_some());
    let records = &spoiler.history.records;
    let pairs: Vec<(usize, usize)> = positions
        .iter()
        .enumerate()
        .filter_map(|(n, at)| {
            let next = positions[n + 1..]
                .iter()
                .find(|next| stream(&records[**next]) == stream(&records[*at]))?;
            let before = positions[..n]
                .iter()
                .rev()
                .find(|before| stream(&records[**before]) == stream(&records[*at]))?;
            (whole(&records[*at]) && whole(&records[*next]) && whole(&records[*before]))
                .then_some((*at, *next))
        })
        .collect();
    (!pairs.is_empty()).then(|| pairs[spoiler.random.position(pairs.len())])
}

fn dropped(spoiler: &mut Spoiler) -> bool {
    followed(spoiler).is_some_and(|(at, _)| {
        spoiler.history.records.remove(at);
        true
    })
}

fn revision(event: &KeyEvent) -> i64 {
    match event {
        KeyEvent::Put { kv, .. } => kv.mod_revision,
        KeyEvent::Delete { mod_revision, .. } => *mod_revision,
    }
}

/// No watcher sees an acknowledged write, although all see what comes after it.
fn dropped_everywhere(spoiler: &mut Spoiler) -> bool {
    let acknowledged: Vec<i64> = spoiler
        .history
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Return(end) => match &end.outcome {
                crate::Outcome::Ok {
                    revision,
                    response: crate::Response::Put {},
                    ..
                } => Some(*revision),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let lost = acknowledged[acknowledged.len() / 2];
    for record in &mut spoiler.history.records {
        if let Some(events) = events_of(record) {
            events.retain(|event| revision(event) != lost);
        }
    }
    spoiler.history.records.retain(|record| !matches!(record, Record::Watch(WatchRecord { event: WatchEvent::Events { events, .. }, .. }) if events.is_empty()));
    true
}

fn duplicated(spoiler: &mut Spoiler) -> bool {
    let Some(at) = spoiler.pick(whole) else {
        return false;
    };
    let copy = spoiler.history.records[at].clone();
    spoiler.history.records.insert(at + 1, copy);
    true
}

fn swapped(spoiler: &mut Spoiler) -> bool {
    followed(spoiler).is_some_and(|(at, next)| {
        let (a, b) = (
            spoiler.history.records[at].clone(),
            spoiler.history.records[next].clone(),
        );
        let (Record::Watch(mut a), Record::Watch(mut b)) = (a, b) else {
            return false;
        };
        std::mem::swap(&mut a.event, &mut b.event);
        spoiler.history.records[at] = Record::Watch(a);
        spoiler.history.records[next] = Record::Watch(b);
        true
    })
}

/// Responses with more than one event of their last revision.
fn crowded(record: &Record) -> bool {
    let Record::Watch(WatchRecord {
        event:
            WatchEvent::Events {
                events,
                fragment: false,
                ..
            },
        ..
    }) = record
    else {
        return false;
    };
    let last = events.last().map(revision);
    events
        .iter()
        .filter(|event| Some(revision(event)) == last)
        .count()
        > 1
}

fn split(spoiler: &mut Spoiler) -> bool {
    let Some(at) = spoiler.pick(crowded) else {
        return false;
    };
    let mut rest = spoiler.history.records[at].clone();
    let (Some(head), Some(tail)) = (
        events_of(&mut spoiler.history.records[at]),
        events_of(&mut rest),
    ) else {
        return false;
    };
    let last = head.pop();
    *tail = last.into_iter().collect();
    spoiler.history.records.insert(at + 1, rest);
    true
}

fn of_many(spoiler: &mut Spoiler, change: impl Fn(&mut Vec<KeyEvent>)) -> bool {
    let at = spoiler.pick(crowded);
    at.and_then(|at| events_of(&mut spoiler.history.records[at]))
        .map(change)
        .is_some()
}

fn of_any(spoiler: &mut Spoiler, change: impl Fn(&mut Vec<KeyEvent>)) -> bool {
    let at = spoiler.pick(whole);
    at.and_then(|at| events_of(&mut spoiler.history.records[at]))
        .map(change)
        .is_some()
}

fn of_puts(spoiler: &mut Spoiler, change: impl Fn(&mut KeyEvent)) -> bool {
    let put = |record: &Record| matches!(record, Record::Watch(WatchRecord { event: WatchEvent::Events { events, .. }, .. }) if matches!(events[0], KeyEvent::Put { .. }));
    let at = spoiler.pick(put);
    at.and_then(|at| events_of(&mut spoiler.history.records[at]))
        .map(|events| change(&mut events[0]))
        .is_some()
}

fn rename(event: &mut KeyEvent) {
    match event {
        KeyEvent::Put { kv, .. } => kv.key = "zz".to_owned(),
        KeyEvent::Delete { key, .. } => *key = "zz".to_owned(),
    }
}

fn wrong_previous(spoiler: &mut Spoiler) -> bool {
    let told = |record: &Record| matches!(record, Record::Watch(WatchRecord { event: WatchEvent::Events { events, .. }, .. }) if matches!(&events[0], KeyEvent::Put { prev: Some(_), .. }));
    let at = spoiler.pick(told);
    let event = at
        .and_then(|at| events_of(&mut spoiler.history.records[at]))
        .map(|events| &mut events[0]);
    let Some(KeyEvent::Put {
        prev: Some(prev), ..
    }) = event
    else {
        return false;
    };
    prev.value += "x";
    true
}

fn no_previous(spoiler: &mut Spoiler) -> bool {
    let told = |record: &Record| match record {
        Record::Watch(WatchRecord {
            event: WatchEvent::Events { events, .. },
            ..
        }) => matches!(&events[0], KeyEvent::Put { prev: Some(_), .. }),
        _ => false,
    };
    let at = spoiler.pick(told);
    let event = at
        .and_then(|at| events_of(&mut spoiler.history.records[at]))
        .map(|events| &mut events[0]);
    let Some(KeyEvent::Put { prev, .. }) = event else {
        return false;
    };
    prev.take().is_some()
}

fn early_progress(spoiler: &mut Spoiler) -> bool {
    let Some((at, next)) = followed(spoiler) else {
        return false;
    };
    let promised = events_of(&mut spoiler.history.records[next])
        .and_then(|events| events.first().map(revision));
    promised.is_some_and(|revision| then_says(spoiler, at, WatchEvent::Progress { revision }))
}

fn progress_back(spoiler: &mut Spoiler) -> bool {
    let Some((at, _)) = followed(spoiler) else {
        return false;
    };
    then_says(spoiler, at, WatchEvent::Progress { revision: 1 })
}

/// The stream of the record at `at` says this next.
fn then_says(spoiler: &mut Spoiler, at: usize, event: WatchEvent) -> bool {
    let records = &mut spoiler.history.records;
    let Record::Watch(watch) = records[at].clone() else {
        return false;
    };
    records.insert(at + 1, Record::Watch(WatchRecord { event, ..watch }));
    true
}

fn before_start(spoiler: &mut Spoiler) -> bool {
    let opened = |record: &Record| {
        matches!(
            record,
            Record::Watch(WatchRecord {
                stream: 0,
                event: WatchEvent::Opened { .. },
                ..
            })
        )
    };
    let Some(at) = spoiler.pick(opened) else {
        return false;
    };
    if let Record::Watch(WatchRecord {
        event: WatchEvent::Opened { start_revision, .. },
        ..
    }) = &mut spoiler.history.records[at]
    {
        *start_revision += 10_000;
    }
    true
}

fn low_header(spoiler: &mut Spoiler) -> bool {
    let Some(at) = spoiler.pick(whole) else {
        return false;
    };
    if let Record::Watch(WatchRecord {
        event: WatchEvent::Events { revision, .. },
        ..
    }) = &mut spoiler.history.records[at]
    {
        *revision = 1;
    }
    true
}

fn cancelled(spoiler: &mut Spoiler) -> bool {
    let Some((at, _)) = followed(spoiler) else {
        return false;
    };
    let event = WatchEvent::Cancelled {
        compact_revision: 1,
        reason: String::new(),
    };
    then_says(spoiler, at, event)
}

/// A client compacts far ahead, and a stream is cancelled because of a revision that it has delivered.
fn cancelled_behind(spoiler: &mut Spoiler) -> bool {
    let Some((at, _)) = followed(spoiler) else {
        return false;
    };
    let t = spoiler.history.records[at].time();
    let told =
        events_of(&mut spoiler.history.records[at]).and_then(|events| events.last().map(revision));
    let Some(compact_revision) = told else {
        return false;
    };
    let event = WatchEvent::Cancelled {
        compact_revision,
        reason: String::new(),
    };
    let request = Request::Compact {
        revision: compact_revision,
    };
    then_says(spoiler, at, event)
        && add_operation(
            spoiler,
            t - 2_000,
            request,
            (compact_revision, 3, Response::Compact {}),
        )
}
