//! Uppers with redirects and metacopies, made by the kernel, become plain ones.

use std::path::Path;

use mica::{CheckSpec, ConvertError, ConvertSpec, Unsayable, check};
use mica_testkit::{Detail, Dump, dump_host, hash_tree};
use rustix::mount::{UnmountFlags, unmount};

use super::*;

const FOLLOWED: &str = "redirect_dir=on,metacopy=on,index=off";
const PLAIN: &str = "redirect_dir=nofollow,metacopy=off,index=off";

/// Mounts the stack with the kernel, runs a script in it, and returns what it shows then.
#[track_caller]
fn on_kernel(ground: &Ground, upper: &str, options: &str, script: &str) -> Dump {
    let m = ground.at("m");
    std::fs::create_dir_all(&m).unwrap();
    let mount = format!(
        "rm -rf w/index w/work; mount -t overlay overlay -o lowerdir=l:l2,upperdir={upper},workdir=w,{options} m"
    );
    shell(ground.0.path(), &mount);
    let mounted = Mounted(&m);
    shell(&m, script);
    let dump = dump_host(&m, Detail::MTIME | Detail::NLINK);
    drop(mounted);
    dump.without_root()
}

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        unmount(self.0, UnmountFlags::DETACH).unwrap();
    }
}

/// Makes an upper in which nearly everything lies elsewhere.
fn moved() -> Ground {
    let ground = Ground::new();
    for name in [
        "l/a/x",
        "l/a/sub/y",
        "l/a/sub/deep/z",
        "l/b/one",
        "l/c/c",
        "l2/a/sub/from2",
        "l2/a/low",
        "l2/b/two",
        "l2/only2/f",
    ] {
        ground.write(name, name);
    }
    ground.write("l/big", &"data".repeat(5000));
    ground.write("l2/a/big", &"more".repeat(5000));
    std::fs::hard_link(ground.at("l/b/one"), ground.at("l/b/uno")).unwrap();
    std::os::unix::fs::symlink("x", ground.at("l/a/link")).unwrap();
    ground.mark("l/a/sub", "user.kept", b"1");
    let script = "
        mv a moved; mv moved/sub inner; rm inner/y; mkdir a; echo new > a/new
        mv b renamed; rm renamed/two; mv inner/deep renamed/deep
        chmod 600 big; mv big bigger; mv moved/big small; chown 5:6 small; touch -d 2003-03-03 small
        mv c cc; mv cc/c cc/d; mkdir only2/n; mv only2 moved/only
        echo changed > moved/x";
    on_kernel(&ground, "u", FOLLOWED, script);
    ground
}

fn plainly(ground: &Ground, upper: &str) -> ConvertSpec {
    ConvertSpec {
        upper: ground.at(upper),
        lowers: vec![ground.at("l"), ground.at("l2")],
        no_redirects: true,
        ..ConvertSpec::default()
    }
}

#[test]
fn ovl_155_an_upper_without_redirects_shows_the_same_tree_to_those_who_follow_none() {
    let test = "ovl_155_an_upper_without_redirects_shows_the_same_tree_to_those_who_follow_none";
    if !possible(test) {
        return;
    }
    let ground = moved();
    let lowers = [hash_tree(&ground.at("l")), hash_tree(&ground.at("l2"))];
    let expected = on_kernel(&ground, "u", FOLLOWED, "");
    let mut copied = plainly(&ground, "u");
    copied.output = Some(ground.at("anew"));
    run(&copied).unwrap();
    ground.copy("u", "there");
    run(&plainly(&ground, "there")).unwrap();
    let mut named = copied.clone();
    named.output = Some(ground.at("named"));
    named.to = Some(Form::Named);
    run(&named).unwrap();
    run(&ground.spec("named", Form::Device)).unwrap();
    for upper in ["there", "anew", "named"] {
        let found = on_kernel(&ground, upper, PLAIN, "");
        // Hard links of a lower that are not copied up together are files of their own without an index.
        assert_same(&expected, &found, upper);
        let checked = CheckSpec {
            upper: ground.at(upper),
            lowers: vec![ground.at("l"), ground.at("l2")],
            ..CheckSpec::default()
        };
        let checked = check(&checked, &mut |_| {}).unwrap();
        assert!(checked.is_clean(), "{upper}: {:?}", checked.findings);
    }
    assert_eq!(
        lowers,
        [hash_tree(&ground.at("l")), hash_tree(&ground.at("l2"))]
    );
}

