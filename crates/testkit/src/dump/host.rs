//! Dumping a directory of the host.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use mica_vfs::{FileType, Rdev, Time};
use rustix::fs::{SeekFrom, lgetxattr, llistxattr};
use rustix::io::Errno;

use super::{Detail, Dump, FirstPaths, Object, Summary};

/// Reads the tree at `root`. Symbolic links are not followed.
///
/// # Panics
///
/// If something cannot be read.
#[must_use]
pub fn dump_host(root: &Path, detail: Detail) -> Dump {
    let mut dump = Dump::default();
    object(&mut dump, "", root, detail);
    let mut first = FirstPaths::default();
    for (path, object) in &dump.0 {
        if object.kind != FileType::Directory {
            first.note(object.ino.unwrap(), path);
        }
    }
    first.finish(&mut dump, detail);
    dump
}

/// Hashes all that [`Detail::UNTOUCHED`] tells of the tree at `root`.
///
/// # Panics
///
/// As [`dump_host`].
#[must_use]
pub fn hash_tree(root: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(dump_host(root, Detail::UNTOUCHED).to_string().as_bytes());
    hasher.finish()
}

fn object(dump: &mut Dump, path: &str, at: &Path, detail: Detail) {
    let read = read_object(at, detail)
        .unwrap_or_else(|error| panic!("cannot dump {}: {error}", at.display()));
    let is_dir = read.kind == FileType::Directory;
    dump.0.insert(path.to_owned(), read);
    if !is_dir {
        return;
    }
    let list = std::fs::read_dir(at)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", at.display()));
    for entry in list {
        let name = entry.unwrap().file_name();
        let text = name.as_bytes().escape_ascii();
        let child = match path {
            "" => text.to_string(),
            dir => format!("{dir}/{text}"),
        };
        object(dump, &child, &at.join(&name), detail);
    }
}

fn read_object(at: &Path, detail: Detail) -> io::Result<Object> {
    let stat = at.symlink_metadata()?;
    let kind = FileType::from_mode(stat.mode()).unwrap();
    let time = |wanted, secs, nanos: i64| {
        detail.contains(wanted).then(|| Time {
            secs,
            nanos: u32::try_from(nanos).unwrap(),
        })
    };
    let mut object = Object {
        kind,
        mode: stat.mode() & 0o7777,
        uid: stat.uid(),
        gid: stat.gid(),
        nlink: None,
        same_as: None,
        mtime: time(Detail::MTIME, stat.mtime(), stat.mtime_nsec()),
        atime: time(Detail::ATIME, stat.atime(), stat.atime_nsec()),
        ctime: time(Detail::CTIME, stat.ctime(), stat.ctime_nsec()),
        ino: Some(stat.ino()),
        size: None,
        data: None,
        target: None,
        rdev: None,
        xattrs: xattrs(at)?,
        raw: None,
    };
    if detail.contains(Detail::NLINK) && kind != FileType::Directory {
        object.nlink = Some(u32::try_from(stat.nlink()).unwrap());
    }
    match kind {
        FileType::Regular => {
            object.size = Some(stat.size());
            object.data = Some(data(at, stat.size())?);
            if detail.contains(Detail::RAW) {
                object.raw = Some(std::fs::read(at)?);
            }
        }
        FileType::Symlink => {
            object.target = Some(std::fs::read_link(at)?.as_os_str().as_bytes().to_vec());
        }
        FileType::CharDevice | FileType::BlockDevice => {
            object.rdev = Some(Rdev {
                major: rustix::fs::major(stat.rdev()),
                minor: rustix::fs::minor(stat.rdev()),
            });
        }
        FileType::Directory | FileType::Fifo | FileType::Socket => {}
    }
    Ok(object)
}

fn xattrs(at: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    // A list is at most 64 KiB long, and so is a value (XATTR_LIST_MAX, XATTR_SIZE_MAX).
    let mut list = vec![0; 65536];
    let len = match llistxattr(at, &mut list) {
        Err(Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
        len => len?,
    };
    list.truncate(len);
    let mut xattrs = BTreeMap::new();
    for name in list
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 65536];
        let len = match lgetxattr(at, name, &mut value) {
            // It went away, or it is one that only a listing tells of.
            Err(Errno::NODATA) => continue,
            len => len?,
        };
        value.truncate(len);
        xattrs.insert(name.escape_ascii().to_string(), value);
    }
    // The label of a security module is the machine's, not the tree's.
    xattrs.remove("security.selinux");
    Ok(xattrs)
}

fn data(at: &Path, size: u64) -> io::Result<String> {
    let file = File::open(at)?;
    let block_size = Summary::BLOCK as u64;
    let mut summary = Summary::default();
    let mut offset = 0;
    while offset < size {
        match rustix::fs::seek(&file, SeekFrom::Data(offset)) {
            Ok(data) => offset = data / block_size * block_size,
            Err(Errno::NXIO) => break,
            Err(_) => {}
        }
        let mut block = [0; Summary::BLOCK];
        let mut got = 0;
        loop {
            match file.read_at(&mut block[got..], offset + got as u64)? {
                0 => break,
                more => got += more,
            }
        }
        summary.add(offset, &block[..got]);
        offset += block_size;
    }
    Ok(summary.finish(size))
}
