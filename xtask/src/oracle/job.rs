//! A job: a filesystem, workers, and one script after the other until its time is over.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::arena::{Arena, Verdict};
use super::coverage::Met;
use super::crew::say;
use super::draw::{self, Turns};
use super::ground::{self, Disk, Ground};
use super::layout::{LAYOUTS, Layout, Rights};
use super::regress::{self, CASES, Case};
use super::set::{self, Set};
use super::shrink::shrink;
use super::side::Side;
use super::worker::{self, Workers};
use super::{JobArgs, Options, watch};
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
    let mut job = Job {
        arena: Arena {
            base: base.to_path_buf(),
            workers: Workers::start(who)?,
            subject: driver(args),
            checker: (args.all.rounds.is_some() && args.all.subject == Subject::Mica)
                .then(|| args.program.clone()),
            reuses_numbers: args.all.disk != Disk::Tmpfs,
            operations: 0,
            succeeded: 0,
        },
        rights,
        args: args.clone(),
        sequences: 0,
        differences: 0,
        number: args.from,
        met: Met::default(),
        started: Instant::now(),
    };
    let result = job.work();
    job.say();
    // Behind an error as well: it ends as it should.
    println!("{}", say::END);
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
    /// The number of the sequence that it is at.
    number: u64,
    met: Met,
    started: Instant,
}

impl Job {
    fn work(&mut self) -> Result<()> {
        let sets = self.possible_sets()?;
        if let Some(path) = self.args.all.script.clone() {
            return self.run_file(&path, &sets);
        }
        if self.args.all.replay && self.args.from == 0 {
            self.replay(&sets)?;
        }
        ensure!(!sets.is_empty(), "no option set that both drivers take");
        let (limit, jobs) = (self.limit(), self.args.all.job_count());
        let time = self.args.all.time_limit().map(Duration::from_secs);
        while self.number < limit && time.is_none_or(|time| self.started.elapsed() < time) {
            self.say();
            let seed = self.args.all.seed.saturating_add(self.number);
            self.run_seed(seed, &sets)?;
            self.number = self.number.saturating_add(jobs);
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

    /// Returns the sets that both drivers mount here.
    fn possible_sets(&mut self) -> Result<Vec<Set>> {
        let mut sets = set::select(self.args.all.options.as_deref(), self.rights)?;
        if self.args.all.rounds.is_some() {
            sets.retain(|set| !set.is_volatile());
            ensure!(
                !sets.is_empty(),
                "a round mounts its layers again, which nobody does after `volatile`"
            );
        }
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
            met: Some(self.arena.base.join("met")),
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
        script.retain(|line| set.takes_line(line) && self.args.all.disk.takes_line(line));
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
        let verdict = self.arena.run(layout, &options, &script);
        self.sequences = self.sequences.saturating_add(1);
        if let Some(path) = &options.met {
            self.met.take(path)?;
        }
        let verdict = verdict.unwrap_or_else(|error| Verdict::Different {
            at: script.len(),
            lines: vec![format!("the ground was not prepared: {error:#}")],
        });
        let Verdict::Different { at, lines } = verdict else {
            return Ok(());
        };
        if self.shows_without_fault(&options, layout, &script)? {
            return Ok(());
        }
        self.differences = self.differences.saturating_add(1);
        let first = lines.first().map_or("", String::as_str);
        if options.plant.is_some() {
            println!(
                "{}{label}, options {}, layout {}: {}",
                say::FOUND,
                set.name,
                layout.name,
                regress::shorten(first)
            );
        }
        if !self.args.brief {
            println!(
                "DIFFERENT: {label}, options {}, layout {}; making it shorter\n  -> {first}",
                set.name, layout.name
            );
            let mut script = script;
            script.truncate(at.saturating_add(1));
            let found = shrink(&mut self.arena, layout, &options, script, lines)?;
            report(label, set, layout, &found);
        }
        if !self.args.all.keep_going {
            bail!("{label} differs from kernel overlayfs");
        }
        Ok(())
    }

    /// Whether what a script shows with a planted fault it shows without it, too: then it is not the fault that was found.
    fn shows_without_fault(
        &mut self,
        options: &Options,
        layout: &Layout,
        script: &[String],
    ) -> Result<bool> {
        if options.plant.is_none() {
            return Ok(false);
        }
        let sound = Options {
            plant: None,
            ..options.clone()
        };
        Ok(self.arena.run(layout, &sound, script)? != Verdict::Same)
    }

    /// Tells the parent how far this job is.
    fn say(&self) {
        println!(
            "{}{} {} {} {} {}\n{}{}",
            say::COUNTS,
            self.sequences,
            self.arena.operations,
            self.arena.succeeded,
            self.differences,
            self.number,
            say::MET,
            self.met.show()
        );
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
    let claim = lines.first().map_or("", String::as_str);
    let mut text = regress::show(
        &regress::shorten(claim),
        set.name,
        layout.name,
        script.iter().map(String::as_str),
    );
    for line in lines.iter().take(30) {
        text.push_str(&format!("// {line}\n"));
    }
    // In one piece: another job prints, too.
    println!("{label}, to paste into CASES of xtask/src/oracle/regress.rs:\n{text}");
}
