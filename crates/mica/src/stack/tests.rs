//! Each refusal with the words that a person reads.

use std::fs;
use std::os::unix::fs::symlink;

use mica_vfs::{FileName, Filesystem as _, NodeId};
use tempfile::TempDir;

use crate::options::UpperSpec;

use super::*;

mod foreign;
mod words;

/// A directory with the parts of a stack in it.
struct Ground {
    dir: TempDir,
}

impl Ground {
    /// Makes the named directories.
    fn with(names: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        for name in names {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn spec(&self, lower: &[&str], upper: Option<(&str, &str)>) -> StackSpec {
        let at = |name: &str| self.dir.path().join(name);
        StackSpec {
            upper: upper.map(|(dir, work)| UpperSpec {
                dir: at(dir),
                work: at(work),
            }),
            // Works as any user.
            xattrs: XattrNamespace::User,
            redirects: crate::RedirectDir::Off,
            uuid: crate::OverlayUuid::Null,
            ..StackSpec::new(lower.iter().map(|name| at(name)).collect())
        }
    }

    /// Opens a stack that must be refused, and returns message and hint with `$` for the ground's path.
    fn refusal(&self, lower: &[&str], upper: Option<(&str, &str)>) -> (String, String) {
        let error = Stack::open(&self.spec(lower, upper)).unwrap_err();
        let ground = self.dir.path().to_str().unwrap();
        let show = |text: String| text.replace(ground, "$");
        (
            show(error.to_string()),
            show(error.hint().unwrap_or_default()),
        )
    }
}

#[track_caller]
fn refused(made: &[&str], lower: &[&str], upper: Option<(&str, &str)>, message: &str, hint: &str) {
    let (said, hinted) = Ground::with(made).refusal(lower, upper);
    assert_eq!((said.as_str(), hinted.as_str()), (message, hint));
}

#[test]
fn a_missing_directory_is_named() {
    refused(
        &["a"],
        &["a", "b"],
        None,
        "lowerdir `$/b` does not exist",
        r"see how far the path leads with `namei $/b`; a `:` or `,` that belongs to a path is written `\:` or `\,`",
    );
    refused(
        &["l", "w"],
        &["l"],
        Some(("u", "w")),
        "upperdir `$/u` does not exist",
        "make it with `mkdir -p $/u`",
    );
    refused(
        &["l", "u"],
        &["l"],
        Some(("u", "w")),
        "workdir `$/w` does not exist",
        "make it with `mkdir -p $/w`",
    );
}

#[test]
fn a_file_is_no_layer() {
    let ground = Ground::with(&["l"]);
    fs::write(ground.dir.path().join("f"), "").unwrap();
    let (message, hint) = ground.refusal(&["l", "f"], None);
    assert_eq!(message, "lowerdir `$/f` is not a directory");
    assert_eq!(
        hint,
        "a layer is a directory; see what this is with `ls -ld $/f`"
    );
    let (message, _) = ground.refusal(&["l", "f/x"], None);
    assert_eq!(message, "lowerdir `$/f/x` is not a directory");
}

#[test]
fn one_directory_is_not_two_layers() {
    refused(
        &["a", "b"],
        &["a", "b", "a"],
        None,
        "lowerdir `$/a` is the same directory as lowerdir `$/a`",
        "name each layer once",
    );
    refused(
        &["a", "w"],
        &["a"],
        Some(("a", "w")),
        "lowerdir `$/a` is the same directory as upperdir `$/a`",
        "changes would be made in a layer that must not change; choose another directory",
    );
    refused(
        &["l", "u"],
        &["l"],
        Some(("u", "u")),
        "workdir `$/u` is the same directory as upperdir `$/u`",
        "the two hold different things; try `mkdir $/u.work`, then `-o workdir=$/u.work`",
    );
}

#[test]
fn a_symbolic_link_does_not_hide_that_two_layers_are_one() {
    let ground = Ground::with(&["a"]);
    symlink("a", ground.dir.path().join("b")).unwrap();
    let (message, _) = ground.refusal(&["a", "b"], None);
    assert_eq!(
        message,
        "lowerdir `$/b` is the same directory as lowerdir `$/a`"
    );
}

#[test]
fn upper_and_work_are_separate() {
    refused(
        &["l", "u/w"],
        &["l"],
        Some(("u/", "u/w")),
        "workdir `$/u/w` is inside upperdir `$/u/`",
        "try `mkdir $/u.work`, then `-o workdir=$/u.work`",
    );
    refused(
        &["l", "w/deep/u"],
        &["l"],
        Some(("w/deep/u", "w")),
        "upperdir `$/w/deep/u` is inside workdir `$/w`",
        "try `mkdir $/w/deep/u.work`, then `-o workdir=$/w/deep/u.work`",
    );
}

#[test]
fn layers_do_not_overlap() {
    refused(
        &["a/b"],
        &["a", "a/b"],
        None,
        "lowerdir `$/a/b` is inside lowerdir `$/a`",
        "its files would be there twice; leave one of the two layers out",
    );
    let outside = "a change would change the lower layer, too; choose an upperdir and a workdir outside of `$/l`, or on another filesystem (`findmnt -O rw` lists them)";
    refused(
        &["l/u", "w"],
        &["l"],
        Some(("l/u", "w")),
        "upperdir `$/l/u` is inside lowerdir `$/l`",
        outside,
    );
    refused(
        &["l/w", "u"],
        &["l"],
        Some(("u", "l/w")),
        "workdir `$/l/w` is inside lowerdir `$/l`",
        outside,
    );
    refused(
        &["u/l", "w"],
        &["u/l"],
        Some(("u", "w")),
        "lowerdir `$/u/l` is inside upperdir `$/u`",
        "a change would change the lower layer, too; move it out with `mv $/u/l NEWPLACE`",
    );
}

#[test]
fn a_second_stack_on_an_upper_or_a_workdir_is_refused() {
    let ground = Ground::with(&["l", "u", "w", "u2", "w2"]);
    let first = Stack::open(&ground.spec(&["l"], Some(("u", "w")))).unwrap();
    let own = std::process::id();
    let hint =
        format!("`ps -fp {own}` shows it; or give this mount an upperdir and a workdir of its own");
    let by = format!("is in use by process {own}, whose mount is not in sight");
    for (upper, work, dir) in [
        ("u", "w", "upperdir `$/u`"),
        ("u", "w2", "upperdir `$/u`"),
        ("u2", "w", "workdir `$/w`"),
    ] {
        let refused = ground.refusal(&["l"], Some((upper, work)));
        assert_eq!(refused, (format!("{dir} {by}"), hint.clone()));
    }
    drop(first);
    Stack::open(&ground.spec(&["l"], Some(("u", "w")))).unwrap();
}

#[test]
fn an_open_stack_shows_its_layers_merged() {
    let ground = Ground::with(&["l/from-lower", "u/from-upper", "w"]);
    let stack = Stack::open(&ground.spec(&["l"], Some(("u", "w")))).unwrap();
    for name in ["from-lower", "from-upper"] {
        let name = FileName::new(name.as_bytes()).unwrap();
        let entry = stack.overlay().lookup(NodeId::ROOT, name).unwrap();
        stack.overlay().forget(entry.node, 1);
    }
}

#[test]
fn a_path_with_control_bytes_is_shown_escaped() {
    refused(
        &["l"],
        &["\x1b[2Jx"],
        None,
        r"lowerdir `$/\u{1b}[2Jx` does not exist",
        r"see how far the path leads with `namei '$/\u{1b}[2Jx'`; a `:` or `,` that belongs to a path is written `\:` or `\,`",
    );
}
