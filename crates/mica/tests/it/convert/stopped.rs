//! A conversion that is stopped, and what is kept until it is gone on with.

use std::path::Path;

use mica::{CheckSpec, Stack, StackError, StackSpec, UpperSpec, check};

use super::*;

#[test]
fn ovl_152_a_conversion_that_is_stopped_anywhere_is_gone_on_with() {
    let test = "ovl_152_a_conversion_that_is_stopped_anywhere_is_gone_on_with";
    if !possible(test) {
        return;
    }
    let ground = used();
    let expected = ground.view("u");
    for (from, to) in [
        (Form::Device, Form::Named),
        (Form::Named, Form::Xattr),
        (Form::Xattr, Form::Old),
        (Form::Old, Form::Device),
    ] {
        ground.copy("u", "from");
        run(&ground.spec("from", from)).unwrap();
        for output in [None, Some(ground.at("anew"))] {
            let mut points = 0;
            while stopped_at(&ground, (from, to), output.as_deref(), points) {
                points += 1;
            }
            assert!(points > 20, "{from} to {to}: {points} points");
            assert_eq!(ground.view("from"), expected, "the source changed");
        }
    }
}

/// Stops a conversion at its `nth` point, goes on with it and compares; returns whether it has so many points.
fn stopped_at(ground: &Ground, (from, to): (Form, Form), output: Option<&Path>, nth: u64) -> bool {
    ground.copy("from", "there");
    shell(ground.0.path(), "rm -rf anew .anew.mica-convert");
    let (upper, result) = if output.is_some() {
        ("from", "anew")
    } else {
        ("there", "there")
    };
    let mut spec = ground.spec(upper, to);
    spec.output = output.map(Path::to_owned);
    let what = format!("{from} to {to}, stopped at {nth}");
    let done = run_to(&spec, nth);
    match done {
        Ok(_) => return false,
        Err(ConvertError::Stopped) => {}
        Err(error) => panic!("{what}: {error}"),
    }
    let is_marked =
        rustix::fs::lgetxattr(ground.at(result), "trusted.mica.convert", &mut [0; 256]).is_ok();
    let opened = open(ground, result);
    assert_eq!(
        matches!(opened, Err(StackError::HalfConverted { .. })),
        is_marked,
        "{what}: {opened:?}"
    );
    if is_marked {
        let mut other = spec.clone();
        other.prefix = Some(XattrNamespace::User);
        assert!(
            matches!(
                run(&other),
                Err(ConvertError::Other { .. } | ConvertError::Unsayable { .. })
            ),
            "{what}"
        );
    }
    let ended = run(&spec)
        .unwrap_or_else(|error| panic!("{what}: {error}: {:?}", std::error::Error::source(&error)));
    assert!(ended.resumed || !is_marked, "{what}");
    // The source of a copy is as it was; in place another form may have been reached before the mark went.
    assert_eq!(ground.view(result), ground.view("from"), "{what}");
    only(&ground.at(result), to);
    assert!(
        !ground.at(&format!(".{result}.mica-convert")).exists(),
        "{what}"
    );
    true
}

fn open(ground: &Ground, upper: &str) -> Result<(), StackError> {
    Stack::open(&StackSpec {
        uuid: mica::OverlayUuid::Null,
        upper: Some(UpperSpec {
            dir: ground.at(upper),
            work: ground.at("w"),
        }),
        ..StackSpec::new(vec![ground.at("l")])
    })
    .map(drop)
}

#[test]
fn a_work_directory_keeps_the_journal_and_the_kernel_refuses_it_meanwhile() {
    let test = "a_work_directory_keeps_the_journal_and_the_kernel_refuses_it_meanwhile";
    if !possible(test) {
        return;
    }
    let ground = used();
    let mut spec = ground.spec("u", Form::Xattr);
    spec.work = Some(ground.at("w"));
    let expected = ground.view("u");
    let stopped = run_to(&spec, 6);
    assert!(matches!(stopped, Err(ConvertError::Stopped)));
    let lowers = [ground.at("l")];
    let (upper, work) = (ground.at("u"), ground.at("w"));
    let refused = KernelMount::new(
        &lowers,
        &upper,
        &work,
        XattrNamespace::Trusted,
        Redirects::NoFollow,
    );
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(22));
    let found = check(
        &CheckSpec {
            upper: upper.clone(),
            work: Some(work.clone()),
            ..CheckSpec::default()
        },
        &mut |_| {},
    )
    .unwrap();
    let kinds: Vec<_> = found
        .findings
        .iter()
        .map(|finding| finding.trouble.code())
        .collect();
    assert!(
        kinds.contains(&"half-converted") && kinds.contains(&"incompatible"),
        "{kinds:?}"
    );
    // Without the work directory there is no journal.
    let elsewhere = ground.spec("u", Form::Xattr);
    assert!(matches!(
        run(&elsewhere),
        Err(ConvertError::NoJournal { .. })
    ));
    assert!(run(&spec).unwrap().resumed);
    assert_eq!(ground.view("u"), expected);
    assert!(!ground.at("w/work/incompat").exists());
}
