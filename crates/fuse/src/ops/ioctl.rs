//! The ioctls of file flags: chattr(1), lsattr(1) and `xfs_io -c chattr`.
//!
//! The kernel turns both pairs of ioctls into FUSE_IOCTL, after it has checked who may change what.

use mica_vfs::{Errno, FileFlags};
use zerocopy::IntoBytes;

use crate::connection::Connection;
use crate::reply::Reply;
use crate::request::Request;
use crate::wire::{Fsxattr, IoctlIn, IoctlOut};

// The numbers of the generic ioctl encoding (x86, arm64, riscv, s390x, loongarch).
const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;

/// `FS_NODUMP_FL`, which `FileFlags` gives no name.
const FS_NODUMP_FL: u32 = 0x40;

/// The `FS_XFLAG_*` that mean an `FS_*_FL`.
const XFLAGS: [(u32, FileFlags); 5] = [
    (0x08, FileFlags::IMMUTABLE),
    (0x10, FileFlags::APPEND),
    (0x20, FileFlags::SYNC),
    (0x40, FileFlags::NOATIME),
    (0x80, FileFlags::from_bits_retain(FS_NODUMP_FL)),
];
/// `FS_XFLAG_HASATTR`, which is told and cannot be set.
const XFLAG_HASATTR: u32 = 0x8000_0000;

/// Reads or sets file flags; `ENOTTY` to every other ioctl.
pub(crate) fn ioctl(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let wire: IoctlIn = request.take()?;
    let node = request.node();
    match wire.cmd {
        FS_IOC_GETFLAGS => {
            // The kernel asks for an int, a program that does it by itself for a long.
            let flags = cx.fs.file_flags(node)?.bits();
            if wire.out_size < 8 {
                put_answer(reply, wire.out_size, flags.as_bytes())
            } else {
                put_answer(reply, wire.out_size, u64::from(flags).as_bytes())
            }
        }
        FS_IOC_SETFLAGS => {
            let flags: u32 = request.take()?;
            cx.fs
                .set_file_flags(node, FileFlags::from_bits_retain(flags))?;
            put_answer(reply, 0, &[])
        }
        FS_IOC_FSGETXATTR => {
            let xattr = fsxattr_of(cx.fs.file_flags(node)?);
            put_answer(reply, wire.out_size, xattr.as_bytes())
        }
        FS_IOC_FSSETXATTR => {
            let wanted = flags_of(&request.take()?, cx.fs.file_flags(node)?)?;
            cx.fs.set_file_flags(node, wanted)?;
            put_answer(reply, 0, &[])
        }
        _ => Err(Errno::NOTTY),
    }
}

fn put_answer(reply: &mut Reply<'_>, room: u32, answer: &[u8]) -> Result<(), Errno> {
    reply.put(&IoctlOut {
        result: 0,
        flags: 0,
        in_iovs: 0,
        out_iovs: 0,
    })?;
    let room = usize::try_from(room).map_err(|_| Errno::INVAL)?;
    reply.put_bytes(answer.get(..room).unwrap_or(answer))
}

fn fsxattr_of(flags: FileFlags) -> Fsxattr {
    let xflags = XFLAGS
        .iter()
        .filter(|&&(_, flag)| flags.contains(flag))
        .fold(0, |set, &(xflag, _)| set | xflag);
    Fsxattr {
        xflags,
        extsize: 0,
        nextents: 0,
        projid: 0,
        cowextsize: 0,
        pad: [0; 8],
    }
}

/// Works the flags of `wanted` into those that a file has.
///
/// # Errors
///
/// `EOPNOTSUPP`: extent sizes, projects or flags that have no `FS_*_FL`.
fn flags_of(wanted: &Fsxattr, had: FileFlags) -> Result<FileFlags, Errno> {
    let known = XFLAGS.iter().fold(0, |set, &(xflag, _)| set | xflag);
    let unknown = wanted.xflags & !(known | XFLAG_HASATTR);
    if (wanted.extsize, wanted.projid, wanted.cowextsize, unknown) != (0, 0, 0, 0) {
        return Err(Errno::OPNOTSUPP);
    }
    let mut flags = had;
    for (xflag, flag) in XFLAGS {
        flags.set(flag, wanted.xflags & xflag != 0);
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xflags_survive_the_way_there_and_back() {
        let had = FileFlags::from_bits_retain(0x8_0000);
        for (_, flag) in XFLAGS {
            assert_eq!(flags_of(&fsxattr_of(flag), had), Ok(flag | had));
        }
    }

    #[test]
    fn a_project_is_refused() {
        let wanted = Fsxattr {
            projid: 7,
            ..fsxattr_of(FileFlags::empty())
        };
        assert_eq!(flags_of(&wanted, FileFlags::empty()), Err(Errno::OPNOTSUPP));
    }
}
