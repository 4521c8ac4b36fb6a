//! A layer whose Nth change fails, or whose Nth read.
//!
//! A change is a call of any method that changes the filesystem, and of `fsync`: each is a place where a disk, a limit or
//! a kill can strike. Changes are counted from 1, and each is noted by name, so that a test can print the steps. The other
//! calls are reads, and are counted apart.

mod call;
mod layer;

pub use call::Call;

use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitflags::bitflags;
use mica_vfs::{Errno, Filesystem};

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not made and fails; the calls after it succeed.
    Fail(Errno),
    /// It and all changes after it fail with `EIO` and change nothing, as if the process had died before it. After a read all
    /// reads fail, too, as if the layer had gone.
    Stop,
    /// A write takes half of its data, a copy fails with `ENOSPC` after half of its data. Any other change fails with `ENOSPC`,
    /// and so does the next but for a removal: that takes no space.
    Short,
}

bitflags! {
    /// What a filesystem cannot do.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Lacks: u8 {
        /// A rename with `EXCHANGE` is `EINVAL`.
        const EXCHANGE = 1;
        /// A rename with `WHITEOUT` is `EINVAL`.
        const WHITEOUT = 2;
        /// `tmpfile` is `EOPNOTSUPP`.
        const TMPFILE = 4;
        /// A device node has one name at most: another is `EMLINK`.
        const WHITEOUT_LINKS = 8;
        /// The data is in no file of the host: it is copied by reading it.
        const HOST_FILE = 16;
        /// Nothing has a file handle.
        const HANDLES = 32;
        /// The filesystem has no UUID.
        const UUID = 64;
    }
}

/// What is to be done about one change.
enum Verdict {
    Go,
    Half,
}

/// Which calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Changes,
    Reads,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    counted: Counted,
    nth: usize,
    fault: Fault,
}

#[derive(Debug, Default)]
struct State {
    changes: Vec<(Call, String)>,
    reads: Vec<Call>,
    plan: Option<Plan>,
    lacks: Lacks,
}

impl State {
    /// Finds what is planned for a call that was noted as the `number`th of its sort.
    fn planned(&self, counted: Counted, number: usize) -> Option<(Fault, usize)> {
        let plan = self.plan?;
        let reached = if plan.counted == counted {
            number >= plan.nth
        } else {
            // A layer that has gone neither reads nor changes.
            let gone = plan.fault == Fault::Stop && plan.counted == Counted::Reads;
            gone && self.reads.len() >= plan.nth
        };
        reached.then_some((plan.fault, plan.nth))
    }
}

/// What somebody else does right before a call.
struct Meanwhile {
    call: Call,
    done: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "before {}", self.call)
    }
}

/// A filesystem with faults.
#[derive(Debug)]
pub struct FaultLayer {
    inner: Arc<dyn Filesystem>,
    state: Arc<Mutex<State>>,
    /// Taken by the first such call.
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
}

