//! One run: the same steps on a model and on an overlay.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mica_overlay::Metacopies;
use mica_testkit::{Detail, Medium, Model, ModelId, Mounted, Stack, assert_same};
use mica_vfs::{Caller, Errno, Ino};

use crate::held::HeldFiles;
use crate::steps::{Op, Step};

const CALLER: Caller = Caller {
    uid: 1000,
    gid: 1001,
    umask: 0o027,
};

struct Run {
    mounted: Mounted,
    model: Model,
    /// The number that each object had when it was first seen.
    inos: BTreeMap<ModelId, Ino>,
    held: HeldFiles,
    /// What was done, and what came of it.
    log: String,
}

/// Does `steps` to a stack and to its model. Whatever fails, the log of the run comes first.
pub(crate) fn run(stack: &Stack, medium: Medium, steps: &[Step]) {
    let mounted = stack.mount(medium);
    let model = mounted.model().by(CALLER);
    let mut run = Run {
        mounted,
        model,
        inos: BTreeMap::new(),
        held: HeldFiles::default(),
        log: stack.to_string(),
    };
    let done = catch_unwind(AssertUnwindSafe(|| run.all(steps)));
    if let Err(cause) = done {
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(ToString::to_string));
        panic!("\n{}{}", run.log, text.unwrap_or_default());
    }
    run.mounted.finish();
}

impl Run {
    fn all(&mut self, steps: &[Step]) {
        self.compare();
        for step in steps {
            for op in step.pick(&self.model) {
                self.step(&op);
            }
        }
        self.step(&Op::Remount);
    }

    fn step(&mut self, op: &Op) {
        if let Some(path) = op.victim() {
            self.held.hold(path, &self.mounted, &self.model);
        }
        let before = self.model.clone();
        let expected = op.model(&mut self.model);
        self.model.check();
        if expected.is_err() {
            // An operation that fails changes nothing.
            self.model = before;
        }
        if matches!(op, Op::Remount) {
            self.held.let_go(&self.mounted);
            self.mounted.remount();
            self.model.remount(&self.mounted.model());
        }
        let found = op.overlay(self.mounted.walk().by(CALLER));
        writeln!(self.log, "{op:?} = {expected:?}").unwrap();
        assert_eq!(expected, found, "the overlay answered otherwise");
        self.compare();
        self.held.check(&self.mounted, &self.model);
        if matches!(op, Op::Remount) {
            let on_disk = self.mounted.model().dump();
            if let Some(diff) = self.model.dump().diff(&on_disk) {
                panic!(
                    "{}the layers hold another tree (-model +layers)\n{diff}",
                    self.log
                );
            }
        }
    }

    fn compare(&mut self) {
        let found = self.mounted.dump_shown();
        assert_same(&self.model.dump(), &found, "model and overlay");
        let stats = self.mounted.overlay().stats();
        let nodes = stats.nodes - stats.linked;
        // A copy that is kept for its other names (OVL-32) while its data is below keeps its place, and so its parents.
        let parents = stats.linked > 0 && self.mounted.metacopies() == Metacopies::On;
        assert!(
            nodes <= 1 || parents || !self.held.is_empty(),
            "{nodes} nodes are referenced"
        );
        let walk = self.mounted.walk();
        for (path, id) in self.model.lasting() {
            let ino = walk.stat(&path).unwrap().ino;
            let first = *self.inos.entry(id).or_insert(ino);
            assert_eq!(first, ino, "the number of /{path} changed");
        }
    }
}

/// Does `steps` to a stack that cannot be written to: each fails, and nothing changes.
pub(crate) fn run_read_only(stack: &Stack, steps: &[Step]) {
    let mut mounted = stack.mount(Medium::Memory);
    let model = mounted.model();
    mounted.assert_shows_layers();
    let before = mounted.dump(Detail::UNTOUCHED);
    for op in steps.iter().flat_map(|step| step.pick(&model)) {
        if matches!(op, Op::Remount) {
            mounted.remount();
            continue;
        }
        // Which of two errors comes first is the front's business: it knows that the mount is read-only.
        let expected = op.model(&mut model.clone()).err().unwrap_or(Errno::ROFS);
        let found = op.overlay(mounted.walk());
        let no_change = found == Ok(()) && op.model(&mut model.clone()) == Ok(());
        assert!(
            found == Err(expected) || found == Err(Errno::ROFS) || no_change,
            "{op:?} = {found:?}, expected {expected}"
        );
        assert_same(&before, &mounted.dump(Detail::UNTOUCHED), "read-only");
    }
    mounted.finish();
}
