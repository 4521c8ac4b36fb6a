//! A tmpfs behind a real mount: what programs see through the kernel.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "clippy excuses test functions, not what they call"
)]

mod connection;
mod data;
mod dir;
mod meta;
mod mounted;
mod names;
mod readers;
mod ways;
