//! `mica import`: an archive that is damaged, or made to do harm.

use std::fs;
use std::os::unix::fs::symlink;

use crate::export_archive::{Raw, archive, file, file_of, link, pax, raw, record, seal};
use crate::ground::{Ground, Outcome, is_root};

/// Imports an archive to the new directory `u/new`.
fn import(ground: &Ground, bytes: &[u8], more: &[&str]) -> Outcome {
    fs::write(ground.at("layer"), bytes).unwrap();
    ground.run(&[&["import", "layer", "u/new"], more].concat())
}

/// Expects that an archive is refused with `said`, and that nothing is left of it.
#[track_caller]
fn refused(bytes: &[u8], said: &str) {
    let ground = Ground::new();
    fs::create_dir(ground.at("outside")).unwrap();
    // Nobody has to be root for it.
    let outcome = import(&ground, bytes, &["--owners", "mine"]);
    assert_eq!(outcome.status, Some(1), "{said}: {outcome:?}");
    assert_eq!(outcome.stdout, "");
    assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    let left: Vec<_> = fs::read_dir(ground.at("u")).unwrap().collect();
    assert!(left.is_empty(), "{said}: {left:?}");
    let outside = fs::read_dir(ground.at("outside")).unwrap().count();
    assert_eq!(outside, 0, "{said}");
}

#[track_caller]
fn entries_refused(entries: &[Raw<'_>], said: &str) {
    let entries: Vec<_> = entries.iter().map(Raw::encode).collect();
    refused(&archive(&entries), said);
}

#[test]
fn names_that_lead_out_are_refused() {
    for (name, said) in [
        (
            "../outside/f",
            "entry `../outside/f` is refused: its name has `..` in it",
        ),
        ("a/../../outside/f", "its name has `..` in it"),
        ("a/..", "its name has `..` in it"),
        (
            "/tmp/f",
            "entry `/tmp/f` is refused: its name begins with `/`",
        ),
    ] {
        entries_refused(&[file("first", b"1"), file(name, b"x")], said);
    }
    for key in ["path", "GNU.sparse.name"] {
        let header = pax(&record(key, b"../outside/f"));
        refused(
            &archive(&[header, file("a", b"x").encode()]),
            "has `..` in it",
        );
    }
    let long = file_of(b'L', b"../outside/f\0");
    refused(
        &archive(&[long, file("a", b"x").encode()]),
        "has `..` in it",
    );
    let nul = pax(&record("path", b"a\0b"));
    refused(
        &archive(&[nul, file("a", b"x").encode()]),
        "its name is none",
    );
    let long = pax(&record("path", &[b'n'; 256]));
    refused(
        &archive(&[long, file("a", b"x").encode()]),
        "its name is too long",
    );
    let deep = pax(&record("path", &b"d/".repeat(40_000)));
    refused(
        &archive(&[deep, raw("a", b'5').encode()]),
        "its name is too long",
    );
}

#[test]
fn a_way_through_what_is_no_directory_is_refused() {
    let out = link("d", b'2', "../../outside");
    entries_refused(
        &[out, file("d/f", b"x")],
        "entry `d/f` is refused: the way to it goes through a symbolic link",
    );
    let absolute = link("d", b'2', "/tmp");
    entries_refused(&[absolute, raw("d/e/", b'5')], "through a symbolic link");
    entries_refused(&[file("d", b""), file("d/f", b"x")], "goes through a file");
    entries_refused(&[file(".wh.d/f", b"x")], "goes through a whiteout");
}

#[test]
fn links_to_what_is_not_in_the_archive_are_refused() {
    for (target, said) in [
        ("../../outside", "its name has `..` in it"),
        ("/etc/passwd", "its name begins with `/`"),
        (
            "missing",
            "a link to something that is no file of this archive before it",
        ),
        ("later", "no file of this archive before it"),
        ("dir", "no file of this archive before it"),
        ("./", "no file of this archive before it"),
        (".wh.gone", "no file of this archive before it"),
        ("gone", "no file of this archive before it"),
        ("s/f", "goes through a symbolic link"),
    ] {
        entries_refused(
            &[
                raw("dir/", b'5'),
                file("dir/f", b"x"),
                file(".wh.gone", b""),
                link("s", b'2', "dir"),
                link("l", b'1', target),
                file("later", b"x"),
            ],
            said,
        );
    }
}

#[test]
fn what_is_there_twice_is_refused() {
    for (first, second) in [
        (file("a", b"1"), file("a", b"2")),
        (file("a", b"1"), file("./a", b"2")),
        (raw("a/", b'5'), raw("a/", b'5')),
        (file("a", b"1"), raw("a/", b'5')),
        (raw("a/", b'5'), link("a", b'2', "..")),
        (link("a", b'2', "../../outside"), raw("a/", b'5')),
        (file(".wh.a", b""), file(".wh.a", b"")),
        (raw("./", b'5'), raw("./", b'5')),
    ] {
        entries_refused(&[first, second], "is refused: it is there twice");
    }
    let twice = [
        record("SCHILY.xattr.user.a", b"1"),
        record("SCHILY.xattr.user.a", b"2"),
    ];
    refused(
        &archive(&[pax(&twice.concat()), file("a", b"").encode()]),
        "its attribute `user.a` is none",
    );
}

#[test]
fn devices_are_refused_and_made_if_that_is_asked_for() {
    let null = |sort| Raw {
        device: (1, 3),
        ..raw("null", sort)
    };
    for sort in *b"34" {
        entries_refused(&[null(sort)], "entry `null` is refused: it is a device");
    }
    if !is_root("devices_are_refused_and_made_if_that_is_asked_for") {
        return;
    }
    let ground = Ground::new();
    let outcome = import(&ground, &archive(&[null(b'3').encode()]), &["--devices"]);
    assert_eq!(outcome.stdout, "imported 1 entry\n", "{outcome:?}");
    let ground = Ground::new();
    let whiteout = archive(&[raw("gone", b'3').encode()]);
    let outcome = import(&ground, &whiteout, &["--devices"]);
    let said = "it is the device 0:0, which would be a whiteout";
    assert!(outcome.stderr.contains(said), "{outcome:?}");
}

#[test]
fn whiteouts_that_hide_nothing_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", ".wh..wh.plnk", "d/.wh..wh.aufs"] {
        let said = "such names are kept for whiteouts, and this one hides nothing";
        entries_refused(&[file(name, b"")], said);
    }
    let said = "it is named as a whiteout, and is no empty file";
    entries_refused(&[file(".wh.a", b"x")], said);
    entries_refused(&[raw(".wh.a", b'5')], said);
    entries_refused(&[link("d/.wh..wh..opq", b'2', "x")], said);
    entries_refused(&[file(".wh..wh..opq", b"")], "hides all layers below");
}

