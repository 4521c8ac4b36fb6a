//! The jobs, seen from their parent: each is started, listened to, and started again behind the sequence that ended it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::coverage::Met;
use super::{JobArgs, OracleArgs};
use crate::private;

/// A job that died so often is not started again.
const DEATHS_MAX: u64 = 20;

/// How often the progress is told.
const PROGRESS: Duration = Duration::from_secs(10);

/// What one job says to its parent, a line each. Anything else it prints is for people.
pub(super) mod say {
    /// Sequences, operations, those that succeeded, differences, and the number of the sequence that comes next.
    pub(crate) const COUNTS: &str = "@counts ";
    /// Which rules took effect how often so far.
    pub(crate) const MET: &str = "@met ";
    /// A planted fault was found: how.
    pub(crate) const FOUND: &str = "@found ";
    /// It ends as it should; without this line it died.
    pub(crate) const END: &str = "@end";
}

/// Starts one job, in private namespaces.
pub(super) fn start_job(args: &JobArgs) -> Result<Child> {
    let mut words = vec!["oracle-job".to_owned()];
    words.extend(args.words());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut command = private::command(&words)?;
    if args.brief {
        // What it found is on its standard output.
        command.stderr(Stdio::null());
    }
    command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a job")
}

/// What a job has done so far.
#[derive(Debug, Clone, Default)]
struct Count {
    sequences: u64,
    operations: u64,
    succeeded: u64,
    differences: u64,
    /// The number of the sequence that it is at.
    number: u64,
    met: Met,
}

impl Count {
    fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.sequences, other.sequences),
            (&mut self.operations, other.operations),
            (&mut self.succeeded, other.succeeded),
            (&mut self.differences, other.differences),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.number = self.number.max(other.number);
        self.met.add(&other.met);
    }
}

/// One job's place.
#[derive(Debug, Default)]
struct Post {
    /// What those before it did that died.
    before: Count,
    now: Count,
    deaths: u64,
    child: Option<Child>,
    is_over: bool,
}

/// All jobs of a run.
#[derive(Debug)]
pub(super) struct Crew<'a> {
    args: &'a OracleArgs,
    program: &'a Path,
    start: Instant,
    posts: Vec<Mutex<Post>>,
    /// A difference was seen, and that is enough.
    stop: AtomicBool,
}

impl<'a> Crew<'a> {
    pub(super) fn new(args: &'a OracleArgs, program: &'a Path, jobs: u64) -> Self {
        Self {
            args,
            program,
            start: Instant::now(),
            posts: (0..jobs).map(|_| Mutex::default()).collect(),
            stop: AtomicBool::new(false),
        }
    }

