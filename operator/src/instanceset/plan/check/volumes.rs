//! Rules for volumes that grow.

use etcd_operator_api::labels;
use etcd_operator_api::quantity::amount;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::lint::{Lint, Violation};
use crate::instanceset::plan::Step;

/// Finds rules that the growth of this incarnation of a claim breaks.
pub(super) fn check(
    lint: &Lint<'_>,
    (name, uid): (&str, &str),
    to: &Quantity,
    found: &mut Vec<Violation>,
) {
    let claims = &lint.seen.claims;
    let Some(claim) = claims.get(name).filter(|claim| claim.uid == uid) else {
        found.push(format!("C2: {name} grows in an incarnation not seen"));
        return;
    };
    if !claim.owned || claim.terminating {
        found.push(format!("V1: {name} grows, and is going or not ours"));
    }
    let of = claim.labels.get(labels::VOLUME_CLAIM_TEMPLATE);
    let mut templates = lint.desired.claims.iter();
    let template = templates.find(|template| Some(&template.name) == of);
    if template.is_some_and(|template| lint.moves(template, claim)) {
        found.push(format!("V1: {name} grows, and its member moves"));
    }
    let bytes = |size: Option<&Quantity>| size.and_then(amount).unwrap_or_default();
    let asked = bytes(claim.size.requested.as_ref());
    let has = bytes(claim.size.capacity.as_ref());
    // What was asked for in vain may be taken back, to what is still more than there is.
    let back = has > 0.0 && bytes(Some(to)) < asked;
    let least = if back { has } else { asked.max(has) };
    if bytes(Some(to)) <= least {
        found.push(format!(
            "V1: {name} is asked to shrink, or to stay as it is"
        ));
    }
    let grows = |step: &&Step| matches!(step, Step::GrowClaim { .. });
    let under_way = claims.values().any(|other| {
        let size = &other.size;
        let (Some(wants), Some(has)) = (&size.requested, &size.capacity) else {
            return false;
        };
        other.owned && !other.terminating && amount(has) < amount(wants)
    });
    if (under_way && !back) || lint.plan.steps.iter().filter(grows).count() > 1 {
        found.push(format!("V2: {name} grows while another one does"));
    }
}
