//! Layers in their text form, written to a directory.

use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use super::Rights;
use crate::dump;

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
        // Who sets those that protect has rights over the machine.
        ["c" | "+", ..] if rights != Rights::All => return None,
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
    set_time(root, 999)?;
    // What is protected takes no time any more.
    for line in lines {
        if let ["+", path, flags] = *line.split(' ').collect::<Vec<_>>() {
            set_flags(&root.join(path), flags)
                .with_context(|| format!("cannot set `{line}` of a layout"))?;
        }
    }
    Ok(())
}

fn set_flags(path: &Path, letters: &str) -> Result<()> {
    let file = std::fs::File::open(path)?;
    // Those that tell of the filesystem's own ways stay.
    let mut flags = rustix::fs::ioctl_getflags(&file)?;
    for letter in letters.chars() {
        flags |= dump::flag(letter).with_context(|| format!("unknown flag `{letter}`"))?;
    }
    Ok(rustix::fs::ioctl_setflags(&file, flags)?)
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
        // Set later.
        "+" => {}
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
    use super::{Rights, write_parts};
    use crate::oracle::layout::LAYOUTS;

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
