//! Layers as text, and how they are written to a directory.
//!
//! One object a line, parents first:
//!
//! ```text
//! d PATH [MODE [OWNER]]           directory          l PATH TARGET     symbolic link
//! f PATH [MODE [OWNER [TEXT]]]    file               h PATH OTHER      hard link to OTHER
//! p PATH / s PATH                 FIFO, socket       w PATH            whiteout (device 0:0)
//! c PATH MAJOR:MINOR              device             x PATH NAME VALUE xattr
//! big PATH [KIB]                  data, 1 MiB if not said otherwise
//! sparse PATH [KIB]               the same length, with data at its end only
//! size PATH BYTES                 changes the length of a file
//! many PATH COUNT                 files in a directory, more than one read of it can hold
//! ```
//!
//! Every object gets a time of its own in the past, so that a copy which loses a time is seen.

use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

/// The layers of one overlay before anything happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    /// The topmost first.
    pub(crate) lowers: &'static [&'static str],
    pub(crate) upper: &'static str,
    /// Data-only layers, the first asked first.
    pub(crate) data: &'static [&'static str],
}

impl Layout {
    /// Says whether a lower has a file with several names.
    pub(crate) fn has_links(&self) -> bool {
        let mut lines = self.lowers.iter().flat_map(|text| text.lines());
        lines.any(|line| line.trim_start().starts_with("h "))
    }

