//! Faults at every call that every operation makes of its layers: the view is the one before or the one after, and the work
//! directory can be emptied, by Mica and by the kernel (OVL-22 to OVL-26).
//!
//! `table` says what is done to which layers, `strike` does it with one fault, and the tests in `struck` do that for every
//! fault at every call. Each prints what was struck, and fails if something never was.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops at the first surprise, and prints which steps it covered"
)]

mod coverage;
mod jobs;
mod log;
mod strike;
mod struck;
mod table;
