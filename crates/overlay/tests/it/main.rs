//! The rules of docs/semantics.md, each as a table over layers in memory and on the host.

#![expect(missing_docs, reason = "a test binary has no users")]

mod changing;
mod faults;
mod listing;
mod looking_up;
mod mounting;
mod numbers;
mod xattrs;
