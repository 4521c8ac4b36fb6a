//! `mica export`: what is in a lower, in a session, and what no layer can hold.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use mica_testkit::{Detail, dump_host};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

use crate::do_run::Place;
use crate::ground::{Ground, can_mount, is_root, ok, run};
use crate::layers::sh;

/// Names of the entries, without the root.
fn listed(ground: &Ground, archive: &str) -> String {
    let outcome = sh(ground, &format!("tar -tf {archive}"));
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    outcome.stdout.replacen("./\n", "", 1)
}

#[test]
fn what_was_renamed_is_exported_whole_or_refused() {
    if !can_mount("what_was_renamed_is_exported_whole_or_refused") {
        return;
    }
    let ground = Ground::new();
    for path in ["d/sub/deep", "d/f", "d/gone", "d/link", "other/f", "meta"] {
        fs::create_dir_all(ground.at("l").join(path).parent().unwrap()).unwrap();
        fs::write(ground.at("l").join(path), path).unwrap();
    }
    fs::hard_link(ground.at("l/d/link"), ground.at("l/d/link2")).unwrap();
    let options = "lowerdir=l,upperdir=u,workdir=w,metacopy=on,redirect_dir=on";
    assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok());
    let changed = sh(
        &ground,
        "cd m; mv d moved; rm moved/gone; echo x > moved/sub/new; mkdir d; mv other moved/sub; chmod 711 meta",
    );
    assert_eq!(changed, ok());
    let expected = dump_host(&ground.at("m"), Detail::LINKS).to_string();
    ground.unmount("m");

    let refused = ground.run(&["export", "u", "-o", "layer.tar"]);
    assert_eq!(
        refused.stderr,
        "error: cannot export `u`\n\
         caused by: `/meta` cannot be exported: it is a redirect or a metacopy, whose other part is in a lower layer\n\
         hint: name the lower directories with `--lower DIR`, topmost first, or run `mica convert --no-redirects` before\n"
    );
    assert_eq!(refused.status, Some(1));
    fs::create_dir(ground.at("empty")).unwrap();
    let refused = ground.run(&["export", "u", "--lower", "empty", "-o", "layer.tar"]);
    assert!(
        refused.stderr.contains("have nothing where it leads"),
        "{refused:?}"
    );
    let left: Vec<_> = fs::read_dir(ground.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().contains("layer"))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    let exported = ground.run(&["export", "u", "--lower", "l", "-o", "layer.tar"]);
    assert_eq!(exported, ok());
    assert_eq!(ground.run(&["import", "layer.tar", "new"]).stderr, "");
    let mounted = sh(&ground, "mount -t overlay overlay -o ro,lowerdir=new:l m");
    assert_eq!(mounted, ok());
    assert_eq!(
        dump_host(&ground.at("m"), Detail::LINKS).to_string(),
        expected
    );
}

#[test]
fn a_session_is_exported_by_its_name() {
    if !can_mount("a_session_is_exported_by_its_name") {
        return;
    }
    let place = Place::new();
    let ran = run(&mut place.script(&[], "echo 1 > new; rm gone"));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let ground = Ground::new();
    let out = ground.at("layer.tar");
    let to = out.to_str().unwrap();
    let exported = run(&mut place.mica(&["export", "1", "-o", to]));
    assert_eq!(exported, ok());
    let below = place.at("d");
    let below = below.strip_prefix("/").unwrap().display().to_string();
    let list = listed(&ground, "layer.tar");
    let names: Vec<_> = list.lines().filter(|line| !line.ends_with('/')).collect();
    assert_eq!(names, [format!("{below}/.wh.gone"), format!("{below}/new")]);
    let again = run(&mut place.mica(&["tar", "rootfs-upper", "--file", to, "1"]));
    assert_eq!(again, ok());
    let mut piped = place.mica(&["export", "1"]);
    let piped = piped.output().unwrap();
    assert!(piped.status.success());
    assert_eq!(piped.stdout, fs::read(&out).unwrap());
    let missing = run(&mut place.mica(&["export", "7", "-o", to]));
    assert_eq!(missing.status, Some(1), "{missing:?}");
}

