//! Filesystems that cannot be what a layer has to be.

use super::{Case, REFUSES, WORKS, case};

pub(super) const CASES: &[Case] = &[
    case!(
        "upper-read-only",
        "mkdir -p e/u e/w; mount --bind e e; mount -o remount,bind,ro e",
        "lowerdir=$/l,upperdir=$/e/u,workdir=$/e/w",
        REFUSES
    ),
    case!(
        "upper-read-only",
        "truncate -s 16M img; mkfs.ext4 -q img; mkdir e; mount -o loop img e; mkdir e/u e/w; umount e; mount -o loop,ro img e",
        "lowerdir=$/l,upperdir=$/e/u,workdir=$/e/w",
        REFUSES
    ),
    case!(
        "writeback-error",
        "mkdir t e; mount -t tmpfs -o size=4M t t; truncate -s 64M t/img; mkfs.ext4 -q -O ^has_journal t/img; \
        mount -o loop t/img e; mkdir e/u e/w; sync -f e; ! dd if=/dev/urandom of=e/f bs=1M count=16 conv=fsync 2>err",
        "lowerdir=$/l,upperdir=$/e/u,workdir=$/e/w,volatile",
        WORKS
    ),
    case!(
        "upper-on-overlay",
        "mount -t overlay o -o lowerdir=$/l2,upperdir=$/u2,workdir=$/w2 m2; mkdir m2/u m2/w",
        "lowerdir=$/l,upperdir=$/m2/u,workdir=$/m2/w",
        REFUSES
    ),
    case!(
        "too-deep",
        "mkdir o1 o2 l3; mount -t overlay o -o lowerdir=$/l:$/l2 o1; mount -t overlay o -o lowerdir=$/o1:$/l3 o2",
        "lowerdir=$/o2,upperdir=$/u,workdir=$/w",
        WORKS
    ),
    case!(
        "too-deep",
        "mkdir o1 o2 l3; mount -t overlay o -o lowerdir=$/l:$/l2 o1; mount -t overlay o -o lowerdir=$/l:$/l3::$/o1 o2",
        "lowerdir=$/o2,upperdir=$/u,workdir=$/w",
        WORKS
    ),
    case!(
        "too-deep",
        "mkdir o1 o2; mount -t overlay o -o lowerdir=$/l:$/l2 o1; mount -t overlay o -o lowerdir+=$/l,lowerdir+=$/l2,datadir+=$/o1 o2",
        "lowerdir=$/o2,upperdir=$/u,workdir=$/w",
        WORKS
    ),
    case!(
        "too-deep",
        "true",
        "lowerdir=/proc,upperdir=$/u,workdir=$/w",
        WORKS
    ),
    case!(
        "remote-upper",
        "fuse-overlayfs -o lowerdir=$/l2,upperdir=$/u2,workdir=$/w2 m2 >/dev/null 2>&1; mkdir m2/u m2/w",
        "lowerdir=$/l,upperdir=$/m2/u,workdir=$/m2/w",
        REFUSES
    ),
    case!(
        "no-d-type",
        "touch l/f; truncate -s 8M img; mkfs.ext4 -q -O ^filetype,^has_journal img; mkdir e; mount -o loop img e; mkdir e/u e/w",
        "lowerdir=$/l,upperdir=$/e/u,workdir=$/e/w",
        REFUSES,
        "rm m/f; ls m | grep -q f"
    ),
    case!(
        "no-rename-whiteout",
        "mkdir r; mount -t ramfs r r; mkdir r/u r/w",
        "lowerdir=$/l,upperdir=$/r/u,workdir=$/r/w",
        REFUSES
    ),
    case!(
        "no-xattr",
        "mkdir -p r l/d; mount -t ramfs r r; mkdir r/u r/w",
        "lowerdir=$/l,upperdir=$/r/u,workdir=$/r/w",
        REFUSES,
        "rmdir m/d; ! mkdir m/d 2>err; grep -q 'Input/output' err"
    ),
    case!(
        "no-handles",
        "mkdir r; mount -t ramfs r r",
        "lowerdir=$/r,upperdir=$/u,workdir=$/w,index=on",
        REFUSES
    ),
    case!(
        "no-handles",
        "mkdir r; mount -t ramfs r r",
        "lowerdir=$/r,upperdir=$/u,workdir=$/w,xino=auto",
        WORKS
    ),
    case!(
        "same-uuid",
        "for n in one two; do truncate -s 16M $n; mkfs.ext4 -q -U clear $n; done; mkdir a b; mount -o loop one a; mount -o loop two b",
        "lowerdir=$/a:$/b,upperdir=$/u,workdir=$/w,index=on",
        REFUSES
    ),
    case!(
        "same-uuid",
        "truncate -s 16M one; mkfs.ext4 -q one; cp one two; mkdir a b; mount -o loop one a; mount -o loop two b",
        "lowerdir=$/a:$/b,upperdir=$/u,workdir=$/w,index=on",
        REFUSES
    ),
];
