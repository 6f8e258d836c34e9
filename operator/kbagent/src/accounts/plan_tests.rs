//! Any state of etcd becomes the one that is wanted, by changes that etcd takes in that order.

use kbagent_protocol::{Access, Permission};

use super::*;

const READ_ALL: Access = Access::Read;

fn permission(key: &str, access: Access) -> Permission {
    Permission {
        key: key.to_owned(),
        prefix: true,
        access,
    }
}

fn account(name: &str, permissions: &[Permission], password: bool) -> Account {
    Account {
        name: name.to_owned(),
        admin: false,
        permissions: permissions.to_vec(),
        password: password.then(|| Password(format!("{name}'s"))),
    }
}

fn admin(name: &str, password: bool) -> Account {
    let admin = true;
    Account {
        admin,
        ..account(name, &[], password)
    }
}

fn wanted(more: &[Account]) -> Accounts {
    let two = [admin(ROOT, true), admin("etcd-member", false)];
    Accounts {
        generation: "1".to_owned(),
        accounts: two.iter().chain(more).cloned().collect(),
    }
}

/// An etcd of its own: takes what etcd takes, and refuses what etcd refuses.
#[derive(Default)]
struct Etcd {
    enabled: bool,
    users: BTreeMap<String, (BTreeSet<String>, Option<Password>)>,
    roles: BTreeMap<String, BTreeSet<Grant>>,
}

impl Etcd {
    fn found(&self, wanted: &Accounts) -> Found {
        let tried = |account: &Account| {
            let (_, has) = self.users.get(&account.name)?;
            let wanted = account.password.as_ref().filter(|_| self.enabled)?;
            let tried = match has {
                None => Tried::HasNone,
                Some(has) if has == wanted => Tried::Right,
                Some(_) => Tried::Wrong,
            };
            Some((account.name.clone(), tried))
        };
        let users = self.users.iter();
        Found {
            own: Some("etcd-member".to_owned()),
            enabled: self.enabled,
            users: users
                .map(|(name, (roles, _))| (name.clone(), roles.clone()))
                .collect(),
            roles: self.roles.clone(),
            passwords: wanted.accounts.iter().filter_map(tried).collect(),
        }
    }

    fn take(&mut self, change: &Change) {
        match change {
            Change::AddRole(role) => {
                let before = self.roles.insert(role.clone(), BTreeSet::new());
                assert_eq!(before, None, "{change:?}");
            }
            Change::Grant(role, grant) => {
                let grants = self.roles.get_mut(role).expect("a role");
                grants.retain(|has| (&has.key, &has.end) != (&grant.key, &grant.end));
                grants.insert(grant.clone());
            }
            Change::Revoke(role, grant) => {
                assert!(
                    self.roles.get_mut(role).expect("a role").remove(grant),
                    "{change:?}"
                );
            }
            Change::AddUser(user, password) => {
                let new = (BTreeSet::new(), password.clone());
                assert_eq!(self.users.insert(user.clone(), new), None, "{change:?}");
            }
            Change::GiveRole(user, role) => {
                assert!(role == ROOT || self.roles.contains_key(role), "{change:?}");
                self.users
                    .get_mut(user)
                    .expect("a user")
                    .0
                    .insert(role.clone());
            }
            Change::TakeRole(user, role) => {
                let (roles, _) = self.users.get_mut(user).expect("a user");
                assert!(!(user == ROOT && role == ROOT), "{change:?}");
                assert!(roles.remove(role), "{change:?}");
            }
            Change::SetPassword(user, password) => {
                let (_, has) = self.users.get_mut(user).expect("a user");
                // etcd keeps a user without a password without one.
                *has = has.take().map(|_| password.clone());
            }
            Change::DeleteUser(user) => {
                assert!(!(self.enabled && user == ROOT), "{change:?}");
                self.users.remove(user).expect("a user");
            }
            Change::DeleteRole(role) => {
                self.roles.remove(role).expect("a role");
                for (roles, _) in self.users.values_mut() {
                    roles.remove(role);
                }
            }
            Change::Enable => {
                assert!(
                    !self.enabled && self.users[ROOT].0.contains(ROOT),
                    "{change:?}"
                );
                self.enabled = true;
            }
        }
    }

    /// Changes until nothing is to be done, as the keeper does; all of them.
    fn settles(&mut self, wanted: &Accounts) -> Vec<Change> {
        let (mut all, mut set) = (Vec::new(), BTreeSet::new());
        for _ in 0..6 {
            let mut found = self.found(wanted);
            if !self.enabled {
                let set = set.iter().cloned();
                found.passwords = set.map(|name: String| (name, Tried::Right)).collect();
            }
            let changes = plan(wanted, &found).expect("fit");
            if changes.is_empty() {
                return all;
            }
            for change in changes {
                self.take(&change);
                if let Change::SetPassword(name, _) | Change::AddUser(name, _) = &change {
                    set.insert(name.clone());
                }
                all.push(change);
            }
        }
        panic!("it does not settle: {all:#?}");
    }

    fn holds(&self, wanted: &Accounts) {
        assert!(self.enabled);
        for account in &wanted.accounts {
            let (roles, password) = &self.users[&account.name];
            assert_eq!(password, &account.password, "{}", account.name);
            assert_eq!(roles.contains(ROOT), account.admin, "{}", account.name);
            let has = &self.roles[&role_of(&account.name)];
            assert_eq!(has, &grants(account), "{}", account.name);
        }
    }
}

