//! One operation, one fault: what is left is the view before or the one after.

use std::collections::BTreeSet;
use std::sync::Arc;

use mica_overlay::{Config, Durability, Overlay, SetupError};
use mica_testkit::{
    Call, Detail, Dump, Fault, FaultLayer, Lacks, Medium, Mounted, Stack, assert_same,
};
use mica_vfs::{Errno, Rdev};

use crate::log::Listener;
use crate::table::{Case, Operate};

/// What a program sees: everything but times, which a copy that was undone may have moved on a directory.
const VIEW: Detail = Detail::NLINK;

/// Which calls are counted and struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Changes of the upper.
    Changes,
    /// Reads of the upper.
    UpperReads,
    /// Reads of all lowers.
    LowerReads,
}

/// Renames that leave a whiteout behind by a step of its own, when something was replaced by the first (OVL-26).
const IRREVOCABLE: [&str; 6] = [
    "rename a metacopy over an upper file",
    "rename a merged directory over a swept one",
    "rename a merged directory over a merged one",
    "rename a lower file over an upper one",
    "rename a merged file over a merged one",
    "replace a held upper file, leaving a whiteout",
];

/// How the overlay is mounted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ways {
    pub(crate) durability: Durability,
    /// Whether the work directory keeps what has no name, or the upper.
    pub(crate) nameless_max: usize,
    /// What the upper lacks.
    pub(crate) lacks: Lacks,
}

impl Ways {
    pub(crate) const PLAIN: Self = Self {
        durability: Durability::Auto,
        nameless_max: 64,
        lacks: Lacks::empty(),
    };

    fn config(self) -> Config {
        Config {
            durability: self.durability,
            nameless_max: self.nameless_max,
            ..Config::default()
        }
    }
}

/// Who looks at the layers afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Mica,
    /// The kernel, then Mica.
    Kernel,
}

/// One operation on one stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) case: Case,
    pub(crate) medium: Medium,
    pub(crate) ways: Ways,
}

/// A fault at one of its calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strike {
    pub(crate) aim: Aim,
    pub(crate) nth: usize,
    pub(crate) fault: Fault,
    pub(crate) next: Next,
}

/// What the undisturbed operation does.
#[derive(Debug)]
pub(crate) struct Undisturbed {
    before: Dump,
    after: Dump,
    /// What a fault may leave beside.
    between: Vec<Dump>,
    /// What the next mount makes of `after` and of those, where that is another view: names of one file are split (OVL-32).
    split: Option<Vec<Dump>>,
    /// What a stop may leave, too: the upper lacks what would make it one step, and a whiteout is missing.
    weaker: Vec<Dump>,
    /// Whether a failure may leave that, too, as what was replaced cannot be brought back.
    is_irrevocable: bool,
    pub(crate) changes: usize,
    pub(crate) upper_reads: usize,
    pub(crate) lower_reads: usize,
}

/// What became of a strike.
#[derive(Debug)]
pub(crate) struct Struck {
    /// The call that was struck; `None` if there were fewer calls.
    pub(crate) call: Option<Call>,
    /// The steps of copy-ups that failed.
    pub(crate) steps: Vec<String>,
}

impl Target {
    fn mount(&self, stack: &Stack, aim: Aim) -> (Mounted, Arc<FaultLayer>) {
        let mut mounted = stack.mount(self.medium);
        let upper = mounted.with_faults();
        upper.lack(self.ways.lacks);
        let faults = match aim {
            Aim::Changes | Aim::UpperReads => upper,
            Aim::LowerReads => {
                let lowers = mounted.with_lower_faults();
                // So that data is read by calls that can be struck.
                lowers.lack(Lacks::HOST_FILE);
                lowers
            }
        };
        // Not before: the mark of a volatile mount would refuse the one with the faults.
        mounted.remount_with(self.case.config(self.ways.config()));
        faults.reset();
        (mounted, faults)
    }

    fn stack(&self) -> Stack {
        self.case.stack(Config::default())
    }

