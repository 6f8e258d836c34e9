//! IO out: carries out a plan's steps in their order. Knows no policy and decides nothing.
//!
//! One field manager; deletes name the incarnation (C2); a step of which it is not known whether it happened ends the
//! round, and the next round starts from what is there then (M6).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use etcd_operator_api::{FIELD_MANAGER, InstanceSet, labels};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kbagent_protocol::{ActionRequest, Id, PORT, action, parameter};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::calls::{incarnation, post, tolerate_absent};
use super::desired::{Desired, Limits};
use super::error::Error;
use super::evict::{Evicted, evict};
use super::names as keys;
use super::plan::steps::{Changes, Labelled};
use super::plan::{Grace, Removal, Step, Via};
use super::resize::resize;
use crate::agent::{AgentClient, Peer};
use crate::controller::refuse_foreign;
use crate::token;

#[cfg(test)]
mod tests;

/// Carries out steps for one InstanceSet.
pub(crate) struct Applier<'a> {
    client: &'a Client,
    agents: &'a AgentClient,
    desired: &'a Desired,
}

impl<'a> Applier<'a> {
    /// An applier for the children of `desired`.
    #[must_use]
    pub(crate) fn new(client: &'a Client, agents: &'a AgentClient, desired: &'a Desired) -> Self {
        Self {
            client,
            agents,
            desired,
        }
    }

    /// Carries out one step.
    ///
    /// # Errors
    /// When the step failed, or when it is not known whether it happened.
    pub(crate) async fn take(&self, step: &Step) -> Result<(), Error> {
        match step {
            Step::AddFinalizer => self.finalizers(true).await,
            Step::RemoveFinalizer => self.finalizers(false).await,
            Step::ApplyService(service) => self.service(service).await,
            Step::CreateClaim(claim) => {
                let claims: Api<PersistentVolumeClaim> = self.api();
                let what = || format!("create claim {}", claim.name_any());
                let made = claims.create(&post(), claim).await;
                made.map(drop)
                    .map_err(|source| Error::write(what(), source))
            }
            Step::DeleteClaim { name, uid } => {
                let claims: Api<PersistentVolumeClaim> = self.api();
                let gone = claims.delete(name, &incarnation(uid)).await.map(drop);
                tolerate_absent(gone, || format!("delete claim {name}"))
            }
            Step::RetireClaim { name, uid } => {
                let mark = json!({ "annotations": { keys::RETIRED: "true" } });
                self.edit_claim(name, uid, mark).await
            }
            Step::GrowClaim { name, uid, to } => self.grow_claim(name, uid, to).await,
            Step::ReleaseClaim { name, uid } => self.own_claim(name, uid, false).await,
            Step::BindClaim { name, uid } => self.own_claim(name, uid, true).await,
            Step::CreatePod(pod) => {
                let pods: Api<Pod> = self.api();
                let what = || format!("create pod {}", pod.name_any());
                let made = pods.create(&post(), pod).await;
                made.map(drop)
                    .map_err(|source| Error::write(what(), source))
            }
            Step::Relabel {
                kind,
                name,
                uid,
                changes,
            } => self.relabel(*kind, name, uid, changes).await,
            Step::Resize {
                name,
                uid,
                amounts,
                revision,
            } => resize(&self.api(), (name, uid), amounts, revision).await,
            Step::DeletePod {
                name,
                uid,
                grace,
                how,
                why: _,
            } => self.delete_pod(name, uid, *grace, *how).await,
            Step::Switchover { .. }
            | Step::AddLearner { .. }
            | Step::Promote { .. }
            | Step::RemoveMember { .. }
            | Step::Compact { .. }
            | Step::Defragment { .. }
            | Step::Disarm { .. }
            | Step::Downgrade { .. }
            | Step::CancelDowngrade { .. }
            | Step::AppendToLog { .. } => self.ask(step).await,
        }
    }

    async fn delete_pod(
        &self,
        name: &str,
        uid: &str,
        grace: Grace,
        how: Removal,
    ) -> Result<(), Error> {
        let pods: Api<Pod> = self.api();
        if how == Removal::Evict && evict(&pods, name, uid).await? == Evicted::Done {
            return Ok(());
        }
        let params = incarnation(uid);
        let params = match grace {
            Grace::Template => params,
            Grace::Moment => params.grace_period(1),
            Grace::Dead => params.grace_period(0),
        };
        let gone = pods.delete(name, &params).await.map(drop);
        tolerate_absent(gone, || format!("delete pod {name}"))
    }

