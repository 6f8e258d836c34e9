//! The driver of Components: observe, plan, apply in a visible order, status. Decides nothing itself.

use std::sync::Arc;
use std::time::Duration;

use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::{
    Component, ComponentDefinition, ComponentVersion, InstanceSet, TerminationPolicy, labels,
};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt};

use super::accounts::{self, Planned};
use super::certificates::{CertificateError, Certified, certify, member_user};
use super::credentials::{CredentialError, provide};
use super::ensure;
use super::network;
use super::observe::{ObserveError, Observed, leaving, observe};
use super::phase::{ROLE_TIMEOUT, roles_missing_for};
use super::plan::{Certificates, Plan, last_word, plan};
use super::status::{Outcome, Secured, status};
use super::tls::Tls;
use crate::certificates::IssueError;
use crate::client::message;
use crate::controller::{
    ApplyError, Blame, Context, Driver, Late, Unread, all, announce, apply_if_different, delete,
    heads, is_orphaning, ours, patch, release, specified, stuck, touched, write_status,
};

/// Objects that are not watched (Secret, ServiceAccount, StorageClass) are looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// So are Secrets with certificates while one of them is at fault: its owner waits for the effect of his edit.
const AT_FAULT: Duration = Duration::from_secs(15);

/// So is a backup that an update waits for.
const BACKUP: Duration = Duration::from_secs(3);

/// Conditions of which an event tells when they are false.
const FAILING: [ConditionType; 4] = [
    ConditionType::ProvisioningStarted,
    ConditionType::ApplyResources,
    ConditionType::CertificatesValid,
    ConditionType::AccountsReady,
];

/// Where the status says why nothing is done.
const BLAME: Blame = Blame::Condition(ConditionType::ProvisioningStarted, Reason::PreCheckFailed);

/// A step of the reconcile failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Late(#[from] Late),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Read(#[from] Unread),
    #[error("failed to release the Component: {}", message(.0))]
    Release(kube::Error),
}

impl Error {
    /// What happens in the normal course of things: the namespace is being deleted, or the object has changed since
    /// it was read.
    fn is_expected(&self) -> bool {
        match self {
            Error::Apply(error) => error.namespace_ends() || error.is_conflict(),
            _ => false,
        }
    }
}

/// Reconciles all Components.
///
/// # Errors
/// Never: it runs until it is dropped.
pub(crate) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let controller = heads::<Component>(&context, ours());
    let (by_definition, by_version) = (controller.store(), controller.store());
    let definitions = specified::<ComponentDefinition>(&context);
    let versions = specified::<ComponentVersion>(&context);
    let driver = Driver::new("Component", &context);
    let controller = controller
        .owns_stream(touched::<InstanceSet>(&context, ours()))
        .owns_stream(touched::<Service>(&context, ours()))
        .owns_stream(touched::<ConfigMap>(&context, ours()))
        .owns_stream(touched::<PodDisruptionBudget>(&context, ours()))
        .owns_stream(touched::<NetworkPolicy>(&context, ours()))
        .watches_stream(definitions, move |_| all(&by_definition.state()))
        .watches_stream(versions, move |_| all(&by_version.state()));
    let round = move |component: Component| {
        let context = Arc::clone(&context);
        async move { Box::pin(reconcile(&component, &context)).await }
    };
    let running = driver.run(controller, BLAME, Error::is_expected, round);
    Box::pin(running).await
}

async fn reconcile(component: &Component, context: &Context) -> Result<Action, Error> {
    let observed = look(component, context).await?;
    if component.metadata.deletion_timestamp.is_some() {
        return tear_down(component, &observed, context).await;
    }
    let planned = plan(component, &observed, &context.config.cluster_domain);
    let mut secured = Secured::default();
    let (outcome, failure) = match planned {
        Err(refused) => (Outcome::Refused(refused.to_string()), None),
        Ok(plan) => {
            Box::pin(carry_out_with_secrets(
                component,
                plan,
                &mut secured,
                context,
            ))
            .await?
        }
    };
    let its = observed.instance_set.as_ref();
    tell(component, its, (&outcome, &secured), context).await?;
    match failure {
        Some(error) => Err(error.into()),
        None if at_fault(component, &outcome, &secured) => Ok(Action::requeue(AT_FAULT)),
        None if matches!(outcome, Outcome::Waits(_)) => Ok(Action::requeue(BACKUP)),
        None => Ok(next_look(&observed)),
    }
}

