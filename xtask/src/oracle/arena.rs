//! A script on two sides, and the first difference between them.
//!
//! A script is lines: `WORKER OPERATION...` (see `call`), `remount`, `swap` (a remount after which each driver goes on with what
//! the other left), and `look PATH` (compare the tree there). At its end, and before each remount, trees, uppers and work
//! directories are compared whole.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::Options;
use super::layout::Layout;
use super::protected;
use super::side::Side;
use super::watch;
use super::worker::Workers;
use crate::driver::Driver;
use crate::dump::{self, Dump, Lens};

/// Where scripts run, and by whom.
#[derive(Debug)]
pub(super) struct Arena {
    pub(super) base: PathBuf,
    pub(super) workers: Workers,
    pub(super) subject: Driver,
    /// The program that checks at the end of a script what is left of it, if that is wanted.
    pub(super) checker: Option<PathBuf>,
    /// Whether the filesystem gives a new object the number of one that went.
    pub(super) reuses_numbers: bool,
    /// Operations that were compared, and those of them that succeeded.
    pub(super) operations: u64,
    pub(super) succeeded: u64,
}

/// What a script showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    Different {
        /// The line at which it showed; the number of lines if at the end.
        at: usize,
        lines: Vec<String>,
    },
}

impl Arena {
    /// Runs `script` on fresh layers.
    ///
    /// # Errors
    ///
    /// If the ground cannot be prepared. Whatever goes wrong later is a difference.
    pub(super) fn run(
        &mut self,
        layout: &Layout,
        options: &Options,
        script: &[String],
    ) -> Result<Verdict> {
        // The clock of file times lags behind by a tick.
        let now = dump::now()?.saturating_sub(1);
        let dirs = ["a", "b"].map(|name| self.base.join(name));
        let [a, b] = &dirs;
        let mut bout = Bout {
            a: Side::new(Driver::Kernel, layout, options, a)?,
            b: Side::new(self.subject.clone(), layout, options, b)?,
            now,
            has_links: layout.has_links(),
        };
        if !layout.upper.trim().is_empty() {
            bout.a.introduce()?;
            bout.b.introduce()?;
        }
        let mut at = 0;
        self.workers.revive()?;
        let outcome = self.play(&mut bout, script, &mut at);
        // Open files would keep the mounts busy. One that is dead has none.
        let closed = self.workers.close();
        Ok(match outcome {
            Ok(lines) if lines.is_empty() => {
                closed?;
                Verdict::Same
            }
            Ok(lines) => Verdict::Different { at, lines },
            Err(error) => Verdict::Different {
                at,
                lines: vec![format!("it broke off: {error:#}")],
            },
        })
    }

    /// Runs the script up to the first difference, which it returns.
    fn play(&mut self, bout: &mut Bout, script: &[String], at: &mut usize) -> Result<Vec<String>> {
        bout.a.mount()?;
        bout.b.mount()?;
        self.workers.set_roots([&bout.a.point(), &bout.b.point()])?;
        for (index, line) in script.iter().enumerate() {
            *at = index;
            watch::step();
            let found = match line.as_str() {
                "remount" => self.remount(bout)?,
                "swap" => {
                    let found = self.unmount(bout)?;
                    std::mem::swap(&mut bout.a.driver, &mut bout.b.driver);
                    bout.a.mount()?;
                    bout.b.mount()?;
                    found
                }
                other => match other.strip_prefix("look ") {
                    Some(path) => {
                        self.workers.settle()?;
                        bout.look(path)?
                    }
                    None => self.act(bout, other)?,
                },
            };
            if !found.is_empty() {
                return Ok(found);
            }
            if self.reuses_numbers && takes_away(line) {
                bout.a.forget_numbers();
                bout.b.forget_numbers();
            }
        }
        *at = script.len();
        let found = self.unmount(bout)?;
        if !found.is_empty() {
            return Ok(found);
        }
        let mut found = bout.lowers()?;
        if let Some(program) = &self.checker {
            found.extend(bout.a.check(program)?);
            found.extend(bout.b.check(program)?);
        }
        Ok(found)
    }

    /// Does one operation on both sides.
    fn act(&mut self, bout: &mut Bout, line: &str) -> Result<Vec<String>> {
        let (who, call) = line.split_once(' ').context("no worker")?;
        if bout.has_links || meets_write_back(call) {
            self.workers.settle()?;
        }
        let [a, b] = self.workers.ask(who, call)?;
        self.operations = self.operations.saturating_add(1);
        if !a.starts_with("errno ") {
            self.succeeded = self.succeeded.saturating_add(1);
        }
        let (a, b) = (bout.a.number(&a), bout.b.number(&b));
        if a == b || self.is_one_refusal(bout, (who, call), [&a, &b])? {
            return Ok(Vec::new());
        }
        let [left, right] = bout.names();
        Ok(vec![format!("{line}: {a} on {left}, {b} on {right}")])
    }

