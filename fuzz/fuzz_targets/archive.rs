//! What `mica import` reads of an archive that is not trusted, of whichever compression.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut source = data;
    drop(mica::check_archive(&mut source));
});