#[test]
fn attributes_that_would_be_marks_are_refused() {
    for name in [
        "trusted.overlay.redirect",
        "user.overlay.opaque",
        "trusted.overlay.overlay.opaque",
        "user.fuseoverlayfs.override_stat",
        "user.containers.override_stat",
        "user.mica.convert",
    ] {
        let header = pax(&record(&format!("SCHILY.xattr.{name}"), b"/etc"));
        refused(
            &archive(&[header, raw("d/", b'5').encode()]),
            &format!("entry `d/` is refused: its attribute `{name}` would be a mark of an overlay"),
        );
    }
    let header = pax(&record("SCHILY.xattr.", b"x"));
    refused(
        &archive(&[header, file("f", b"").encode()]),
        "its attribute `` is none",
    );
}

#[test]
fn a_damaged_archive_is_refused() {
    let whole = archive(&[file("a", b"data").encode(), file("b", &[7; 600]).encode()]);
    for end in [
        0,
        1,
        511,
        512,
        600,
        1024,
        1536,
        2047,
        2048,
        2560,
        3071,
        whole.len() - 1,
    ] {
        let said = "the archive ends in the middle";
        if end < whole.len() {
            refused(&whole[..end], said);
        }
    }
    let mut wrong = whole.clone();
    wrong[1024] ^= 1;
    refused(&wrong, "the checksum of a header is wrong");
    refused(
        b"this is no archive at all",
        "the archive ends in the middle",
    );
    refused(&[b'x'; 1024], "the checksum of a header is wrong");
    let more = [whole.clone(), file("c", b"").encode()].concat();
    refused(&more, "there is something after the end of the archive");
    let half_end = [
        file("a", b"").encode(),
        vec![0; 512],
        file("c", b"").encode(),
    ]
    .concat();
    refused(&half_end, "there is something after the end of the archive");
}

