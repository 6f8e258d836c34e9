//! A member's data lost: its files deleted under it, or its claim and pod deleted. Nothing heals it but the operator.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};

use crate::cluster::Cluster;
use crate::faults::members::roster;
use crate::faults::pods;
use crate::faults::process::scripts::{self, Which};
use crate::faults::running::{Injected, Running};
use crate::faults::{
    DataLoss, Deletion, Evidence, Fault, FaultContext, FaultError, Member, Selector, Target,
};
use crate::timeouts;
use crate::wait::{Poll, WaitError, wait_until};

/// Name of the data volume in a member's pod.
const DATA_VOLUME: &str = "data";

/// Where a member's data is.
#[derive(Clone, Debug)]
pub(crate) struct DataVolume {
    /// The claim.
    pub claim: PersistentVolumeClaim,
    /// The folder on the node.
    pub path: String,
}

/// Finds a member's data through its claim and volume.
pub(crate) async fn data_volume(
    cluster: &Cluster,
    namespace: &str,
    member: &Member,
) -> Result<DataVolume, FaultError> {
    let what = || format!("the data volume of pod {}", member.pod);
    let pods: Api<Pod> = Api::namespaced(cluster.kube.clone(), namespace);
    let pod = pods
        .get(&member.pod)
        .await
        .map_err(|error| FaultError::api(format!("read pod {}", member.pod), error))?;
    let volumes = pod.spec.and_then(|spec| spec.volumes).unwrap_or_default();
    let claim = volumes
        .into_iter()
        .find(|volume| volume.name == DATA_VOLUME)
        .and_then(|volume| volume.persistent_volume_claim)
        .ok_or_else(|| {
            FaultError::find(
                what(),
                format!("the pod has no claim for a volume {DATA_VOLUME:?}"),
            )
        })?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.kube.clone(), namespace);
    let claim = claims
        .get(&claim.claim_name)
        .await
        .map_err(|error| FaultError::api(format!("read claim {}", claim.claim_name), error))?;
    let bound = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.clone());
    let bound = bound.ok_or_else(|| FaultError::find(what(), "its claim is not bound"))?;
    let volumes: Api<PersistentVolume> = Api::all(cluster.kube.clone());
    let volume = volumes
        .get(&bound)
        .await
        .map_err(|error| FaultError::api(format!("read volume {bound}"), error))?;
    let spec = volume.spec.unwrap_or_default();
    let path = spec
        .local
        .map(|local| local.path)
        .or_else(|| spec.host_path.map(|host| host.path));
    let path = path.ok_or_else(|| FaultError::find(what(), "it is no folder of its node"))?;
    if !is_volume_path(&path) {
        return Err(FaultError::find(
            what(),
            format!("{path:?} does not look like a volume's own folder: not touched"),
        ));
    }
    Ok(DataVolume { claim, path })
}

/// A folder deep enough to be a volume's own. What is below it will be deleted.
fn is_volume_path(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    path.starts_with('/') && parts.len() >= 3 && !parts.contains(&"..") && !path.contains('\'')
}

/// Injects the loss of data.
pub(crate) async fn inject(
    context: &FaultContext,
    fault: &Fault,
    of: &Selector,
    how: DataLoss,
) -> Result<Injected, FaultError> {
    let roster = roster(context).await?;
    let victims = of.select(&roster.members, context.seed)?;
    let mut evidence = Evidence::new().with("roles from", roster.roles_from);
    let mut losses = Vec::new();
    for victim in victims {
        let volume = data_volume(&context.cluster, &context.namespace, &victim).await?;
        match how {
            DataLoss::Wiped => {
                let shell = context.cluster.shell(victim.node()?)?;
                let output = shell
                    .check("wipe a volume", &wipe(&victim.uid, &volume.path))
                    .await?;
                let files: u32 = output
                    .lines()
                    .find_map(|l| l.strip_prefix("files ")?.trim().parse().ok())
                    .unwrap_or(0);
                evidence.add(format!("pod/{} files deleted", victim.pod), files);
                losses.push(Loss {
                    member: victim,
                    claim: volume.claim,
                    files,
                    killed: scripts::parse(&output).len(),
                });
            }
            DataLoss::ClaimDeleted | DataLoss::ClaimAlone => {
                delete_claim(context, &volume.claim).await?;
                if how == DataLoss::ClaimDeleted {
                    let api: Api<Pod> =
                        Api::namespaced(context.cluster.kube.clone(), &context.namespace);
                    pods::delete(&api, &victim, Deletion::Forced).await?;
                }
                evidence.add(format!("claim {}", volume.claim.name_any()), "deleted");
                losses.push(Loss {
                    member: victim,
                    claim: volume.claim,
                    files: 0,
                    killed: 0,
                });
            }
        }
    }
    let targets = losses
        .iter()
        .map(|loss| Target::Member {
            pod: loss.member.pod.clone(),
            node: None,
            part: format!("claim {}", loss.claim.name_any()),
        })
        .collect();
    let running = Lost {
        fault: fault.to_string(),
        how,
        cluster: context.cluster.clone(),
        namespace: context.namespace.clone(),
        losses,
    };
    Ok(Injected {
        targets,
        evidence,
        running: Box::new(running),
    })
}