/// What there is. The status says what can never be read.
async fn look(component: &Component, context: &Context) -> Result<Observed, ObserveError> {
    let observed = match component.metadata.deletion_timestamp {
        Some(_) => leaving(&context.client, component).await,
        None => Box::pin(observe(&context.client, component)).await,
    };
    if let Err(error) = &observed
        && error.is_lasting()
    {
        stuck(context, component, &error.to_string(), BLAME).await;
    }
    observed
}

/// Whether a Secret may be what has to change.
fn at_fault(component: &Component, outcome: &Outcome, secured: &Secured) -> bool {
    let refused = matches!(outcome, Outcome::Refused(_)) && component.spec.tls_config.is_some();
    let kept = secured
        .provided
        .as_ref()
        .is_some_and(|of| of.kept.is_some());
    refused || kept || matches!(secured.certified, Some(Certified::Kept(_)))
}

/// Pods mount their certificate and etcd's users, so these come before all else: without them nothing is made.
async fn carry_out_with_secrets(
    component: &Component,
    mut plan: Plan,
    secured: &mut Secured,
    context: &Context,
) -> Result<(Outcome, Option<ApplyError>), Error> {
    let stopped = |error: ApplyError| {
        let (outcome, error) = failed(error);
        Ok((outcome, Some(error)))
    };
    let mut certificates = None;
    if let Some(wanted) = plan.certificates.take() {
        let now = Timestamp::now();
        match Box::pin(certify(&context.client, component, &wanted, now)).await {
            Ok(certification) => {
                let annotations = plan.instance_set.annotations_mut();
                annotations.extend(certification.record());
                secured.certified = Some(certification.certified);
                certificates = Some(wanted);
            }
            Err(CertificateError::Fault(fault)) => {
                return Ok((Outcome::Refused(format!("issuer: {fault}")), None));
            }
            Err(CertificateError::Apply(error)) => return stopped(error),
            Err(CertificateError::Issue(error)) => return Err(error.into()),
        }
    }
    if let Some(mut planned) = plan.accounts.take() {
        let known = members_known(component, &mut plan, &mut planned, certificates, context);
        if let Err(outcome) = Box::pin(known).await? {
            return Ok((outcome, None));
        }
        match Box::pin(provide(&context.client, component, &planned)).await {
            Ok(provided) => secured.provided = Some(provided),
            Err(CredentialError::Fault(fault)) => {
                return Ok((Outcome::Refused(fault.to_string()), None));
            }
            Err(CredentialError::Apply(error)) => return stopped(error),
        }
    }
    let held = plan.held.take().map_or(Outcome::Applied, Outcome::Held);
    let applied = plan.waits.take().map_or(held, Outcome::Waits);
    match Box::pin(carry_out(component, plan, context)).await {
        Ok(()) => Ok((applied, None)),
        Err(error) => stopped(error),
    }
}

/// With certificates of the user's, members are the user of etcd that those name; that is put on record.
async fn members_known(
    component: &Component,
    plan: &mut Plan,
    planned: &mut Vec<Planned>,
    certificates: Option<Certificates>,
    context: &Context,
) -> Result<Result<(), Outcome>, Error> {
    let wanted = certificates.filter(|wanted| matches!(wanted.tls, Tls::User(_)));
    let Some(Certificates {
        member_user: known, ..
    }) = wanted
    else {
        return Ok(Ok(()));
    };
    let now = Timestamp::now();
    // What is on record stays, also while the certificate itself is at fault.
    let found = match known {
        Some(known) => Ok(known),
        None => Box::pin(member_user(&context.client, component, now)).await,
    };
    let user = match found {
        Ok(user) => user,
        Err(CertificateError::Fault(fault)) => {
            return Ok(Err(Outcome::Refused(format!("issuer: {fault}"))));
        }
        Err(CertificateError::Apply(error)) => return Err(error.into()),
        Err(CertificateError::Issue(error)) => return Err(error.into()),
    };
    if let Err(refused) = accounts::as_user(planned, &user) {
        return Ok(Err(Outcome::Refused(refused.to_string())));
    }
    let annotations = plan.instance_set.annotations_mut();
    annotations.insert(labels::MEMBER_USER.to_owned(), user);
    Ok(Ok(()))
}

fn failed(error: ApplyError) -> (Outcome, ApplyError) {
    let refused = error.refusal().into_iter().collect();
    (Outcome::Failed(error.to_string(), refused), error)
}

/// Missing roles turn into a failure by the passing of time alone, so that moment is looked at.
fn next_look(observed: &Observed) -> Action {
    let now = Time(Timestamp::now());
    let missing = observed
        .instance_set
        .as_ref()
        .and_then(|its| roles_missing_for(its, &now));
    let left = missing.and_then(|since| ROLE_TIMEOUT.checked_sub(since));
    Action::requeue(left.map_or(LOOK_AGAIN, |left| left + Duration::from_secs(1)))
}

