//! The command line of a backup's Job. Wiring only: what is done is in the library.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use etcd_backup::archive::replay::Replay;
use etcd_backup::archive::search::Target;
use etcd_backup::archive::serve::serve;
use etcd_backup::archive::standing::Standing;
use etcd_backup::archive::store::Archive;
use etcd_backup::archive::write::{Write, write};
use etcd_backup::error::Error;
use etcd_backup::lost::lost;
use etcd_backup::manifest::Source;
use etcd_backup::member::Member;
use etcd_backup::pace::Pace;
use etcd_backup::path::Folder;
use etcd_backup::progress::{self, Progress};
use etcd_backup::remove::{What, remove, remove_unowned};
use etcd_backup::report::report;
use etcd_backup::repository::Repository;
use etcd_backup::restore::{Restore, restore};
use etcd_backup::s3::{Bucket, REQUEST};
use etcd_backup::save::{Save, save};
use etcd_backup::seal::Keys;
use etcd_backup::utility::{NewMember, Ports, Programs};
use etcd_backup::verify::Bench;
use kbagent_protocol::{ARCHIVE_PORT, BackupReport};
use rustix::fs::Mode;
use rustix::process::umask;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch::Receiver;
use tokio::time::timeout;

/// Of a private etcd, on loopback: they are the pod's alone.
const PORTS: Ports = Ports {
    client: 2379,
    peer: 2380,
};

/// What is not given to others of the node where a claim is one of its folders: a backup may not be encrypted there.
const WITHHELD: Mode = Mode::WGRP.union(Mode::RWXO);

/// A repository that has not answered for so long is not reached.
const PROBE: Duration = Duration::from_secs(20);
/// How long a probe's single request is repeated.
const PROBE_RETRY: Duration = Duration::from_secs(5);

/// Backs etcd up and restores it.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// File that the result is written to, for the operator.
    #[arg(long, default_value = "/dev/termination-log")]
    report: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Copy this program to a folder that a container of another image mounts.
    Install {
        /// The file to write.
        to: PathBuf,
    },
    /// Write, read and delete a small object: whether the repository can be used.
    Probe(Place),
    /// Make a backup.
    Save(SaveArgs),
    /// Delete a backup.
    Delete {
        #[command(flatten)]
        place: Place,
        /// UID of the Backup object.
        #[arg(long)]
        backup_uid: String,
        /// Delete the continuous archive of this path, not the full backup.
        #[arg(long)]
        archive: bool,
        /// It may be deleted although nothing says which Backup has written it.
        #[arg(long, requires = "archive")]
        unowned: bool,
    },
    /// Keep the continuous archive of a cluster, until another one does.
    Archive(ArchiveArgs),
    /// Fill an empty volume with a backup.
    Restore(RestoreArgs),
}

/// A repository, and a path in it.
#[derive(Args)]
struct Place {
    /// Folder that is the repository.
    #[arg(long, conflicts_with = "bucket", required_unless_present = "bucket")]
    folder: Option<PathBuf>,
    /// Bucket that is the repository.
    #[arg(long, requires = "credentials")]
    bucket: Option<String>,
    /// URL of the bucket's server.
    #[arg(long)]
    endpoint_url: Option<String>,
    /// Region of the bucket.
    #[arg(long)]
    region: Option<String>,
    /// The bucket is part of the host name.
    #[arg(long)]
    virtual_hosted: bool,
    /// Folder with accessKeyId, secretAccessKey and perhaps ca.crt.
    #[arg(long)]
    credentials: Option<PathBuf>,
    /// Path in the repository.
    #[arg(long)]
    path: String,
}

