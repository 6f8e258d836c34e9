//! The directory of one run: `runs/<UTC time>-<scenario>-<seed>/`.
//!
//! Every file is written under another name and moved into place, so that a reader never sees half of one. The history
//! is saved before anything is judged or drawn: a checker or a page that fails must not cost the evidence.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use etcd_history::history::ReadError;
use etcd_history::{Expectations, History};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::Verdict;
use super::run_header::RunHeader;
use super::{junit, page, prose};

const PLAN: &str = "plan.json";
const HISTORY: &str = "history.jsonl";
const VERDICTS: &str = "verdicts.json";
const PROSE: &str = "verdict.txt";
const JUNIT: &str = "junit.xml";
const PAGE: &str = "report.html";

/// What can go wrong with a run directory.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// The file system is full.
    #[error(
        "failed to write {path}: the disk is full; free some space and write the reports again with \
         `harness report`"
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error("failed to write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("failed to read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file does not hold what its name says.
    #[error("failed to understand {path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// The history is not one.
    #[error("failed to load {path}: {source}")]
    History {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: ReadError,
    },
    /// The name of a log or object leads out of the directory.
    #[error("failed to name a file {name:?}: a plain file name is wanted")]
    Name {
        /// The name.
        name: String,
    },
}

/// A plan as it is saved. What only people read is not looked at, but what is misspelt is refused: a run whose
/// expectations are not found would not be judged.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "named so that nothing else is let through")]
struct SavedPlan {
    expectations: Option<Expectations>,
    scenario: Option<IgnoredAny>,
    description: Option<IgnoredAny>,
    members: Option<IgnoredAny>,
    seed: Option<IgnoredAny>,
    started: Option<IgnoredAny>,
    plan: Option<IgnoredAny>,
    replay: Option<IgnoredAny>,
}

impl RunDirError {
    fn write(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Write { path, source },
        }
    }
}