impl FaultLayer {
    /// Wraps a filesystem; nothing fails yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Filesystem>) -> Self {
        Self {
            inner,
            state: Arc::default(),
            meanwhile: Arc::default(),
        }
    }

    /// Wraps another filesystem, whose calls are counted together with those of this one.
    #[must_use]
    pub fn beside(&self, inner: Arc<dyn Filesystem>) -> Self {
        Self {
            inner,
            state: Arc::clone(&self.state),
            meanwhile: Arc::clone(&self.meanwhile),
        }
    }

    /// Forgets the calls so far, and lets the `nth` change from here fail. The first change is 1.
    pub fn arm(&self, nth: usize, fault: Fault) {
        self.plan(Counted::Changes, nth, fault);
    }

    /// Forgets the calls so far, and lets the `nth` read from here fail.
    pub fn arm_reads(&self, nth: usize, fault: Fault) {
        self.plan(Counted::Reads, nth, fault);
    }

    fn plan(&self, counted: Counted, nth: usize, fault: Fault) {
        let mut state = self.state();
        state.changes.clear();
        state.reads.clear();
        let plan = Plan {
            counted,
            nth,
            fault,
        };
        state.plan = Some(plan);
    }

    /// Lets somebody do something right before the next `call`.
    pub fn meanwhile(&self, call: Call, done: impl FnOnce() + Send + 'static) {
        let done = Box::new(done);
        let mut meanwhile = self.lock_meanwhile();
        *meanwhile = Some(Meanwhile { call, done });
    }

    fn lock_meanwhile(&self) -> MutexGuard<'_, Option<Meanwhile>> {
        let locked = self.meanwhile.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets every further call succeed.
    pub fn heal(&self) {
        self.state().plan = None;
    }

    /// Forgets the calls, lets every further one succeed, and counts from here.
    pub fn reset(&self) {
        let mut state = self.state();
        *state = State {
            lacks: state.lacks,
            ..State::default()
        };
    }

    /// Lets the filesystem be one that lacks this, and nothing else.
    pub fn lack(&self, lacks: Lacks) {
        self.state().lacks = lacks;
    }

    /// Returns the changes so far by name, those that failed among them.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        let state = self.state();
        let steps = state.changes.iter();
        steps
            .map(|(call, what)| format!("{call} {what}").trim_end().to_owned())
            .collect()
    }

    /// Returns how many changes there were.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.state().changes.len()
    }

    /// Returns how many reads there were.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.state().reads.len()
    }

    /// Tells whether the fault has struck.
    #[must_use]
    pub fn struck(&self) -> bool {
        self.struck_call().is_some()
    }

    /// Returns what the fault has struck first.
    #[must_use]
    pub fn struck_call(&self) -> Option<Call> {
        let state = self.state();
        let Plan { counted, nth, .. } = state.plan?;
        match counted {
            Counted::Changes => state.changes.get(nth - 1).map(|(call, _)| *call),
            Counted::Reads => state.reads.get(nth - 1).copied(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lacks(&self) -> Lacks {
        self.state().lacks
    }

    /// Fails with `errno` if the filesystem lacks `what`.
    fn lacking(&self, what: Lacks, errno: Errno) -> Result<(), Errno> {
        if self.lacks().contains(what) {
            return Err(errno);
        }
        Ok(())
    }

    /// Lets somebody else do what is to come before `call`.
    fn let_others(&self, call: Call) {
        let meanwhile = self.lock_meanwhile().take_if(|is| is.call == call);
        if let Some(meanwhile) = meanwhile {
            (meanwhile.done)();
        }
    }

    /// Notes a read and finds whether it is made.
    fn reading(&self, call: Call) -> Result<(), Errno> {
        self.let_others(call);
        let mut state = self.state();
        state.reads.push(call);
        let number = state.reads.len();
        match state.planned(Counted::Reads, number) {
            Some((Fault::Fail(errno), nth)) if number == nth => Err(errno),
            Some((Fault::Stop, _)) => Err(Errno::IO),
            _ => Ok(()),
        }
    }

    /// Notes a change and finds whether it is made.
    fn change(&self, call: Call, what: &dyn Display) -> Result<Verdict, Errno> {
        self.let_others(call);
        let mut state = self.state();
        state.changes.push((call, what.to_string()));
        let number = state.changes.len();
        match state.planned(Counted::Changes, number) {
            Some((Fault::Fail(errno), nth)) if number == nth => Err(errno),
            Some((Fault::Stop, _)) => Err(Errno::IO),
            Some((Fault::Short, nth)) if number == nth => Ok(Verdict::Half),
            Some((Fault::Short, nth)) if number == nth + 1 => match call {
                Call::Unlink | Call::Rmdir => Ok(Verdict::Go),
                _ => Err(Errno::NOSPC),
            },
            _ => Ok(Verdict::Go),
        }
    }

    /// Notes a change that is made or not.
    fn whole(&self, call: Call, what: &dyn Display) -> Result<(), Errno> {
        match self.change(call, what)? {
            Verdict::Go => Ok(()),
            Verdict::Half => Err(Errno::NOSPC),
        }
    }
}

#[cfg(test)]
mod tests;
