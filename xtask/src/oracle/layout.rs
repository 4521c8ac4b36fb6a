//! Layers as text, and how they are written to a directory.
//!
//! One object a line, parents first:
//!
//! ```text
//! d PATH [MODE [OWNER]]           directory          l PATH TARGET     symbolic link
//! f PATH [MODE [OWNER [TEXT]]]    file               h PATH OTHER      hard link to OTHER
//! p PATH / s PATH                 FIFO, socket       w PATH            whiteout (device 0:0)
//! c PATH MAJOR:MINOR              device             x PATH NAME VALUE xattr
//! big PATH / sparse PATH          1 MiB of data; 1 MiB with data at its end only
//! ```
//!
//! Every object gets a time of its own in the past, so that a copy which loses a time is seen.

use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

/// The layers of one overlay before anything happens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    /// The topmost first.
    pub(crate) lowers: &'static [&'static str],
    pub(crate) upper: &'static str,
}

const PLAIN: &str = "
    d d
    f d/a 0644 0:0 lower-a
    f d/b 0600 1000:1000 lower-b
    d d/sub
    f d/sub/x 0644 0:0 x
    d e 0777
    f e/c 0666 0:0 c
    f a 0644 0:0 top-a
    l ln a
    p fifo
    c dev 1:3
";

const RICH: &str = "
    d d 0755
    f d/a 4755 0:0 setuid
    x d/a user.note hello
    big d/b
    sparse d/sub
    d e 2775 0:1000
    f e/c 0666 1000:1000 c
    h e/link e/c
    f a 0644 0:0 top-a
    x a trusted.note secret
    x a user.long 0123456789012345678901234567890123456789
    l ln d/a
    d empty 1777
    s sock
";

/// The layouts, each of them a shape of its own.
pub(crate) const LAYOUTS: &[Layout] = &[
    Layout {
        name: "plain",
        lowers: &[PLAIN],
        upper: "",
    },
    Layout {
        name: "rich",
        lowers: &[RICH],
        upper: "",
    },
    Layout {
        name: "merged",
        lowers: &[PLAIN],
        upper: "
        d d 0750
        f d/a 0644 0:0 upper-a
        f d/n 0644 0:0 new
        d e
        f e/u 0644 1000:1000 u",
    },
    Layout {
        name: "whiteouts",
        lowers: &[PLAIN],
        upper: "
        d d
        w d/a
        w a
        w ln
        d e
        x e trusted.overlay.opaque y
        f e/only 0644 0:0 o",
    },
    Layout {
        name: "three lowers",
        lowers: &[
            "
        d d
        f d/a 0644 0:0 first
        w d/b
        d e
        x e trusted.overlay.opaque y
        f e/z 0644 0:0 z",
            PLAIN,
            "
        d d
        f d/low 0644 0:0 low
        d e
        f e/hidden 0644 0:0 h
        f base 0644 1000:1000 base
        d d/sub
        f d/sub/y 0644 0:0 y",
        ],
        upper: "
        d d
        d d/sub
        w d/low",
    },
    Layout {
        name: "type changes",
        lowers: &[
            "
        f d 0644 0:0 file-over-dir
        d a
        f a/x 0644 0:0 x
        l e d",
            PLAIN,
        ],
        upper: "",
    },
    Layout {
        name: "deep",
        lowers: &["
        d d
        d d/sub
        d d/sub/e
        d d/sub/e/f
        f d/sub/e/f/a 0644 1000:1000 deep
        d e 0700 1000:1000
        f e/c 0600 1000:1000 private"],
        upper: "",
    },
    Layout {
        name: "empty",
        lowers: &[""],
        upper: "",
    },
];

/// Names that random operations use: most exist in some layout, some in none.
pub(crate) const NAMES: &[&str] = &[
    "a",
    "d",
    "e",
    "ln",
    "fifo",
    "dev",
    "sock",
    "empty",
    "base",
    "new",
    "d/a",
    "d/b",
    "d/sub",
    "d/n",
    "d/low",
    "d/sub/x",
    "d/sub/y",
    "d/sub/e",
    "d/sub/e/f",
    "d/sub/e/f/a",
    "d/new",
    "e/c",
    "e/link",
    "e/u",
    "e/z",
    "e/only",
    "e/new",
    "new/a",
    "new/b",
];

/// Writes a layer into the empty directory `root`.
pub(crate) fn write(text: &str, root: &Path) -> Result<()> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    for line in &lines {
        write_line(line, root).with_context(|| format!("cannot write `{line}` of a layout"))?;
    }
    // The times last, children before parents: each new name changes its parent's.
    for (index, line) in lines.iter().enumerate().rev() {
        if let Some(path) = line.split(' ').nth(1) {
            set_time(&root.join(path), i64::try_from(index)?)?;
        }
    }
    set_time(root, 999)
}