/// The directory of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes the directory of a new run under `parent`. A run of the same second, scenario and seed gets a number.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn create(
        parent: &Path,
        started: Timestamp,
        scenario: &str,
        seed: u64,
    ) -> Result<Self, RunDirError> {
        let name = format!(
            "{}-{}-{seed}",
            started.strftime("%Y%m%dT%H%M%SZ"),
            file_name(scenario)
        );
        fs::create_dir_all(parent).map_err(|source| RunDirError::write(parent, source))?;
        for attempt in 0_u32.. {
            let name = if attempt == 0 {
                name.clone()
            } else {
                format!("{name}.{attempt}")
            };
            let path = parent.join(name);
            match fs::create_dir(&path) {
                Ok(()) => {
                    for room in ["logs", "objects"] {
                        let room = path.join(room);
                        fs::create_dir(&room)
                            .map_err(|source| RunDirError::write(&room, source))?;
                    }
                    return Ok(Self { path });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(RunDirError::write(&path, source)),
            }
        }
        unreachable!("some number is free")
    }

    /// The directory of a run that was made before.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn open(path: &Path) -> Result<Self, RunDirError> {
        let read = |source| RunDirError::Read {
            path: path.to_path_buf(),
            source,
        };
        if !fs::metadata(path).map_err(read)?.is_dir() {
            return Err(read(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        Ok(Self {
            path: path.to_path_buf(),
        })
    }

    /// Deletes it, of a run that was given up before it began.
    ///
    /// # Errors
    /// It cannot be deleted.
    pub fn delete(self) -> Result<(), RunDirError> {
        fs::remove_dir_all(&self.path).map_err(|source| RunDirError::write(&self.path, source))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its page is or will be.
    pub fn page_path(&self) -> PathBuf {
        self.path.join(PAGE)
    }

    /// Where its history is or will be.
    pub fn history_path(&self) -> PathBuf {
        self.path.join(HISTORY)
    }

    /// Saves the plan.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_plan(&self, plan: &impl Serialize) -> Result<(), RunDirError> {
        self.write_json(PLAN, plan)
    }

    /// The plan as it was saved; `null` for a directory without one.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn plan(&self) -> Result<serde_json::Value, RunDirError> {
        Ok(self.read_json(PLAN)?.unwrap_or_default())
    }

    /// What reports read of the plan. A directory without a plan has an empty header.
    ///
    /// # Errors
    /// The plan is there and cannot be read.
    pub(crate) fn header(&self) -> Result<RunHeader, RunDirError> {
        let mut header = RunHeader::of(&self.plan()?);
        if header.started.is_empty() {
            let name = self
                .path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.split('-')
                .next()
                .unwrap_or_default()
                .clone_into(&mut header.started);
        }
        Ok(header)
    }

    /// What the scenario promises and allows, `expectations` in its plan; absent for a run without load.
    ///
    /// # Errors
    /// The plan is there and cannot be read, or expects what this harness does not know.
    pub fn expectations(&self) -> Result<Option<Expectations>, RunDirError> {
        let plan: Option<SavedPlan> = self.read_json(PLAN)?;
        Ok(plan.and_then(|plan| plan.expectations))
    }

    /// Saves the history.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_history(&self, history: &History) -> Result<(), RunDirError> {
        self.write(HISTORY, |file| history.write(file))
    }

    /// The history as it was saved.
    ///
    /// # Errors
    /// There is none or a line of it is broken.
    pub fn history(&self) -> Result<History, RunDirError> {
        let path = self.history_path();
        let file = File::open(&path).map_err(|source| RunDirError::Read {
            path: path.clone(),
            source,
        })?;
        History::read(BufReader::new(file)).map_err(|source| RunDirError::History { path, source })
    }

    /// The verdicts as they were saved; none for a run that was not judged.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn verdicts(&self) -> Result<Vec<Verdict>, RunDirError> {
        Ok(self.read_json(VERDICTS)?.unwrap_or_default())
    }

    /// Keeps a log under `logs/`.
    ///
    /// # Errors
    /// The name is not a plain one or the file cannot be written.
    pub fn write_log(&self, name: &str, text: &[u8]) -> Result<(), RunDirError> {
        self.write(&in_folder("logs", name)?, |file| file.write_all(text))
    }

    /// Writes everything that follows from history and verdicts: `verdicts.json`, `verdict.txt`, `junit.xml` and the
    /// page, in this order, so that the short ones survive a disk that fills up.
    ///
    /// # Errors
    /// Names the file that cannot be written, or the plan that cannot be read.
    pub fn write_reports(
        &self,
        history: &History,
        verdicts: &[Verdict],
    ) -> Result<(), RunDirError> {
        let header = self.header()?;
        self.write_json(VERDICTS, verdicts)?;
        let text = prose::verdict(&header, verdicts);
        self.write(PROSE, |file| file.write_all(text.as_bytes()))?;
        let xml = junit::document(&header, verdicts);
        self.write(JUNIT, |file| file.write_all(xml.as_bytes()))?;
        let run = page::Run {
            header: &header,
            plan: &self.plan()?,
            history,
            verdicts,
        };
        let html = page::render(&run);
        self.write(PAGE, |file| file.write_all(html.as_bytes()))
    }

    fn write_json(&self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), RunDirError> {
        self.write(name, |file| {
            serde_json::to_writer_pretty(&mut *file, value)?;
            file.write_all(b"\n")
        })
    }

    fn read_json<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, RunDirError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| RunDirError::Parse { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RunDirError::Read { path, source }),
        }
    }

    fn write(
        &self,
        name: &str,
        fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), RunDirError> {
        let path = self.path.join(name);
        replace(&path, fill).map_err(|source| RunDirError::write(&path, source))
    }
}

/// Writes beside the file and moves the result over it; what was there stays until then.
fn replace(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = (|| {
        let mut file = BufWriter::new(File::create(&partial)?);
        fill(&mut file)?;
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(&partial, path)
    })();
    if written.is_err() {
        // What is left takes the space that is missing; it may not be there, which is no second failure.
        let _ = fs::remove_file(&partial);
    }
    written
}

fn in_folder(folder: &str, name: &str) -> Result<String, RunDirError> {
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    if plain {
        Ok(format!("{folder}/{name}"))
    } else {
        Err(RunDirError::Name {
            name: name.to_owned(),
        })
    }
}

