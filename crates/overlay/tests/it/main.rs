//! The rules of docs/semantics.md, each as a table over layers in memory and on the host.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test stops at the first surprise, and prints which steps it covered"
)]

mod access;
mod bad_marks;
mod changed;
mod changing;
mod durability;
mod faults;
mod hard_links;
mod ids;
mod index;
mod kernel;
mod listing;
mod looking_up;
mod metacopies;
mod mounting;
mod nameless;
mod nested;
mod numbers;
mod protected;
mod redirects;
mod unmapped;
mod xattrs;
