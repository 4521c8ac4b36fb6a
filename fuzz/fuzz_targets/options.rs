//! Mount options: any bytes, as one or several `-o`.

#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use mica::{LAYERS_MAX, MountSpec};

fuzz_target!(|data: &[u8]| {
    // A command line holds no NUL.
    match MountSpec::parse(data.split(|byte| *byte == 0).map(OsStr::from_bytes)) {
        Ok(spec) => {
            assert!(
                (1..=LAYERS_MAX).contains(&spec.stack.lower.len()),
                "number of lowers"
            );
            assert!(
                spec.stack
                    .lower
                    .iter()
                    .all(|dir| !dir.as_os_str().is_empty()),
                "an empty lower"
            );
        }
        Err(error) => {
            let text = error.to_string();
            assert!(
                !text.is_empty() && !text.contains(|c: char| c.is_control()),
                "message {text:?}"
            );
        }
    }
});
