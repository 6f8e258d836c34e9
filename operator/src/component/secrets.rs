//! IO: Secrets of a Component's own, read and written by name. Nothing of them is logged.

use std::collections::BTreeMap;

use etcd_operator_api::{Component, labels};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};

use crate::controller::{ApplyError, own, refuse_foreign};

/// What is in a Secret.
pub(super) type Data = BTreeMap<String, ByteString>;

/// Metadata of an object beside the Component.
pub(super) fn labelled(component: &Component, name: &str) -> ObjectMeta {
    let own_labels = component.labels();
    let three = [labels::MANAGED_BY, labels::INSTANCE, labels::COMPONENT_NAME];
    let copied = three.iter().filter_map(|l| own_labels.get_key_value(*l));
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: component.namespace(),
        labels: Some(copied.map(|(k, v)| (k.clone(), v.clone())).collect()),
        ..ObjectMeta::default()
    }
}

/// The Secrets of one Component.
pub(super) struct Secrets<'a> {
    api: Api<Secret>,
    component: &'a Component,
}

impl<'a> Secrets<'a> {
    pub(super) fn of(client: &Client, component: &'a Component) -> Self {
        let namespace = component.namespace().unwrap_or_default();
        Self {
            api: Api::namespaced(client.clone(), &namespace),
            component,
        }
    }

    /// Any Secret.
    pub(super) async fn get(&self, name: &str) -> Result<Option<Secret>, ApplyError> {
        let found = self.api.get_opt(name).await;
        found.map_err(|source| ApplyError::Read {
            kind: "Secret".to_owned(),
            name: name.to_owned(),
            source,
        })
    }

    /// A Secret of the operator's own; one that another made is an error.
    pub(super) async fn ours(&self, name: &str) -> Result<Option<Secret>, ApplyError> {
        let found = self.get(name).await?;
        if let Some(live) = &found {
            refuse_foreign(&self.empty(name), live)?;
        }
        Ok(found)
    }

    fn empty(&self, name: &str) -> Secret {
        let mut secret = Secret {
            metadata: labelled(self.component, name),
            ..Secret::default()
        };
        own(&mut secret, self.component);
        secret
    }

    /// Makes the Secret, of this type, or writes into exactly the one that was read.
    pub(super) async fn write(
        &self,
        live: Option<&Secret>,
        (name, kind): (&str, &str),
        data: Data,
    ) -> Result<(), ApplyError> {
        let parameters = PostParams::default();
        let mut secret = live.cloned().unwrap_or_else(|| Secret {
            type_: Some(kind.to_owned()),
            ..self.empty(name)
        });
        secret.data = Some(data);
        let written = match live {
            Some(_) => self.api.replace(name, &parameters, &secret).await,
            None => self.api.create(&parameters, &secret).await,
        };
        match written {
            Ok(_) => {
                tracing::info!(kind = "Secret", name, "written");
                Ok(())
            }
            Err(source) => Err(ApplyError::Write {
                kind: "Secret".to_owned(),
                name: name.to_owned(),
                source,
            }),
        }
    }
}
