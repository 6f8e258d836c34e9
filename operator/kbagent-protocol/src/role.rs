//! The role of a member, and how it is told.

use serde::{Deserialize, Serialize};

/// The role of a member, as the label `kubeblocks.io/role` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The member that the highest known term elected.
    Leader,
    /// A voter that is not the leader.
    Follower,
    /// A member without a vote.
    Learner,
}

impl Role {
    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Learner => "learner",
        }
    }
}

/// Answer of [`crate::PATH_GETROLE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleAnswer {
    /// Always `getRole`.
    pub operation: String,
    /// The role.
    pub role: Role,
    /// The raft term in which the member holds it.
    pub term: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_answer_has_the_documented_shape() {
        let answer = RoleAnswer {
            operation: "getRole".into(),
            role: Role::Leader,
            term: 7,
        };
        let text = serde_json::to_string(&answer).expect("serialize");
        assert_eq!(text, r#"{"operation":"getRole","role":"leader","term":7}"#);
    }
}