    /// Runs all jobs to their end; ends the others when one sees a difference, unless they are to go on.
    ///
    /// # Errors
    ///
    /// If a job saw a difference or died.
    pub(super) fn run(&self) -> Result<()> {
        let (send, ends) = mpsc::channel();
        let failed = std::thread::scope(|scope| {
            let threads: Vec<_> = (0_u64..)
                .zip(&self.posts)
                .map(|(job, post)| {
                    let end = send.clone();
                    scope.spawn(move || {
                        let result = self.hold(job, post);
                        // Who watches stays until all have told.
                        let _ = end.send(());
                        result
                    })
                })
                .collect();
            drop(send);
            self.watch(&ends);
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok()?.err())
                .collect::<Vec<_>>()
        });
        self.print_progress();
        let sum = self.sum();
        let deaths: u64 = self.each(|post| post.deaths).into_iter().sum();
        if let Some(error) = failed.into_iter().next() {
            return Err(error);
        }
        if sum.differences > 0 || deaths > 0 {
            bail!(
                "{} differences from kernel overlayfs, {deaths} jobs that died",
                sum.differences
            );
        }
        Ok(())
    }

    /// Returns which rules took effect.
    pub(super) fn met(&self) -> Met {
        self.sum().met
    }

    /// Reads something of every post; a poisoned lock hides nothing here.
    fn each<T>(&self, of: impl Fn(&mut Post) -> T) -> Vec<T> {
        let open = |post: &Mutex<Post>| {
            let mut post = post
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            of(&mut post)
        };
        self.posts.iter().map(open).collect()
    }

    fn sum(&self) -> Count {
        let mut sum = Count::default();
        for count in self.each(|post| {
            let mut count = post.before.clone();
            count.add(&post.now);
            count
        }) {
            sum.add(&count);
        }
        sum
    }

    /// Tells of the progress, and ends all jobs after a difference, until all are over.
    fn watch(&self, ends: &mpsc::Receiver<()>) {
        let mut next = Instant::now() + PROGRESS;
        loop {
            match ends.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.print_progress();
                    next = Instant::now() + PROGRESS;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if !self.args.keep_going
                && self
                    .each(|post| post.is_over && post.now.differences > 0)
                    .contains(&true)
            {
                self.stop.store(true, Ordering::Relaxed);
                self.each(|post| post.child.as_mut().map(Child::kill));
            }
        }
    }

    /// Keeps the post of `job` manned until there is nothing left to do.
    fn hold(&self, job: u64, post: &Mutex<Post>) -> Result<()> {
        let lock = || {
            post.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        let result = self.hold_until_end(job, &lock);
        lock().is_over = true;
        result
    }

    fn hold_until_end<'p>(
        &self,
        job: u64,
        lock: &dyn Fn() -> std::sync::MutexGuard<'p, Post>,
    ) -> Result<()> {
        let mut from = job;
        loop {
            let mut child = start_job(&self.job_args(job, from))?;
            let pipe = child.stdout.take().context("a job without a pipe")?;
            {
                let mut post = lock();
                let child = post.child.insert(child);
                // It may have come after all others were ended.
                if self.stop.load(Ordering::Relaxed) {
                    child.kill().context("cannot end a job")?;
                }
            }
            let mut has_ended = false;
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                has_ended |= line == say::END;
                hear(&line, lock);
            }
            let child = lock().child.take().context("no job")?;
            let status = { child }.wait().context("cannot wait for a job")?;
            if has_ended || self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let mut post = lock();
            let number = post.now.number.max(from);
            let now = std::mem::take(&mut post.now);
            post.before.add(&now);
            post.deaths = post.deaths.saturating_add(1);
            println!(
                "DIED: job {job} ended with {status} at seed {}; the next one takes over behind it",
                self.args.seed.saturating_add(number)
            );
            if post.deaths >= DEATHS_MAX {
                bail!("job {job} died {DEATHS_MAX} times");
            }
            from = number.saturating_add(self.args.job_count());
        }
    }

    /// Returns the arguments of a job that begins with sequence number `from`, for the time that is left.
    fn job_args(&self, job: u64, from: u64) -> JobArgs {
        let mut all = self.args.clone();
        all.seconds = all
            .time_limit()
            .map(|limit| limit.saturating_sub(self.start.elapsed().as_secs()));
        JobArgs {
            all,
            job,
            from,
            program: self.program.to_path_buf(),
            base: None,
            brief: false,
        }
    }

    fn print_progress(&self) {
        let sum = self.sum();
        let seconds = self.start.elapsed().as_secs().max(1);
        println!(
            "oracle: {seconds} s, {} sequences ({} a minute, seeds up to {}), {} operations ({} a second), {} of which \
             succeed; {} differences, {} jobs died",
            sum.sequences,
            sum.sequences.saturating_mul(60) / seconds,
            self.args.seed.saturating_add(sum.number),
            sum.operations,
            sum.operations / seconds,
            sum.succeeded,
            sum.differences,
            self.each(|post| post.deaths).into_iter().sum::<u64>(),
        );
    }
}

/// Notes what a job says to its parent, and passes everything else on.
fn hear<'p>(line: &str, lock: &dyn Fn() -> std::sync::MutexGuard<'p, Post>) {
    if let Some(text) = line.strip_prefix(say::MET) {
        lock().now.met = Met::parse(text);
    } else if let Some(text) = line.strip_prefix(say::COUNTS) {
        let numbers: Vec<u64> = text
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        if let [sequences, operations, succeeded, differences, number] = *numbers.as_slice() {
            let now = &mut lock().now;
            (now.sequences, now.operations) = (sequences, operations);
            (now.succeeded, now.differences) = (succeeded, differences);
            now.number = number;
        }
    } else if line != say::END {
        println!("{line}");
    }
}