    /// Runs the operation without a fault. `None`: it cannot be done here, and changed nothing.
    pub(crate) fn undisturbed(&self) -> Option<Undisturbed> {
        let case = &self.case;
        let view_of = |stack: &Stack, operate: Operate| {
            let (mounted, _) = self.mount(stack, Aim::Changes);
            operate(mounted.walk()).unwrap();
            let view = mounted.dump(VIEW);
            mounted.finish();
            view
        };
        let before = view_of(&self.stack(), |_| Ok(()));
        let (mounted, upper) = self.mount(&self.stack(), Aim::UpperReads);
        let result = (case.run)(mounted.walk());
        let (changes, upper_reads) = (upper.changes(), upper.reads());
        let after = mounted.dump(VIEW);
        drop(mounted);
        if let Err(errno) = result {
            let excused = match errno {
                Errno::NOTTY => case.call == Call::SetFileFlags,
                Errno::INVAL => self.ways.lacks.contains(Lacks::EXCHANGE),
                Errno::OPNOTSUPP => self.ways.lacks.contains(Lacks::TMPFILE),
                _ => false,
            };
            assert!(excused, "{}: {errno} without a fault", case.name);
            assert_same(&before, &after, case.name);
            return None;
        }
        let next_view_of = |operate: Operate| {
            let (mut mounted, _) = self.mount(&self.stack(), Aim::Changes);
            operate(mounted.walk()).unwrap();
            if self.ways.durability == Durability::Volatile {
                mounted.unmount();
                expect_refused(&mounted);
            }
            mounted.remount_with(case.config(Config::default()));
            let view = mounted.dump(VIEW);
            mounted.finish();
            view
        };
        let next = next_view_of(case.run);
        let splits = next.diff(&after).is_some();
        let split = splits.then(|| {
            let between = case.between.iter().map(|&op| next_view_of(op));
            std::iter::once(next).chain(between).collect()
        });
        let (mounted, lowers) = self.mount(&self.stack(), Aim::LowerReads);
        (case.run)(mounted.walk()).unwrap();
        let lower_reads = lowers.reads();
        mounted.finish();
        Some(Undisturbed {
            before,
            after,
            between: case
                .between
                .iter()
                .map(|&op| view_of(&self.stack(), op))
                .collect(),
            split,
            weaker: self.without_whiteouts(),
            is_irrevocable: IRREVOCABLE.contains(&case.name),
            changes,
            upper_reads,
            lower_reads,
        })
    }

    /// Returns the views of an upper that lacks something when a whiteout that the operation makes or takes away is missing.
    fn without_whiteouts(&self) -> Vec<Dump> {
        if !self
            .ways
            .lacks
            .intersects(Lacks::EXCHANGE | Lacks::WHITEOUT)
        {
            return Vec::new();
        }
        let left = |operate: Operate| {
            let mut mounted = self.stack().mount(self.medium);
            operate(mounted.walk()).unwrap();
            mounted.unmount();
            mounted
        };
        let nothing: Operate = |_| Ok(());
        let of = |operate| whiteouts(&left(operate));
        let (before, after) = (of(nothing), of(self.case.run));
        let gone = before.difference(&after);
        // Also after the first of several calls.
        let starts = || self.case.between.iter().copied().chain([nothing]);
        let gone = gone.flat_map(|path| starts().map(move |operate| (operate, path)));
        let new = after.difference(&before).map(|path| (self.case.run, path));
        // And of several calls each makes and takes away its own.
        let between = self
            .case
            .between
            .iter()
            .map(|&operate| (operate, of(operate)));
        let between: Vec<_> = between.collect();
        let first = between.iter().flat_map(|(operate, left)| {
            let changed = left.difference(&before).chain(left.difference(&after));
            changed.map(move |path| (*operate, path))
        });
        let views = gone.chain(new).chain(first).filter_map(|(operate, path)| {
            let mut mounted = left(operate);
            mounted.walk_upper().unlink(path).ok()?;
            mounted.remount();
            Some(mounted.dump(VIEW))
        });
        views.collect()
    }

