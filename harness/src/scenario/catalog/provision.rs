//! A new cluster: its objects, what admission takes, the manifests and commands of the documents.

use super::counts::THREE_AND_FIVE;
use crate::scenario::{Act, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "provision::conform",
            "A new cluster has every object, name, port and label of the design; every agent tells its member's role; \
             metrics are served; names resolve.",
            Act::Conform,
        )
        .members(THREE_AND_FIVE)
        .smoke(),
        Scenario::new(
            "provision::admission",
            "Odd counts are taken, even ones and bad specs are refused or named in a condition, and a running cluster is \
             never touched by a bad change.",
            Act::Admission,
        ),
        Scenario::new(
            "provision::kubeblocks_manifests",
            "KubeBlocks' own manifests are applied unchanged and bring a cluster up.",
            Act::Manifests,
        ),
        Scenario::new(
            "provision::backups",
            "A repository says whether it can be reached; data goes or stays with its Backup as asked; an archive ends with \
             its Cluster and is restored afterwards.",
            Act::Backups,
        )
        .long(),
        Scenario::new(
            "provision::documented_commands",
            "The commands of README and docs do what they say, as they stand there.",
            Act::Documents,
        ),
    ]
}
