//! From a script with a difference to a short one that still shows one.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Options;
use super::arena::{Arena, Verdict};
use super::layout::Layout;

/// Runs at most so many scripts.
const RUNS_MAX: u32 = 400;

/// And for so long: one that waits for a server which hangs takes half a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// Removes from `script` what the difference does not need; returns the rest and what it shows.
pub(super) fn shrink(
    arena: &mut Arena,
    layout: &Layout,
    options: &Options,
    mut script: Vec<String>,
    mut lines: Vec<String>,
) -> Result<(Vec<String>, Vec<String>)> {
    let start = Instant::now();
    let mut runs = 0;
    let impatient = |runs: u32| runs >= RUNS_MAX || start.elapsed() > PATIENCE;
    let mut chunk = script.len().div_ceil(2);
    while chunk > 0 && !impatient(runs) {
        let mut removed = false;
        // From the end: what comes last mostly only looks.
        let mut end = script.len();
        while end > 0 && !impatient(runs) {
            let start = end.saturating_sub(chunk);
            let mut fewer = script.clone();
            fewer.drain(start..end);
            end = start;
            runs += 1;
            if let Verdict::Different { at, lines: found } = arena.run(layout, options, &fewer)? {
                fewer.truncate(at.saturating_add(1));
                (script, lines) = (fewer, found);
                end = end.min(script.len());
                removed = true;
            }
        }
        // At length 1, as long as it helps: one line may have kept another.
        chunk = match (chunk, removed) {
            (1, true) => 1,
            (1, false) => 0,
            _ => chunk.div_ceil(2),
        };
    }
    Ok((script, lines))
}
