//! System calls that rustix lacks, one safe wrapper each: the only unsafe code of Mica.
//!
//! A wrapper checks nothing that the kernel checks, keeps no path and decides no policy; what it adds is what a
//! call needs to be safe (lifetimes of buffers, ownership of descriptors) and the fallback for a kernel without it.
//!
//! # Invariants
//!
//! - Each unsafe block holds one operation and names what makes it sound.
//! - No function here lets a descriptor number in that is not owned or borrowed as one.
//! - A thread's credentials change only through [`cred::BornAs`], which gives them back.

pub mod access;
mod call;
pub mod chmod;
pub mod cred;
pub mod fds;
pub mod fsattr;
pub mod fuse_dev;
pub mod handle;
pub mod heap;
pub mod idmap;
pub mod landlock;
pub mod mount;
pub mod namespace;
pub mod pages;
pub mod proc;
pub mod process;
pub mod seccomp;
pub mod signals;
pub mod xattr;
