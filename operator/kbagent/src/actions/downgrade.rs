//! etcd's own downgrade by one minor: begun while all members are well, and cancelled (V1). Members are replaced by the
//! operator, one at a time; etcd ends a downgrade itself when the last one runs the target.

use std::time::Duration;

use super::candidate::{Standing, fitness};
use super::cluster::{Cluster, STATUS};
use super::outcome::{Failure, Success};
use crate::etcd::{Client, Downgrade};

/// Deadline of what is committed by raft like a write.
const CHANGE: Duration = Duration::from_secs(5);
/// etcd's words where none is in progress.
const NONE: &str = "no inflight downgrade";

/// Begins one, or finds that it has begun.
pub(super) async fn begin(own: &Client, to: &str) -> Result<Success, Failure> {
    let target = minor(to).ok_or_else(|| {
        Failure::BadRequest(format!(
            "the target of a downgrade is {to:?}, no minor such as 3.5"
        ))
    })?;
    let status = own.status(STATUS).await?;
    if let Some(begun) = status.downgrade.filter(|info| info.enabled) {
        if minor(&begun.target_version) == Some(target) {
            return Ok(Success::text(to));
        }
        return Err(Failure::Precondition(format!(
            "a downgrade to {} is in progress: cancel it first",
            begun.target_version
        )));
    }
    let cluster = Cluster::look(own).await?;
    let mark = cluster.mark().await?;
    for standing in cluster.standings().await {
        let checked = fitness(&mark, &standing).and_then(|_| follows(target, &standing));
        checked.map_err(|why| {
            let member = &standing.member;
            let text = format!("member {:x} ({}): {why}", member.id, member.name);
            Failure::Precondition(text)
        })?;
    }
    let asked = own.downgrade(Downgrade::Validate, to, CHANGE).await;
    asked.map_err(|error| match error.rejection() {
        "" => error.into(),
        _ => Failure::Precondition(error.to_string()),
    })?;
    own.downgrade(Downgrade::Enable, to, CHANGE).await?;
    tracing::info!(to, "etcd's downgrade has begun");
    Ok(Success::text(to))
}

/// Ends one where it is.
pub(super) async fn cancel(own: &Client) -> Result<Success, Failure> {
    match own.downgrade(Downgrade::Cancel, "", CHANGE).await {
        Ok(()) => tracing::info!("etcd's downgrade was cancelled"),
        Err(error) if error.rejection().contains(NONE) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Success::text("cancelled"))
}

/// Whether a member runs the minor after `target`: etcd begins a downgrade of others, and gets no further.
fn follows(target: (u64, u64), standing: &Standing) -> Result<(), String> {
    let status = standing.status.as_ref();
    let version = status.map(|status| status.version.as_str());
    let version = version.unwrap_or_default();
    let (major, next) = (target.0, target.1.saturating_add(1));
    if minor(version) == Some((major, next)) {
        return Ok(());
    }
    Err(format!(
        "it runs {version}, and a downgrade to {major}.{} begins at {major}.{next}",
        target.1
    ))
}

/// The first two numbers of a version.
fn minor(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::{Member, Status};

    fn of(version: &str) -> Standing {
        Standing {
            member: Member::default(),
            status: Ok(Status {
                version: version.to_owned(),
                ..Status::default()
            }),
        }
    }

    #[test]
    fn every_member_runs_the_minor_after_the_target() {
        assert_eq!(follows((3, 5), &of("3.6.16")), Ok(()));
        for version in ["3.5.35", "3.7.3", "", "4.6.0", "custom"] {
            let told = follows((3, 5), &of(version)).expect_err(version);
            assert!(told.contains("begins at 3.6"), "{told}");
        }
    }

    #[test]
    fn a_target_is_a_minor() {
        assert_eq!(minor("3.5"), Some((3, 5)));
        assert_eq!(minor("3.5.0"), Some((3, 5)));
        for text in ["", "3", "three.five", "-3.5", "3.99999999999999999999"] {
            assert_eq!(minor(text), None, "{text}");
        }
    }
}
