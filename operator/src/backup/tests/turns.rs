//! How long a Backup waits, once it is its turn.

use super::*;

#[test]
fn members_that_are_not_fit_are_waited_for_from_its_turn_on() {
    let mut first = held();
    first.metadata.labels = Some([(labels::INSTANCE.to_owned(), "etcd-cluster".to_owned())].into());
    first.status.get_or_insert_default().job = Some("j".into());
    let mut next = held();
    next.metadata.name = Some("next".into());
    next.metadata.uid = Some("next".into());
    let mut told = |others: Vec<Backup>, now: i64| {
        let unfit = Seen {
            members: Vec::new(),
            ..holding(others)
        };
        next.status = Some(decided(&next, &unfit, now).status);
        next.status.as_ref().and_then(|status| status.phase)
    };
    let (new, failed) = (Some(BackupPhase::New), Some(BackupPhase::Failed));
    // Another backup is first for more than an hour.
    assert_eq!(told(vec![first.clone()], 5), new);
    assert_eq!(told(vec![first.clone()], 4000), new);
    // Its turn has come, goes once more, and comes back.
    assert_eq!(told(Vec::new(), 4005), new);
    assert_eq!(told(vec![first], 7000), new);
    assert_eq!(told(Vec::new(), 7600), new);
    assert_eq!(told(Vec::new(), 11_200), new);
    assert_eq!(told(Vec::new(), 11_201), failed);
}

#[test]
fn what_it_has_waited_is_no_part_of_the_time_that_it_takes() {
    let mut next = held();
    let unfit = Seen {
        members: Vec::new(),
        ..seen()
    };
    let done = running(JobState::Succeeded, Some(BackupReport::of(summary())));
    let mut told = |seen: &Seen, now: i64| {
        let status = decided(&next, seen, now).status;
        next.status = Some(status.clone());
        (status.start_timestamp, status.duration)
    };
    assert_eq!(told(&unfit, 5).0, Some(at(5)));
    assert_eq!(told(&seen(), 1205).0, Some(at(1205)));
    // Its Job is not there, and is made once more.
    assert_eq!(told(&seen(), 1210).0, Some(at(1205)));
    let (since, took) = told(&done, 1275);
    assert_eq!(since, Some(at(1205)));
    assert_eq!(took.as_deref(), Some("1m10s"));
}