#[test]
fn what_no_layer_can_hold_is_refused_with_its_name() {
    if !is_root("what_no_layer_can_hold_is_refused_with_its_name") {
        return;
    }
    let refused = |prepare: &dyn Fn(&Path), said: &str| {
        let ground = Ground::new();
        prepare(&ground.at("u"));
        let outcome = ground.run(&["export", "u", "-o", "layer.tar"]);
        assert_eq!(outcome.status, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains(said), "{said}: {outcome:?}");
        assert!(!ground.at("layer.tar").exists());
    };
    refused(
        &|u| fs::write(u.join(".wh.f"), "").unwrap(),
        "`/.wh.f` cannot be exported: its name would be that of a whiteout",
    );
    refused(
        &|u| {
            let name = u.join("n".repeat(252));
            mknodat(CWD, name, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        },
        "cannot be exported: its name is too long for a whiteout",
    );
    refused(
        &|u| {
            fs::create_dir(u.join("d")).unwrap();
            let (name, value) = ("trusted.overlay.redirect", b"/x");
            setxattr(u.join("d"), name, value, XattrFlags::empty()).unwrap();
        },
        "`/d` cannot be exported: it is a redirect or a metacopy",
    );
}

#[test]
fn attributes_that_would_be_marks_are_left_out_and_told() {
    if !is_root("attributes_that_would_be_marks_are_left_out_and_told") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("u/f"), "").unwrap();
    for name in ["trusted.overlay.origin", "user.overlay.opaque", "user.kept"] {
        setxattr(ground.at("u/f"), name, b"v", XattrFlags::empty()).unwrap();
    }
    let outcome = ground.run(&["export", "u", "-o", "layer.tar"]);
    assert_eq!(
        outcome.stderr,
        "note: `/f`: the attribute `user.overlay.opaque` is left out\n"
    );
    let archive = fs::read(ground.at("layer.tar")).unwrap();
    let has = |text: &str| archive.windows(text.len()).any(|at| at == text.as_bytes());
    assert!(has("SCHILY.xattr.user.kept=v\n"));
    assert!(!has("overlay"));
}

#[test]
fn an_upper_in_use_is_refused_and_nothing_is_written_into_one() {
    if !can_mount("an_upper_in_use_is_refused_and_nothing_is_written_into_one") {
        return;
    }
    let ground = Ground::new();
    let inside = ground.run(&["export", "u", "-o", "u/layer.tar"]);
    assert_eq!(inside.status, Some(2), "{inside:?}");
    assert_eq!(fs::read_dir(ground.at("u")).unwrap().count(), 0);
    ground.mount(&[]);
    let used = ground.run(&["export", "u", "-o", "layer.tar"]);
    assert_eq!(used.status, Some(1), "{used:?}");
    assert!(used.stderr.contains("is in use"), "{used:?}");
    ground.unmount("m");
    assert_eq!(ground.run(&["export", "u", "-o", "layer.tar"]), ok());
    let mode = fs::metadata(ground.at("layer.tar")).unwrap().mode();
    assert_eq!(mode & 0o111, 0);
}

#[test]
fn what_a_session_renamed_is_exported_whole() {
    if !can_mount("what_a_session_renamed_is_exported_whole") {
        return;
    }
    let place = Place::new();
    fs::create_dir_all(place.at("d/dir/sub")).unwrap();
    fs::write(place.at("d/dir/sub/f"), "machine").unwrap();
    fs::write(place.at("d/dir/gone"), "").unwrap();
    let ran = run(&mut place.script(&[], "mv dir moved; rm moved/gone; echo 1 > moved/new"));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let ground = Ground::new();
    let out = ground.at("layer.tar");
    let exported = run(&mut place.mica(&["export", "1", "-o", out.to_str().unwrap()]));
    assert_eq!(exported, ok());
    let below = place.at("d");
    let below = format!("{}/", below.strip_prefix("/").unwrap().display());
    let list = listed(&ground, "layer.tar");
    let names: Vec<_> = list
        .lines()
        .filter_map(|line| line.strip_prefix(&below))
        .collect();
    assert_eq!(
        names,
        [
            "",
            ".wh.dir",
            "moved/",
            "moved/.wh..wh..opq",
            "moved/new",
            "moved/sub/",
            "moved/sub/f"
        ]
    );
    let read = sh(&ground, &format!("tar -xOf layer.tar {below}moved/sub/f"));
    assert_eq!(read.stdout, "machine");
}
