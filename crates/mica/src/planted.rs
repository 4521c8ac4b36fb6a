//! Faults in the layers or before the overlay: for a build that shows whether tests find them (feature `planted`).

use std::sync::{Arc, OnceLock};

use mica_overlay::{Layer, Upper};
use mica_testkit::{Plant, Seat};
use mica_vfs::Filesystem;

static PLANT: OnceLock<Plant> = OnceLock::new();

/// Plants the fault called `name` in every stack that this process opens from now on. Says whether there is such a fault;
/// a second call changes nothing.
pub fn plant(name: &str) -> bool {
    Plant::find(name).map(|plant| PLANT.set(plant)).is_some()
}

/// Returns all faults: their names, and what is wrong.
pub fn plants() -> impl Iterator<Item = (&'static str, &'static str)> {
    Plant::ALL.iter().map(|plant| (plant.name(), plant.about()))
}

/// Returns the rules of docs/semantics.md that took effect in this process, and how often.
pub fn met() -> impl Iterator<Item = (u8, u64)> {
    mica_vfs::met::counts()
}

/// Puts the fault that was asked for between an overlay and its layers, if that is its seat.
pub(crate) fn under(
    mut upper: Option<Upper>,
    mut lowers: Vec<Layer>,
) -> (Option<Upper>, Vec<Layer>) {
    if let Some(upper) = &mut upper {
        upper.layer.fs = seat(Arc::clone(&upper.layer.fs), Seat::Upper);
    }
    for lower in &mut lowers {
        lower.fs = seat(Arc::clone(&lower.fs), Seat::Lower);
    }
    (upper, lowers)
}

/// Puts it between a front and the overlay.
pub(crate) fn before(overlay: Arc<dyn Filesystem>) -> Arc<dyn Filesystem> {
    seat(overlay, Seat::Front)
}

fn seat(fs: Arc<dyn Filesystem>, seat: Seat) -> Arc<dyn Filesystem> {
    match PLANT.get() {
        Some(plant) => plant.in_front_of(fs, seat),
        None => fs,
    }
}