/// Writes what is planned. Pods refer to account, secret and environment, so these come first; the leader service
/// must exist before a member asks for its name; the InstanceSet, which makes pods, is last.
async fn carry_out(component: &Component, plan: Plan, context: &Context) -> Result<(), ApplyError> {
    let client = &context.client;
    let Plan {
        service_account,
        environment,
        services,
        obsolete_services,
        disruption_budget,
        instance_set,
        certificates: _,
        accounts: _,
        reach,
        outside,
        backup,
        held: _,
        waits: _,
    } = plan;
    if let Some(backup) = backup {
        ensure::backup(client, &backup).await?;
    }
    let account = async {
        match &service_account {
            Some(name) => ensure::account(client, component, name).await,
            None => Ok(()),
        }
    };
    let service_objects = async {
        for service in &services {
            apply_if_different(client, service).await?;
        }
        Ok(())
    };
    futures::future::try_join5(
        account,
        ensure::secret(client, component, context.config.token_age),
        apply_if_different(client, &environment),
        apply_if_different(client, &disruption_budget),
        service_objects,
    )
    .await?;
    let policy = network::policy(component, reach, &outside, &context.config.namespace);
    bound(client, component, policy).await?;
    apply_if_different(client, &instance_set).await?;
    for service in &obsolete_services {
        delete(client, service).await?;
    }
    Ok(())
}

/// The policy as it is wanted; our own goes where none is.
async fn bound(
    client: &Client,
    component: &Component,
    policy: Option<NetworkPolicy>,
) -> Result<(), ApplyError> {
    if let Some(policy) = policy {
        return apply_if_different(client, &policy).await.map(|_| ());
    }
    let name = component.name_any();
    let namespace = component.namespace().unwrap_or_default();
    let api: Api<NetworkPolicy> = Api::namespaced(client.clone(), &namespace);
    let found = api.get_opt(&name).await;
    let found = found.map_err(|source| ApplyError::Read {
        kind: "NetworkPolicy".to_owned(),
        name,
        source,
    })?;
    let uid = component.uid().unwrap_or_default();
    let ours = |policy: &NetworkPolicy| policy.owner_references().iter().any(|o| o.uid == uid);
    match found.filter(ours) {
        Some(policy) => delete(client, &policy).await,
        None => Ok(()),
    }
}

/// Deletion: the InstanceSet (it takes members and claims along), then the Component; the rest, being owned, follows.
async fn tear_down(
    component: &Component,
    observed: &Observed,
    context: &Context,
) -> Result<Action, Error> {
    if !component
        .finalizers()
        .iter()
        .any(|f| f == labels::COMPONENT_FINALIZER)
    {
        return Ok(Action::await_change());
    }
    if component.spec.termination_policy == TerminationPolicy::DoNotTerminate {
        let text = "deletion is blocked by terminationPolicy DoNotTerminate".to_owned();
        let outcome = Outcome::Refused(text);
        let its = observed.instance_set.as_ref();
        tell(component, its, (&outcome, &Secured::default()), context).await?;
        return Ok(Action::await_change());
    }
    if is_orphaning(component) {
        return Ok(Action::await_change());
    }
    let uid = component.uid().unwrap_or_default();
    let ours = |its: &&InstanceSet| its.owner_references().iter().any(|o| o.uid == uid);
    if let Some(its) = observed.instance_set.as_ref().filter(ours) {
        if let Some(word) = last_word(component, its) {
            patch(&context.client, its, &word).await?;
        }
        if its.metadata.deletion_timestamp.is_none() {
            delete(&context.client, its).await?;
        }
        let told = (&Outcome::Applied, &Secured::default());
        tell(component, Some(its), told, context).await?;
        return Ok(Action::await_change());
    }
    release(&context.client, component, labels::COMPONENT_FINALIZER)
        .await
        .map_err(Error::Release)?;
    Ok(Action::await_change())
}

