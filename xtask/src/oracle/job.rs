//! A job: a filesystem, workers, and one script after the other until its time is over.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::arena::{Arena, Verdict};
use super::draw::{self, Turns};
use super::ground::{self, Ground};
use super::layout::{LAYOUTS, Layout, Rights};
use super::regress::{CASES, Case};
use super::set::{self, Set};
use super::shrink::shrink;
use super::side::Side;
use super::{JobArgs, Options, watch, worker};
use crate::driver::{Driver, Subject};
use crate::private;
use crate::rng::Rng;

/// Runs as a job, the first process of its namespaces.
pub(crate) fn run(args: &JobArgs) -> Result<()> {
    if !private::inside() {
        bail!("a job runs in namespaces of its own; run `cargo xtask oracle`");
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let ground = Ground::new(args)?;
    match ground.userns() {
        None => sit_at(args, ground.base(), Rights::All),
        Some(rights) => ground.enter(args, rights),
    }
}

/// Runs as a job inside the user namespace that [`run`] made.
pub(crate) fn sit(args: &JobArgs) -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let base = args.base.as_deref().context("no place for the layers")?;
    sit_at(args, base, ground::rights_of_this_process()?)
}

fn sit_at(args: &JobArgs, base: &Path, rights: Rights) -> Result<()> {
    let who = match rights {
        Rights::All | Rights::Mapped => worker::several(),
        Rights::Single => worker::alone(),
    };
    watch::start();
    let workers = who
        .iter()
        .map(worker::Worker::start)
        .collect::<Result<_>>()?;
    let mut job = Job {
        arena: Arena {
            base: base.to_path_buf(),
            workers,
            subject: driver(args),
            checker: (args.all.rounds.is_some() && args.all.subject == Subject::Mica)
                .then(|| args.program.clone()),
            operations: 0,
            succeeded: 0,
        },
        rights,
        args: args.clone(),
        sequences: 0,
        differences: 0,
        said: Instant::now(),
    };
    let result = job.work();
    job.say();
    result
}

fn driver(args: &JobArgs) -> Driver {
    let program = args.program.clone();
    match args.all.subject {
        Subject::Kernel => Driver::Kernel,
        Subject::Mica => Driver::Mica(program),
        Subject::FuseOverlayfs => Driver::FuseOverlayfs(program),
    }
}

struct Job {
    arena: Arena,
    rights: Rights,
    args: JobArgs,
    sequences: u64,
    differences: u64,
    said: Instant,
}

