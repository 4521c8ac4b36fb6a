//! Tests of the facade that need a process of their own.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and says on stderr why it did not run"
)]

mod cage;
mod convert;
