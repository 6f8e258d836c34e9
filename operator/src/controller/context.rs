//! What every reconciler is given: a client, immutable settings, figures, the event recorder.

use kube::runtime::events::{Event, EventType, Reporter};
use kube::{Client, Resource};

use super::apply::namespace_ends;
use super::event_series::Events;
use crate::agent::{AgentClient, Trust};
use crate::config::Config;
use crate::lease::Tenure;
use crate::metrics::Metrics;

/// Shared by all reconcilers; cheap to clone inside an `Arc`.
#[derive(Clone)]
pub(crate) struct Context {
    /// Speaks to the API server.
    pub client: Client,
    /// Speaks to agents.
    pub agents: AgentClient,
    /// Settings.
    pub config: Config,
    /// Figures for /metrics.
    pub metrics: Metrics,
    /// How long the lease is held yet.
    pub tenure: Tenure,
    /// Publishes events, repeated ones as one series.
    pub events: Events,
    /// Admission policies that are not installed as they should be; told by those that look.
    pub unprotected: tokio::sync::watch::Sender<Vec<String>>,
    /// The one namespace that these reconcilers serve; all when `None`.
    pub served: Option<String>,
}

impl Context {
    /// A context over a client.
    pub(crate) fn new(client: Client, config: Config, metrics: Metrics) -> Self {
        let reporter = Reporter {
            controller: "etcd-operator".into(),
            instance: Some(config.identity.clone()),
        };
        let events = Events::new(client.clone(), reporter);
        let trust = Trust::new(client.clone(), config.cluster_domain.clone());
        Context {
            client,
            agents: AgentClient::new(trust),
            config,
            metrics,
            tenure: Tenure::default(),
            events,
            unprotected: tokio::sync::watch::Sender::default(),
            served: None,
        }
    }

    /// The same for each namespace that is served: once, for all of them, when none is named.
    pub(crate) fn each(&self) -> Vec<Self> {
        if self.config.namespaces.is_empty() {
            return vec![self.clone()];
        }
        let of = |namespace: &String| Self {
            served: Some(namespace.clone()),
            ..self.clone()
        };
        self.config.namespaces.iter().map(of).collect()
    }

    /// Publishes an event about an object. An event that cannot be written is logged, never an error: events
    /// inform, they must not stop the work.
    pub(crate) async fn event<K>(&self, about: &K, kind: EventType, reason: &str, note: String)
    where
        K: Resource<DynamicType = ()>,
    {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(cut(note)),
            action: reason.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.events.publish(&event, &about.object_ref(&())).await
            && !namespace_ends(&error)
        {
            tracing::warn!(%error, reason, "failed to publish an event");
        }
    }
}

/// The API server refuses an event with a longer note, counted in bytes.
const LONGEST_NOTE: usize = 1024;

fn cut(mut note: String) -> String {
    if note.len() > LONGEST_NOTE {
        note.truncate(note.floor_char_boundary(LONGEST_NOTE));
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_at_a_character() {
        assert_eq!(cut("short".to_owned()), "short");
        let long = cut("x".to_owned() + &"\u{20ac}".repeat(1000));
        assert!((1021..=1024).contains(&long.len()), "{}", long.len());
    }
}
