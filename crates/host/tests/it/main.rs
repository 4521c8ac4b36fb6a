//! The behaviour of a host directory as a filesystem, one file per operation family.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod attr;
mod birth;
mod copy;
mod data;
mod ground;
mod hostile;
mod identity;
mod layer;
mod limits;
mod listing;
mod nameless;
mod names;
mod owners;
mod read_only;
mod xattr;

/// A test file that is not named above would never run.
#[test]
fn no_test_file_is_forgotten() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
    let main = include_str!("main.rs");
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().file_name().into_string().unwrap();
        let module = file.strip_suffix(".rs").unwrap();
        assert!(
            module == "main" || main.contains(&format!("mod {module};")),
            "{file} is in no module"
        );
    }
}
