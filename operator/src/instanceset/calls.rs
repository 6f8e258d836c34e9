//! What calls of the API server have in common: who writes, which incarnation is meant, and that absent is gone.

use kube::api::{DeleteParams, PostParams, Preconditions};

use etcd_operator_api::FIELD_MANAGER;

use super::error::Error;

pub(super) fn post() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

pub(super) fn incarnation(uid: &str) -> DeleteParams {
    let preconditions = Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: None,
    };
    DeleteParams::background().preconditions(preconditions)
}

pub(super) fn tolerate_absent(
    result: kube::Result<()>,
    what: impl FnOnce() -> String,
) -> Result<(), Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map_err(|source| Error::write(what(), source)),
    }
}
