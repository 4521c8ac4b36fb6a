//! Listings: complete, without repeats, and with a place that can be gone back to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};

use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};

use crate::mounted::on_mount;

/// Reads up to `count` entries from where `dir` stands; their names and where to go on after each.
fn read_some(dir: &std::os::fd::OwnedFd, count: usize) -> Vec<(String, u64)> {
    let mut space = [std::mem::MaybeUninit::uninit(); 4096];
    let mut raw = RawDir::new(dir, &mut space);
    let mut listed = Vec::new();
    while listed.len() < count {
        let Some(entry) = raw.next() else { break };
        let entry = entry.unwrap();
        let name = entry.file_name().to_str().unwrap().to_owned();
        listed.push((name, entry.next_entry_cookie()));
    }
    listed
}

fn open_dir(path: &std::path::Path) -> std::os::fd::OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

on_mount! {
    fn ten_thousand_names_are_listed_once_while_others_come_and_go(mounted) {
        let names = 10_000;
        for n in 0..names {
            fs::write(mounted.path(&format!("stay{n}")), "").unwrap();
        }
        let root = mounted.root().to_owned();
        let listed = std::thread::scope(|scope| {
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            let writer_root = root.clone();
            scope.spawn(move || {
                use std::sync::mpsc::TryRecvError;
                for n in 0.. {
                    if stopped.try_recv() != Err(TryRecvError::Empty) {
                        break;
                    }
                    let (a, b) = (writer_root.join(format!("go{n}")), writer_root.join("moved"));
                    fs::write(&a, "").unwrap();
                    fs::rename(&a, &b).unwrap();
                    fs::remove_file(&b).unwrap();
                }
            });
            let mut listed = BTreeMap::new();
            let mut cookie = 0;
            // Another descriptor for each part: the cookie alone says where to go on.
            for part in 0.. {
                let dir = open_dir(&root);
                rustix::fs::seek(&dir, SeekFrom::Start(cookie)).unwrap();
                let some = read_some(&dir, 1 + part * 37 % 400);
                let Some((_, next)) = some.last() else { break };
                cookie = *next;
                for (name, _) in some {
                    *listed.entry(name).or_insert(0) += 1;
                }
            }
            drop(stop);
            listed
        });
        for n in 0..names {
            assert_eq!(listed.get(&format!("stay{n}")), Some(&1), "stay{n}");
        }
        assert_eq!((listed["."], listed[".."]), (1, 1));
    }
}

on_mount! {
    fn a_place_can_be_gone_back_to(mounted) {
        for n in 0..500 {
            fs::write(mounted.path(&format!("f{n}")), "").unwrap();
        }
        let dir = open_dir(mounted.root());
        let all = read_some(&dir, usize::MAX);
        assert_eq!(all.len(), 502);
        for place in [0, 1, 2, 3, 100, 400] {
            rustix::fs::seek(&dir, SeekFrom::Start(all[place].1)).unwrap();
            assert_eq!(read_some(&dir, usize::MAX), all[place + 1..]);
        }
    }
}

on_mount! {
    fn a_listing_tells_the_inode_numbers_that_stat_tells(mounted) {
        fs::create_dir(mounted.path("d")).unwrap();
        for n in 0..50 {
            fs::write(mounted.path(&format!("d/f{n}")), "").unwrap();
        }
        fs::create_dir(mounted.path("d/sub")).unwrap();
        for entry in fs::read_dir(mounted.path("d")).unwrap() {
            let entry = entry.unwrap();
            let stat = fs::symlink_metadata(entry.path()).unwrap();
            assert_eq!(entry.ino(), stat.ino());
            assert_eq!(entry.file_type().unwrap(), stat.file_type());
        }
    }
}

on_mount! {
    fn a_change_shows_in_the_next_listing(mounted) {
        let list = || -> BTreeSet<String> {
            fs::read_dir(mounted.root())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        };
        assert!(list().is_empty());
        fs::write(mounted.path("a"), "").unwrap();
        assert_eq!(list(), BTreeSet::from(["a".to_owned()]));
        fs::rename(mounted.path("a"), mounted.path("b")).unwrap();
        assert_eq!(list(), BTreeSet::from(["b".to_owned()]));
        fs::remove_file(mounted.path("b")).unwrap();
        assert!(list().is_empty());
    }
}

on_mount! {
    fn a_walk_without_stat_asks_for_few_attributes(mounted) {
        for d in 0..60 {
            fs::create_dir(mounted.path(&format!("d{d}"))).unwrap();
            for f in 0..20 {
                fs::write(mounted.path(&format!("d{d}/f{f}")), "").unwrap();
            }
        }
        drop_caches();
        let before = mounted.session().stats().references_held();
        for d in 0..60 {
            assert_eq!(fs::read_dir(mounted.path(&format!("d{d}"))).unwrap().count(), 20);
        }
        let references = mounted.session().stats().references_held().saturating_sub(before);
        // 1,200 files and 60 directories.
        assert!(references < 400, "{references}");
    }
}

on_mount! {
    fn a_walk_with_stat_looks_few_names_up(mounted) {
        for d in 0..60 {
            fs::create_dir(mounted.path(&format!("d{d}"))).unwrap();
            for f in 0..20 {
                fs::write(mounted.path(&format!("d{d}/f{f}")), "").unwrap();
            }
        }
        drop_caches();
        let before = mounted.requests("LOOKUP");
        for d in 0..60 {
            for entry in fs::read_dir(mounted.path(&format!("d{d}"))).unwrap() {
                fs::symlink_metadata(entry.unwrap().path()).unwrap();
            }
        }
        let lookups = mounted.requests("LOOKUP") - before;
        assert!(lookups < 200, "{lookups}");
    }
}

/// Has the kernel forget names and inodes, where it lets us.
fn drop_caches() {
    if fs::write("/proc/sys/vm/drop_caches", "2").is_err() {
        eprintln!("caches stay: not root");
    }
}
