//! PURE: a template that differs from what runs although no input of it has changed. Then the operator has changed: a
//! new release of it must not restart every cluster at once, unasked.

use etcd_operator_api::{InstanceSet, labels};
use kube::ResourceExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::validate::Valid;

/// Places that are named when a template differs.
const NAMED: usize = 5;

/// Keeps the pods' part of the live template where only the operator would change it, and says what it would change.
/// Labels and annotations are not part of it: they are changed in place.
///
/// Everything that `build::template` reads of the owner's objects is among the inputs; what is not would be held back
/// when the owner changes it, which the mutation tests find.
pub(super) fn hold(
    valid: &Valid<'_>,
    live: Option<&InstanceSet>,
    planned: &mut InstanceSet,
) -> Option<String> {
    let inputs = inputs(valid);
    let known = |annotation| live.and_then(|live| live.annotations().get(annotation));
    // The account of the pods is named after the definition, which another one of the same content is not.
    let definition = &valid.component.spec.comp_def;
    let unchanged = known(labels::TEMPLATE_INPUTS) == Some(&inputs)
        && known(labels::COMPONENT).is_none_or(|known| known == definition);
    let annotations = planned.annotations_mut();
    annotations.insert(labels::TEMPLATE_INPUTS.to_owned(), inputs);
    let runs = live?.spec.template.0.get("spec")?;
    let made = planned.spec.template.0.get_mut("spec")?;
    if !unchanged || made == runs {
        return None;
    }
    let mut places = Vec::new();
    differences("", runs, made, &mut places);
    let more = places.len().saturating_sub(NAMED);
    places.truncate(NAMED);
    let mut text = format!(
        "this release of the operator makes other pods from the same spec (changed: {}",
        places.join(", ")
    );
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text += "); pods stay as they are until an OpsRequest Restart, or the next edit that recreates them";
    made.clone_from(runs);
    Some(text)
}

/// A digest of what the pods' part of the template is made from.
fn inputs(valid: &Valid<'_>) -> String {
    let wish = &valid.component.spec;
    let mut all = json!([
        valid.name.to_string(),
        valid.runtime,
        valid.release.service_version,
        valid.release.images,
        wish.resources,
        wish.env,
        wish.configs,
        wish.service_account_name,
        wish.runtime_class_name,
        wish.scheduling_policy,
        // A restart requests new pods: they are created with this operator's template.
        wish.annotations
            .get(labels::RESTART)
            .or(valid.restarted.as_ref()),
    ]);
    // Not before there is one: the digests that are on record know nothing of it.
    if let (Some(tls), Some(all)) = (&valid.tls, all.as_array_mut()) {
        all.push(json!(tls.record()));
    }
    // It follows the volumes, which grow.
    if let (Some(quota), Some(all)) = (valid.flags.fitted, all.as_array_mut()) {
        all.push(json!({ "quota": quota }));
    }
    if let (Some(trust), Some(all)) = (&valid.trust, all.as_array_mut()) {
        all.push(json!(trust));
    }
    if let (true, Some(all)) = (valid.accounts, all.as_array_mut()) {
        all.push(json!("accounts"));
    }
    let digest = Sha256::digest(all.to_string().as_bytes());
    let bytes = digest.iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Where two values differ; entries of lists that have names are called by them.
fn differences(at: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let nothing = Value::Null;
            let fresh = new.keys().filter(|name| !old.contains_key(*name));
            for name in old.keys().chain(fresh) {
                let dot = if at.is_empty() { "" } else { "." };
                let of = |map: &serde_json::Map<String, Value>| {
                    map.get(name).cloned().unwrap_or(Value::Null)
                };
                let (old, new) = (of(old), of(new));
                if old == nothing || new == nothing {
                    found.extend((old != new).then(|| format!("{at}{dot}{name}")));
                } else {
                    differences(&format!("{at}{dot}{name}"), &old, &new, found);
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (place, (old, new)) in old.iter().zip(new).enumerate() {
                let name = new["name"].as_str();
                let name = name.map_or_else(|| place.to_string(), str::to_owned);
                differences(&format!("{at}[{name}]"), old, new, found);
            }
        }
        (old, new) if old != new => found.push(at.to_owned()),
        _ => {}
    }
}