    async fn relabel(
        &self,
        kind: Labelled,
        name: &str,
        uid: &str,
        changes: &Changes,
    ) -> Result<(), Error> {
        let patch = Patch::Merge(json!({ "metadata": {
            "uid": uid, "labels": changes.labels, "annotations": changes.annotations,
        }}));
        let params = PatchParams::default();
        let patched = match kind {
            Labelled::Pod => {
                let pods: Api<Pod> = self.api();
                pods.patch_metadata(name, &params, &patch).await.map(drop)
            }
            Labelled::Claim => {
                let claims: Api<PersistentVolumeClaim> = self.api();
                claims.patch_metadata(name, &params, &patch).await.map(drop)
            }
        };
        tolerate_absent(patched, || format!("label {name}"))
    }

    /// Carries out a step in etcd, through the agent that the step names.
    async fn ask(&self, step: &Step) -> Result<(), Error> {
        if let Step::RemoveMember {
            drain: Some(own), ..
        } = step
        {
            self.drain(own).await;
        }
        match call(step) {
            Some((via, action, parameters)) => self.act(via, action, parameters).await,
            // Every other step is an object's, and `take` has it.
            None => Ok(()),
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.desired.namespace)
    }

    /// Adds or takes away the one finalizer, guarded by the list that was read.
    async fn finalizers(&self, there: bool) -> Result<(), Error> {
        let sets: Api<InstanceSet> = self.api();
        let name = self.desired.name.as_str();
        let what = "write the finalizer of the InstanceSet";
        let set = sets
            .get_opt(name)
            .await
            .map_err(|source| Error::read("the InstanceSet", source))?;
        let Some(set) = set else {
            return Ok(());
        };
        let mut all = set.finalizers().to_vec();
        all.retain(|finalizer| finalizer != labels::INSTANCE_SET_FINALIZER);
        if there {
            all.push(labels::INSTANCE_SET_FINALIZER.to_owned());
        }
        let patch = Patch::Merge(json!({ "metadata": {
            "resourceVersion": set.resource_version(), "finalizers": all,
        }}));
        let patched = sets
            .patch_metadata(name, &PatchParams::default(), &patch)
            .await
            .map(drop);
        tolerate_absent(patched, || what.to_owned())
    }

    async fn service(&self, service: &Service) -> Result<(), Error> {
        let services: Api<Service> = self.api();
        let name = service.name_any();
        let live = services.get_metadata_opt(&name).await;
        let live = live.map_err(|source| Error::read("the headless service", source))?;
        let mut body = serde_json::to_value(service).unwrap_or_default();
        body["apiVersion"] = "v1".into();
        body["kind"] = "Service".into();
        if let Some(live) = live {
            refuse_foreign(service, &live)?;
            body["metadata"]["uid"] = live.uid().into();
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = services.patch(&name, &params, &Patch::Apply(body)).await;
        applied
            .map(drop)
            .map_err(|source| Error::write(format!("apply service {name}"), source))
    }

    /// Adds or takes away the reference to the InstanceSet, guarded by the list that was read, and puts on record whose
    /// claim it is: a Cluster of the same name that comes later must not take it for its own.
    async fn own_claim(&self, name: &str, uid: &str, bound: bool) -> Result<(), Error> {
        let claims: Api<PersistentVolumeClaim> = self.api();
        let found = claims.get_metadata_opt(name).await;
        let found = found.map_err(|source| Error::read("a claim", source))?;
        let Some(claim) = found.filter(|claim| claim.metadata.uid.as_deref() == Some(uid)) else {
            return Ok(());
        };
        let mut owners = claim.owner_references().to_vec();
        owners.retain(|owner| owner.uid != self.desired.owner.uid);
        if bound {
            owners.push(self.desired.owner.clone());
        }
        let metadata = json!({
            "resourceVersion": claim.resource_version(),
            "ownerReferences": owners,
            "annotations": { labels::CLUSTER_UID: self.desired.cluster_uid },
        });
        self.edit_claim(name, uid, metadata).await
    }

    async fn grow_claim(&self, name: &str, uid: &str, to: &Quantity) -> Result<(), Error> {
        let claims: Api<PersistentVolumeClaim> = self.api();
        let patch = Patch::Merge(json!({
            "metadata": { "uid": uid },
            "spec": { "resources": { "requests": { "storage": to } } },
        }));
        let patched = claims.patch(name, &PatchParams::default(), &patch).await;
        tolerate_absent(patched.map(drop), || {
            format!("let claim {name} grow to {}", to.0)
        })
    }

    async fn edit_claim(&self, name: &str, uid: &str, metadata: Value) -> Result<(), Error> {
        let claims: Api<PersistentVolumeClaim> = self.api();
        let mut metadata = metadata;
        metadata["uid"] = uid.into();
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let patched = claims
            .patch_metadata(name, &PatchParams::default(), &patch)
            .await
            .map(drop);
        tolerate_absent(patched, || format!("edit claim {name}"))
    }

    /// Has a member's clients leave before it is removed. Agents of earlier releases cannot; it is removed in any case.
    async fn drain(&self, own: &Via) {
        if let Err(error) = self.act(own, action::DRAIN, BTreeMap::new()).await {
            tracing::info!(pod = own.pod, %error, "clients are not asked to leave before the member is removed");
        }
    }

    async fn act(
        &self,
        via: &Via,
        action: &str,
        parameters: BTreeMap<&str, String>,
    ) -> Result<(), Error> {
        let what = format!("carry out {action} through {}", via.pod);
        let peer = self.peer(via, &what).await?;
        let token = token::read(self.client, &self.desired.namespace, &self.desired.name).await?;
        let request = ActionRequest {
            action: action.to_owned(),
            parameters: parameters
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            timeout_seconds: limit(&self.desired.limits, action),
        };
        let answer = self.agents.act(&peer, &token, &request).await;
        let goes_on = |error: &crate::agent::Error| error.is_in_progress();
        // What takes long shows in the member's view until it ends, and the next request tells how.
        if answer.as_ref().err().is_some_and(goes_on) {
            return Ok(());
        }
        answer
            .map(drop)
            .map_err(|source| Error::Act { what, source })
    }

    /// The agent of the pod that was chosen, if it is still there.
    async fn peer(&self, via: &Via, what: &str) -> Result<Peer, Error> {
        let pods: Api<Pod> = self.api();
        let found = pods.get(&via.pod).await;
        let found = found.map_err(|source| Error::read("the pod of an agent", source))?;
        let address = SocketAddr::new(via.ip, PORT);
        let peer = Peer::of(&found).filter(|peer| peer.address == address);
        peer.ok_or_else(|| Error::Act {
            what: what.to_owned(),
            source: crate::agent::Error::Connect {
                address,
                reason: format!("pod {} has another address by now", via.pod),
            },
        })
    }
}

/// The agent that is asked, its action, and the parameters of that.
type Call<'a> = (&'a Via, &'static str, BTreeMap<&'static str, String>);

