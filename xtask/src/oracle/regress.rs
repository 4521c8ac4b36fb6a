//! Sequences that showed a difference once, replayed first.
//!
//! A report of the oracle prints a case in this form, ready to be added here.

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// The rule that it shows, and what went wrong.
    pub(super) claim: &'static str,
    /// The name of an option set.
    pub(super) set: &'static str,
    /// The name of a layout.
    pub(super) layout: &'static str,
    /// One step a line.
    pub(super) script: &'static str,
}

impl Case {
    /// Returns the steps.
    pub(super) fn steps(&self) -> Vec<String> {
        let lines = self.script.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

/// All of them.
pub(super) const CASES: &[Case] = &[Case {
    claim: "OVL-23: a whiteout takes the place of what was removed, also through a remount by the other driver",
    set: "plain",
    layout: "plain",
    script: "
            0 unlink d/a
            swap
            0 stat d/a
            0 creat d/a 644
            swap
            0 read d/a
        ",
}];
