//! Names of the actions.

/// The role as plain text.
pub const ROLE_PROBE: &str = "roleProbe";
/// Moves leadership away from `KB_SWITCHOVER_CURRENT_NAME` to `KB_SWITCHOVER_CANDIDATE_NAME`, or to the most
/// caught-up voter; output: JSON of the new leader and term. Succeeds only when the new leader was seen.
pub const SWITCHOVER: &str = "switchover";
/// Adds the pod as a learner by its peer URL, or finds it there; output: JSON of its [`super::Member`].
pub const MEMBER_JOIN: &str = "memberJoin";
/// Promotes the learner `KB_MEMBER_ID`; output: JSON of its [`super::Member`].
pub const MEMBER_PROMOTE: &str = "udf-memberPromote";
/// Removes the member `KB_MEMBER_ID`, whose peer URL must be that of the named pod (M4); output: JSON
/// [`super::MemberList`] that no longer holds it.
pub const MEMBER_LEAVE: &str = "memberLeave";
/// Has the agent's own etcd stop, because its member is about to be removed: requests under way are answered, and
/// clients are asked to leave. It stays down for ten seconds, then starts again if it is a member still. Refused while
/// it leads others, and within a minute of the last time.
pub const DRAIN: &str = "udf-drain";
/// Compacts the key space to the newest revision; output: that revision as text.
pub const COMPACT: &str = "udf-compact";
/// Defragments the database of the agent's own member, which must not lead others, while all members are voters
/// that keep up. Answers `inProgress` when it takes longer than the agent waits: it continues, the view says so,
/// and the next request returns how it ended. `KB_DEFRAGMENTATION_REQUEST`, if given, is shown in [`super::Care`] then.
pub const DEFRAGMENT: &str = "udf-defragment";
/// Disarms the alarm `KB_ALARM` of the member `KB_MEMBER_ID`; CORRUPT only when that is no member any more and
/// the hashes of all voters agree. `inProgress` as for [`DEFRAGMENT`].
pub const DISARM: &str = "udf-disarm";
/// Starts etcd's downgrade to the minor `KB_DOWNGRADE_TARGET` (`3.5`): all members must be voters that keep up and run
/// the next minor. From then on members may be replaced by ones of that minor, when each says its data has its format.
/// Output: the target.
pub const DOWNGRADE: &str = "udf-downgrade";
/// Ends a downgrade that has not come to its end, or finds none.
pub const CANCEL_DOWNGRADE: &str = "udf-cancelDowngrade";
/// Appends entries without effect to etcd's log for some seconds: members make a snapshot each `--snapshot-count`
/// entries, and what is before a snapshot is not replayed. Output: how many were appended.
pub const APPEND: &str = "udf-append";
