//! Users of bare members: clients log in from the beginning, and their user is replaced by another one when a scenario
//! wants that. The passwords are of one run, whose members are on a network of their own, without TLS.

use serde_json::{Value, json};

use crate::bare::BareError;
use crate::bare::cluster::BareCluster;

/// Who may do all.
const ROOT: &str = "root";
/// What clients are: they read and write the keys of a run, and nothing else.
const ROLE: &str = "client";
const KEYS: &str = "run/";
/// Where the recording client finds its user, and who asks members for what only an administrator is told.
const USER: &str = "access/user";
const ADMIN: &str = "access/admin";

/// The users of a run, which have one password.
pub(crate) struct Users {
    password: String,
    /// Number of the clients' user.
    current: u32,
    /// Number of the newest that was to be made. One that failed may be there, so that none has it again.
    newest: u32,
}

/// The name of the clients' user with this number.
fn client(number: u32) -> String {
    format!("client-{number}")
}

/// How the recording client is told where its users are.
pub(crate) fn access() -> Value {
    json!({
        "user": format!("/{USER}"),
        "admin": format!("/{ADMIN}"),
        "clear": true,
    })
}

impl Users {
    /// With a password that no other run has.
    pub(crate) fn new() -> Self {
        Self {
            password: format!("{:032x}", rand::random::<u128>()),
            current: 0,
            newest: 0,
        }
    }

    /// Puts what logs clients in into their container: their user, and the administrator.
    pub(crate) async fn give(&self, cluster: &BareCluster) -> Result<(), BareError> {
        let container = cluster.layout().client();
        let user = client(self.current);
        for (folder, name) in [(USER, user.as_str()), (ADMIN, ROOT)] {
            for (file, text) in [("username", name), ("password", self.password.as_str())] {
                let path = format!("{folder}/{file}");
                let place = ("/", path.as_str());
                let written = cluster.write_text(&container, place, text.as_bytes());
                written.await?;
            }
        }
        Ok(())
    }

    /// Makes the first users of members that are open to all, and closes them.
    pub(crate) async fn enable(&self, cluster: &BareCluster) -> Result<(), BareError> {
        let names = cluster.layout().names();
        let Some(member) = names.first() else {
            return Ok(());
        };
        for command in self.first() {
            self.ask(cluster, (member.as_str(), false), &command)
                .await?;
        }
        Ok(())
    }

    /// Replaces the clients' user by another one.
    pub(crate) async fn replace(&mut self, cluster: &BareCluster) -> Result<(), String> {
        let status = cluster.look().await?;
        let leader = status.leader().ok_or("no member leads")?;
        let replaced = self.replace_at(cluster, leader).await;
        replaced.map_err(|error| error.to_string())
    }

    /// The former user goes when clients have the new one: they log in again when their token is refused.
    async fn replace_at(&mut self, cluster: &BareCluster, leader: &str) -> Result<(), BareError> {
        for command in self.begin_next() {
            self.ask(cluster, (leader, true), &command).await?;
        }
        let former = self.take_next();
        self.give(cluster).await?;
        self.ask(cluster, (leader, true), &former).await
    }

    /// What makes the next user.
    fn begin_next(&mut self) -> [String; 2] {
        self.newest += 1;
        self.added(self.newest)
    }

    /// Makes that the clients' user; what removes the one that they had.
    fn take_next(&mut self) -> String {
        let former = std::mem::replace(&mut self.current, self.newest);
        format!("user delete {}", client(former))
    }

    /// What makes the first users.
    fn first(&self) -> Vec<String> {
        let mut commands = vec![
            format!("user add {ROOT}:{}", self.password),
            format!("user grant-role {ROOT} {ROOT}"),
            format!("role add {ROLE}"),
            format!("role grant-permission --prefix=true {ROLE} readwrite {KEYS}"),
        ];
        commands.extend(self.added(0));
        commands.push("auth enable".to_owned());
        commands
    }

    /// What makes the clients' user with this number.
    fn added(&self, number: u32) -> [String; 2] {
        let user = client(number);
        [
            format!("user add {user}:{}", self.password),
            format!("user grant-role {user} {ROLE}"),
        ]
    }

    /// Has etcdctl of a member do this, as who may do all where members are closed. What it says has no password.
    async fn ask(
        &self,
        cluster: &BareCluster,
        (member, closed): (&str, bool),
        command: &str,
    ) -> Result<(), BareError> {
        let root = format!("--user={ROOT}:{}", self.password);
        let mut whole = vec!["/usr/local/bin/etcdctl"];
        whole.extend(closed.then_some(root.as_str()));
        whole.extend(command.split(' '));
        let told: Vec<&str> = command.split(' ').take(2).collect();
        let failed = |message: String| BareError::Command {
            command: format!("etcdctl {}", told.join(" ")),
            container: member.to_owned(),
            message,
        };
        match cluster.run(member, &whole).await {
            Ok(output) if output.success() => Ok(()),
            Ok(output) => Err(failed(output.stderr.trim().to_owned())),
            Err(BareError::Command { message, .. }) => Err(failed(message)),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_closed_when_clients_have_a_user_with_the_rights_of_a_run() {
        let users = Users {
            password: "secret".to_owned(),
            ..Users::new()
        };
        let first = users.first();
        assert_eq!(first.last().map(String::as_str), Some("auth enable"));
        for wanted in [
            "user add root:secret",
            "user grant-role root root",
            "role grant-permission --prefix=true client readwrite run/",
            "user add client-0:secret",
            "user grant-role client-0 client",
        ] {
            assert!(first.iter().any(|command| command == wanted), "{wanted}");
        }
        let next = [
            "user add client-1:secret",
            "user grant-role client-1 client",
        ];
        assert_eq!(users.added(1), next);
        assert_ne!(Users::new().password, Users::new().password);
    }

    #[test]
    fn the_user_that_clients_have_is_removed_also_after_one_that_they_never_got() {
        let mut users = Users::new();
        let [first, _] = users.begin_next();
        assert!(first.starts_with("user add client-1:"), "{first}");
        assert_eq!(users.take_next(), "user delete client-0");
        // It could not be made.
        users.begin_next();
        let [third, _] = users.begin_next();
        assert!(third.starts_with("user add client-3:"), "{third}");
        assert_eq!(users.take_next(), "user delete client-1");
    }
}
