//! The threads that serve a mount: enough of them, and not more.

use std::fs;
use std::sync::{Arc, Condvar, Mutex};

use mica_fuse::{MountOptions, Session, SessionConfig, Threads};
use mica_tmpfs::{Clock, Limits, SystemClock, Tmpfs};
use mica_vfs::Time;

use crate::mounted::mount;

/// A clock that makes whoever asks wait while it is shut: making an object asks.
#[derive(Debug, Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn shut(&self) {
        *self.shut.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.shut.lock().unwrap() = false;
        self.opened.notify_all();
    }
}

impl Clock for Gate {
    fn now(&self) -> Time {
        let shut = self.shut.lock().unwrap();
        drop(self.opened.wait_while(shut, |shut| *shut).unwrap());
        SystemClock.now()
    }
}

#[test]
fn a_request_is_served_while_more_readers_than_usual_are_busy() {
    let test = "a_request_is_served_while_more_readers_than_usual_are_busy";
    if mount(test).is_none() {
        return;
    }
    let gate = Arc::<Gate>::default();
    let fs = Arc::new(Tmpfs::with_clock(Limits::default(), gate.clone()));
    let dir = tempfile::tempdir().unwrap();
    let config = SessionConfig {
        threads: Threads { least: 2, most: 6 },
        ..SessionConfig::default()
    };
    let session = Session::mount(fs, dir.path(), &MountOptions::default(), config).unwrap();
    let busy = 5;
    for n in 0..busy {
        fs::create_dir(dir.path().join(n.to_string())).unwrap();
    }
    gate.shut();
    let creates = || session.stats().requests_named("CREATE");
    std::thread::scope(|scope| {
        for n in 0..busy {
            let path = dir.path().join(format!("{n}/f"));
            scope.spawn(move || fs::write(path, "").unwrap());
        }
        while creates() < busy {
            std::thread::yield_now();
        }
        // All five are in the filesystem and cannot end. A sixth thread answers this.
        let missing = fs::symlink_metadata(dir.path().join("missing"));
        gate.open();
        assert_eq!(missing.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    });
    session.unmounter().unmount().unwrap();
    session.join().unwrap();
}