impl Job {
    fn work(&mut self) -> Result<()> {
        let sets = self.possible_sets()?;
        if let Some(path) = self.args.all.script.clone() {
            return self.run_file(&path, &sets);
        }
        if self.args.all.replay && self.args.job == 0 {
            self.replay(&sets)?;
        }
        ensure!(!sets.is_empty(), "no option set that both drivers take");
        let (limit, jobs) = (self.limit(), self.args.all.job_count());
        let deadline = self.deadline().map(|time| Instant::now() + time);
        let mut number = self.args.job;
        while number < limit && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            let seed = self.args.all.seed.saturating_add(number);
            self.run_seed(seed, &sets)?;
            number = number.saturating_add(jobs);
        }
        if self.differences > 0 {
            bail!("{} sequences differ", self.differences);
        }
        Ok(())
    }

    fn limit(&self) -> u64 {
        let all = &self.args.all;
        all.sequences.or(all.rounds).unwrap_or(u64::MAX)
    }

    fn deadline(&self) -> Option<Duration> {
        let all = &self.args.all;
        let counted = all.sequences.or(all.rounds).is_some();
        let default = (!counted).then_some(60);
        all.seconds.or(default).map(Duration::from_secs)
    }

    /// Returns the sets that both drivers mount here.
    fn possible_sets(&mut self) -> Result<Vec<Set>> {
        let mut sets = set::select(self.args.all.options.as_deref(), self.rights)?;
        let layout = find_layout("empty")?;
        let mut failed = None;
        sets.retain(|set| {
            let dir = self.arena.base.join("probe");
            let probe = Side::new(
                self.arena.subject.clone(),
                layout,
                &self.options(*set),
                &dir,
            )
            .and_then(|mut side| side.mount().and_then(|()| side.unmount()));
            match probe {
                Ok(()) => true,
                Err(error) => {
                    failed = Some(error.context(format!("option set `{}`", set.name)));
                    false
                }
            }
        });
        failed.map_or(Ok(sets), Err)
    }

    fn options(&self, set: Set) -> Options {
        Options {
            set,
            rights: self.rights,
            plant: self.args.all.plant.clone(),
        }
    }

    fn run_seed(&mut self, seed: u64, sets: &[Set]) -> Result<()> {
        let mut rng = Rng::new(seed);
        let Some(first) = sets.first() else {
            return Ok(());
        };
        let set = rng.pick(sets, *first);
        let layout = match &self.args.all.layout {
            Some(name) => find_layout(name)?,
            None => {
                let fitting: Vec<&Layout> =
                    LAYOUTS.iter().filter(|layout| set.takes(layout)).collect();
                rng.pick(&fitting, find_layout("plain")?)
            }
        };
        let turns = if self.args.all.rounds.is_some() {
            Turns::Rounds
        } else {
            Turns::Random
        };
        let mut script = draw::script(&mut rng, layout, turns);
        script.retain(|line| set.takes_line(line));
        self.compare(&format!("seed {seed}"), set, layout, script)
    }

    /// Runs one script, and reports a difference.
    fn compare(
        &mut self,
        label: &str,
        set: Set,
        layout: &Layout,
        script: Vec<String>,
    ) -> Result<()> {
        let options = self.options(set);
        let verdict = self.arena.run(layout, &options, &script)?;
        self.sequences = self.sequences.saturating_add(1);
        if let Verdict::Different { at, lines } = verdict {
            self.differences = self.differences.saturating_add(1);
            println!(
                "DIFFERENT: {label}, options {}, layout {}; making it shorter",
                set.name, layout.name
            );
            let mut script = script;
            script.truncate(at.saturating_add(1));
            let found = shrink(&mut self.arena, layout, &options, script, lines)?;
            report(label, set, layout, &found);
            if !self.args.all.keep_going {
                self.say();
                bail!("{label} differs from kernel overlayfs");
            }
        }
        if self.said.elapsed() > Duration::from_secs(1) {
            self.say();
        }
        Ok(())
    }

    /// Tells the parent how far this job is.
    fn say(&mut self) {
        println!(
            "@ {} {} {} {}",
            self.sequences, self.arena.operations, self.arena.succeeded, self.differences
        );
        self.said = Instant::now();
    }

    fn replay(&mut self, sets: &[Set]) -> Result<()> {
        for Case {
            claim, set, layout, ..
        } in CASES
        {
            ensure!(!claim.is_empty(), "a case that claims nothing");
            find_layout(layout)?;
            set::select(Some(set), Rights::All)?;
        }
        for case in CASES {
            if let Some(set) = sets.iter().find(|set| set.name == case.set) {
                self.compare(case.claim, *set, find_layout(case.layout)?, case.steps())?;
            }
        }
        Ok(())
    }

    fn run_file(&mut self, path: &str, sets: &[Set]) -> Result<()> {
        let mut text = String::new();
        if path == "-" {
            std::io::stdin().read_to_string(&mut text)?;
        } else {
            text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read `{path}`"))?;
        }
        let script: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        let layout = find_layout(self.args.all.layout.as_deref().unwrap_or("plain"))?;
        for set in sets {
            self.compare("the script", *set, layout, script.clone())?;
            println!("options {}: compared {} steps", set.name, script.len());
        }
        Ok(())
    }
}

fn find_layout(name: &str) -> Result<&'static Layout> {
    LAYOUTS
        .iter()
        .find(|layout| layout.name == name)
        .with_context(|| {
            let names: Vec<_> = LAYOUTS.iter().map(|layout| layout.name).collect();
            format!("no layout `{name}`; there are {}", names.join(", "))
        })
}

/// Prints a difference as a case for `regress.rs`.
fn report(label: &str, set: Set, layout: &Layout, (script, lines): &(Vec<String>, Vec<String>)) {
    let mut text = format!(
        "    Case {{\n        claim: \"\",\n        set: \"{}\",\n        layout: \"{}\",\n        script: \"\n",
        set.name, layout.name
    );
    for line in script {
        text.push_str(&format!("            {line}\n"));
    }
    text.push_str("        \",\n    },\n");
    for line in lines.iter().take(30) {
        text.push_str(&format!("  -> {line}\n"));
    }
    // In one piece: another job prints, too.
    println!("{label}:\n{text}");
}
