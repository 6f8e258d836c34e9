//! Labels and annotations of pods and claims that are there: changed in place when their template changes, or when
//! another client has edited those that it gave them. What others have put there stays.

use std::collections::BTreeMap;

use etcd_operator_api::labels;
use etcd_operator_api::volume::VolumeClaimTemplate;

use super::asked_class::{Asked, asked};
use super::steps::{Changes, Labelled};
use super::{Plan, Step, revision, template, volumes};
use crate::instanceset::desired::Desired;
use crate::instanceset::names as keys;
use crate::instanceset::observed::{ClaimSeen, Observed, PodSeen};

type Map = BTreeMap<String, String>;

/// Plans what differs.
pub(crate) fn plan(desired: &Desired, seen: &Observed, plan: &mut Plan) {
    let step = |kind, name: &String, uid: &String, changes| Step::Relabel {
        kind,
        name: name.clone(),
        uid: uid.clone(),
        changes,
    };
    let in_place = |_: &(&String, &PodSeen)| !desired.recreate;
    for (name, pod) in seen.pods.iter().filter(in_place) {
        if let Some(changes) = of_pod(desired, name, pod) {
            plan.steps
                .push(step(Labelled::Pod, name, &pod.uid, changes));
        }
    }
    for (name, claim) in &seen.claims {
        if let Some(changes) = of_claim(desired, seen, (name, claim)) {
            let step = step(Labelled::Claim, name, &claim.uid, changes);
            plan.steps.push(step);
        }
    }
}

/// What a pod's labels and annotations lack.
pub(crate) fn of_pod(desired: &Desired, name: &str, pod: &PodSeen) -> Option<Changes> {
    if !pod.owned || pod.terminating {
        return None;
    }
    let mut wanted = template::labels(desired, name);
    let meta = desired.template.metadata.as_ref();
    let given = meta.and_then(|meta| meta.annotations.clone());
    let mut annotations = given.unwrap_or_default();
    template::record(&wanted, &mut annotations);
    // A new value of it requests a restart, and must stay visible until the pod is new.
    annotations.remove(labels::RESTART);
    if pod.revision != revision::revision(desired) {
        // These tell what the pod was made of.
        wanted.remove(labels::SERVICE_VERSION);
        wanted.remove(labels::COMPONENT);
    }
    let kept = [
        labels::RESTART,
        labels::SERVICE_VERSION,
        labels::COMPONENT,
        labels::ROLE,
    ];
    changes(
        (&pod.labels, &pod.annotations),
        (&wanted, &annotations),
        &kept,
    )
}

fn of_claim(
    desired: &Desired,
    seen: &Observed,
    (name, claim): (&str, &ClaimSeen),
) -> Option<Changes> {
    if !claim.owned || claim.terminating {
        return None;
    }
    let (template, pod) = made_of(desired, name)?;
    let (wanted, mut annotations) = volumes::metadata(desired, template, pod);
    // Whose it is is on record from when it was made or released, and is no matter of the template.
    annotations.remove(labels::CLUSTER_UID);
    let asked = asked((desired, seen), template, claim);
    annotations.insert(keys::CLASS.to_owned(), asked.class().to_owned());
    let assumed = (keys::ASSUMED.to_owned(), "true".to_owned());
    let settled = Some(asked.class()) == template.spec.class();
    annotations.extend(matches!(asked, Asked::Perhaps(_)).then_some(assumed));
    let live = (&claim.labels, &claim.annotations);
    let mut found = changes(live, (&wanted, &annotations), &[labels::CLUSTER_UID]);
    // While another class is named it stays, for that name may be taken back.
    if matches!(asked, Asked::For(_)) && settled && live.1.contains_key(keys::ASSUMED) {
        let found = found.get_or_insert_default();
        found.annotations.insert(keys::ASSUMED.to_owned(), None);
    }
    found
}

/// The template and the pod of a claim. Its name says so: labels may be gone.
fn made_of<'a>(desired: &'a Desired, claim: &'a str) -> Option<(&'a VolumeClaimTemplate, &'a str)> {
    desired.claims.iter().find_map(|template| {
        let pod = claim
            .strip_prefix(template.name.as_str())?
            .strip_prefix('-')?;
        desired.name.ordinal(pod).map(|_| (template, pod))
    })
}

/// What must be set, and what was the template's and is no longer; never one of `kept`.
fn changes(live: (&Map, &Map), wanted: (&Map, &Map), kept: &[&str]) -> Option<Changes> {
    let before = template::recorded(live.1);
    let found = Changes {
        labels: difference(live.0, wanted.0, &before.labels, kept),
        annotations: difference(live.1, wanted.1, &before.annotations, kept),
    };
    (found != Changes::default()).then_some(found)
}

fn difference(
    live: &Map,
    wanted: &Map,
    before: &[String],
    kept: &[&str],
) -> BTreeMap<String, Option<String>> {
    let lacking = wanted
        .iter()
        .filter(|(key, value)| live.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), Some(value.clone())));
    let gone = before
        .iter()
        .filter(|key| !wanted.contains_key(*key) && live.contains_key(*key))
        .filter(|key| !kept.contains(&key.as_str()))
        .map(|key| (key.clone(), None));
    lacking.chain(gone).collect()
}
