use std::collections::BTreeMap;

use mica_vfs::{Cookie, Errno, FileType, Filesystem, Flow, RenameFlags};

use crate::stage::*;

#[test]
fn a_listing_tells_number_and_type() {
    let fs = tmpfs();
    let dir = mkdir(&fs, ROOT, "d");
    let mut seen = Vec::new();
    fs.read_dir(ROOT, Cookie::START, &mut |entry| {
        seen.push((entry.ino, entry.kind));
        Flow::Continue
    })
    .unwrap();
    assert_eq!(seen, [(attr(&fs, dir).ino, Some(FileType::Directory))]);
    let node = file(&fs, ROOT, "f");
    let listed = fs.read_dir(node, Cookie::START, &mut |_| Flow::Continue);
    assert_eq!(listed, Err(Errno::NOTDIR));
}

#[test]
fn the_entry_that_stopped_a_listing_comes_first_in_the_next() {
    let fs = tmpfs();
    for at in 0..300 {
        file(&fs, ROOT, &format!("f{at}"));
    }
    let mut seen = Vec::new();
    let mut from = Cookie::START;
    loop {
        let mut room = 7;
        let before = seen.len();
        fs.read_dir(ROOT, from, &mut |entry| {
            if room == 0 {
                return Flow::Stop;
            }
            room -= 1;
            seen.push(entry.name.to_string());
            from = entry.cookie;
            Flow::Continue
        })
        .unwrap();
        if seen.len() == before {
            break;
        }
    }
    let expected: Vec<_> = (0..300).map(|at| format!("f{at}")).collect();
    assert_eq!(seen, expected);
}

#[test]
fn names_that_stay_are_listed_once_whatever_happens_meanwhile() {
    let fs = tmpfs();
    for at in 0..1000 {
        file(&fs, ROOT, &format!("stay{at}"));
        file(&fs, ROOT, &format!("go{at}"));
    }
    let mut seen = BTreeMap::<String, u32>::new();
    let mut turn = 0;
    fs.read_dir(ROOT, Cookie::START, &mut |entry| {
        *seen.entry(entry.name.to_string()).or_default() += 1;
        // The sink is called without a lock, so it may change what it reads.
        if turn < 1000 {
            fs.unlink(ROOT, name(&format!("go{}", 999 - turn))).unwrap();
            file(&fs, ROOT, &format!("new{turn}"));
            let stays = format!("stay{turn}");
            let new = format!("new{turn}");
            rename(&fs, (ROOT, &new), (ROOT, &stays), RenameFlags::empty()).unwrap();
            turn += 1;
        }
        Flow::Continue
    })
    .unwrap();
    for at in 0..1000 {
        assert_eq!(seen.get(&format!("stay{at}")), Some(&1), "stay{at}");
    }
    assert!(seen.values().all(|&count| count == 1));
}

#[test]
fn a_listing_with_attributes_ends_the_reference_of_what_was_refused() {
    let fs = tmpfs();
    for at in ["a", "b", "c"] {
        let node = file(&fs, ROOT, at);
        fs.forget(node, 1);
    }
    let mut taken = Vec::new();
    fs.read_dir_plus(ROOT, Cookie::START, &mut |_, node| {
        if taken.len() == 2 {
            return Flow::Stop;
        }
        taken.push(node.unwrap());
        Flow::Continue
    })
    .unwrap();
    assert_eq!(fs.referenced_nodes(), Ok(2));
    for entry in taken {
        assert_eq!(entry.attr, attr(&fs, entry.node));
        fs.forget(entry.node, 1);
    }
    assert_eq!(fs.referenced_nodes(), Ok(0));
}