#[test]
fn an_empty_etcd_gets_its_users_and_is_locked_last() {
    let wanted = wanted(&[account(
        "billing",
        &[permission("/billing/", Access::ReadWrite)],
        true,
    )]);
    let mut etcd = Etcd::default();
    let changes = etcd.settles(&wanted);
    etcd.holds(&wanted);
    assert_eq!(changes.last(), Some(&Change::Enable));
    let quiet = plan(&wanted, &Etcd::default().found(&wanted)).expect("fit");
    assert!(!quiet.contains(&Change::Enable), "other changes come first");
    assert!(etcd.settles(&wanted).is_empty(), "nothing is left to do");
}

#[test]
fn what_a_user_may_do_changes_without_a_moment_with_less() {
    let before = [permission("/a/", READ_ALL), permission("/b/", READ_ALL)];
    let after = [
        permission("/a/", Access::ReadWrite),
        permission("/c/", READ_ALL),
    ];
    let mut etcd = Etcd::default();
    etcd.settles(&wanted(&[account("app", &before, true)]));
    let next = wanted(&[account("app", &after, true)]);
    let changes = etcd.settles(&next);
    etcd.holds(&next);
    let first_taken = changes
        .iter()
        .position(|of| matches!(of, Change::Revoke(..)));
    let last_given = changes
        .iter()
        .rposition(|of| matches!(of, Change::Grant(..)));
    assert!(last_given < first_taken, "{changes:#?}");
    // Nothing was taken that is wanted with other rights.
    assert_eq!(changes.len(), 3, "{changes:#?}");
}

#[test]
fn users_that_are_wanted_no_longer_go_and_those_made_by_hand_stay() {
    let mut etcd = Etcd::default();
    etcd.settles(&wanted(&[account("old", &[], true), admin("ops", true)]));
    let hand = (
        BTreeSet::from(["team".to_owned()]),
        Some(Password("x".to_owned())),
    );
    etcd.users.insert("hand".to_owned(), hand.clone());
    let next = wanted(&[]);
    etcd.settles(&next);
    etcd.holds(&next);
    let names: Vec<_> = etcd.users.keys().map(String::as_str).collect();
    assert_eq!(names, ["etcd-member", "hand", ROOT]);
    assert_eq!(etcd.users["hand"], hand);
    assert!(!etcd.roles.contains_key("kb.old") && !etcd.roles.contains_key("kb.ops"));
}

#[test]
fn a_user_of_the_same_name_is_taken_over_with_its_password_and_roles() {
    for enabled in [false, true] {
        for had in [None, Some(Password("other".to_owned()))] {
            let mut etcd = Etcd::default();
            if enabled {
                etcd.settles(&wanted(&[]));
            }
            let roles = BTreeSet::from([ROOT.to_owned()]);
            etcd.users.insert("app".to_owned(), (roles, had));
            let next = wanted(&[account("app", &[permission("", READ_ALL)], true)]);
            etcd.settles(&next);
            etcd.holds(&next);
        }
    }
}

#[test]
fn root_without_a_password_is_told_with_the_way_out() {
    let mut etcd = Etcd::default();
    let roles = BTreeSet::from([ROOT.to_owned()]);
    etcd.users.insert(ROOT.to_owned(), (roles, None));
    etcd.enabled = true;
    let wanted = wanted(&[]);
    let unfit = plan(&wanted, &etcd.found(&wanted)).expect_err("it cannot be");
    assert_eq!(unfit, Unfit::RootHasNone);
}

#[test]
fn nothing_is_done_that_would_shut_the_agents_out() {
    let mut without = wanted(&[]);
    without.accounts.retain(|account| account.name != ROOT);
    assert_eq!(plan(&without, &Found::default()), Err(Unfit::NoRoot));
    let mut without = wanted(&[]);
    without.accounts.retain(|account| account.name == ROOT);
    assert_eq!(plan(&without, &Found::default()), Err(Unfit::NoKeeper));
    let renamed = Found {
        own: Some("theirs".to_owned()),
        ..Found::default()
    };
    let unlisted = Unfit::Unlisted("theirs".to_owned());
    assert_eq!(plan(&wanted(&[]), &renamed), Err(unlisted));
    // A password may be another's.
    let mut with = wanted(&[admin("theirs", true)]);
    assert!(matches!(plan(&with, &renamed), Err(Unfit::Unlisted(_))));
    with = wanted(&[admin("theirs", false)]);
    assert!(plan(&with, &renamed).is_ok());
}

#[test]
fn any_interrupted_round_is_completed_by_the_next() {
    let first = wanted(&[
        account("a", &[permission("/a/", READ_ALL)], true),
        admin("b", true),
    ]);
    let second = wanted(&[
        account(
            "a",
            &[
                permission("/a/", Access::Write),
                permission("/x/", READ_ALL),
            ],
            true,
        ),
        account("c", &[permission("", READ_ALL)], false),
    ]);
    let total = Etcd::default().settles(&first).len();
    for stop in 0..total {
        let mut etcd = Etcd::default();
        let mut left = stop;
        while left > 0 {
            let changes = plan(&first, &etcd.found(&first)).expect("fit");
            for change in changes.iter().take(left) {
                etcd.take(change);
            }
            left = left.saturating_sub(changes.len());
        }
        etcd.settles(&second);
        etcd.holds(&second);
    }
}

#[test]
fn prefixes_are_ranges() {
    let range = |key: &str, prefix| {
        let of = Permission {
            prefix,
            ..permission(key, READ_ALL)
        };
        let grants = grants(&account("a", &[of], true));
        grants
            .into_iter()
            .map(|grant| (grant.key, grant.end))
            .next()
            .expect("a grant")
    };
    assert_eq!(range("/a/", true), (b"/a/".to_vec(), b"/a0".to_vec()));
    assert_eq!(range("/a", false), (b"/a".to_vec(), Vec::new()));
    assert_eq!(range("", true), (vec![0], vec![0]));
    assert_eq!(after(&[7, 255]), [8]);
    assert_eq!(after(&[255, 255]), [0], "to the end of all keys");
}