/// etcd is stopped first, so that it writes nothing into an emptying folder, and never runs again after. One that
/// cannot be killed is continued rather than left stopped.
fn wipe(uid: &str, path: &str) -> String {
    let which = Which {
        uid,
        container: "etcd",
    };
    format!(
        "[ -d '{path}' ] || {{ echo 'there is no folder {path}' >&2; exit 1; }}\n({}) >/dev/null 2>&1\n\
         echo files $(find '{path}' -mindepth 1 | wc -l)\nfind '{path}' -mindepth 1 -delete\n({}) 2>/dev/null || ({}) 2>/dev/null\ntrue",
        scripts::stop(which),
        scripts::kill(which),
        scripts::go_on(which),
    )
}

async fn delete_claim(
    context: &FaultContext,
    claim: &PersistentVolumeClaim,
) -> Result<(), FaultError> {
    let api: Api<PersistentVolumeClaim> =
        Api::namespaced(context.cluster.kube.clone(), &context.namespace);
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: claim.uid(),
            resource_version: None,
        }),
        ..DeleteParams::background()
    };
    let deleted = api.delete(&claim.name_any(), &params).await;
    deleted
        .map(drop)
        .map_err(|error| FaultError::api(format!("delete claim {}", claim.name_any()), error))
}

struct Loss {
    member: Member,
    claim: PersistentVolumeClaim,
    files: u32,
    killed: usize,
}

/// Members without their data.
struct Lost {
    fault: String,
    how: DataLoss,
    cluster: Cluster,
    namespace: String,
    losses: Vec<Loss>,
}

impl Lost {
    async fn seen(&self, loss: &Loss) -> Result<Result<String, String>, FaultError> {
        match self.how {
            DataLoss::Wiped if loss.files == 0 => Ok(Err("the volume was empty before".into())),
            DataLoss::Wiped if loss.killed == 0 => Ok(Err("etcd was not killed".into())),
            DataLoss::Wiped => Ok(Ok(format!(
                "{} files deleted, {} processes killed",
                loss.files, loss.killed
            ))),
            DataLoss::ClaimDeleted | DataLoss::ClaimAlone => {
                let api: Api<PersistentVolumeClaim> =
                    Api::namespaced(self.cluster.kube.clone(), &self.namespace);
                let name = loss.claim.name_any();
                let now = api
                    .get_opt(&name)
                    .await
                    .map_err(|error| FaultError::api(format!("read claim {name}"), error))?;
                Ok(match now {
                    None => Ok("gone, none in its place yet".into()),
                    Some(now) if now.uid() != loss.claim.uid() => Ok(format!(
                        "replaced: UID is now {}",
                        now.uid().unwrap_or_default()
                    )),
                    Some(now) if now.metadata.deletion_timestamp.is_none() => {
                        Err("the claim is not being deleted".into())
                    }
                    Some(_) => Err("the claim is still there".into()),
                })
            }
        }
    }
}

impl Running for Lost {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let mut evidence = Evidence::new();
        for loss in &self.losses {
            let name = format!("claim {}", loss.claim.name_any());
            let seen = wait_until(name.clone(), timeouts::EFFECT_SLOW, async || {
                match self.seen(loss).await {
                    Ok(Ok(text)) => Poll::Ready(text),
                    Ok(Err(text)) if self.how == DataLoss::Wiped => Poll::Failed(text),
                    Ok(Err(text)) => Poll::NotYet(text),
                    Err(error) => Poll::NotYet(error.to_string()),
                }
            })
            .await;
            let no_effect = |waited_s: f64, seen: String| FaultError::NoEffect {
                fault: self.fault.clone(),
                waited_s,
                seen,
            };
            match seen {
                Ok(text) => evidence.add(name, text),
                Err(WaitError::Failed { source, .. }) => return Err(no_effect(0.0, source)),
                Err(WaitError::TimedOut { elapsed, last, .. }) => {
                    return Err(no_effect(elapsed.as_secs_f64(), last));
                }
            }
        }
        Ok(evidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_volumes_own_folder_is_ever_emptied() {
        assert!(is_volume_path(
            "/var/local-path-provisioner/pvc-1_ns_data-etcd-0"
        ));
        for path in [
            "/",
            "/var",
            "/var/lib",
            "relative/a/b/c",
            "/var/x/../..",
            "/a/b/c'd",
        ] {
            assert!(!is_volume_path(path), "{path}");
        }
    }

    #[test]
    fn etcd_is_stopped_before_its_files_go_and_killed_after() {
        let script = wipe("u-1", "/var/a/b");
        let at = |what: &str| script.find(what).expect("a step");
        assert!(at("kill -STOP") < at("-delete") && at("-delete") < at("kill -KILL"));
        assert!(at("kill -KILL") < at("kill -CONT"));
    }
}
