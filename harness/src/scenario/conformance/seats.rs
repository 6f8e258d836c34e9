//! Where the members sit, before what must not move them and after it.

use super::checklist::Checklist;
use crate::scenario::subject::{Seat, Subject};

/// Where the members sit; nothing where the API server does not say so.
pub(super) async fn seats(subject: &Subject, list: &mut Checklist) -> Option<Vec<Seat>> {
    let mut seats = list.step("the members' pods are listed", subject.seats().await)?;
    seats.sort();
    Some(seats)
}

/// Every member sits where it did.
pub(super) async fn unmoved(
    what: &str,
    subject: &Subject,
    before: Option<&[Seat]>,
    list: &mut Checklist,
) {
    if let Some(before) = before
        && let Some(now) = seats(subject, list).await
    {
        list.equals(what, &now.as_slice(), &before);
    }
}