    /// Returns all paths that some layer has.
    pub(crate) fn paths(&self) -> Vec<&'static str> {
        let texts = self.lowers.iter().copied().chain([self.upper]);
        let mut paths: Vec<_> = texts
            .flat_map(str::lines)
            .map(str::trim)
            .filter(|line| !line.starts_with("many "))
            .filter_map(|line| line.split(' ').nth(1))
            .collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }
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
    big d/b 64
    sparse d/sub 64
    d e 2775 0:1000
    f e/c 0666 1000:1000 c
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
        data: &[],
    },
    Layout {
        name: "rich",
        lowers: &[RICH],
        upper: "",
        data: &[],
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
        data: &[],
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
        data: &[],
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
        data: &[],
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
        data: &[],
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
        data: &[],
    },
    Layout {
        name: "links",
        lowers: &["
        d d
        f d/a 0644 0:0 three
        h d/b d/a
        h a d/a
        d e
        f e/c 4755 1000:1000 two
        h e/link e/c
        l ln a
        h d/n ln"],
        upper: "",
        data: &[],
    },
    Layout {
        name: "redirects",
        lowers: &[
            "
        d d
        x d trusted.overlay.redirect e
        f d/n 0644 0:0 n
        d empty
        x empty trusted.overlay.redirect /d/sub
        d new
        x new trusted.overlay.redirect gone
        w e",
            PLAIN,
        ],
        upper: "",
        data: &[],
    },
    Layout {
        name: "moved",
        lowers: &[PLAIN],
        upper: "
        d base
        x base trusted.overlay.redirect d
        w d
        f base/n 0644 0:0 n",
        data: &[],
    },
    Layout {
        name: "metacopies",
        lowers: &[
            "
        d d
        f d/a 0600 1000:1000
        size d/a 7
        x d/a trusted.overlay.metacopy
        f a 0600 0:0
        size a 7
        x a trusted.overlay.metacopy
        x a trusted.overlay.redirect /d/b
        d e
        f e/z 0644 0:0
        x e/z trusted.overlay.metacopy",
            PLAIN,
        ],
        upper: "",
        data: &[],
    },
    Layout {
        name: "whiteouts by xattr",
        lowers: &[
            "
        d d
        x d trusted.overlay.opaque x
        f d/a 0644 0:0
        x d/a trusted.overlay.whiteout y
        f d/n 0644 0:0 n
        d e
        f e/c 0644 0:0
        x e/c trusted.overlay.whiteout y",
            PLAIN,
        ],
        upper: "",
        data: &[],
    },
    Layout {
        name: "data only",
        lowers: &["
        d d
        f d/a 0644 1000:1000
        size d/a 5
        x d/a trusted.overlay.metacopy
        x d/a trusted.overlay.redirect /sub/x
        f d/b 0600 0:0
        size d/b 6
        x d/b trusted.overlay.metacopy
        x d/b trusted.overlay.redirect /sub/y
        d e
        f e/c 4755 0:0
        size e/c 5
        x e/c trusted.overlay.metacopy
        x e/c trusted.overlay.redirect /sub/x
        f a 0644 0:0 a"],
        upper: "",
        data: &[
            "
        d sub
        f sub/x 0600 0:0 first",
            "
        d sub
        f sub/x 0644 0:0 other
        f sub/y 0644 0:0 second",
        ],
    },
    Layout {
        name: "crowded",
        lowers: &["
        d d
        f d/a 0644 0:0 a
        f d/one-of-many-00007x 0644 0:0 x
        d e
        many d 400"],
        upper: "",
        data: &[],
    },
    Layout {
        name: "empty",
        lowers: &[""],
        upper: "",
        data: &[],
    },
];

/// What a layer can hold, and under which names, where it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Everything.
    All,
    /// In a user namespace: marks are `user.overlay.*`, and there are no devices but whiteouts.
    Mapped,
    /// As mapped, and there are no other owners.
    Single,
}

/// Writes `layer` into `root` once as it is, and once below each of the directories `parts`, as far as `rights` go.
pub(crate) fn write_parts(layer: &str, parts: &[&str], rights: Rights, root: &Path) -> Result<()> {
    let mut text = String::new();
    if !layer.trim().is_empty() {
        for part in [""].iter().chain(parts) {
            if !part.is_empty() {
                text.push_str(&format!("d {part}\n"));
            }
            for line in layer.lines().map(str::trim).filter(|line| !line.is_empty()) {
                text.extend(adapt(line, part, rights));
            }
        }
    }
    write(&text, root)
}

/// Moves a line of a layer below `part`; nothing if it cannot be had.
fn adapt(line: &str, part: &str, rights: Rights) -> Option<String> {
    let below = |path: &str| {
        if part.is_empty() {
            path.to_owned()
        } else {
            format!("{part}/{path}")
        }
    };
    let words: Vec<&str> = line.split(' ').collect();
    let text = match *words.as_slice() {
        ["h", path, other] => format!("h {} {}", below(path), below(other)),
        ["c", ..] if rights != Rights::All => return None,
        // They take a while.
        ["many", ..] if !part.is_empty() => return None,
        ["x", path, name, ref value @ ..] => {
            let value = value.join(" ");
            let value = match value.strip_prefix('/') {
                Some(from_root) => format!("/{}", below(from_root)),
                None => value,
            };
            let name = if rights == Rights::All {
                name.to_owned()
            } else {
                name.replace("trusted.", "user.")
            };
            format!("x {} {name} {value}", below(path))
        }
        [kind, path, mode, owner, ref rest @ ..]
            if rights == Rights::Single && owner.contains(':') =>
        {
            // Group and others get what they had; the owner is the only user.
            format!("{kind} {} {mode} 0:0 {}", below(path), rest.join(" "))
        }
        [kind, path, ref rest @ ..] => format!("{kind} {} {}", below(path), rest.join(" ")),
        _ => return None,
    };
    Some(format!("{}\n", text.trim_end()))
}

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
            let words = kibibytes(words.next())? << 8;
            let data: Vec<u8> = (0..words).flat_map(u32::to_le_bytes).collect();
            std::fs::write(&path, data)?;
        }
        "size" => {
            let len = words.next().context("no length")?.parse()?;
            std::fs::File::options()
                .write(true)
                .open(&path)?
                .set_len(len)?;
        }
        "sparse" => {
            let file = std::fs::File::create(&path)?;
            let len = u64::from(kibibytes(words.next())?) << 10;
            file.write_all_at(b"end", len.saturating_sub(3))?;
        }
        "many" => {
            let count: u32 = words.next().context("no count")?.parse()?;
            for number in 0..count {
                std::fs::write(path.join(format!("one-of-many-{number:05}")), "m")?;
            }
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

fn kibibytes(word: Option<&str>) -> Result<u32> {
    Ok(word.unwrap_or("1024").parse()?)
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
    use super::{LAYOUTS, Rights, write_parts};

    #[test]
    fn every_layout_can_be_written_with_any_rights() {
        for layout in LAYOUTS {
            assert!(
                !layout.has_links() || layout.name == "links",
                "{}",
                layout.name
            );
        }
        let dir = tempfile::tempdir().unwrap();
        let text = "d d\nf d/a 0644 0:0 text\nh b d/a\nx d user.overlay.redirect /d/a\nc dev 1:3\n";
        write_parts(text, &["0"], Rights::Single, dir.path()).unwrap();
        assert_eq!(std::fs::read(dir.path().join("0/b")).unwrap(), b"text");
        let mut value = [0; 10];
        let count =
            rustix::fs::getxattr(dir.path().join("0/d"), "user.overlay.redirect", &mut value);
        assert_eq!(value.get(..count.unwrap()).unwrap(), b"/0/d/a");
        assert!(!dir.path().join("dev").exists());
    }
}