/// Writes the status when it changed, and events for what changed in it.
async fn tell(
    component: &Component,
    instance_set: Option<&InstanceSet>,
    (outcome, secured): (&Outcome, &Secured),
    context: &Context,
) -> Result<(), ApplyError> {
    let now = Time(Timestamp::now());
    let next = status(component, instance_set, outcome, secured, &now);
    let before = component.status.clone().unwrap_or_default();
    if write_status(&context.client, component, next.clone()).await? {
        let phases = (before.phase, next.phase);
        let conditions = (&*before.conditions, &*next.conditions);
        announce(context, component, phases, conditions, &FAILING).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fake_api::{Asked, failure, server};

    fn component() -> Value {
        json!({ "metadata": { "name": "ledger-store", "namespace": "books", "uid": "u", "generation": 2,
                "labels": { labels::INSTANCE: "ledger", labels::COMPONENT_NAME: "store" },
                "annotations": { labels::CLUSTER_UID: "c" }, "finalizers": [labels::COMPONENT_FINALIZER] },
            "spec": { "compDef": "etcd", "replicas": 3 } })
    }

    /// A round for this Component, where lists of `kind` are answered with `code` and its definition is not understood:
    /// whether it succeeds, and what was written to the Component.
    async fn round(object: Value, kind: &'static str, code: u16) -> (bool, Vec<Asked>) {
        let component: Component = serde_json::from_value(object.clone()).expect("a Component");
        let (context, asked) = server(move |line| {
            let path = line.split('?').next().unwrap_or_default();
            if path.ends_with(kind) {
                failure(code, "Forbidden", "it is not permitted")
            } else if path.ends_with("/componentdefinitions/etcd") {
                (200, json!({ "metadata": { "name": "etcd" }, "spec": 5 }))
            } else if path.contains("/components/ledger-store") || path.ends_with("/events") {
                (200, object.clone())
            } else if path.contains("/ledger-store") {
                failure(404, "NotFound", "none")
            } else {
                (200, json!({ "metadata": {}, "items": [] }))
            }
        });
        let result = Box::pin(reconcile(&component, &context)).await;
        let asked = asked.lock().expect("no panic");
        let writes = |(line, _): &&Asked| {
            !line.starts_with("GET") && line.contains("/components/ledger-store")
        };
        (
            result.is_ok(),
            asked.iter().filter(writes).cloned().collect(),
        )
    }

    #[tokio::test]
    async fn one_whose_definition_cannot_be_read_says_so_and_can_be_deleted() {
        let (fine, written) = round(component(), "/nothing", 200).await;
        assert!(fine && written.len() == 1, "{written:?}");
        let told = &written[0].1["status"]["conditions"];
        assert!(told.to_string().contains("it cannot be read"), "{told}");
        let mut deleted = component();
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        // Nor is it kept by kinds that are gone, as when all is uninstalled at once.
        for gone in ["/nothing", "/componentversions", "/storageclasses"] {
            let (fine, written) = round(deleted.clone(), gone, 404).await;
            assert!(fine && written.len() == 1, "{gone}: {written:?}");
            assert_eq!(written[0].1["metadata"]["finalizers"], json!([]));
        }
    }

    #[tokio::test]
    async fn one_whose_members_are_to_stay_deletes_no_instance_set() {
        let mut object = component();
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["metadata"]["finalizers"] = json!([labels::COMPONENT_FINALIZER, "orphan"]);
        let component: Component = serde_json::from_value(object).expect("a Component");
        let (context, asked) = server(|_| {
            let owner = json!([{ "apiVersion": "apps.kubeblocks.io/v1", "kind": "Component", "name": "ledger-store",
                "uid": "u", "controller": true }]);
            let set = json!({ "metadata": { "name": "ledger-store", "namespace": "books", "ownerReferences": owner },
                "spec": { "replicas": 3, "selector": {}, "template": {} } });
            (200, set)
        });
        let round = Box::pin(reconcile(&component, &context)).await;
        assert_eq!(round.expect("a round"), Action::await_change());
        let asked = asked.lock().expect("no panic");
        let read = |(line, _): &Asked| line.starts_with("GET");
        assert!(asked.iter().all(read), "{asked:?}");
    }

    #[tokio::test]
    async fn what_it_may_not_read_is_told_in_status_and_what_is_soon_over_is_not() {
        // It has no right to it, or the API server does not know the kind.
        for code in [403, 404] {
            let (fine, written) = round(component(), "/storageclasses", code).await;
            assert!(!fine && written.len() == 1, "{code}: {written:?}");
            assert!(written[0].0.contains("/ledger-store/status"));
            let told = &written[0].1["status"]["conditions"][0];
            assert_eq!(
                (&told["type"], &told["status"], &told["message"]),
                (
                    &json!("ProvisioningStarted"),
                    &json!("False"),
                    &json!("failed to read StorageClasses: it is not permitted")
                )
            );
        }
        let (fine, written) = round(component(), "/storageclasses", 500).await;
        assert!(!fine && written.is_empty(), "{written:?}");
    }
}
