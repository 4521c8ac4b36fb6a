//! Data.

use mica_testkit::{Call, Walk};
use mica_tmpfs::Tmpfs;
use mica_vfs::{Errno, FallocateMode, KillPriv};

use super::{Case, Operate, case};

const LAYERS: (&str, &str) = (
    "u='0123456789' s='0123456789'@4711 m='merged'",
    "f='0123456789'@0640~3:4[user.k=v] n='two' n2=>n big=hole(64K) s2='0123456789'@4711 empty='' \
     d/e/a='deep' m='hidden'",
);

fn write_as_user(w: Walk<'_>, path: &str) -> Result<(), Errno> {
    let held = w.hold(path)?;
    w.fs()
        .write(held.node(), 0, b"x", KillPriv::Clear)
        .map(drop)
}

fn allocate(w: Walk<'_>, path: &str, mode: FallocateMode) -> Result<(), Errno> {
    let held = w.hold(path)?;
    w.fs().fallocate(held.node(), mode, 2, 20)
}

/// Copies `len` bytes, asking again for what is left, as programs do.
fn copy(w: Walk<'_>, from: &str, to: &str, len: u64) -> Result<(), Errno> {
    let (from, to) = (w.hold(from)?, w.hold(to)?);
    let mut done = 0;
    while done < len {
        done += w
            .fs()
            .copy_range(from.node(), done, to.node(), done, len - done)?;
    }
    Ok(())
}

/// Fills a new file from another filesystem, as an overlay on this one does.
fn fill(w: Walk<'_>, len: u64) -> Result<(), Errno> {
    w.create("new", 0o600)?;
    let source = Tmpfs::new();
    Walk::new(&source).write("s", b"0123").unwrap();
    let from = Walk::new(&source).hold("s").unwrap();
    let to = w.hold("new")?;
    w.fs()
        .copy_from(to.node(), &source, from.node(), len)
        .map(drop)
}

const HOLE: FallocateMode = FallocateMode::PUNCH_HOLE.union(FallocateMode::KEEP_SIZE);

/// A copy is another file than the lower's other names from the next mount on (OVL-32), and takes what fits.
const BROKEN: &[Operate] = &[|w| w.write_at("n", 0, b""), |w| w.write_at("n", 0, b"ch")];
/// A write, and so a copy, takes what fits (`Fault::Short`).
const HALF_F: &[Operate] = &[|w| w.write_at("f", 0, b"cha")];
const HALF_U: &[Operate] = &[|w| w.write_at("u", 0, b"cha")];
const HALF_M: &[Operate] = &[|w| w.write_at("m", 0, b"ch")];
const HALF_A: &[Operate] = &[|w| w.write_at("d/e/a", 0, b"ch")];
const HALF_COPY: &[Operate] = &[|w| copy(w, "u", "f", 2)];
const HALF_UP: &[Operate] = &[|w| copy(w, "f", "u", 2)];
const HALF_BIG: &[Operate] = &[|w| w.write_at("big", 65533, b"cha")];
/// A file whose setuid went before a write that fails has none (file_remove_privs, OVL-43).
const UNPRIVILEGED: &[Operate] = &[|w| w.chmod("s", 0o711), |w| w.chmod("s2", 0o711)];

pub(super) const DATA: &[&[Case]] = &[&[
    case(Call::Write, "write to a lower file", LAYERS, |w| {
        w.write_at("f", 0, b"changed")
    })
    .or(HALF_F),
    case(Call::Write, "write to an upper file", LAYERS, |w| {
        w.write_at("u", 0, b"changed")
    })
    .or(HALF_U),
    case(Call::Write, "write to a merged file", LAYERS, |w| {
        w.write_at("m", 0, b"chan")
    })
    .or(HALF_M),
    case(Call::Write, "write deep", LAYERS, |w| {
        w.write_at("d/e/a", 0, b"chan")
    })
    .or(HALF_A),
    case(Call::Write, "write to a file with two names", LAYERS, |w| {
        w.write_at("n", 0, b"chan")
    })
    .or(BROKEN),
    case(Call::Write, "write past the end", LAYERS, |w| {
        w.write_at("big", 65533, b"changed")
    })
    .or(HALF_BIG),
    case(Call::Write, "write to a setuid file", LAYERS, |w| {
        write_as_user(w, "s")
    })
    .or(UNPRIVILEGED),
    case(Call::Write, "write to a lower setuid file", LAYERS, |w| {
        write_as_user(w, "s2")
    })
    .or(UNPRIVILEGED),
    case(Call::Fallocate, "allocate in a lower file", LAYERS, |w| {
        allocate(w, "f", FallocateMode::empty())
    }),
    case(Call::Fallocate, "allocate in an upper file", LAYERS, |w| {
        allocate(w, "u", FallocateMode::empty())
    }),
    case(
        Call::Fallocate,
        "punch a hole into a lower file",
        LAYERS,
        |w| allocate(w, "f", HOLE),
    ),
    case(Call::Fallocate, "allocate in a setuid file", LAYERS, |w| {
        allocate(w, "s", FallocateMode::empty())
    })
    .or(UNPRIVILEGED),
    case(
        Call::CopyRange,
        "copy from an upper file to a lower one",
        LAYERS,
        |w| copy(w, "u", "f", 4),
    )
    .or(HALF_COPY),
    case(
        Call::CopyRange,
        "copy from a lower file to an upper one",
        LAYERS,
        |w| copy(w, "f", "u", 4),
    )
    .or(HALF_UP),
    case(Call::CopyRange, "copy to a setuid file", LAYERS, |w| {
        copy(w, "u", "s2", 1)
    })
    .or(UNPRIVILEGED),
    // Two calls; between them is an empty file, and a copy takes what fits.
    case(Call::CopyFrom, "fill a file from elsewhere", LAYERS, |w| {
        fill(w, 4)
    })
    .or(&[|w| w.create("new", 0o600), |w| fill(w, 2)]),
]];
