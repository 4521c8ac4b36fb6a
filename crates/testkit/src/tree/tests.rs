use mica_tmpfs::Tmpfs;
use mica_vfs::{FileFlags, FileType, Filesystem as _, NodeId, Rdev};

use super::{Body, Tree, build};
use crate::{Detail, Walk, dump};

#[test]
fn every_form_is_built() {
    let fs = Tmpfs::new();
    build(
        &fs,
        NodeId::ROOT,
        "e/ e/a='1' e/b='two \\'words\\'\\n'@4640~5:6 e/l->../x y->'a b' e/gone:whiteout op:opaque
         f:fifo@0600 s:socket dev:char(1,3) disk:block(8,16) h=>e/a big=hole(1M) deep/er/x=''[user.k=v,user.l='a,]']
         w:whiteouts w/z:xwhiteout t='x'!77 fl/^aA",
    );
    let walk = Walk::new(&fs);
    assert_eq!(walk.read("e/b").unwrap(), b"two 'words'\n");
    let b = walk.stat("e/b").unwrap();
    assert_eq!((b.mode.bits(), b.uid, b.gid), (0o4640, 5, 6));
    assert_eq!(walk.readlink("e/l").unwrap(), "../x");
    assert_eq!(walk.readlink("y").unwrap(), "a b");
    assert_eq!(walk.stat("e/gone").unwrap().rdev, Rdev::WHITEOUT);
    assert_eq!(walk.getxattr("op", "trusted.overlay.opaque").unwrap(), b"y");
    assert_eq!(walk.stat("f").unwrap().kind, FileType::Fifo);
    assert_eq!(
        walk.stat("disk").unwrap().rdev,
        Rdev {
            major: 8,
            minor: 16
        }
    );
    assert_eq!(walk.stat("h").unwrap().ino, walk.stat("e/a").unwrap().ino);
    let big = walk.stat("big").unwrap();
    assert_eq!((big.size, big.blocks), (1 << 20, 0));
    assert_eq!(walk.getxattr("deep/er/x", "user.l").unwrap(), b"a,]");
    assert_eq!(walk.getxattr("w", "trusted.overlay.opaque").unwrap(), b"x");
    assert!(walk.getxattr("w/z", "trusted.overlay.whiteout").is_ok());
    assert_eq!(walk.stat("t").unwrap().mtime.secs, 77);
    let flags = fs.file_flags(walk.hold("fl").unwrap().node());
    assert_eq!(flags, Ok(FileFlags::APPEND | FileFlags::NOATIME));
    assert_eq!(fs.referenced_nodes(), Ok(0));
}

#[test]
fn a_printed_tree_reads_back() {
    let tree = Tree::from(
        "e/ e/a='1' e/b='two \\'words\\'\\n'@4640~5:6 y->'a b' e/gone:whiteout op:opaque@0700
         f:fifo@0600 s:socket dev:char(1,3) disk:block(8,16) h=>e/a big=hole(1048576)!-5
         deep/er/x=''[user.k=v,user.l='a,]'] w:whiteouts w/z:xwhiteout t='x'!77 fl='x'@0640^iA",
    );
    assert_eq!(Tree::from(tree.to_string().as_str()), tree);
}

#[test]
fn a_wrong_word_is_named() {
    for (literal, word) in [
        ("a='1' b", "`b`"),
        ("a='1", "not closed"),
        ("a=1", "quoted"),
        ("a:nothing", "`nothing` is no type"),
        ("a='1'?", "`?` is no attribute"),
        ("a/../b='1'", "names parted by single slashes"),
        ("a='1' a='2'", "there already"),
        ("a='1'@9", "`9` is no number"),
        ("a='\\q'", "`\\q` is no escape"),
        ("a:char(1)", "`1)` is no number"),
        ("a=hole(x)", "`x` is no size"),
    ] {
        let error = literal.parse::<Tree>().unwrap_err();
        assert!(error.contains(word), "{literal}: {error}");
    }
}

#[test]
fn directories_on_the_way_come_first_and_once() {
    let tree = Tree::from("a/b/c='1' a/b/d='2' e/");
    let paths: Vec<_> = tree.0.iter().map(|item| item.path.as_str()).collect();
    assert_eq!(paths, ["a", "a/b", "a/b/c", "a/b/d", "e"]);
}

#[test]
fn a_built_tree_dumps_the_same_wherever_it_lies() {
    let (a, b) = (Tmpfs::new(), Tmpfs::new());
    let literal = "d/ d/a='1' d/b=>d/a l->x";
    build(&a, NodeId::ROOT, literal);
    Walk::new(&b).mkdir("sub").unwrap();
    let sub = Walk::new(&b).hold("sub").unwrap();
    build(&b, sub.node(), literal);
    assert_eq!(
        dump(&a, NodeId::ROOT, Detail::empty()),
        dump(&b, sub.node(), Detail::empty())
    );
    assert_eq!(Tree::from(literal).0[0].body, Body::Directory);
}
