//! A new cluster: every object, name and label of the design, and what every pod answers.

use super::bring_up::bring_up;
use super::checklist::Checklist;
use super::outcome::found;
use super::{objects, probes};
use crate::scenario::Lab;
use crate::scenario::outcome::Found;
use crate::scenario::subject::Subject;

/// A new cluster against the design.
pub(crate) async fn conform(lab: &Lab, subject: &Subject) -> Found {
    let mut list = Checklist::new("conform", lab.live.clone());
    if bring_up(lab, subject, &mut list).await {
        objects::check(subject, &mut list).await;
        probes::check(lab, subject, &mut list).await;
    }
    found(list)
}
