//! Options for how a mount is served: what the kernel caches, how large requests are, how many threads there are.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal};

use crate::foreground::Foreground;
use crate::ground::{Ground, LIMIT, Server, can_mount};
use crate::shared::settle;

/// Counts the requests of some names while `work` is done in a mount with `options`.
#[track_caller]
fn requests(options: &str, names: &[&str], work: impl FnOnce(&Ground)) -> u64 {
    let ground = Ground::new();
    fs::write(ground.at("l/f"), vec![b'x'; 1 << 16]).unwrap();
    let mut server = Foreground::start(&ground, &["-o", options]);
    work(&ground);
    server.signal(Signal::USR1);
    let report = server.says("copied_bytes ");
    server.signal(Signal::TERM);
    assert_eq!(server.ends(), Some(0));
    let counts = report.iter().filter_map(|line| {
        let (name, count) = line.strip_prefix("operation.")?.split_once(' ')?;
        names.contains(&name).then(|| count.parse::<u64>().unwrap())
    });
    counts.sum()
}

#[test]
fn the_kernel_asks_again_when_a_timeout_has_passed() {
    if !can_mount("the_kernel_asks_again_when_a_timeout_has_passed") {
        return;
    }
    let stat = |name: &'static str| {
        move |ground: &Ground| {
            for _ in 0..5 {
                fs::symlink_metadata(ground.at("m").join(name)).ok();
            }
        }
    };
    let lookups = |options, name| requests(options, &["lookup"], stat(name));
    let attributes = |options| requests(options, &["getattr", "statx"], stat("f"));
    for name in ["f", "none"] {
        assert_eq!(lookups("rw", name), 1, "{name}");
        assert_eq!(lookups("timeout=1000.5", name), 1, "{name}");
        assert_eq!(lookups("timeout=0", name), 5, "{name}");
    }
    assert_eq!(lookups("entry_timeout=0", "f"), 5);
    assert_eq!(lookups("entry_timeout=0", "none"), 1);
    assert_eq!(lookups("negative_timeout=0", "none"), 5);
    assert_eq!(lookups("negative_timeout=0", "f"), 1);
    let cached = attributes("rw");
    assert!(cached <= 2, "{cached}");
    let asked = attributes("attr_timeout=0");
    assert!(asked >= 5, "{asked}");
}

#[test]
fn ovl_138_an_open_is_a_message_only_where_layers_are_shared() {
    if !can_mount("ovl_138_an_open_is_a_message_only_where_layers_are_shared") {
        return;
    }
    let opens = |options| {
        requests(options, &["open", "opendir"], |ground| {
            for _ in 0..5 {
                fs::read(ground.at("m/f")).unwrap();
                assert_eq!(fs::read_dir(ground.at("m")).unwrap().count(), 1);
            }
        })
    };
    assert_eq!(opens("rw"), 2);
    assert_eq!(opens("shared"), 10);
}

#[test]
fn ovl_138_a_file_that_nobody_changes_is_read_once() {
    if !can_mount("ovl_138_a_file_that_nobody_changes_is_read_once") {
        return;
    }
    let reads = |times: usize| {
        requests("shared", &["read"], move |ground| {
            settle(&ground.at("l/f"));
            for _ in 0..times {
                fs::read(ground.at("m/f")).unwrap();
            }
        })
    };
    let (once, often) = (reads(1), reads(100));
    assert!(once > 0);
    // A file may be opened again before the server has heard that it was closed.
    assert!(often < 50 * once, "{often} requests, of {once} each");
}

#[test]
fn max_read_splits_reads() {
    if !can_mount("max_read_splits_reads") {
        return;
    }
    let reads = |options| {
        requests(options, &["read"], |ground| {
            assert_eq!(fs::read(ground.at("m/f")).unwrap().len(), 1 << 16);
        })
    };
    let free = reads("max_read=0");
    assert!(free <= 4, "{free}");
    assert_eq!(reads("max_read=4096"), 16);
    assert_eq!(reads("max_read=8192"), 8);
}

#[test]
fn sync_makes_each_write_an_fsync() {
    if !can_mount("sync_makes_each_write_an_fsync") {
        return;
    }
    let fsyncs = |options| {
        requests(options, &["fsync"], |ground| {
            let mut file = File::create(ground.at("m/new")).unwrap();
            for _ in 0..3 {
                file.write_all(b"x").unwrap();
            }
        })
    };
    assert_eq!(fsyncs("rw"), 0);
    assert_eq!(fsyncs("sync"), 3);
    assert_eq!(fsyncs("sync,async"), 0);
}

/// Returns name and state of each thread of a process.
fn threads(pid: i32) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let parts = stats.filter_map(|stat| {
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
    });
    parts.collect()
}

#[test]
fn threads_are_as_many_as_asked_for() {
    if !can_mount("threads_are_as_many_as_asked_for") {
        return;
    }
    for (options, readers) in [
        ("rw", 2),
        ("max_idle_threads=5", 5),
        ("max_threads=1", 1),
        ("threaded=0", 1),
    ] {
        let ground = Ground::new();
        ground.mount(&["-o", options]);
        let pid = ground.server().pid();
        let begun = Instant::now();
        // The keeper starts the readers besides the first, then it waits.
        loop {
            let threads = threads(pid);
            let waits = threads
                .iter()
                .any(|(name, state)| name == "mica-fuse-keep" && state == "S");
            let count = threads
                .iter()
                .filter(|(name, _)| name == "mica-fuse")
                .count();
            if waits && count >= readers {
                assert_eq!(count, readers, "{options}: {threads:?}");
                break;
            }
            assert!(begun.elapsed() < LIMIT, "{options}: {threads:?}");
            thread::yield_now();
        }
    }
}

#[test]
fn debug_stays_in_the_foreground_and_logs() {
    if !can_mount("debug_stays_in_the_foreground_and_logs") {
        return;
    }
    let link = Path::new("fuse-overlayfs");
    for (called, arguments) in [
        (
            None,
            &["mount", "-o", "lowerdir=l,userxattr,debug", "m"][..],
        ),
        (None, &["mount", "-d", "-o", "lowerdir=l,userxattr", "m"]),
        (Some(link), &["-d", "-o", "lowerdir=l", "m"]),
        (Some(link), &["-odebug,lowerdir=l", "m"]),
    ] {
        let ground = Ground::new();
        let mut command = match called {
            Some(name) => ground.called_as(name.to_str().unwrap(), arguments),
            None => ground.mica(arguments),
        };
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(" mounted ") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "{arguments:?}");
        }
        let server = Server::watch(Pid::from_child(&child));
        server.signal(Signal::TERM);
        server.ends();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn auto_unmount_ends_the_mount_of_a_server_that_is_killed() {
    if !can_mount("auto_unmount_ends_the_mount_of_a_server_that_is_killed") {
        return;
    }
    for more in [&[][..], &["--no-sandbox"]] {
        let ground = Ground::new();
        ground.mount(&[&["-o", "auto_unmount"], more].concat());
        let server = ground.server();
        server.dies();
        let begun = Instant::now();
        while ground.mounted("m").is_some() {
            assert!(begun.elapsed() < LIMIT, "it stays mounted, {more:?}");
            thread::yield_now();
        }
    }
}
