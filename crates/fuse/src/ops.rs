//! The requests, one family to a file.
//!
//! Each function reads the fields of one request, calls the filesystem and puts the reply. An error leaves it to the
//! dispatcher to clear what was put and to give references back.

mod attr;
mod data;
mod ioctl;
mod lookup;
mod namespace;
mod open;
mod readdir;
mod xattr;

pub(crate) use attr::{getattr, setattr, statfs, statx};
pub(crate) use data::{copy_file_range, copy_file_range_64, fallocate, fsync, lseek, read, write};
pub(crate) use ioctl::ioctl;
pub(crate) use lookup::{batch_forget, forget, lookup, readlink};
pub(crate) use namespace::{
    create, link, mkdir, mknod, rename, rename2, rmdir, symlink, tmpfile, unlink,
};
pub(crate) use open::{access, open, opendir, release};
pub(crate) use readdir::{ListingAdvice, readdir, readdirplus};
pub(crate) use xattr::{getxattr, listxattr, removexattr, setxattr};
