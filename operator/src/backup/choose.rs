//! Pure: which member is backed up (D6).

use kbagent_protocol::MemberStatus;

use super::observed::MemberSeen;

/// How far behind the furthest member one may be that counts as in sync, in entries of the raft log.
const BEHIND: u64 = 1000;

/// The member to back up: a follower that is in sync, the leader only where there is no other voter.
pub(super) fn choose(members: &[MemberSeen]) -> Result<(&MemberSeen, &MemberStatus), String> {
    let voters: Vec<_> = members
        .iter()
        .filter_map(|member| Some((member, member.status.as_ref()?)))
        .filter(|(member, status)| member.ready && !status.is_learner && status.leader_id.is_some())
        .collect();
    let furthest = voters
        .iter()
        .map(|(_, status)| status.applied_index)
        .max()
        .unwrap_or_default();
    let fit = |(_, status): &&(&MemberSeen, &MemberStatus)| {
        let corrupt = status.alarms.iter().any(|alarm| alarm.contains("CORRUPT"));
        !corrupt && furthest - status.applied_index <= BEHIND
    };
    let leads = |status: &MemberStatus| status.leader_id == Some(status.member_id);
    let best = voters.iter().filter(fit).max_by_key(|(member, status)| {
        (
            !leads(status),
            status.applied_index,
            std::cmp::Reverse(&member.pod),
        )
    });
    match best {
        Some((member, status)) if !leads(status) || members.len() == 1 => Ok((member, status)),
        Some(_) => Err(
            "no follower is ready and in sync, and the leader is not loaded with a backup"
                .to_owned(),
        ),
        None => Err("no voter is ready, in sync, and reported by its agent".to_owned()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use kbagent_protocol::Id;

    use super::*;
    use crate::fake_agent;

    pub(in super::super) fn member(pod: &str, id: u64, leader: u64, applied: u64) -> MemberSeen {
        MemberSeen {
            pod: pod.to_owned(),
            ready: true,
            status: Some(MemberStatus {
                leader_id: (leader > 0).then_some(Id(leader)),
                raft_index: applied,
                applied_index: applied,
                db_size_bytes: 4 << 20,
                db_size_in_use_bytes: 1 << 20,
                ..fake_agent::status(Id(id))
            }),
        }
    }

    fn chosen(members: &[MemberSeen]) -> Option<&str> {
        choose(members).ok().map(|(member, _)| member.pod.as_str())
    }

    fn edit(member: &mut MemberSeen, change: impl FnOnce(&mut MemberStatus)) {
        change(member.status.as_mut().expect("a status"));
    }

    #[test]
    fn a_follower_that_is_in_sync_is_taken_and_never_a_learner_or_a_late_one() {
        let three = [
            member("p0", 1, 1, 9000),
            member("p1", 2, 1, 8990),
            member("p2", 3, 1, 8995),
        ];
        assert_eq!(chosen(&three), Some("p2"));
        let mut late = three.clone();
        edit(&mut late[2], |status| status.applied_index = 10);
        assert_eq!(chosen(&late), Some("p1"));
        let mut learner = three.clone();
        edit(&mut learner[2], |status| status.is_learner = true);
        assert_eq!(chosen(&learner), Some("p1"));
        let mut corrupt = three.clone();
        edit(&mut corrupt[2], |status| {
            status.alarms.push("memberID:3 alarm:CORRUPT".into())
        });
        assert_eq!(chosen(&corrupt), Some("p1"));
        let mut unready = three;
        unready[2].ready = false;
        edit(&mut unready[1], |status| status.leader_id = None);
        assert_eq!(
            chosen(&unready),
            None,
            "the leader is left alone while others are missing"
        );
    }

    #[test]
    fn the_only_member_is_taken_although_it_leads() {
        assert_eq!(chosen(&[member("p0", 1, 1, 5)]), Some("p0"));
        assert_eq!(chosen(&[]), None);
    }
}
