//! Mount options: any bytes, as one or several `-o`, for each program.

#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use mica::{LAYERS_MAX, Manner, MountFlags, Request};

const MANNERS: [Manner; 4] = [
    Manner::Mica,
    Manner::Mount,
    Manner::SloppyMount,
    Manner::FuseOverlayfs,
];

fuzz_target!(|data: &[u8]| {
    for manner in MANNERS {
        // A command line holds no NUL.
        let strings = data.split(|byte| *byte == 0).map(OsStr::from_bytes);
        match Request::parse(strings, manner) {
            Ok(Request::Mount(spec)) => {
                let lower = &spec.stack.lower;
                assert!((1..=LAYERS_MAX).contains(&lower.len()), "number of lowers");
                let empty = lower.iter().any(|dir| dir.as_os_str().is_empty());
                assert!(!empty, "an empty lower");
                let threads = spec.fuse.threads;
                assert!((1..=threads.most).contains(&threads.least), "{threads:?}");
                let quoted = spec.fuse.labels.iter().any(|label| label.value.is_empty());
                assert!(!quoted, "an empty label");
                for note in &spec.notes {
                    readable(&note.to_string());
                }
            }
            Ok(Request::Remount(change)) => {
                let flags = change.set.union(change.clear);
                assert!(MountFlags::PER_MOUNT.contains(flags), "{flags:?}");
                assert!(!change.set.intersects(change.clear), "{change:?}");
                for note in &change.notes {
                    readable(&note.to_string());
                }
            }
            Err(error) => {
                readable(&error.to_string());
                let hint = error.hint();
                assert!(hint.is_none_or(|hint| !hint.is_empty()), "an empty hint");
            }
        }
    }
});

/// A terminal shows it as it is.
fn readable(text: &str) {
    assert!(
        !text.is_empty() && !text.contains(|c: char| c.is_control()),
        "message {text:?}"
    );
}
