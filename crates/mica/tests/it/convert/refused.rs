//! What is refused before anything is touched.

use std::path::Path;

use mica::{StackError, Unsayable};

use super::*;

#[test]
fn ovl_154_what_a_form_cannot_say_is_refused_by_name_before_anything_is_touched() {
    let test = "ovl_154_what_a_form_cannot_say_is_refused_by_name_before_anything_is_touched";
    if !possible(test) {
        return;
    }
    type Case = (
        fn(&Ground),
        Form,
        Option<XattrNamespace>,
        &'static str,
        Unsayable,
    );
    let user = Some(XattrNamespace::User);
    let escaped = b"trusted.overlay.overlay.opaque".to_vec();
    let others = b"user.overlay.opaque".to_vec();
    let cases: [Case; 9] = [
        (
            |g| g.write("u/d/.wh.file", "data"),
            Form::Named,
            None,
            "/d/.wh.file",
            Unsayable::NameIsMark(Form::Named),
        ),
        (
            |g| g.device("u/d/.wh.gone"),
            Form::Named,
            None,
            "/d/.wh.gone",
            Unsayable::NameIsMark(Form::Named),
        ),
        (
            |g| g.write("u/d/.wh.empty", ""),
            Form::Xattr,
            None,
            "/d/.wh.empty",
            Unsayable::Mixed,
        ),
        (
            |g| g.device(&format!("u/{}", "x".repeat(252))),
            Form::Named,
            None,
            "",
            Unsayable::NameTooLong(Form::Named),
        ),
        (
            |g| g.device(&format!("u/{}", "x".repeat(231))),
            Form::Old,
            None,
            "",
            Unsayable::NameTooLong(Form::Old),
        ),
        (
            |g| g.mark("u/d", "trusted.overlay.redirect", b"x"),
            Form::Named,
            None,
            "/d",
            Unsayable::Redirect,
        ),
        (
            |g| g.mark("u/d", "trusted.overlay.overlay.opaque", b"y"),
            Form::Device,
            user,
            "/d",
            Unsayable::Escaped {
                name: escaped.clone(),
            },
        ),
        (
            |g| {
                g.mark("u/d", "trusted.overlay.impure", b"y");
                g.mark("u/d", "user.overlay.opaque", b"y");
            },
            Form::Device,
            user,
            "/d",
            Unsayable::OtherPrefix {
                name: others.clone(),
            },
        ),
        (
            |g| (0..400).for_each(|n| g.device(&format!("u/d/{n:0200}"))),
            Form::Old,
            None,
            "/d",
            Unsayable::NoRoom,
        ),
    ];
    // The cases are functions, so that each can be made anew.
    for (make, to, prefix, path, wanted) in cases {
        let ground = Ground::new();
        ground.write("u/d/f", "f");
        ground.device("u/d/w");
        make(&ground);
        let before = hash_tree(&ground.at("u"));
        for output in [None, Some(ground.at("anew"))] {
            let mut spec = ground.spec("u", to);
            spec.prefix = prefix;
            spec.output = output;
            let refused = run(&spec);
            let Err(ConvertError::Unsayable { path: found, why }) = refused else {
                panic!("{wanted:?}: {refused:?}");
            };
            assert_eq!(why, wanted);
            assert!(
                path.is_empty() || found == Path::new(path),
                "{wanted:?}: {found:?}"
            );
            assert_eq!(hash_tree(&ground.at("u")), before, "{wanted:?}");
            assert!(
                !ground.at(".u.mica-convert").exists() && !ground.at(".anew.mica-convert").exists()
            );
        }
    }
}

#[test]
fn a_new_directory_that_holds_something_is_refused_and_so_is_one_inside_the_upper() {
    if !possible("a_new_directory_that_holds_something_is_refused_and_so_is_one_inside_the_upper") {
        return;
    }
    let ground = used();
    ground.write("anew/mine", "mine");
    let mut spec = ground.spec("u", Form::Named);
    spec.output = Some(ground.at("anew"));
    assert!(matches!(run(&spec), Err(ConvertError::NotEmpty { .. })));
    assert_eq!(fs::read_to_string(ground.at("anew/mine")).unwrap(), "mine");
    spec.output = Some(ground.at("u/d/anew"));
    assert!(matches!(
        run(&spec),
        Err(ConvertError::Stack(StackError::Inside { .. }))
    ));
}
