//! Tests of the `mica` program, run as a user runs it.

mod ground;
mod life;
mod refusals;
mod usage;
