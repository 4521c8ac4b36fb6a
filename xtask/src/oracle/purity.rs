//! `impure` where it says who was there, and not what is there: on directories in which nothing needs it whoever listed them
//! last takes it away (D-35), and in a user namespace the kernel does not give it for what it copied in an earlier mount (D-33).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::layout::Rights;
use crate::dump::{Dump, Node};

/// Leaves `impure` out of the directories of an upper that do not merge and hold nothing with an origin
/// (ovl_cache_get_impure). In a user namespace it is left out of all: an empty origin is none to the kernel that reads it
/// (ovl_check_origin), and marks no directory into which it moves, also when it has gone from there since.
pub(super) fn leave_out(upper: &mut Dump, rights: Rights) {
    if rights != Rights::All {
        for node in upper.values_mut() {
            node.xattrs.retain(|name, _| !is_mark(name, ".impure"));
        }
        return;
    }
    let needed: BTreeSet<PathBuf> = upper
        .iter()
        .filter(|(_, node)| mark(node, ".origin").is_some())
        .filter_map(|(path, _)| path.parent().map(Path::to_path_buf))
        .collect();
    for (path, node) in upper.iter_mut() {
        let merges = path.as_os_str().is_empty()
            || mark(node, ".origin").is_some() && mark(node, ".opaque").is_none_or(|it| it != "y");
        if !merges && !needed.contains(path) {
            node.xattrs.retain(|name, _| !is_mark(name, ".impure"));
        }
    }
}

fn is_mark(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix)
        .is_some_and(|head| head.ends_with(".overlay"))
}

fn mark<'a>(node: &'a Node, suffix: &str) -> Option<&'a str> {
    let mut all = node.xattrs.iter();
    all.find(|(name, _)| is_mark(name, suffix))
        .map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes an upper of paths with their marks.
    fn upper(nodes: &[(&str, &[&str])]) -> Dump {
        let root = tempfile::tempdir().unwrap();
        let plain = crate::dump::read(root.path()).unwrap();
        let node = |marks: &[&str]| {
            let mut node = plain[Path::new("")].clone();
            let marks = marks.iter().map(|mark| format!("trusted.overlay.{mark}"));
            node.xattrs.extend(marks.map(|name| (name, "y".to_owned())));
            node
        };
        let nodes = nodes.iter();
        nodes
            .map(|(path, marks)| (PathBuf::from(path), node(marks)))
            .collect()
    }

    /// Returns the directories that are marked once the needless marks are left out.
    fn left(rights: Rights) -> Vec<PathBuf> {
        let mut dump = upper(&[
            ("", &["impure"]),
            ("new", &["impure"]),
            ("new/sub", &["impure"]),
            ("new/sub/copy", &["origin"]),
            ("merged", &["impure", "origin"]),
            ("replaced", &["impure", "origin", "opaque"]),
        ]);
        leave_out(&mut dump, rights);
        let marked = dump
            .into_iter()
            .filter(|(_, node)| mark(node, ".impure").is_some());
        marked.map(|(path, _)| path).collect()
    }

    #[test]
    fn a_needless_mark_is_left_out_and_no_other() {
        let expected = ["", "merged", "new/sub"].map(PathBuf::from);
        assert_eq!(left(Rights::All), expected);
    }

    #[test]
    fn where_origins_say_nothing_no_mark_is_compared() {
        assert_eq!(left(Rights::Mapped), Vec::<PathBuf>::new());
    }
}
