//! GETATTR, SETATTR, STATX and STATFS.

use mica_vfs::{Errno, KillPriv, Mode, Protection, SetAttr, SetTime, Through, Time};

use crate::connection::Connection;
use crate::reply::Reply;
use crate::request::Request;
use crate::wire::{
    FATTR_ATIME, FATTR_ATIME_NOW, FATTR_FH, FATTR_GID, FATTR_KILL_SUIDGID, FATTR_MODE, FATTR_MTIME,
    FATTR_MTIME_NOW, FATTR_SIZE, FATTR_UID, FuseStatx, KStatFs, STATX_ATTR_APPEND,
    STATX_ATTR_IMMUTABLE, STATX_BASIC_AND_BTIME, STATX_BTIME, SetAttrIn, StatxIn, StatxOut, SxTime,
};

/// Tells the attributes of a node.
pub(crate) fn getattr(
    cx: &Connection,
    request: &Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let attr = cx.fs.get_attr(request.node())?;
    reply.put(&cx.attr_reply(&attr))
}

/// Changes attributes. `O_TRUNC` comes this way, too.
pub(crate) fn setattr(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let change = change_of(&request.take::<SetAttrIn>()?);
    let attr = cx.fs.set_attr(request.node(), &change)?;
    reply.put(&cx.attr_reply(&attr))
}

fn change_of(wire: &SetAttrIn) -> SetAttr {
    let has = |flag: u32| wire.valid & flag != 0;
    let time = |given: u32, now: u32, secs: u64, nanos: u32| {
        let at = SetTime::At(Time {
            secs: secs.cast_signed(),
            nanos,
        });
        has(given).then_some(if has(now) { SetTime::Now } else { at })
    };
    SetAttr {
        size: has(FATTR_SIZE).then_some(wire.size),
        uid: has(FATTR_UID).then_some(wire.uid),
        gid: has(FATTR_GID).then_some(wire.gid),
        mode: has(FATTR_MODE).then_some(Mode::new(wire.mode)),
        atime: time(FATTR_ATIME, FATTR_ATIME_NOW, wire.atime, wire.atimensec),
        mtime: time(FATTR_MTIME, FATTR_MTIME_NOW, wire.mtime, wire.mtimensec),
        kill: if has(FATTR_KILL_SUIDGID) {
            KillPriv::Clear
        } else {
            KillPriv::Keep
        },
        through: if has(FATTR_FH) {
            Through::OpenFile
        } else {
            Through::Name
        },
    }
}

/// Tells the attributes of a node together with its time of birth.
pub(crate) fn statx(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    request.take::<StatxIn>()?;
    let attr = cx.fs.get_attr(request.node())?;
    let time = |time: Time| SxTime {
        tv_sec: time.secs,
        tv_nsec: time.nanos,
        reserved: 0,
    };
    let mask = match attr.btime {
        Some(_) => STATX_BASIC_AND_BTIME,
        None => STATX_BASIC_AND_BTIME & !STATX_BTIME,
    };
    let valid = cx.attr_time();
    reply.put(&StatxOut {
        attr_valid: valid.as_secs(),
        attr_valid_nsec: valid.subsec_nanos(),
        flags: 0,
        spare: [0; 2],
        stat: FuseStatx {
            mask,
            blksize: attr.blksize,
            attributes: attributes_of(attr.protection),
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            mode: u16::try_from(attr.kind.bits() | attr.mode.bits())
                .map_err(|_| Errno::OVERFLOW)?,
            spare0: 0,
            ino: attr.ino.0,
            size: attr.size,
            blocks: attr.blocks,
            attributes_mask: attributes_of(Protection::all()),
            atime: time(attr.atime),
            btime: time(attr.btime.unwrap_or_default()),
            ctime: time(attr.ctime),
            mtime: time(attr.mtime),
            rdev_major: attr.rdev.major,
            rdev_minor: attr.rdev.minor,
            // The kernel puts its own device of the mount here.
            dev_major: 0,
            dev_minor: 0,
            spare2: [0; 14],
        },
    })
}

/// The `STATX_ATTR_*` of what protects an object. Linux 6.18 takes none of them over (OVL-125).
fn attributes_of(protection: Protection) -> u64 {
    let bits = [
        (Protection::IMMUTABLE, STATX_ATTR_IMMUTABLE),
        (Protection::APPEND, STATX_ATTR_APPEND),
    ];
    let told = bits.iter().filter(|&&(flag, _)| protection.contains(flag));
    told.fold(0, |all, &(_, bit)| all | bit)
}

/// Tells space and limits. The type that programs see is FUSE's own.
pub(crate) fn statfs(cx: &Connection, reply: &mut Reply<'_>) -> Result<(), Errno> {
    let stat = cx.fs.stat_fs()?;
    reply.put(&KStatFs {
        blocks: stat.blocks,
        bfree: stat.blocks_free,
        bavail: stat.blocks_available,
        files: stat.files,
        ffree: stat.files_free,
        bsize: stat.block_size,
        namelen: stat.name_max,
        frsize: stat.fragment_size,
        padding: 0,
        spare: [0; 6],
    })
}