    /// Strikes once, and checks what is left.
    pub(crate) fn strike(&self, known: &Undisturbed, strike: Strike, log: &Listener) -> Struck {
        let Strike {
            aim, nth, fault, ..
        } = strike;
        let (mut mounted, faults) = self.mount(&self.stack(), aim);
        let numbers = mounted.dump(VIEW | Detail::INO);
        if self.ways.durability != Durability::Volatile {
            // So that nothing is known of the layers.
            mounted.remount();
        }
        log.take();
        match aim {
            Aim::Changes => faults.arm(nth, fault),
            Aim::UpperReads | Aim::LowerReads => faults.arm_reads(nth, fault),
        }
        let result = (self.case.run)(mounted.walk());
        let struck = Struck {
            call: faults.struck_call(),
            steps: log.take(),
        };
        let stats = mounted.overlay().stats();
        let referenced = stats.nodes - stats.linked;
        assert_eq!(referenced, 1, "nodes are referenced after the operation");
        if let Err(errno) = result {
            let injected = match fault {
                Fault::Fail(errno) => errno,
                Fault::Short => Errno::NOSPC,
                Fault::Stop => Errno::IO,
            };
            // A directory for which the upper cannot hold a redirect is to be copied, whatever the reason (OVL-90).
            let by_mark = struck.call == Some(Call::SetXattr) || !matches!(fault, Fault::Fail(_));
            let no_redirect = errno == Errno::XDEV && by_mark;
            assert!(
                errno == injected || no_redirect,
                "{errno}: another errno than that of the layer"
            );
        }
        let mut now = None;
        if fault != Fault::Stop || aim == Aim::LowerReads {
            // A failure that is answered is undone at once, and nothing wrong is remembered.
            faults.heal();
            let mut view = mounted.dump(VIEW);
            if matches!(struck.call, Some(Call::Unlink)) && result.is_ok() {
                // What could not be removed counts as a name of a file with others, until the next mount.
                view.0.values_mut().for_each(|object| object.nlink = None);
            }
            known.judge(&view, result, fault);
            // A directory that was swept in vain is one of the upper alone from then on (OVL-25).
            let merged = !self.case.name.contains("over a swept");
            let unchanged = known.before.diff(&known.after).is_some() && known.is_before(&view);
            if unchanged && merged {
                let numbered = mounted.dump(VIEW | Detail::INO);
                assert_same(&numbers, &numbered, "a number changed");
            }
            now = Some(view);
        }
        mounted.unmount();
        faults.heal();
        self.look_again(&mut mounted, known, strike.next, now.as_ref(), fault);
        mounted.finish();
        struck
    }

    /// Mounts what was left.
    fn look_again(
        &self,
        mounted: &mut Mounted,
        known: &Undisturbed,
        next: Next,
        now: Option<&Dump>,
        fault: Fault,
    ) {
        let check = |view: Dump| match now {
            _ if known.is_split(&view) => {}
            Some(now) => assert_same(now, &view, "before and after a remount"),
            None => known.judge(&view, Err(Errno::IO), fault),
        };
        if next == Next::Kernel {
            let kernel = mounted.mount_by_kernel();
            check(
                kernel
                    .unwrap_or_else(|e| panic!("the kernel: {e}"))
                    .dump(VIEW),
            );
            assert_empty_work(mounted, "the kernel");
        }
        if self.ways.durability == Durability::Volatile {
            expect_refused(mounted);
        }
        mounted.remount_with(self.case.config(Config::default()));
        check(mounted.dump(VIEW));
        assert_empty_work(mounted, "Mica");
    }
}

fn whiteouts(mounted: &Mounted) -> BTreeSet<String> {
    let upper = mounted.dump_upper(Detail::empty());
    let whiteouts = upper.0.into_iter();
    whiteouts
        .filter(|(_, object)| object.rdev == Some(Rdev::WHITEOUT))
        .map(|(path, _)| path)
        .collect()
}

/// Checks that a mark keeps others from what a volatile mount left, and takes it away (OVL-66).
fn expect_refused(mounted: &Mounted) {
    let (upper, lowers) = (mounted.upper().cloned(), mounted.lowers().to_vec());
    let refused = Overlay::new(upper, lowers, Config::default()).map(drop);
    let feature = "volatile".to_owned();
    assert_eq!(refused, Err(SetupError::Incompatible { feature }));
    mounted.walk_work().remove_all("work/incompat").unwrap();
}

fn assert_empty_work(mounted: &Mounted, who: &str) {
    let left = mounted.walk_work().ls("work").unwrap();
    assert!(
        left.is_empty(),
        "{who} left in the work directory: {left:?}"
    );
}

impl Undisturbed {
    fn is_before(&self, view: &Dump) -> bool {
        view.diff(&self.before).is_none()
    }

    /// Whether `view` is one that only the next mount has.
    fn is_split(&self, view: &Dump) -> bool {
        let split = self.split.iter().flatten();
        split.into_iter().any(|other| view.diff(other).is_none())
    }

    /// Checks that `view` is one of those that may be left.
    fn judge(&self, view: &Dump, result: Result<(), Errno>, fault: Fault) {
        let is = |other: &Dump| view.diff(other).is_none();
        let stopped = fault == Fault::Stop;
        let allowed = match result {
            Ok(()) => is(&self.after),
            Err(_) => {
                is(&self.before)
                    || self.between.iter().any(is)
                    || stopped && is(&self.after)
                    || (stopped || self.is_irrevocable) && self.weaker.iter().any(is)
            }
        };
        if !allowed {
            let before = self.before.diff(view).unwrap_or_default();
            let after = self.after.diff(view).unwrap_or_default();
            panic!("{result:?}; from before (- before, + now):\n{before}to after:\n{after}");
        }
    }
}