/// What an agent is asked for a step in etcd; `None` for a step of an object.
fn call(step: &Step) -> Option<Call<'_>> {
    let none = BTreeMap::new;
    let member = |id: &Id| (parameter::MEMBER_ID, id.to_string());
    Some(match step {
        Step::Switchover { via, from, to } => {
            let current = (parameter::SWITCHOVER_CURRENT_NAME, from.clone());
            let candidate = (parameter::SWITCHOVER_CANDIDATE_NAME, to.clone());
            (via, action::SWITCHOVER, [current, candidate].into())
        }
        Step::AddLearner { via, pod, host } => {
            let name = (parameter::JOIN_MEMBER_POD_NAME, pod.clone());
            let host = (parameter::JOIN_MEMBER_POD_FQDN, host.clone());
            (via, action::MEMBER_JOIN, [name, host].into())
        }
        Step::Promote {
            via,
            pod: _,
            member: id,
        } => (via, action::MEMBER_PROMOTE, [member(id)].into()),
        Step::RemoveMember {
            via,
            pod,
            host,
            member: id,
            why: _,
            drain: _,
        } => {
            let name = (parameter::LEAVE_MEMBER_POD_NAME, pod.clone());
            let host = (parameter::LEAVE_MEMBER_POD_FQDN, host.clone());
            (via, action::MEMBER_LEAVE, [name, host, member(id)].into())
        }
        Step::Compact { via } => (via, action::COMPACT, none()),
        Step::Defragment { via, request } => {
            let request = request.iter().cloned();
            let parameters = request.map(|uid| (parameter::DEFRAGMENTATION_REQUEST, uid));
            (via, action::DEFRAGMENT, parameters.collect())
        }
        Step::Disarm { via, alarm } => {
            let kind = (parameter::ALARM, alarm.kind.as_str().to_owned());
            (via, action::DISARM, [member(&alarm.member), kind].into())
        }
        Step::Downgrade { via, to } => {
            let to = (parameter::DOWNGRADE_TARGET, to.to_string());
            (via, action::DOWNGRADE, [to].into())
        }
        Step::CancelDowngrade { via } => (via, action::CANCEL_DOWNGRADE, none()),
        Step::AppendToLog { via } => (via, action::APPEND, none()),
        _ => return None,
    })
}

fn limit(limits: &Limits, action: &str) -> Option<u32> {
    match action {
        action::MEMBER_JOIN | action::MEMBER_PROMOTE => limits.join,
        action::MEMBER_LEAVE => limits.leave,
        action::SWITCHOVER => limits.switchover,
        _ => None,
    }
}
