//! Few descriptors, many objects, many threads.

use std::collections::HashSet;

use mica_vfs::{Filesystem, KillPriv, Mode, NodeId, RenameFlags};

use crate::ground::{Ground, list, me, name};

const ROOT: NodeId = NodeId::ROOT;
const MODE: Mode = Mode::new(0o600);

#[test]
fn ten_thousand_files_are_served_with_16_descriptors() {
    let ground = Ground::with_limit(16);
    let mut nodes = Vec::new();
    for dir in 0..10 {
        let parent = ground.mkdir(&format!("d{dir}"));
        for file in 0..1000 {
            let made = ground
                .fs
                .create(&me(), parent, name(&format!("f{file}")), MODE)
                .unwrap();
            let data = format!("{dir}/{file}");
            ground
                .fs
                .write(made.node, 0, data.as_bytes(), KillPriv::Keep)
                .unwrap();
            nodes.push((made.node, data));
            assert!(ground.fds.open() <= 16);
        }
    }
    for (node, data) in nodes.iter().rev() {
        assert_eq!(ground.read(*node).unwrap(), data.as_bytes());
        assert!(ground.fds.open() <= 16);
    }
    let distinct: HashSet<_> = nodes.iter().map(|(node, _)| node).collect();
    assert_eq!(distinct.len(), 10_000);
    assert_eq!(ground.fs.nodes(), 10_011);
}

#[test]
fn files_that_lose_one_of_two_names_hold_no_descriptor() {
    let ground = Ground::with_limit(16);
    let [a, b, c] = ["a", "b", "c"].map(|dir| ground.mkdir(dir));
    let files: Vec<_> = (0..200).map(|file| format!("f{file}")).collect();
    for file in &files {
        let made = ground.fs.create(&me(), a, name(file), MODE).unwrap();
        ground
            .fs
            .write(made.node, 0, file.as_bytes(), KillPriv::Keep)
            .unwrap();
        let linked = ground.fs.link(made.node, b, name(file)).unwrap();
        assert_eq!(linked.node, made.node);
    }
    for file in &files {
        // The other name is followed, too.
        ground
            .fs
            .rename(b, name(file), c, name(file), RenameFlags::empty())
            .unwrap();
        let node = ground.fs.lookup(a, name(file)).unwrap().node;
        ground.fs.unlink(a, name(file)).unwrap();
        assert!(ground.fds.open() <= 16, "{} are open", ground.fds.open());
        assert_eq!(ground.read(node).unwrap(), file.as_bytes());
    }
    for file in &files {
        let node = ground.fs.lookup(c, name(file)).unwrap().node;
        ground.fs.forget(node, 4);
    }
    for dir in [a, b, c] {
        ground.fs.forget(dir, 1);
    }
    assert_eq!(ground.fs.nodes(), 1);
}

#[test]
fn a_deep_path_is_walked_with_one_descriptor() {
    let ground = Ground::with_limit(1);
    let mut at = ROOT;
    for _ in 0..200 {
        at = ground
            .fs
            .mkdir(&me(), at, name("d"), Mode::new(0o700))
            .unwrap()
            .node;
    }
    let file = ground.fs.create(&me(), at, name("f"), MODE).unwrap().node;
    ground.fs.write(file, 0, b"bottom", KillPriv::Keep).unwrap();
    ground.empty_cache();
    assert_eq!(ground.read(file).unwrap(), b"bottom");
    assert_eq!(list(&ground.fs, at), ["f"]);
}

#[test]
fn threads_that_create_rename_and_unlink_never_meet_a_wrong_object() {
    let ground = Ground::with_limit(8);
    let dirs = [ground.mkdir("a"), ground.mkdir("b")];
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let (ground, dirs) = (&ground, &dirs);
            scope.spawn(move || {
                let fs = &ground.fs;
                for round in 0..300usize {
                    let mine = format!("t{thread}");
                    let (from, to) = (dirs[round % 2], dirs[(round + thread) % 2]);
                    let node = fs.create(&me(), from, name(&mine), MODE).unwrap().node;
                    let data = format!("{thread} {round}");
                    fs.write(node, 0, data.as_bytes(), KillPriv::Keep).unwrap();
                    let moved = format!("{mine}-moved");
                    fs.rename(from, name(&mine), to, name(&moved), RenameFlags::empty())
                        .unwrap();
                    assert_eq!(ground.read(node).unwrap(), data.as_bytes());
                    let found = fs.lookup(to, name(&moved)).unwrap();
                    assert_eq!(found.node, node);
                    fs.unlink(to, name(&moved)).unwrap();
                    assert_eq!(fs.get_attr(node).unwrap().nlink, 0);
                    assert_eq!(ground.read(node).unwrap(), data.as_bytes());
                    fs.forget(node, 2);
                }
            });
        }
    });
    assert_eq!(ground.fs.nodes(), 3);
}

#[test]
fn what_is_looked_up_while_it_is_renamed_and_removed_stays_usable() {
    let ground = Ground::with_limit(8);
    let dir = ground.mkdir("d");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (ground, done) = (&ground, &done);
        scope.spawn(move || {
            for round in 0..1000 {
                let born = ground.fs.create(&me(), dir, name("x"), MODE).unwrap().node;
                ground.fs.write(born, 0, b"x", KillPriv::Keep).unwrap();
                let flags = RenameFlags::empty();
                ground
                    .fs
                    .rename(dir, name("x"), dir, name("y"), flags)
                    .unwrap();
                if round % 2 == 0 {
                    ground.fs.unlink(dir, name("y")).unwrap();
                }
                ground.fs.forget(born, 1);
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        for _ in 0..2 {
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    for file in ["x", "y"] {
                        if let Ok(found) = ground.fs.lookup(dir, name(file)) {
                            let attr = ground.fs.get_attr(found.node).unwrap();
                            assert_eq!(attr.ino, found.attr.ino);
                            let read = ground.read(found.node).unwrap();
                            assert!(read.is_empty() || read == b"x");
                            ground.fs.forget(found.node, 1);
                        }
                    }
                }
            });
        }
    });
    ground.fs.forget(dir, 1);
    assert_eq!(ground.fs.nodes(), 1);
}

#[test]
fn exchanging_two_files_never_shows_one_as_the_other() {
    let ground = Ground::with_limit(4);
    let (a, b) = (ground.file("a", b"a"), ground.file("b", b"b"));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (ground, done) = (&ground, &done);
        scope.spawn(move || {
            for _ in 0..2000 {
                let flags = RenameFlags::EXCHANGE;
                ground
                    .fs
                    .rename(ROOT, name("a"), ROOT, name("b"), flags)
                    .unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        scope.spawn(move || {
            let inos = [a, b].map(|node| ground.fs.get_attr(node).unwrap().ino);
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                ground.empty_cache();
                for (nth, (node, data)) in [(a, b"a"), (b, b"b")].into_iter().enumerate() {
                    assert_eq!(ground.read(node).unwrap(), data);
                    let change = mica_vfs::SetAttr {
                        mode: Some(MODE),
                        ..Default::default()
                    };
                    ground.empty_cache();
                    assert_eq!(ground.fs.set_attr(node, &change).unwrap().ino, inos[nth]);
                    ground.empty_cache();
                    assert_eq!(ground.fs.get_attr(node).unwrap().ino, inos[nth]);
                }
            }
        });
    });
}
