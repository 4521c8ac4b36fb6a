//! One round: a tree, a session that changes it, a commit that is killed, and those that go on.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::dump::{self, Dump, Lens};
use crate::private;
use crate::rng::Rng;
use crate::run::quiet;

/// What change.sh knows.
const KINDS: [&str; 13] = [
    "files",
    "replaced",
    "renamed",
    "linked",
    "large",
    "attributes",
    "types",
    "fresh",
    "gone",
    "nodes",
    "moved",
    "across",
    "crossed",
];
/// What is mounted in each tree.
const FAR: &str = "crossed/far";
/// What an object under construction is called, up to a number.
const TEMPORARY: &str = ".mica-commit.";
/// SIGKILL.
const KILL: i32 = 9;

/// When a commit was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// There was no journal.
    Before,
    /// There was a journal, not sealed.
    Begun,
    Sealed,
    /// All was on the machine.
    Over,
}

/// What became of a round.
#[derive(Debug)]
pub(super) struct Ended {
    /// `None`: the commit had ended.
    pub(super) fate: Option<Fate>,
    /// Kills of those that went on.
    pub(super) again: u64,
}

/// Where rounds take place.
#[derive(Debug)]
pub(super) struct Ground {
    program: PathBuf,
    base: PathBuf,
    /// What the trees are before.
    pristine: Dump,
    /// How long a commit takes, roughly.
    usual: Duration,
    /// Times from here on are "now".
    lens: Lens,
}

/// What one round is about.
#[derive(Debug)]
struct Round<'a> {
    ground: &'a Ground,
    tree: PathBuf,
    session: String,
    /// What is committed first, if that is not all.
    selected: Option<Vec<&'static str>>,
    before: &'a Dump,
    after: Dump,
}

impl Ground {
    pub(super) fn new(program: &Path, base: &Path) -> Result<Self> {
        let template = base.join("template");
        std::fs::create_dir(&template).context("cannot make the tree")?;
        let mut make = Command::new("sh");
        make.arg("-c").arg(include_str!("tree.sh"));
        quiet(make.current_dir(&template))?;
        Ok(Self {
            program: program.to_owned(),
            base: base.to_owned(),
            pristine: dump::read(&template)?,
            usual: Duration::from_millis(100),
            lens: Lens {
                now: dump::now()?,
                upper: false,
            },
        })
    }

    fn copy(&self, name: &str) -> Result<PathBuf> {
        let copy = self.base.join(name);
        let template = self.base.join("template");
        quiet(Command::new("cp").arg("-a").arg(template).arg(&copy))?;
        private::bind(&copy.join(FAR), &copy.join(FAR))?;
        Ok(copy)
    }

    fn remove(copy: &Path) -> Result<()> {
        quiet(Command::new("umount").arg("-l").arg(copy.join(FAR)))?;
        std::fs::remove_dir_all(copy).context("cannot remove the copy")
    }

    /// Returns what the same changes come to without a session.
    fn directly(&self, kinds: &[&str]) -> Result<Dump> {
        let copy = self.copy("direct")?;
        quiet(Command::new("sh").args(change(kinds)).current_dir(&copy))?;
        let dump = dump::read(&copy)?;
        Self::remove(&copy)?;
        Ok(dump)
    }

    fn mica(&self, tree: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(tree)
            .env("XDG_STATE_HOME", self.base.join("state"));
        command
    }

    pub(super) fn round(&mut self, number: u64, rng: &mut Rng) -> Result<Ended> {
        let mut kinds: Vec<&'static str> = KINDS.to_vec();
        kinds.retain(|_| !rng.one_in(3));
        let mut selected = kinds.clone();
        selected.retain(|_| rng.one_in(2));
        let partly = rng.one_in(3) && !selected.is_empty();
        let tree = self.copy("tree")?;
        let session = format!("r{number}");
        let mut session_of = self.mica(&tree);
        session_of.args(["do", "--name", &session, "--", "sh"]);
        quiet(session_of.args(change(&kinds)))?;
        let first = if partly { &selected } else { &kinds };
        let after = self.directly(first)?;
        let told = format!("{kinds:?}, committed: {first:?}");
        let round = Round {
            ground: self,
            tree,
            session,
            selected: partly.then_some(selected),
            before: &self.pristine,
            after,
        };
        let (ended, took) = round.play(rng).context(told.clone())?;
        if partly {
            round.rest(&kinds).context(told)?;
        }
        let tree = round.tree.clone();
        if let Some(took) = took {
            self.usual = (self.usual * 3 + took) / 4;
        }
        Self::remove(&tree)?;
        Ok(ended)
    }
}

/// The words for a shell that makes `kinds` of changes.
fn change<'a>(kinds: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["-c", include_str!("change.sh"), "change.sh"];
    words.extend(kinds);
    words
}

