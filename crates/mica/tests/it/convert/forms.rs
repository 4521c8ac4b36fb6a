//! Every form of whiteouts to every other one, and the marks with them.

use super::*;

#[test]
fn ovl_151_every_form_becomes_every_other_one_and_shows_the_same_tree() {
    let test = "ovl_151_every_form_becomes_every_other_one_and_shows_the_same_tree";
    if !possible(test) {
        return;
    }
    let ground = used();
    let (lower, expected) = (hash_tree(&ground.at("l")), ground.view("u"));
    let kernel = kernel_view(&ground, "u");
    for from in FORMS {
        ground.copy("u", "from");
        run(&ground.spec("from", from)).unwrap();
        assert_eq!(ground.view("from"), expected, "{from}");
        only(&ground.at("from"), from);
        for to in FORMS {
            let what = format!("{from} to {to}");
            ground.copy("from", "there");
            run(&ground.spec("there", to)).unwrap();
            let mut anew = ground.spec("from", to);
            shell(ground.0.path(), "rm -rf anew");
            anew.output = Some(ground.at("anew"));
            run(&anew).unwrap();
            for upper in ["there", "anew"] {
                assert_eq!(ground.view(upper), expected, "{what}, {upper}");
                only(&ground.at(upper), to);
                assert!(!ground.at(&format!(".{upper}.mica-convert")).exists());
                if matches!(to, Form::Device | Form::Xattr) {
                    assert_same(&kernel, &kernel_view(&ground, upper), &what);
                }
                let again = run(&ground.spec(upper, to)).unwrap();
                assert_eq!(again.steps, 0, "{what}, {upper}");
            }
        }
    }
    assert_eq!(hash_tree(&ground.at("l")), lower);
}

#[test]
fn a_whiteout_in_an_opaque_directory_goes_where_it_would_be_listed() {
    if !possible("a_whiteout_in_an_opaque_directory_goes_where_it_would_be_listed") {
        return;
    }
    let ground = used();
    ground.device("u/replaced/gone");
    let expected = ground.view("u");
    run(&ground.spec("u", Form::Xattr)).unwrap();
    assert_eq!(ground.view("u"), expected);
    assert!(!ground.at("u/replaced/gone").exists());
    kernel_view(&ground, "u");
}

#[test]
fn ovl_153_marks_change_their_prefix_and_the_kernel_reads_them_there() {
    let test = "ovl_153_marks_change_their_prefix_and_the_kernel_reads_them_there";
    if !possible(test) {
        return;
    }
    let ground = used();
    let expected = ground.view("u");
    let trusted = kernel_view(&ground, "u");
    ground.copy("u", "there");
    let mut spec = ground.spec("there", Form::Xattr);
    spec.prefix = Some(XattrNamespace::User);
    run(&spec).unwrap();
    assert_eq!(view(&ground.at("there"), &ground.at("l"), "user"), expected);
    shell(ground.0.path(), "rm -rf ku kw && mkdir ku kw");
    let (lowers, ku, kw) = (
        [ground.at("there"), ground.at("l")],
        ground.at("ku"),
        ground.at("kw"),
    );
    let mount =
        KernelMount::new(&lowers, &ku, &kw, XattrNamespace::User, Redirects::NoFollow).unwrap();
    assert_same(&trusted, &mount.dump(Detail::MTIME).without_root(), "user");
    drop(mount);
    let mut back = ground.spec("there", Form::Device);
    back.prefix = Some(XattrNamespace::Trusted);
    run(&back).unwrap();
    assert_eq!(ground.view("there"), expected);
    assert_same(&trusted, &kernel_view(&ground, "there"), "back");
}

#[test]
fn a_whiteout_by_name_beside_a_directory_of_the_name_makes_that_opaque() {
    if !possible("a_whiteout_by_name_beside_a_directory_of_the_name_makes_that_opaque") {
        return;
    }
    let ground = Ground::new();
    ground.write("l/d/old", "old");
    ground.write("l/f", "old");
    ground.write("u/d/new", "new");
    ground.write("u/f", "new");
    for name in ["u/.wh.d", "u/.wh.f"] {
        ground.write(name, "");
    }
    let expected = ground.view("u");
    run(&ground.spec("u", Form::Device)).unwrap();
    assert_eq!(ground.view("u"), expected);
    assert!(!expected.contains_key("/d/old") && expected.contains_key("/d/new"));
    only_files(&ground.at("u"));
}

/// Checks that nothing in an upper is a whiteout.
#[track_caller]
fn only_files(upper: &Path) {
    let mut find = Command::new("find");
    let found = find
        .arg(upper)
        .args(["-type", "c", "-o", "-name", ".wh*"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}
