//! How members come to be: all at once, one after the other as learners, or from the snapshot of another version.

use std::time::Duration;

use futures::future::join_all;
use serde::Deserialize;

use crate::bare::BareError;
use crate::bare::cluster::{BareCluster, Recipe};
use crate::bare::member::{DATA, ETCD, FOLDER};
use crate::bare::release;
use crate::scenario::Origin;
use crate::timeouts;
use crate::wait::{Poll, wait_every};

/// Spacing of questions to a member that comes up, or is to be promoted.
const LOOK: Duration = Duration::from_millis(50);
/// The term of the store that others are restored from: higher than theirs for as long as a run looks at them.
const LATER_TERM: u64 = 8;
/// Name of its snapshot.
const SNAPSHOT: &str = "origin.db";
/// Flags that etcd and a restore have in common.
const RESTORED_WITH: [&str; 5] = [
    "name",
    "data-dir",
    "initial-cluster",
    "initial-cluster-token",
    "initial-advertise-peer-urls",
];

/// The images of a run.
pub(crate) struct Images {
    /// Those that members have in turn.
    pub(crate) etcd: Vec<String>,
    /// That of the next version, where the plan names one.
    pub(crate) next: Option<String>,
    /// The recording client's, which has the program that some members need.
    pub(crate) client: String,
}

#[derive(Deserialize)]
struct Added {
    member: AddedMember,
}

#[derive(Deserialize)]
struct AddedMember {
    #[serde(rename = "ID")]
    id: u64,
}

impl BareCluster {
    /// Makes and starts all members, and makes what has the program of the next version.
    pub(crate) async fn start_members(
        &self,
        images: &Images,
        origin: Origin,
    ) -> Result<(), BareError> {
        if let Some(next) = &images.next {
            let name = self.layout().next_tools();
            self.create(recipe(&name, next, vec![ETCD.to_owned()]))
                .await?;
        }
        let program = match self.layout().needs_program() {
            true => Some(self.program(&images.client).await?),
            false => None,
        };
        let program = program.as_deref();
        match origin {
            Origin::Together => self.start_together(images, program).await,
            Origin::Joined => self.start_joined(images, program).await,
            Origin::RolledBack => self.start_rolled_back(images, program).await,
        }
    }

    async fn start_together(
        &self,
        images: &Images,
        program: Option<&[u8]>,
    ) -> Result<(), BareError> {
        let names = self.layout().names();
        let made = each(&names, images).map(async |(name, image)| {
            self.create_member(name, image, program).await?;
            self.start(name).await
        });
        // To the end, also when one fails: what is under way when this returns would escape the removal.
        let made = join_all(made).await;
        made.into_iter().collect()
    }

    async fn start_joined(&self, images: &Images, program: Option<&[u8]>) -> Result<(), BareError> {
        let names = self.layout().names();
        for (place, (name, image)) in each(&names, images).enumerate() {
            if place == 0 {
                self.create_member(name, image, program).await?;
                self.start(name).await?;
                self.until_led(name).await?;
                continue;
            }
            let id = self.add_learner(&names[0], name).await?;
            self.create_member(name, image, program).await?;
            self.start(name).await?;
            let what = format!("{name} be promoted");
            let id = format!("{id:x}");
            self.until_taken(&what, &names[0], &["member", "promote", &id])
                .await?;
        }
        Ok(())
    }

    /// A new member's ID. For five seconds etcd takes none beside one that it knows only since then.
    async fn add_learner(&self, by: &str, name: &str) -> Result<u64, BareError> {
        let peer = format!("--peer-urls={}", self.layout().peer_url(name));
        let command = ["member", "add", name, "--learner", &peer, "-w=json"];
        let what = format!("{name} be taken as a learner");
        let told = self.until_taken(&what, by, &command).await?;
        let added: Result<Added, _> = serde_json::from_str(told.trim());
        let added = added.map_err(|error| BareError::Command {
            command: "etcdctl member add".to_owned(),
            container: by.to_owned(),
            message: format!("{error}: {told:?}"),
        })?;
        Ok(added.member.id)
    }

    /// Asks etcd for this until it does it; what etcdctl prints.
    async fn until_taken(
        &self,
        what: &str,
        member: &str,
        command: &[&str],
    ) -> Result<String, BareError> {
        let limit = timeouts::patient(timeouts::BARE_WHOLE);
        let etcdctl = ["/usr/local/bin/etcdctl", "--endpoints=127.0.0.1:2379"];
        let command = [&etcdctl[..], command].concat();
        let taken = wait_every(LOOK, what, limit, async || {
            match self.run(member, &command).await {
                Ok(output) if output.success() => Poll::Ready(output.stdout),
                Ok(output) => Poll::NotYet::<_, String>(output.stderr.trim().to_owned()),
                Err(error) => Poll::Failed(error.to_string()),
            }
        });
        let taken = taken.await;
        taken.map_err(|error| BareError::Wait(error.to_string()))
    }

