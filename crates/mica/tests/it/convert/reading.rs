//! An upper and a lower read together, whatever form the whiteouts have: a reading of its own, made of paths alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{lgetxattr, llistxattr};

/// What shows, by path, in words.
pub(super) type View = BTreeMap<String, String>;

/// Reads the merged tree. `prefix` is that of the upper's marks.
pub(super) fn view(upper: &Path, lower: &Path, prefix: &str) -> View {
    let mut reading = Reading {
        prefix,
        view: View::new(),
        links: BTreeMap::new(),
    };
    reading.dir("", Some(upper), Some(lower));
    reading.view
}

struct Reading<'a> {
    prefix: &'a str,
    view: View,
    /// The first path of each file of several names.
    links: BTreeMap<(u64, u64), String>,
}

impl Reading<'_> {
    fn mark(&self, path: &Path, name: &str) -> Option<Vec<u8>> {
        xattrs(path).remove(format!("{}.overlay.{name}", self.prefix).as_bytes())
    }

    fn dir(&mut self, path: &str, upper: Option<&Path>, lower: Option<&Path>) {
        let mut hidden = BTreeSet::new();
        let mut above = BTreeSet::new();
        for name in upper.map(names).unwrap_or_default() {
            let at = upper.unwrap().join(std::ffi::OsStr::from_bytes(&name));
            let stat = fs::symlink_metadata(&at).unwrap();
            let is_empty = stat.is_file() && stat.size() == 0;
            let is_device = stat.file_type().is_char_device() && stat.rdev() == 0;
            if is_device || (is_empty && self.mark(&at, "whiteout").is_some()) {
                hidden.insert(name);
            } else if is_empty && name.starts_with(b".wh.") {
                hidden.insert(name[4..].to_vec());
            } else {
                above.insert(name);
            }
        }
        let old = format!("{}.overlay.whiteout.", self.prefix);
        for name in upper.map(xattrs).unwrap_or_default().keys() {
            if let Some(name) = name.strip_prefix(old.as_bytes()) {
                hidden.insert(name.to_vec());
            }
        }
        let below: BTreeSet<_> = lower.map(names).unwrap_or_default().into_iter().collect();
        let shown = above.iter().chain(below.difference(&hidden));
        for name in shown.cloned().collect::<BTreeSet<_>>() {
            let os = std::ffi::OsStr::from_bytes(&name);
            let upper = upper
                .filter(|_| above.contains(&name))
                .map(|dir| dir.join(os));
            let lower = lower
                .filter(|_| below.contains(&name))
                .map(|dir| dir.join(os));
            let opaque = hidden.contains(&name)
                || upper.as_deref().is_some_and(|dir| {
                    self.mark(dir, "opaque") == Some(b"y".to_vec())
                        || dir.join(".wh..wh..opq").exists()
                });
            let is_dir = |path: &Path| fs::symlink_metadata(path).unwrap().is_dir();
            let path = format!("{path}/{}", name.escape_ascii());
            let top = upper.as_deref().or(lower.as_deref()).unwrap();
            self.object(&path, top);
            if is_dir(top) {
                let lower = lower.as_deref().filter(|lower| !opaque && is_dir(lower));
                self.dir(&path, upper.as_deref(), lower);
            }
        }
    }

    fn object(&mut self, path: &str, at: &Path) {
        let stat = fs::symlink_metadata(at).unwrap();
        let mut words = format!("{:o} {}:{}", stat.mode(), stat.uid(), stat.gid());
        if !stat.is_dir() {
            words += &format!(" {} {}", stat.rdev(), stat.size());
        }
        words += &format!(" m{}.{}", stat.mtime(), stat.mtime_nsec());
        if stat.is_file() {
            words += &format!(" {:?}", fs::read(at).unwrap());
            // A hole stays one.
            words += if stat.blocks() * 512 < stat.size() {
                " sparse"
            } else {
                ""
            };
        }
        if stat.is_symlink() {
            words += &format!(" -> {:?}", fs::read_link(at).unwrap());
        }
        if stat.nlink() > 1 && !stat.is_dir() {
            let first = self.links.entry((stat.dev(), stat.ino()));
            words += &format!(" = {}", first.or_insert_with(|| path.to_owned()));
        }
        for (name, value) in xattrs(at) {
            let is_mark =
                name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
            if !is_mark {
                words += &format!(" {}={value:?}", name.escape_ascii());
            }
        }
        self.view.insert(path.to_owned(), words);
    }
}

fn names(dir: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().as_bytes().to_vec())
        .collect()
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 65536];
    let length = llistxattr(path, &mut list).unwrap();
    let names = list[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty());
    let read = |name: &[u8]| {
        let mut value = vec![0; 65536];
        let length = lgetxattr(path, name, &mut value).unwrap();
        (name.to_vec(), value[..length].to_vec())
    };
    names.map(read).collect()
}
