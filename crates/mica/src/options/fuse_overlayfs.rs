//! The options of fuse-overlayfs that no other family has.

use super::{Answer, Effect, Entry, Given, OptionError, RawOption};

pub(super) const OPTIONS: &[Entry] = &[
    Entry("threaded", Effect::Call(threaded)),
    Entry(
        "writeback",
        Effect::Choose(&[("0", WRITE_THROUGH), ("1", WRITE_THROUGH)]),
    ),
    Entry("fast_ino", ANY_NUMBERS),
    Entry("fast_ino_check", ANY_NUMBERS),
    Entry(
        "noxattrs",
        Effect::Choose(&[
            ("0", Answer::Moot("extended attributes are there")),
            (
                "1",
                Answer::Refused(
                    "the marks of the overlay are extended attributes",
                    "leave it out; `-o userxattr` needs no privilege",
                ),
            ),
        ]),
    ),
    Entry(
        "plugins",
        Effect::refused(
            "there are no plugins; a layer is a directory",
            "leave it out, and name directories in `-o lowerdir=`",
        ),
    ),
    Entry(
        "ino32_t",
        Effect::refused(
            "inode numbers have 64 bits, those of the layers",
            "build the program that cannot hold them with `-D_FILE_OFFSET_BITS=64`",
        ),
    ),
];

const WRITE_THROUGH: Answer = Answer::Moot(
    "writes go through at once, so that ENOSPC comes from the write that does not fit",
);

const ANY_NUMBERS: Effect = Effect::Choose(&[("0", NO_CHECK), ("1", NO_CHECK)]);

const NO_CHECK: Answer = Answer::Moot("inode numbers cost no check in any case");

/// `threaded=0`: one thread serves.
fn threaded(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    let threads = match option.number(0, 1)? {
        0 => Some(1),
        _ => None,
    };
    given.fuse.threads_most = threads;
    given.fuse.threads_idle = threads;
    Ok(())
}