#[test]
fn headers_that_make_no_sense_are_refused() {
    let then = |header: Vec<u8>| archive(&[header, file("a", b"").encode()]);
    for records in [&b"x"[..], b"7 a=b\n", b"4 =\n", b"99999 a=b\n"] {
        refused(
            &then(pax(records)),
            "a record of its PAX header makes no sense",
        );
    }
    for (key, value) in [("mtime", "x"), ("uid", "-1"), ("size", "1e3"), ("gid", "")] {
        let records = record(key, value.as_bytes());
        refused(
            &then(pax(&records)),
            "a record of its PAX header makes no sense",
        );
    }
    for (key, value) in [("uid", "4294967295"), ("uid", "4294967296")] {
        let records = record(key, value.as_bytes());
        refused(
            &then(pax(&records)),
            "a number in its header is none, or too large",
        );
    }
    let mut huge = pax(b"");
    huge[124..136].copy_from_slice(b"00010000000\0");
    seal(&mut huge);
    refused(&then(huge), "its PAX header takes more than 1 MiB");
    let mut endless = pax(b"");
    endless[124..136].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    seal(&mut endless);
    refused(&then(endless), "its PAX header takes more than 1 MiB");
    let comment = record("comment", b"c");
    let twice = [pax(&comment), pax(&comment)].concat();
    refused(
        &then(twice),
        "a header for the next entry comes twice, or before no entry",
    );
    refused(
        &archive(&[pax(&comment)]),
        "comes twice, or before no entry",
    );
    let global = file_of(b'g', &record("path", b"b"));
    refused(
        &then(global),
        "a PAX header for all entries says more than a comment",
    );
    for sort in *b"SDMVZ" {
        let said = format!("its type is `{}`, which is not read", char::from(sort));
        entries_refused(&[raw("a", sort)], &said);
    }
    for sort in *b"123456" {
        let with_data = Raw {
            data: b"data",
            link: "x",
            ..raw("a", sort)
        };
        entries_refused(&[with_data], "it has data, and is no file");
    }
    let sparse = |realsize: &[u8]| {
        pax(&[
            record("GNU.sparse.major", b"1"),
            record("GNU.sparse.minor", b"0"),
            record("GNU.sparse.realsize", realsize),
        ]
        .concat())
    };
    for map in [
        &b"1\n0\n5\n"[..],
        b"1\n8\n4\n",
        b"2\n4\n1\n0\n1\n",
        b"x\n",
        b"99999999\n",
    ] {
        let mut data = map.to_vec();
        data.resize(516, 0);
        let entries = [sparse(b"10"), file("a", &data).encode()];
        refused(&archive(&entries), "its map of holes makes no sense");
    }
    let old = pax(&record("GNU.sparse.map", b"0,1"));
    refused(&then(old), "its map of holes makes no sense");
}

#[test]
fn a_directory_with_something_in_it_stays_as_it_is() {
    let ground = Ground::new();
    fs::create_dir(ground.at("u/new")).unwrap();
    symlink("x", ground.at("u/new/here")).unwrap();
    let outcome = import(&ground, &archive(&[file("a", b"").encode()]), &[]);
    assert_eq!(
        outcome.stderr,
        "error: cannot import to `u/new`\ncaused by: `u/new` is not empty\n\
         hint: name a directory that does not exist, or an empty one\n"
    );
    assert_eq!(outcome.status, Some(1));
    assert_eq!(fs::read_dir(ground.at("u/new")).unwrap().count(), 1);
}

#[test]
fn an_empty_directory_that_an_archive_was_refused_for_is_empty_again() {
    let ground = Ground::new();
    fs::create_dir(ground.at("u/new")).unwrap();
    let before = mica_testkit::dump_host(&ground.at("u"), mica_testkit::Detail::MTIME);
    let entries = [
        raw("./", b'5').encode(),
        raw("d/", b'5').encode(),
        file("d/f", b"x").encode(),
        file("e/f", b"x").encode(),
        file("../f", b"").encode(),
    ];
    let outcome = import(&ground, &archive(&entries), &["--owners", "mine"]);
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    let after = mica_testkit::dump_host(&ground.at("u"), mica_testkit::Detail::MTIME);
    assert_eq!(after.to_string(), before.to_string());
}
