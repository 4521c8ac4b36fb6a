//! Random scripts, weighted to the edges: few names, deep collisions, what the overlay keeps marks for.

mod operation;
mod story;

use super::layout::Layout;
use super::side::PARTS;
use crate::rng::Rng;

/// Names that no layout has, or that only some have.
const NEW: &[&str] = &[
    "new",
    "new/a",
    "new/b",
    "d/new",
    "d/sub/new",
    "e/new",
    "other",
];

/// Where a piece of a script acts.
#[derive(Debug)]
struct Scene {
    /// The directory, empty for the root.
    part: &'static str,
    /// Paths in it.
    names: Vec<&'static str>,
    /// A lower has a file with several names. By which of them it was opened its server is not told (D-29).
    has_links: bool,
}

impl Scene {
    /// Draws one of a few names: the fewer, the more collide.
    fn draw(rng: &mut Rng, layout: &Layout, part: &'static str) -> Self {
        let paths = layout.paths();
        let count = rng.below(7).saturating_add(3);
        let mut names: Vec<_> = (0..count).map(|_| rng.pick(&paths, "a")).collect();
        names.extend((0..rng.below(3).saturating_add(1)).map(|_| rng.pick(NEW, "new")));
        Self {
            part,
            names,
            has_links: layout.has_links(),
        }
    }

    fn path(&self, rng: &mut Rng) -> String {
        // Sometimes the directory itself, or one's neighbours.
        if rng.one_in(40) {
            return if self.part.is_empty() { "." } else { self.part }.to_owned();
        }
        let part = if rng.one_in(60) {
            rng.pick(&PARTS, "0")
        } else {
            self.part
        };
        let name = rng.pick(&self.names, "a");
        if part.is_empty() {
            name.to_owned()
        } else {
            format!("{part}/{name}")
        }
    }
}

/// How often a script mounts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turns {
    /// Now and then, with or without a change of drivers.
    Random,
    /// Twice, each time with a change of drivers.
    Rounds,
}

/// Draws a script for `layout`.
pub(super) fn script(rng: &mut Rng, layout: &Layout, turns: Turns) -> Vec<String> {
    let mut script = Vec::new();
    let mut parts: Vec<&'static str> = PARTS.to_vec();
    parts.push("");
    for (number, part) in parts.into_iter().enumerate() {
        let scene = Scene::draw(rng, layout, part);
        for _ in 0..rng.below(30).saturating_add(8) {
            script.extend(lines(rng, &scene));
            if turns == Turns::Random && rng.one_in(60) {
                script.push(turn(rng));
            }
        }
        let part = if part.is_empty() { "." } else { part };
        if rng.one_in(2) && part != "." {
            script.push(format!("look {part}"));
        }
        match turns {
            Turns::Rounds if number == 2 || number == 4 => script.push("swap".to_owned()),
            Turns::Random if rng.one_in(3) => script.push(turn(rng)),
            _ => {}
        }
    }
    script
}

fn turn(rng: &mut Rng) -> String {
    if rng.one_in(2) { "swap" } else { "remount" }.to_owned()
}

fn lines(rng: &mut Rng, scene: &Scene) -> Vec<String> {
    let who = rng.pick(&[0, 0, 0, 0, 1, 2, 2, 3], 0);
    let calls = if rng.one_in(25) {
        story::draw(rng, scene)
    } else {
        vec![operation::draw(rng, scene)]
    };
    calls
        .into_iter()
        .map(|call| format!("{who} {call}"))
        .collect()
}
