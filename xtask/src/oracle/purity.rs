//! `impure` on directories in which nothing needs it: whether it is taken away says who listed them last (D-35).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::dump::{Dump, Node};

/// Leaves `impure` out of the directories of an upper that do not merge and hold nothing with an origin
/// (ovl_cache_get_impure).
pub(super) fn leave_out(upper: &mut Dump) {
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

    #[test]
    fn a_needless_mark_is_left_out_and_no_other() {
        let mut dump = upper(&[
            ("", &["impure"]),
            ("new", &["impure"]),
            ("new/sub", &["impure"]),
            ("new/sub/copy", &["origin"]),
            ("merged", &["impure", "origin"]),
            ("replaced", &["impure", "origin", "opaque"]),
        ]);
        leave_out(&mut dump);
        let marked = dump
            .iter()
            .filter(|(_, node)| mark(node, ".impure").is_some());
        let marked: Vec<_> = marked.map(|(path, _)| path.to_str().unwrap()).collect();
        assert_eq!(marked, ["", "merged", "new/sub"]);
    }
}
