//! Operations on the data of files, each with an open file of its own.

use rustix::fs::{FallocateFlags, FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::{At, NONSENSE, Said, done, drop_privileges, number, open, open_to_write, show_file};

/// Does `words`, if they are one of these operations.
pub(super) fn apply(words: &[&str], at: At<'_>) -> Option<Said> {
    Some(match *words {
        ["write", path, offset, text] => write(at, path, offset, text),
        ["append", path, text] => append(at, path, text),
        ["opentrunc", path] => {
            open(at(path), OFlags::WRONLY | OFlags::TRUNC, Mode::empty()).map(|_| "ok".to_owned())
        }
        ["truncate", path, len] => truncate(at, path, len),
        ["falloc", path, how, offset, len] => falloc(at, path, how, offset, len),
        ["seek", path, what, offset] => seek(at, path, what, offset),
        ["copyrange", from, to] => copy_range(at, from, to),
        ["fsync", path] => {
            open(at(path), OFlags::RDONLY, Mode::empty()).and_then(|fd| done(rustix::fs::fsync(fd)))
        }
        ["fdatasync", path] => open(at(path), OFlags::RDONLY, Mode::empty())
            .and_then(|fd| done(rustix::fs::fdatasync(fd))),
        ["read", path] => {
            open(at(path), OFlags::RDONLY, Mode::empty()).and_then(|fd| show_file(&fd))
        }
        _ => return None,
    })
}

fn write(at: At<'_>, path: &str, offset: &str, text: &str) -> Said {
    let fd = open(at(path), OFlags::WRONLY, Mode::empty())?;
    rustix::io::pwrite(&fd, text.as_bytes(), number(offset)?).map(|count| count.to_string())
}

fn append(at: At<'_>, path: &str, text: &str) -> Said {
    let fd = open(at(path), OFlags::WRONLY | OFlags::APPEND, Mode::empty())?;
    rustix::io::write(&fd, text.as_bytes()).map(|count| count.to_string())
}

fn truncate(at: At<'_>, path: &str, len: &str) -> Said {
    let fd = open(at(path), OFlags::WRONLY, Mode::empty())?;
    done(rustix::fs::ftruncate(&fd, number(len)?))
}

/// Reads the name of a mode of fallocate(2).
pub(super) fn falloc_flags(how: &str) -> Result<FallocateFlags, Errno> {
    Ok(match how {
        "plain" => FallocateFlags::empty(),
        "keep" => FallocateFlags::KEEP_SIZE,
        "punch" => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        "zero" => FallocateFlags::ZERO_RANGE,
        _ => return Err(NONSENSE),
    })
}

fn falloc(at: At<'_>, path: &str, how: &str, offset: &str, len: &str) -> Said {
    let fd = open_to_write(at(path))?;
    drop_privileges(&fd)?;
    done(rustix::fs::fallocate(
        &fd,
        falloc_flags(how)?,
        number(offset)?,
        number(len)?,
    ))
}

fn seek(at: At<'_>, path: &str, what: &str, offset: &str) -> Said {
    let fd = open(at(path), OFlags::RDONLY, Mode::empty())?;
    // What a hole of a directory is each filesystem decides for itself.
    if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    let offset = number(offset)?;
    let to = match what {
        "hole" => SeekFrom::Hole(offset),
        "data" => SeekFrom::Data(offset),
        _ => return Err(NONSENSE),
    };
    rustix::fs::seek(&fd, to).map(|offset| offset.to_string())
}

fn copy_range(at: At<'_>, from: &str, to: &str) -> Said {
    let from = open(at(from), OFlags::RDONLY, Mode::empty())?;
    let to = open(at(to), OFlags::WRONLY, Mode::empty())?;
    rustix::io::pwrite(&to, b"r", 200)?;
    drop_privileges(&to)?;
    rustix::fs::copy_file_range(&from, None, &to, None, 100).map(|count| count.to_string())
}
