//! Which storage class a claim was made for. A policy of the cluster may have put another one into it, so it is on
//! record in an annotation; claims of earlier operators have none.

use etcd_operator_api::condition::{ConditionType, Observation, Reason, find, holds};
use etcd_operator_api::names;
use etcd_operator_api::volume::VolumeClaimTemplate;

use super::waiting;
use crate::instanceset::desired::Desired;
use crate::instanceset::names as keys;
use crate::instanceset::observed::{ClaimSeen, Observed};

/// What is to be on record for a claim: the class, empty for the default one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It was asked for.
    For(String),
    /// It is named now, and may have been then; the claim is of another class, and nothing says which was asked for. A
    /// member that has its data is given up for no guess.
    Perhaps(String),
}

impl Asked {
    /// The class.
    #[must_use]
    pub(crate) fn class(&self) -> &str {
        match self {
            Asked::For(class) | Asked::Perhaps(class) => class,
        }
    }
}

/// What is to be on record. A claim without a record was made by an earlier operator, which let no other class be
/// named: for the class that its template names, where the InstanceSet is as that operator has left it.
#[must_use]
pub(crate) fn asked(
    (desired, seen): (&Desired, &Observed),
    template: &VolumeClaimTemplate,
    claim: &ClaimSeen,
) -> Asked {
    let (named, in_spec) = (template.spec.class(), claim.class_in_spec.as_deref());
    let known = claim.annotations.get(keys::CLASS).map(String::as_str);
    let asked = |class: Option<&str>| Asked::For(class.unwrap_or_default().to_owned());
    let recorded = &desired.recorded;
    let mut reasons = recorded.waiting_on.iter();
    let moves = reasons.any(|why| why.reason == waiting::MOVING);
    let doubted = holds(&recorded.conditions, ConditionType::StorageClassAssumed);
    let unchanged = recorded.observed_generation == desired.generation && !moves && !doubted;
    let Some(class) = named else {
        return asked(known.or(in_spec.filter(|_| !unchanged)));
    };
    let made = seen.made_class.get(&template.name).map(String::as_str);
    match known {
        // It is where a new one would be, whatever it was made for.
        _ if in_spec.is_some() && (in_spec == named || in_spec == made) => asked(named),
        Some(known) if known == class && claim.annotations.contains_key(keys::ASSUMED) => {
            Asked::Perhaps(known.to_owned())
        }
        Some(known) => asked(Some(known)),
        None if unchanged => asked(named),
        // An earlier operator has begun to move members: another class had been named.
        None if moves => asked(in_spec),
        None => Asked::Perhaps(class.to_owned()),
    }
}

/// A member of whose claim it is to be found out what a new one would be: of the class that this one has, perhaps.
#[must_use]
pub(crate) fn doubted(desired: &Desired, seen: &Observed) -> Option<String> {
    let claims = doubtful(desired, seen).into_iter();
    let mut unmarked = claims.filter(|(_, claim)| !claim.annotations.contains_key(keys::CLASS));
    unmarked.next().map(|(pod, _)| pod.to_owned())
}

/// Claims of members of which it is not known what was asked for, with their pods.
fn doubtful<'a>(desired: &'a Desired, seen: &'a Observed) -> Vec<(&'a str, &'a ClaimSeen)> {
    let of = |pod: &'a String| {
        let claims = desired.claims.iter().filter_map(move |template| {
            let claim = seen.claims.get(&names::claim(&template.name, pod))?;
            let asked = asked((desired, seen), template, claim);
            let counts = claim.is_used() && matches!(asked, Asked::Perhaps(_));
            counts.then_some((pod.as_str(), claim))
        });
        claims.collect::<Vec<_>>()
    };
    desired.members.iter().flat_map(of).collect()
}

/// The condition about it, where it was ever so.
#[must_use]
pub(crate) fn observation(desired: &Desired, seen: &Observed) -> Option<Observation> {
    let kind = ConditionType::StorageClassAssumed;
    let all = doubtful(desired, seen);
    if all.is_empty() {
        find(&desired.recorded.conditions, kind)?;
        return Some(Observation::new(kind, false, Reason::OnRecord, ""));
    }
    let told = all.iter().map(|(pod, claim)| {
        let class = claim.class_in_spec.as_deref().unwrap_or("none");
        format!("{pod} (storage class {class})")
    });
    let told = told.collect::<Vec<_>>().join(", ");
    let (class, assumed) = (keys::CLASS, keys::ASSUMED);
    let text = format!(
        "volumes are not of the storage class that their template names, nothing says which one was asked for when \
         they were made, and their members stay: {told}. To have one replaced by a volume of the named class, rebuild \
         the member (OpsRequest RebuildInstance), or annotate its claim {class} with the class that it has; to leave \
         it, take the annotation {assumed} from its claim. Another class that is named moves all"
    );
    Some(Observation::new(kind, true, Reason::NotOnRecord, text))
}
