//! The processes that act: each has its user, groups, umask and open files, and lives as long as its job.
//!
//! A worker reads lines and answers each by one line. It does every operation twice, on the two sides, so that one trip
//! through the pipes is enough for both.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::fs::{Gid, Mode, Uid};

use super::call::{self, Held};

/// Who a worker is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Who {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// A further group, if it is not `gid`.
    pub(crate) group: u32,
    /// Octal.
    pub(crate) umask: String,
}

/// The workers of a job where there are other users.
pub(super) fn several() -> Vec<Who> {
    [
        (0, 0, 0, "022"),
        (0, 0, 0, "077"),
        (1000, 1000, 1000, "022"),
        (1001, 1001, 1000, "002"),
    ]
    .into_iter()
    .map(|(uid, gid, group, umask)| Who {
        uid,
        gid,
        group,
        umask: umask.to_owned(),
    })
    .collect()
}

/// The workers of a job where there is one user only.
pub(super) fn alone() -> Vec<Who> {
    let mut all = several();
    for who in &mut all {
        (who.uid, who.gid, who.group) = (0, 0, 0);
    }
    all
}

/// Serves as a worker until its standard input ends.
pub(crate) fn serve(who: &Who) -> Result<()> {
    become_who(who)?;
    let mut roots: Vec<PathBuf> = Vec::new();
    let mut held: [Held; 2] = Default::default();
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if let Some(rest) = line.strip_prefix("roots ") {
            roots = rest.split(' ').map(PathBuf::from).collect();
            writeln!(out, "ok\tok")?;
        } else if line == "close" {
            held = Default::default();
            writeln!(out, "ok\tok")?;
        } else if line == "settle" {
            held.iter().for_each(Held::settle);
            writeln!(out, "ok\tok")?;
        } else {
            let said: Vec<String> = roots
                .iter()
                .zip(&mut held)
                .map(|(root, held)| show(call::apply(&line, root, held)))
                .collect();
            writeln!(out, "{}", said.join("\t"))?;
        }
        out.flush()?;
    }
    Ok(())
}

/// Takes the identity on, for this thread, which is the only one.
fn become_who(who: &Who) -> Result<()> {
    let umask = u32::from_str_radix(&who.umask, 8).context("no umask")?;
    rustix::process::umask(Mode::from_raw_mode(umask));
    if who.uid == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
    let more = [Gid::from_raw(who.group)];
    rustix::thread::set_thread_groups(&more).context("cannot set groups")?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).context("cannot set the group")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).context("cannot set the user")
}

/// Writes a result as it is compared and reported.
fn show(said: call::Said) -> String {
    match said {
        Ok(text) => text,
        Err(call::NONSENSE) => "nonsense".to_owned(),
        Err(errno) => {
            let error = std::io::Error::from(errno);
            format!("errno {} ({error})", errno.raw_os_error())
        }
    }
}

/// The workers of a job.
#[derive(Debug)]
pub(super) struct Workers(Vec<(Who, Worker)>);

impl Workers {
    pub(super) fn start(all: Vec<Who>) -> Result<Self> {
        let start = |who: Who| Ok((who.clone(), Worker::start(&who)?));
        Ok(Self(all.into_iter().map(start).collect::<Result<_>>()?))
    }

    /// Replaces those that died.
    pub(super) fn revive(&mut self) -> Result<()> {
        for (who, worker) in &mut self.0 {
            if worker.child.try_wait()?.is_some() {
                *worker = Worker::start(who)?;
            }
        }
        Ok(())
    }

    /// Says where the two trees are.
    pub(super) fn set_roots(&mut self, roots: [&Path; 2]) -> Result<()> {
        let [a, b] = roots.map(|root| root.display());
        self.tell(&format!("roots {a} {b}"))
    }

    /// Has all that they stored through mappings written.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.tell("settle")
    }

    /// Closes all that they hold open.
    pub(super) fn close(&mut self) -> Result<()> {
        self.tell("close")
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let mut result = Ok(());
        // All of them, also after one that is gone.
        for (_, worker) in &mut self.0 {
            result = result.and(worker.ask(line).map(drop));
        }
        result
    }

    /// Does an operation as worker number `who`.
    pub(super) fn ask(&mut self, who: &str, line: &str) -> Result<[String; 2]> {
        let (_, worker) = self
            .0
            .get_mut(who.parse::<usize>().context("no worker")?)
            .with_context(|| format!("no worker {who}"))?;
        worker.ask(line)
    }
}

/// A worker, seen from its job. Dropping it ends it.
#[derive(Debug)]
struct Worker {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts a worker.
    fn start(who: &Who) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find my own program")?;
        let mut child = Command::new(program)
            .arg("oracle-worker")
            .args([who.uid, who.gid, who.group].map(|id| id.to_string()))
            .arg(&who.umask)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a worker")?;
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().context("a worker without a pipe")?);
        Ok(Self { child, to, from })
    }

    /// Does an operation on both sides and returns what each said.
    fn ask(&mut self, line: &str) -> Result<[String; 2]> {
        let to = self.to.as_mut().context("the worker is gone")?;
        to.write_all(format!("{line}\n").as_bytes())
            .context("the worker is gone")?;
        let mut answer = String::new();
        self.from.read_line(&mut answer)?;
        ensure!(answer.ends_with('\n'), "the worker ended at `{line}`");
        let Some((a, b)) = answer.trim_end_matches('\n').split_once('\t') else {
            bail!("the worker answered `{answer}`");
        };
        ensure!(a != "nonsense", "`{line}` is no operation");
        Ok([a.to_owned(), b.to_owned()])
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.to.take());
        drop(self.child.wait());
    }
}