#[derive(Args)]
struct SaveArgs {
    #[command(flatten)]
    place: Place,
    /// Client URL of the member.
    #[arg(long)]
    member: String,
    /// Folder with ca.crt, tls.crt and tls.key for the connection to it.
    #[arg(long)]
    tls: Option<PathBuf>,
    /// UID of the Backup object.
    #[arg(long)]
    backup_uid: String,
    /// Namespace of the Cluster.
    #[arg(long)]
    namespace: String,
    /// The Cluster.
    #[arg(long)]
    cluster: String,
    /// Its component.
    #[arg(long)]
    component: String,
    /// Name of this attempt, which no other has: the pod's.
    #[arg(long, env = "POD_NAME")]
    attempt: String,
    /// Bytes a second at most.
    #[arg(long)]
    rate: Option<u64>,
    /// File with the pass phrase that it is encrypted with.
    #[arg(long)]
    pass_phrase: Option<PathBuf>,
    /// Empty folder that holds the snapshot twice and 200 MiB: the backup is restored there. Without it the backup is
    /// not verified.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Port at which its progress is served.
    #[arg(long, default_value_t = ARCHIVE_PORT)]
    port: u16,
    /// Name of an earlier backup beside this one; its data is looked for. May be repeated.
    #[arg(long)]
    earlier: Vec<String>,
    #[command(flatten)]
    programs: ProgramArgs,
}

#[derive(Args)]
struct ProgramArgs {
    /// etcd, of the cluster's version.
    #[arg(long, default_value = "/usr/local/bin/etcd")]
    etcd: PathBuf,
    /// etcdutl, of the same.
    #[arg(long, default_value = "/usr/local/bin/etcdutl")]
    etcdutl: PathBuf,
}

#[derive(Args)]
struct ArchiveArgs {
    #[command(flatten)]
    place: Place,
    /// UID of the Backup object.
    #[arg(long)]
    backup_uid: String,
    /// Client URL of a member, or one that leads to any of them. May be repeated: when one fails, the next one is
    /// tried.
    #[arg(long, required = true)]
    member: Vec<String>,
    /// Folder with ca.crt, tls.crt and tls.key for the connection to it.
    #[arg(long)]
    tls: Option<PathBuf>,
    /// Revision of a full backup: an archive that has no segment yet begins after it.
    #[arg(long)]
    after: i64,
    /// Name of this writer, which no other has: the pod's.
    #[arg(long, env = "POD_NAME")]
    attempt: String,
    /// What is older than so many seconds is deleted.
    #[arg(long)]
    keep: Option<u64>,
    /// The operator names the newest full backup that counts when it asks for the report; nothing is deleted before.
    #[arg(long)]
    told: bool,
    /// File with the pass phrase that it is encrypted with.
    #[arg(long)]
    pass_phrase: Option<PathBuf>,
    /// Port at which the report is served.
    #[arg(long, default_value_t = ARCHIVE_PORT)]
    port: u16,
}

#[derive(Args)]
struct RestoreArgs {
    #[command(flatten)]
    place: Place,
    /// The member's volume.
    #[arg(long)]
    volume: PathBuf,
    /// Name of the data directory in it.
    #[arg(long)]
    data: String,
    /// The member's name.
    #[arg(long)]
    name: String,
    /// Its peer URL.
    #[arg(long)]
    peer_url: String,
    /// Token of the new cluster.
    #[arg(long)]
    token: String,
    /// Name of the file that says whose data it is.
    #[arg(long)]
    identity_file: String,
    /// Its content.
    #[arg(long)]
    identity: String,
    /// SHA-256 that the backup must have.
    #[arg(long, default_value = "")]
    sha256: String,
    /// File with the pass phrase that it is encrypted with.
    #[arg(long)]
    pass_phrase: Option<PathBuf>,
    /// Path of an archive in the same repository; it is replayed over the backup.
    #[arg(long)]
    archive_path: Option<String>,
    /// File with the pass phrase that the archive is encrypted with.
    #[arg(long, requires = "archive_path")]
    archive_pass_phrase: Option<PathBuf>,
    /// Replays up to this revision; without it and --to-time up to the archive's end.
    #[arg(long, requires = "archive_path", conflicts_with = "to_time")]
    to_revision: Option<i64>,
    /// Replays up to this time (RFC 3339).
    #[arg(long, requires = "archive_path")]
    to_time: Option<jiff::Timestamp>,
    /// Revision that the archive has reached before: one that ends earlier is refused.
    #[arg(long, requires = "archive_path", conflicts_with_all = ["to_revision", "to_time"])]
    at_least_revision: Option<i64>,
    /// User that the certificate of the new members' agents names; it becomes an administrator of the restored data.
    #[arg(long)]
    admin: Option<String>,
    #[command(flatten)]
    programs: ProgramArgs,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _before = umask(WITHHELD);
    // The only TLS provider of the process. It can only be there already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(carry_out(cli.command)),
        Err(error) => Err(Error::Settings(format!(
            "failed to start the runtime: {error}"
        ))),
    };
    let (told, code) = match result {
        Ok(told) => (told, ExitCode::SUCCESS),
        Err(error) => (BackupReport::failed(&error.to_string()), ExitCode::FAILURE),
    };
    let text = serde_json::to_string(&told).unwrap_or_default();
    println!("{text}");
    if cli.report.exists()
        && let Err(error) = std::fs::write(&cli.report, text)
    {
        eprintln!("failed to write {}: {error}", cli.report.display());
    }
    code
}