fn set_time(path: &Path, index: i64) -> Result<()> {
    let time = Timespec {
        tv_sec: 1_500_000_000 + index * 1000,
        tv_nsec: 123_456_789 + index,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn write_line(line: &str, root: &Path) -> Result<()> {
    let mut words = line.splitn(5, ' ');
    let kind = words.next().unwrap_or_default();
    let path = root.join(words.next().context("no path")?);
    match kind {
        "d" => {
            std::fs::create_dir(&path)?;
            return set_rights(&path, words.next().unwrap_or("0755"), words.next());
        }
        "f" => {
            let (mode, owner) = (words.next().unwrap_or("0644"), words.next());
            std::fs::write(&path, words.next().unwrap_or_default())?;
            return set_rights(&path, mode, owner);
        }
        "big" => {
            let data: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
            std::fs::write(&path, data)?;
        }
        "sparse" => {
            let file = std::fs::File::create(&path)?;
            file.write_all_at(b"end", (1 << 20) - 3)?;
        }
        "l" => std::os::unix::fs::symlink(words.next().context("no target")?, &path)?,
        "h" => std::fs::hard_link(root.join(words.next().context("no other name")?), &path)?,
        "p" => rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0)?,
        "s" => rustix::fs::mknodat(CWD, &path, FileType::Socket, Mode::from_raw_mode(0o644), 0)?,
        "w" => rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0)?,
        "c" => {
            let (major, minor) = words
                .next()
                .and_then(|word| word.split_once(':'))
                .context("no device")?;
            let device = rustix::fs::makedev(major.parse()?, minor.parse()?);
            rustix::fs::mknodat(
                CWD,
                &path,
                FileType::CharacterDevice,
                Mode::from_raw_mode(0o644),
                device,
            )?;
        }
        "x" => {
            let (name, value) = (
                words.next().context("no name")?,
                words.next().unwrap_or_default(),
            );
            rustix::fs::lsetxattr(&path, name, value.as_bytes(), XattrFlags::empty())?;
        }
        _ => bail!("unknown kind `{kind}`"),
    }
    Ok(())
}

fn set_rights(path: &Path, mode: &str, owner: Option<&str>) -> Result<()> {
    if let Some(owner) = owner {
        let (uid, gid) = owner.split_once(':').context("no owner")?;
        let (uid, gid) = (Uid::from_raw(uid.parse()?), Gid::from_raw(gid.parse()?));
        rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::empty())?;
    }
    let mode = Mode::from_raw_mode(u32::from_str_radix(mode, 8)?);
    Ok(rustix::fs::chmodat(CWD, path, mode, AtFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::{LAYOUTS, NAMES};

    #[test]
    fn every_layout_has_names_that_random_operations_use() {
        for layout in LAYOUTS.iter().filter(|layout| layout.name != "empty") {
            let text = layout.lowers.concat();
            let used = NAMES.iter().filter(|name| {
                text.lines()
                    .any(|line| line.split(' ').any(|word| word == **name))
            });
            assert!(used.count() >= 3, "{}", layout.name);
        }
    }
}