    async fn start_rolled_back(
        &self,
        images: &Images,
        program: Option<&[u8]>,
    ) -> Result<(), BareError> {
        let Some(next) = &images.next else {
            let why = "members that go back a version need one that they come from";
            return Err(BareError::Wait(why.to_owned()));
        };
        let snapshot = self.later_snapshot(next).await?;
        let names = self.layout().names();
        for (name, image) in each(&names, images) {
            self.create_member(name, image, program).await?;
            self.restore(name, image, &snapshot).await?;
        }
        let started = join_all(names.iter().map(|name| self.start(name))).await;
        started.into_iter().collect()
    }

    /// The snapshot of a store without keys of which a single member has had many elections.
    async fn later_snapshot(&self, image: &str) -> Result<Vec<u8>, BareError> {
        let origin = self.layout().origin();
        let data = format!("--data-dir={DATA}");
        let command = [ETCD, &data, "--logger=zap", "--log-outputs=stderr"];
        let command = command.map(str::to_owned).to_vec();
        self.make(recipe(&origin, image, command)).await?;
        while self.until_led(&origin).await? < LATER_TERM {
            self.kill(std::slice::from_ref(&origin)).await?;
            self.until_ended(&origin).await?;
            self.start(&origin).await?;
        }
        let path = format!("{FOLDER}/{SNAPSHOT}");
        let what = "a snapshot be saved";
        self.until_taken(what, &origin, &["snapshot", "save", &path])
            .await?;
        let snapshot = self.read_file(&origin, &path).await?;
        self.kill(&[origin]).await?;
        Ok(snapshot)
    }

    /// Gives a member that was not started what its own version makes of a snapshot.
    async fn restore(&self, name: &str, image: &str, snapshot: &[u8]) -> Result<(), BareError> {
        let path = format!("{FOLDER}/{SNAPSHOT}");
        let flags = self.layout().flags(name).into_iter().filter(|flag| {
            let mut with = RESTORED_WITH.iter();
            with.any(|known| flag.starts_with(&format!("--{known}=")))
        });
        let program = release::restores_by(image.rsplit(':').next().unwrap_or(image));
        let mut command = [program, "snapshot", "restore", &path]
            .map(str::to_owned)
            .to_vec();
        command.extend(flags);
        let by = format!("{name}-restored");
        let recipe = Recipe {
            // It looks its own address up, as the member would.
            hostname: name,
            ..recipe(&by, image, command)
        };
        self.create(recipe).await?;
        self.write_file(&by, (FOLDER, SNAPSHOT), snapshot).await?;
        self.start(&by).await?;
        self.until_ended(&by).await?;
        let seen = self.seen(&by).await?;
        if seen.exit_code != 0 {
            return Err(BareError::Command {
                command: format!("{program} snapshot restore"),
                message: format!(
                    "it ended with {}: {}",
                    seen.exit_code,
                    self.log(&by, "3").await
                ),
                container: by,
            });
        }
        self.copy_folder((&by, DATA), (name, FOLDER)).await
    }

    /// The term in which a member leads or follows.
    async fn until_led(&self, name: &str) -> Result<u64, BareError> {
        let what = format!("{name} answer and have a leader");
        let limit = timeouts::patient(timeouts::BARE_WHOLE);
        let own = [name.to_owned()];
        let led = wait_every(LOOK, what, limit, async || {
            match self.look_from(name, &own).await {
                Ok(status) if status.has_leader(name) => Poll::Ready(status.term()),
                Ok(_) => Poll::NotYet("it knows no leader".to_owned()),
                Err(status) => match self.crashed(name).await {
                    Some(ended) => Poll::Failed(ended),
                    None => Poll::NotYet(status),
                },
            }
        });
        let led = led.await;
        led.map_err(|error| BareError::Wait(error.to_string()))
    }

    /// Waits until a container does not run.
    pub(crate) async fn until_ended(&self, name: &str) -> Result<(), BareError> {
        let ended = wait_every(
            LOOK,
            format!("{name} end"),
            timeouts::HEAL,
            async || match self.seen(name).await {
                Ok(seen) if !seen.running => Poll::Ready(()),
                Ok(_) => Poll::NotYet::<_, BareError>("it runs".to_owned()),
                Err(error) => Poll::NotYet(error.to_string()),
            },
        );
        let ended = ended.await;
        ended.map_err(|error| BareError::Wait(error.to_string()))
    }
}

/// Each member and its image.
fn each<'a>(
    names: &'a [String],
    images: &'a Images,
) -> impl Iterator<Item = (&'a String, &'a String)> {
    names.iter().zip(images.etcd.iter().cycle())
}

/// A container with nothing but its command.
fn recipe<'a>(name: &'a str, image: &'a str, command: Vec<String>) -> Recipe<'a> {
    Recipe {
        name,
        hostname: name,
        image,
        command,
        environment: Vec::new(),
        memory: Default::default(),
        binds: Vec::new(),
    }
}