/// Does it, unless the pod is told to stop: what is half done is then cleared by the next attempt.
async fn carry_out(command: Command) -> Result<BackupReport, Error> {
    let stopped = |error| Error::Settings(format!("failed to listen for SIGTERM: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(stopped)?;
    tokio::select! {
        done = Box::pin(run(command)) => done,
        _ = terminate.recv() => Err(Error::Settings("the Job was told to stop before its end".to_owned())),
    }
}

async fn run(command: Command) -> Result<BackupReport, Error> {
    match command {
        Command::Install { to } => install(&to).await.map(|()| BackupReport::default()),
        Command::Probe(place) => {
            let (repository, folder) = open_within(&place, Some(PROBE_RETRY))?;
            let reached = timeout(PROBE, repository.probe(&folder)).await;
            let silent = format!(
                "it has not answered for {} s: check its endpoint",
                PROBE.as_secs()
            );
            let reached = reached.unwrap_or(Err(Error::Settings(silent)));
            reached.map(|()| BackupReport::default())
        }
        Command::Save(args) => {
            let (repository, folder) = open(&args.place)?;
            let member = Member::connect_by(&args.member, args.tls.as_deref()).await?;
            let (port, earlier) = (args.port, args.earlier.clone());
            let wanted = args.into_save(folder)?;
            let manifest = tokio::select! {
                made = Box::pin(save(&repository, &member, &wanted)) => made?,
                never = tell(port, wanted.progress.clone()) => match never {},
            };
            let keys = wanted.keys.as_ref();
            let found = lost(&repository, &wanted.folder, &earlier, keys).await;
            let told = report(&manifest).without(found.lost);
            Ok(told.with_locked(found.locked))
        }
        Command::Delete {
            place,
            backup_uid,
            archive,
            unowned,
        } => {
            let (repository, folder) = open(&place)?;
            let what = if archive {
                What::Archive
            } else {
                What::Snapshot
            };
            let removed = if unowned {
                remove_unowned(&repository, &folder, &backup_uid).await
            } else {
                remove(&repository, &folder, &backup_uid, what).await
            };
            removed.map(|()| BackupReport::default())
        }
        Command::Archive(args) => {
            let (repository, folder) = open(&args.place)?;
            let (sender, standing) = tokio::sync::watch::channel(Standing::default());
            let (tells, told) = tokio::sync::watch::channel(None);
            let keys = keys(args.pass_phrase.as_deref())?;
            let (archive, port) = (Archive::new(repository, folder, keys), args.port);
            let settings = args.into_write(told);
            let ended = tokio::select! {
                ended = Box::pin(write(&archive, &settings, &sender)) => ended?,
                ended = serve(port, standing, tells, &settings.backup_uid) => ended?,
            };
            match ended {}
        }
        Command::Restore(args) => {
            let (repository, folder) = open(&args.place)?;
            let restoration = args.into_restore(&repository, folder)?;
            let manifest = Box::pin(restore(&repository, &restoration)).await?;
            Ok(report(&manifest))
        }
    }
}

/// A backup is worth more than its progress: without the port it is made nevertheless.
async fn tell(port: u16, progress: Progress) -> Infallible {
    let Err(error) = progress::serve(port, progress).await;
    eprintln!("how far the backup is cannot be told: {error}");
    std::future::pending().await
}

fn open(place: &Place) -> Result<(Repository, Folder), Error> {
    open_within(place, None)
}

/// A repository; a bucket's requests are repeated for so long at most.
fn open_within(place: &Place, retry: Option<Duration>) -> Result<(Repository, Folder), Error> {
    let folder = Folder::read(&place.path)?;
    let repository = match (&place.folder, &place.bucket) {
        (Some(folder), _) => Repository::folder(folder)?,
        (None, bucket) => {
            let bucket = Bucket {
                bucket: bucket.clone().unwrap_or_default(),
                endpoint: place.endpoint_url.clone(),
                region: place.region.clone(),
                virtual_hosted: place.virtual_hosted,
                credentials: place.credentials.clone().unwrap_or_default(),
            };
            match retry {
                Some(retry) => bucket.open_within(retry, REQUEST)?,
                None => bucket.open()?,
            }
        }
    };
    Ok((repository, folder))
}

fn keys(file: Option<&Path>) -> Result<Option<Keys>, Error> {
    let keys = file.map(Keys::read).transpose();
    keys.map_err(Error::Settings)
}

/// Copies this program; a name that appears is the whole of it.
async fn install(to: &Path) -> Result<(), Error> {
    let copy = || -> std::io::Result<()> {
        let part = to.with_extension("part");
        std::fs::copy(std::env::current_exe()?, &part)?;
        std::fs::rename(&part, to)
    };
    copy().map_err(|source| Error::Disk {
        what: "write",
        path: to.display().to_string(),
        needed: "this program",
        source,
    })
}

impl SaveArgs {
    fn into_save(self, folder: Folder) -> Result<Save, Error> {
        let programs = self.programs.into_programs();
        Ok(Save {
            keys: keys(self.pass_phrase.as_deref())?,
            source: Source {
                backup_uid: self.backup_uid,
                namespace: self.namespace,
                cluster: self.cluster,
                component: self.component,
            },
            folder,
            attempt: self.attempt,
            pace: Pace::new(self.rate),
            progress: Progress::default(),
            bench: self.scratch.map(|scratch| Bench {
                programs,
                scratch,
                ports: PORTS,
            }),
        })
    }
}

impl ArchiveArgs {
    fn into_write(self, told: Receiver<Option<i64>>) -> Write {
        Write {
            members: self.member,
            tls: self.tls,
            after: self.after,
            writer: self.attempt,
            backup_uid: self.backup_uid,
            keep: self.keep.map(Duration::from_secs),
            told: self.told.then_some(told),
        }
    }
}

impl RestoreArgs {
    fn into_restore(self, repository: &Repository, folder: Folder) -> Result<Restore, Error> {
        let target = match (self.to_revision, self.to_time) {
            (Some(revision), _) => Target::Revision(revision),
            (None, Some(time)) => Target::Time(time.as_millisecond()),
            (None, None) => self
                .at_least_revision
                .map_or(Target::Latest, Target::AtLeast),
        };
        let archive = self.archive_path.as_deref().map(Folder::read).transpose()?;
        let archive_keys = keys(self.archive_pass_phrase.as_deref())?;
        let replay = archive.map(|archive| Replay {
            archive: Archive::new(repository.clone(), archive, archive_keys),
            target,
        });
        Ok(Restore {
            replay,
            admin: self.admin,
            ports: PORTS,
            keys: keys(self.pass_phrase.as_deref())?,
            folder,
            volume: self.volume,
            data: self.data,
            member: NewMember {
                name: self.name,
                peer_url: self.peer_url,
                token: self.token,
                bump: true,
            },
            identity: (self.identity_file, self.identity),
            programs: self.programs.into_programs(),
            sha256: self.sha256,
        })
    }
}

impl ProgramArgs {
    fn into_programs(self) -> Programs {
        Programs {
            etcd: self.etcd,
            etcdutl: self.etcdutl,
        }
    }
}