#[test]
fn ovl_155_copying_what_was_moved_can_be_stopped_anywhere() {
    let test = "ovl_155_copying_what_was_moved_can_be_stopped_anywhere";
    if !possible(test) {
        return;
    }
    let ground = moved();
    let expected = on_kernel(&ground, "u", FOLLOWED, "");
    for output in [false, true] {
        for nth in 0.. {
            ground.copy("u", "there");
            shell(ground.0.path(), "rm -rf anew .anew.mica-convert");
            let mut spec = plainly(&ground, if output { "u" } else { "there" });
            spec.output = output.then(|| ground.at("anew"));
            let done = run_to(&spec, nth);
            if done.is_ok() {
                assert!(nth > 20);
                break;
            }
            run(&spec).unwrap();
            let upper = if output { "anew" } else { "there" };
            assert_same(
                &expected,
                &on_kernel(&ground, upper, PLAIN, ""),
                &format!("{upper}, {nth}"),
            );
        }
    }
}

#[test]
fn data_only_lowers_are_asked_for_what_no_other_has() {
    let test = "data_only_lowers_are_asked_for_what_no_other_has";
    if !possible(test) {
        return;
    }
    let ground = Ground::new();
    ground.write("l2/blob", "data");
    for name in ["l/f", "u/f"] {
        std::fs::File::create(ground.at(name))
            .unwrap()
            .set_len(4)
            .unwrap();
        ground.mark(name, "trusted.overlay.metacopy", b"");
    }
    ground.mark("l/f", "trusted.overlay.redirect", b"/blob");
    let mut spec = plainly(&ground, "u");
    spec.lowers = vec![ground.at("l")];
    let mut checked = CheckSpec {
        upper: ground.at("u"),
        lowers: spec.lowers.clone(),
        ..CheckSpec::default()
    };
    let found = check(&checked, &mut |_| {}).unwrap();
    assert_eq!(found.findings[0].trouble.code(), "metacopy-without-data");
    let refused = run(&spec).unwrap_err();
    assert!(
        matches!(
            refused,
            ConvertError::Unsayable {
                why: Unsayable::NoData,
                ..
            }
        ),
        "{refused}"
    );
    checked.data = vec![ground.at("l2")];
    spec.data = checked.data.clone();
    assert!(check(&checked, &mut |_| {}).unwrap().is_clean());
    run(&spec).unwrap();
    assert_eq!(std::fs::read_to_string(ground.at("u/f")).unwrap(), "data");
    assert!(
        rustix::fs::lgetxattr(ground.at("u/f"), "trusted.overlay.metacopy", &mut [0; 8]).is_err()
    );
}

#[test]
fn a_metacopy_without_data_is_refused_before_anything_is_touched() {
    let test = "a_metacopy_without_data_is_refused_before_anything_is_touched";
    if !possible(test) {
        return;
    }
    let ground = moved();
    let before = hash_tree(&ground.at("u"));
    let mut spec = plainly(&ground, "u");
    spec.lowers = vec![ground.at("l2")];
    let refused = run(&spec).unwrap_err();
    assert!(
        matches!(&refused, ConvertError::Unsayable { path, why: Unsayable::NoData } if path == Path::new("/bigger")),
        "{refused}"
    );
    assert_eq!(hash_tree(&ground.at("u")), before);
}
