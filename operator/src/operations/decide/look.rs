//! PURE: what is known of an operation: its type, its edit, how far it is, what stands in its way, whether it is late.

use std::time::Duration;

use etcd_operator_api::Cluster;
use etcd_operator_api::ops_request::LastConfiguration;

use super::Story;
use super::time::{seconds, since};
use crate::operations::edit::Change;
use crate::operations::facts::{Progress, View};
use crate::operations::kind::Kind;
use crate::operations::obstacle::{Obstacle, obstacle};
use crate::operations::refusal::Refused;
use crate::operations::{kinds, progress, request};

impl Story<'_> {
    pub(super) fn kind(&self) -> &'static dyn Kind {
        kinds::of(self.request.spec.kind)
    }

    pub(super) fn changes(&self) -> Result<Vec<Change>, Refused> {
        let began = self.status.start_timestamp.as_ref().unwrap_or(self.now);
        let began = began.0.to_string();
        request::changes(self.request, &self.status.last_configuration, &began)
    }

    pub(super) fn view<'v>(&'v self, cluster: &'v Cluster, undone: bool) -> View<'v> {
        View {
            request: self.request,
            recorded: &self.status,
            cluster,
            seen: self.seen,
            undone,
        }
    }

    pub(super) fn look(&mut self, cluster: &Cluster, undone: bool) -> Progress {
        let progress = progress::of(self.kind(), &self.view(cluster, undone));
        self.status.progress = Some(progress.text());
        self.status.components.clone_from(&progress.components);
        progress
    }

    /// What stands in the way of the operation.
    pub(super) fn obstacle(
        &self,
        cluster: &Cluster,
        before: &LastConfiguration,
    ) -> Option<Obstacle> {
        let needs = self.kind().needs(&self.request.spec);
        obstacle(needs, before.components.keys(), cluster, &self.seen.sets)
    }

    /// How long the operation may take, and its cancel.
    pub(super) fn limit(&self) -> Duration {
        seconds(self.request.spec.timeout_seconds).unwrap_or(self.kind().deadline())
    }

    pub(super) fn is_late(&self) -> bool {
        let began = self.status.start_timestamp.as_ref();
        began.is_some_and(|began| since(began, self.now) >= self.limit())
    }

    /// Why an operation that is late was not done: what the first pod is missing, and what is waited for.
    pub(super) fn lateness(&self, what: &str, progress: &Progress) -> String {
        let limit = self.limit().as_secs();
        let mut text = format!("{what} within {limit} s: {}", progress.text());
        let details = progress.components.values();
        let mut details = details.flat_map(|component| &component.progress_details);
        if let Some((object, lacks)) =
            details.find_map(|d| Some((&d.object_key, d.message.as_ref()?)))
        {
            text += &format!(", {object}: {lacks}");
        }
        let mut components = progress.components.values();
        if let Some(waits) = components.find_map(|component| component.message.as_ref()) {
            text += &format!("; the operator waits: {waits}");
        }
        text
    }
}