impl Round<'_> {
    /// Kills a commit, looks, and goes on until it is done; returns how long the last one took if it had to do it all.
    fn play(&self, rng: &mut Rng) -> Result<(Ended, Option<Duration>)> {
        let mut ended = Ended {
            fate: None,
            again: 0,
        };
        let mut took = None;
        // Of itself a commit that was undone leads to no conflict.
        let mut options: &[&str] = &[];
        if self.struck(options, rng)? {
            let fate = self.look()?;
            ended.fate = Some(fate);
            if matches!(fate, Fate::Before | Fate::Begun) && rng.one_in(2) {
                self.refused()?;
                options = &["--force"];
            }
            while rng.one_in(3) && self.has_session() && self.struck(options, rng)? {
                ended.again += 1;
                let now = self.look()?;
                let back = matches!(fate, Fate::Sealed | Fate::Over)
                    && matches!(now, Fate::Before | Fate::Begun);
                ensure!(!back, "what was {fate:?} is {now:?} when killed once more");
            }
            if self.has_session() {
                let whole = matches!(self.look()?, Fate::Before | Fate::Begun);
                let start = Instant::now();
                quiet(&mut self.commit(options)).context("going on with the commit")?;
                took = whole.then(|| start.elapsed());
            }
        }
        self.is_after(&self.after)?;
        ensure!(
            self.selected.is_some() || !self.has_session(),
            "the session is still there"
        );
        ensure!(!self.journal().exists(), "the journal is still there");
        Ok((ended, took))
    }

    /// Starts a commit and kills it; returns whether it was still there.
    fn struck(&self, options: &[&str], rng: &mut Rng) -> Result<bool> {
        let mut child = self
            .commit(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start a commit")?;
        let mut usual = u64::try_from(self.ground.usual.as_micros())?;
        if rng.one_in(2) {
            // What comes after the seal is short, and as much has to be struck. The seal tells nobody: it is looked for.
            let plan = self.journal().join("plan");
            while !plan.exists() && child.try_wait()?.is_none() {
                std::thread::sleep(Duration::from_micros(50));
            }
            usual /= 6;
        }
        // The moment is random: what is tested is that there is no wrong one.
        std::thread::sleep(Duration::from_micros(rng.below(usual)));
        child.kill().context("cannot kill the commit")?;
        let output = child
            .wait_with_output()
            .context("cannot wait for the commit")?;
        if output.status.signal() == Some(KILL) {
            return Ok(true);
        }
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the commit failed: {told}");
        Ok(false)
    }

    /// Finds out when a commit was killed. Before the seal nothing may have changed.
    fn look(&self) -> Result<Fate> {
        if !self.has_session() {
            return Ok(Fate::Over);
        }
        if self.journal().join("plan").exists() {
            return Ok(Fate::Sealed);
        }
        let fate = if self.journal().exists() {
            Fate::Begun
        } else {
            Fate::Before
        };
        let seen = dump::read(&self.tree)?;
        if self.unlike(&self.after, &seen).is_empty() {
            return Ok(Fate::Over);
        }
        dump::expect_none("killed before the seal", &self.unlike(self.before, &seen))?;
        Ok(fate)
    }

    /// Has the next commit find a conflict: it undoes, and does nothing else.
    fn refused(&self) -> Result<()> {
        let kinds = self.ground.pristine.keys();
        let changed = self.unlike(self.before, &self.after);
        let is_changed = |path: &&PathBuf| {
            let name = format!("{}: content", path.display());
            path.ends_with("last") && changed.iter().any(|line| line.starts_with(&name))
        };
        let Some(path) = kinds.into_iter().find(is_changed) else {
            return Ok(());
        };
        let file = self.tree.join(path);
        let time = |secs| {
            let time = format!("@{secs}");
            let mut touch = Command::new("touch");
            quiet(touch.args(["-d", &time]).arg(&file)).map(drop)
        };
        time(7)?;
        let output = self.commit(&[]).output().context("cannot commit")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1) && told.contains("was changed meanwhile"),
            "no conflict: {told}"
        );
        time(1_000_000)?;
        let seen = dump::read(&self.tree)?;
        let mut left = dump::compare(self.before, &seen, ("before", "undone"), self.ground.lens);
        // Something was made in them and removed.
        left.retain(|line| !(line.contains(": mtime is ") && is_directory(self.before, line)));
        dump::expect_none("undone", &left)?;
        ensure!(!self.journal().exists(), "the journal is left");
        Ok(())
    }

    /// Commits what is left of the session.
    fn rest(&self, kinds: &[&str]) -> Result<()> {
        let mut commit = self.ground.mica(&self.tree);
        quiet(commit.args(["commit", &self.session])).context("committing the rest")?;
        ensure!(!self.has_session(), "the session is still there");
        self.is_after(&self.ground.directly(kinds)?)
    }

    fn is_after(&self, after: &Dump) -> Result<()> {
        let seen = dump::read(&self.tree)?;
        let lines = dump::compare(after, &seen, ("directly", "committed"), self.ground.lens);
        dump::expect_none("committed", &lines)
    }

    /// Compares without what is under construction.
    fn unlike(&self, wanted: &Dump, seen: &Dump) -> Vec<String> {
        let mut seen = seen.clone();
        seen.retain(|path, _| {
            !path
                .iter()
                .any(|name| name.to_string_lossy().starts_with(TEMPORARY))
        });
        let mut wanted = wanted.clone();
        for node in seen.values_mut().chain(wanted.values_mut()) {
            // What is made in a directory has its own part in these.
            if node.kind == 'd' {
                node.nlink = 0;
                node.mtime = (0, 0);
            }
        }
        dump::compare(&wanted, &seen, ("expected", "there"), self.ground.lens)
    }

    fn commit(&self, options: &[&str]) -> Command {
        let mut command = self.ground.mica(&self.tree);
        command.arg("commit").args(options).arg(&self.session);
        for path in self.selected.iter().flatten() {
            command.arg(format!("./{path}"));
        }
        command
    }

    fn session(&self) -> PathBuf {
        let sessions = self.ground.base.join("state/mica/sessions");
        sessions.join(&self.session)
    }

    fn has_session(&self) -> bool {
        self.session().exists()
    }

    fn journal(&self) -> PathBuf {
        self.session().join("journal")
    }
}

fn is_directory(dump: &Dump, line: &str) -> bool {
    let path = line.split(": ").next().unwrap_or_default();
    let path = if path == "/" { "" } else { path };
    dump.get(Path::new(path))
        .is_some_and(|node| node.kind == 'd')
}
