//! Random operations on random stacks, against the merged tree as a plain map.
//!
//! After every step the overlay must have answered as the model did, and must show the same tree; every object must keep
//! its inode number, whatever happens to it, also across remounts. At random points the overlay is dropped and the
//! same layers are mounted again, and the layers themselves are merged by the model's rules: what is on disk must
//! be what was shown. No lower may change, and no reference may be left behind.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod held;
mod layers;
mod run;
mod steps;

use mica_overlay::{Config, Metacopies, Redirects};
use mica_testkit::{Filesystems, Medium, require_root};
use proptest::prelude::*;

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

/// The choices of a mount; with `orphaning`, the work directory keeps every file without a name (OVL-61), and with `moving`
/// directories of lowers can be renamed (OVL-90). With `metacopies` a change of metadata copies no data (OVL-104); it takes
/// redirects.
fn choices(orphaning: bool, moving: bool, metacopies: bool) -> Config {
    Config {
        nameless_max: if orphaning { 0 } else { 64 },
        redirects: if moving || metacopies {
            Redirects::On
        } else {
            Redirects::Follow
        },
        metacopies: if metacopies {
            Metacopies::On
        } else {
            Metacopies::Off
        },
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_overlay_is_the_merged_tree_that_copies(
        layers in layers::layers(4),
        steps in proptest::collection::vec(steps::step(), 1..40),
        several in any::<bool>(),
        orphaning in any::<bool>(),
        moving in prop::bool::weighted(0.75),
        metacopies in any::<bool>(),
    ) {
        let filesystems = if several { Filesystems::Several } else { Filesystems::One };
        let stack = layers::stack(&layers).filesystems(filesystems);
        run::run(&stack.config(choices(orphaning, moving, metacopies)), Medium::Memory, &steps);
    }

    #[test]
    fn an_overlay_over_host_directories_is_the_merged_tree_that_copies(
        layers in layers::layers(3),
        steps in proptest::collection::vec(steps::step(), 1..20),
        orphaning in any::<bool>(),
        moving in prop::bool::weighted(0.75),
        metacopies in any::<bool>(),
    ) {
        // To give files away and to set `trusted.*` takes root.
        if require_root("an_overlay_over_host_directories_is_the_merged_tree_that_copies").is_ok() {
            run::run(&layers::stack(&layers).config(choices(orphaning, moving, metacopies)), Medium::Host, &steps);
        }
    }

    #[test]
    fn a_stack_without_upper_shows_its_layers_and_refuses_changes(
        layers in layers::layers(4),
        steps in proptest::collection::vec(steps::step(), 1..10),
    ) {
        run::run_read_only(&layers::read_only(&layers), &steps);
    }
}