/// A scenario's name as part of a file name: `failover/leader_killed` becomes `failover-leader_killed`.
fn file_name(scenario: &str) -> String {
    scenario
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') {
                c
            } else {
                '-'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use etcd_history::Record;
    use serde_json::json;

    use super::*;
    use crate::report::Finding;

    fn start() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    #[test]
    fn a_run_that_was_given_up_leaves_nothing_and_takes_nothing_with_it() {
        let parent = tempfile::tempdir().unwrap();
        let kept = RunDir::create(parent.path(), start(), "one", 7).unwrap();
        let run = RunDir::create(parent.path(), start(), "one", 7).unwrap();
        run.write_plan(&json!({"scenario": "one"})).unwrap();
        let path = run.path().to_owned();
        run.delete().unwrap();
        assert!(!path.exists() && kept.path().exists());
    }

    #[test]
    fn a_run_can_be_read_back() {
        let parent = tempfile::tempdir().unwrap();
        let run = RunDir::create(parent.path(), start(), "failover/leader killed", 7).unwrap();
        assert!(
            run.path()
                .ends_with("20260921T141320Z-failover-leader-killed-7")
        );
        let plan = json!({"scenario": "failover/leader killed", "seed": 7, "members": 3,
            "expectations": {"members": 5}});
        run.write_plan(&plan).unwrap();
        let history = History {
            records: vec![Record::Phase {
                t: 5,
                name: "warm_up".to_owned(),
            }],
        };
        run.write_history(&history).unwrap();
        run.write_log("etcd-0.log", b"hello").unwrap();
        let verdicts = vec![Verdict::new(
            "linearizable",
            Finding::Violation {
                explanation: "a read went back".to_owned(),
                ops: vec![3],
            },
        )];
        run.write_reports(&history, &verdicts).unwrap();

        let again = RunDir::open(run.path()).unwrap();
        assert_eq!(again.expectations().unwrap().unwrap().members, 5);
        assert_eq!(again.history().unwrap(), history);
        assert_eq!(again.verdicts().unwrap(), verdicts);
        assert_eq!(again.header().unwrap().members, 3);
        assert_eq!(again.header().unwrap().started, "20260921T141320Z");
        assert_eq!(again.plan().unwrap(), plan);
        let text = fs::read_to_string(run.path().join(PROSE)).unwrap();
        assert!(
            text.lines().next().unwrap().contains("a read went back"),
            "{text}"
        );
        let mut names: Vec<_> = fs::read_dir(run.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let all = [
            HISTORY, JUNIT, "logs", "objects", PLAN, PAGE, PROSE, VERDICTS,
        ];
        assert_eq!(names, all);
    }

    #[test]
    fn a_plan_that_is_misspelt_is_refused_with_file_line_and_name() {
        let parent = tempfile::tempdir().unwrap();
        let run = RunDir::create(parent.path(), start(), "a", 1).unwrap();
        for (plan, name) in [
            ("{\n\"expectation\": {}}", "`expectation`"),
            ("{\"expectations\":\n{\"faulst\": 1}}", "`faulst`"),
        ] {
            fs::write(run.path().join(PLAN), plan).unwrap();
            let error = run.expectations().unwrap_err().to_string();
            for word in [name, PLAN, "line 2"] {
                assert!(error.contains(word), "{error:?} does not say {word:?}");
            }
        }
        fs::write(
            run.path().join(PLAN),
            "{\"seed\": 1, \"expectations\": null}",
        )
        .unwrap();
        assert_eq!(run.expectations().unwrap(), None);
    }

    #[test]
    fn two_runs_of_one_second_do_not_share_a_directory() {
        let parent = tempfile::tempdir().unwrap();
        let first = RunDir::create(parent.path(), start(), "a", 1).unwrap();
        let second = RunDir::create(parent.path(), start(), "a", 1).unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_no_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "old").unwrap();
        let failed = replace(&path, |file| {
            file.write_all(b"new")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        let error = RunDirError::write(&path, failed.unwrap_err());
        assert!(error.to_string().contains("the disk is full"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_do_not_lead_out_of_the_directory() {
        let parent = tempfile::tempdir().unwrap();
        let run = RunDir::create(parent.path(), start(), "../../x", 1).unwrap();
        assert_eq!(run.path().parent(), Some(parent.path()));
        for name in ["../x", "", ".."] {
            assert!(
                matches!(run.write_log(name, b""), Err(RunDirError::Name { .. })),
                "{name}"
            );
        }
    }
}
