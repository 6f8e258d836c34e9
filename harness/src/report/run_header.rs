//! What reports read of a plan: scenario, seed, members. The rest of the plan belongs to the scenario.

use serde_json::Value;

/// A run in a few words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunHeader {
    /// Name of the scenario.
    pub scenario: String,
    /// Seed.
    pub seed: u64,
    /// Members of the cluster under test; 0 when the plan does not say.
    pub members: u32,
    /// The scenario in a sentence.
    pub story: String,
    /// When the run began.
    pub started: String,
    /// The command that repeats it, when the plan has one.
    pub replay: String,
}

impl RunHeader {
    /// Reads a plan: `scenario` is a name, or an object with `name` and `story`. What is not there stays empty, because
    /// a page of an old run is better than none.
    pub(crate) fn of(plan: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let scenario = &plan["scenario"];
        let (name, story) = match scenario {
            Value::Object(_) => (&scenario["name"], &scenario["story"]),
            _ => (scenario, &plan["description"]),
        };
        let members = plan["members"]
            .as_u64()
            .and_then(|members| u32::try_from(members).ok());
        Self {
            scenario: text(name),
            seed: plan["seed"].as_u64().unwrap_or_default(),
            members: members.unwrap_or_default(),
            story: text(story),
            started: text(&plan["started"]),
            replay: text(&plan["replay"]),
        }
    }

    /// The command that repeats the run.
    pub(crate) fn replay(&self) -> String {
        if !self.replay.is_empty() {
            return self.replay.clone();
        }
        let members = if self.members > 0 {
            format!(" --members {}", self.members)
        } else {
            String::new()
        };
        format!(
            "harness run {}{members} --seed {}",
            self.scenario, self.seed
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_scenario_may_be_a_name_or_an_object() {
        let whole = json!({"scenario": {"name": "a::b", "story": "S."}, "seed": 4, "members": 5});
        let header = RunHeader::of(&whole);
        assert_eq!((header.story.as_str(), header.members), ("S.", 5));
        assert_eq!(header.replay(), "harness run a::b --members 5 --seed 4");
        let short = RunHeader::of(&json!({"scenario": "a::b", "seed": 4}));
        assert_eq!(short.replay(), "harness run a::b --seed 4");
        let said = RunHeader::of(&json!({"scenario": "a", "replay": "harness run b"}));
        assert_eq!(said.replay(), "harness run b");
        assert_eq!(RunHeader::of(&Value::Null), RunHeader::default());
    }
}