    /// Says whether both refused, for reasons that are let through (D-19).
    fn is_one_refusal(
        &mut self,
        bout: &Bout,
        (who, call): (&str, &str),
        [a, b]: [&str; 2],
    ) -> Result<bool> {
        let is_a = bout.a.driver == Driver::Kernel;
        let (kernel, on_kernel, on_subject) = if is_a {
            (&bout.a, a, b)
        } else {
            (&bout.b, b, a)
        };
        if !protected::is_one_refusal(call, on_kernel, on_subject) {
            return Ok(false);
        }
        if protected::names_protected(&kernel.point(), call) {
            return Ok(true);
        }
        let Some(slot) = protected::slot(call) else {
            return Ok(false);
        };
        let [of_a, of_b] = self.workers.ask(who, &format!("heldflags {slot}"))?;
        Ok(protected::are_protecting(if is_a { &of_a } else { &of_b }))
    }

    fn remount(&mut self, bout: &mut Bout) -> Result<Vec<String>> {
        let found = self.unmount(bout)?;
        bout.a.mount()?;
        bout.b.mount()?;
        Ok(found)
    }

    /// Compares the trees, unmounts, and compares the disks.
    fn unmount(&mut self, bout: &mut Bout) -> Result<Vec<String>> {
        self.workers.close()?;
        let mut found = bout.look("")?;
        bout.a.unmount()?;
        bout.b.unmount()?;
        found.extend(bout.disks()?);
        Ok(found)
    }
}

/// Says whether an operation shows when a store through a mapping is written: it sets times or flags, asks for holes (D-37), or
/// gives what is lost then (D-38).
fn meets_write_back(call: &str) -> bool {
    let call = call.split(' ').next().unwrap_or(call);
    ["utimens", "flags", "seek", "chmod", "setx"]
        .iter()
        .any(|end| call.ends_with(end))
}

/// Says whether a line may end an object, whose number others may have then.
fn takes_away(line: &str) -> bool {
    let call = line.split(' ').nth(1).unwrap_or(line);
    [
        "unlink", "rmdir", "rename", "release", "hold", "swap", "remount", "map", "unmap",
    ]
    .iter()
    .any(|word| call.starts_with(word))
}

/// The two sides of a run.
struct Bout {
    a: Side,
    b: Side,
    now: i64,
    /// Whether a file may be written by way of another of its names (OVL-111): then what is stored is written before one is looked
    /// up.
    has_links: bool,
}

impl Bout {
    /// Returns what each side is called in a report: who mounts it now.
    fn names(&self) -> [&'static str; 2] {
        [self.a.driver.name(), self.b.driver.name()]
    }

    /// Compares the trees below `path`.
    fn look(&mut self, path: &str) -> Result<Vec<String>> {
        let path = if path == "." { "" } else { path };
        let [left, right] = self.names();
        let there = |side: &Side| side.point().join(path).symlink_metadata().is_ok();
        match (there(&self.a), there(&self.b)) {
            (true, true) => {}
            (false, false) => return Ok(Vec::new()),
            (true, false) => return Ok(vec![format!("{path}: on {left} only")]),
            (false, true) => return Ok(vec![format!("{path}: on {right} only")]),
        }
        let a = self
            .a
            .look(path)
            .with_context(|| format!("reading by {left}"))?;
        let b = self
            .b
            .look(path)
            .with_context(|| format!("reading by {right}"))?;
        let lens = Lens {
            now: self.now,
            upper: false,
        };
        let mut found = dump::compare(&a, &b, (left, right), lens);
        found.extend(self.numbers(&a, &b));
        for (name, dump) in [(left, &a), (right, &b)] {
            let wrong = dump::check_numbers(dump);
            found.extend(wrong.into_iter().map(|line| format!("{line} on {name}")));
        }
        Ok(found)
    }

    /// Compares which inode numbers are the same as others, or as before.
    fn numbers(&mut self, a: &Dump, b: &Dump) -> Vec<String> {
        let [left, right] = self.names();
        let mut found = Vec::new();
        for (path, x) in a {
            let Some(y) = b.get(path) else {
                continue;
            };
            let (x, y) = (self.a.place(x.ino), self.b.place(y.ino));
            if x != y {
                let path = path.display();
                // All that are seen later are one off.
                found.push(format!("{path}: st_ino is #{x} on {left}, #{y} on {right}"));
                break;
            }
        }
        found
    }

    fn disks(&self) -> Result<Vec<String>> {
        let lens = Lens {
            now: self.now,
            upper: true,
        };
        let [left, right] = self.names();
        let (a, b) = (self.a.disk()?, self.b.disk()?);
        let found = dump::compare(&a, &b, (left, right), lens);
        Ok(found
            .into_iter()
            .map(|line| format!("disk: {line}"))
            .collect())
    }

    fn lowers(&self) -> Result<Vec<String>> {
        let [mut found, more] = [self.a.changed_lowers()?, self.b.changed_lowers()?];
        found.extend(more);
        Ok(found)
    }
}
