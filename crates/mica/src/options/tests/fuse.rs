//! Options of FUSE: threads, cache times, labels, and what `shared` changes of them.

use mica_fuse::{CacheTimes, Threads};
use mica_vfs::Coherence;

use super::*;

#[test]
fn numbers_have_bounds() {
    let threads = |options| parse(&["lowerdir=l", options]).unwrap().fuse.threads;
    for (options, least, most) in [
        ("ro", 2, 10),
        ("max_threads=4", 2, 4),
        ("max_threads=1", 1, 1),
        ("max_idle_threads=5", 5, 10),
        ("max_idle_threads=20,max_threads=12", 12, 12),
        ("threaded=0", 1, 1),
        ("threaded=0,threaded=1", 2, 10),
        ("max_threads=1000,max_idle_threads=1000", 1000, 1000),
    ] {
        assert_eq!(threads(options), Threads { least, most }, "{options}");
    }
    for (option, expected, example) in [
        ("max_threads=0", "a number from 1 to 1000", "1"),
        ("max_threads=1001", "a number from 1 to 1000", "1"),
        ("max_idle_threads=-1", "a number from 1 to 1000", "1"),
        ("threaded=yes", "a number from 0 to 1", "0"),
        ("max_read=4095", "0 for no limit, or at least 4096", "4096"),
        ("max_read=4k", "a number from 0 to 4294967295", "0"),
    ] {
        let (name, value) = option.split_once('=').unwrap();
        refused(
            &["lowerdir=l", option],
            &format!("bad value `{value}` of mount option `{name}`: {expected}"),
            &format!("write it as in `-o {name}={example}`"),
        );
    }
    let max_read = |options| parse(&["lowerdir=l", options]).unwrap().fuse.max_read;
    assert_eq!(max_read("max_read=8192"), Some(8192));
    assert_eq!(max_read("max_read=8192,max_read=0"), None);
}

#[test]
fn seconds_may_have_a_fraction() {
    let cache = |options| {
        let cache = parse(&["lowerdir=l", options]).unwrap().fuse.cache;
        [cache.entry, cache.negative, cache.attr].map(|time| time.as_secs_f64())
    };
    let year = 365.0 * 24.0 * 60.0 * 60.0;
    for (options, expected) in [
        ("ro", [year, year, year]),
        ("timeout=1000000000", [1e9, 1e9, 1e9]),
        ("timeout=0", [0.0, 0.0, 0.0]),
        ("timeout=1.5", [1.5, 1.5, 1.5]),
        ("timeout=1e9", [1e9, 1e9, 1e9]),
        ("entry_timeout=2.5", [2.5, year, year]),
        ("negative_timeout=.5", [year, 0.5, year]),
        ("attr_timeout=3", [year, year, 3.0]),
        ("attr_timeout=3,timeout=4,entry_timeout=5", [5.0, 4.0, 4.0]),
    ] {
        let found = cache(options);
        let near = found
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near, "{options}: {found:?}");
    }
    for value in ["-1", "nan", "inf", "1s", "1e300", "0x1"] {
        refused(
            &[&format!("lowerdir=l,timeout={value}")],
            &format!(
                "bad value `{value}` of mount option `timeout`: a number of seconds, 0 or more"
            ),
            "write it as in `-o timeout=1.5`",
        );
    }
}

#[test]
fn a_label_may_stand_in_quotes() {
    let labels = |options: &[&str]| {
        let labels = parse(options).unwrap().fuse.labels.into_iter();
        labels
            .map(|label| (label.option, label.value))
            .collect::<Vec<_>>()
    };
    for (options, expected) in [
        (
            r#"lowerdir=l,context="a:b:c0,c1",ro"#,
            ("context", "a:b:c0,c1"),
        ),
        (r#"fscontext="a,b",lowerdir=l"#, ("fscontext", "a,b")),
        ("lowerdir=l,defcontext=a:b:c", ("defcontext", "a:b:c")),
        (r"lowerdir=l,rootcontext=a\,b", ("rootcontext", "a,b")),
        ("lowerdir=l,context=a,context=b", ("context", "b")),
    ] {
        let (option, value) = expected;
        assert_eq!(
            labels(&[options]),
            [(option, value.to_owned())],
            "{options}"
        );
    }
    let spec = parse(&[r#"lowerdir=l,context="a,b",ro"#]).unwrap();
    assert_eq!(spec.flags, MountFlags::READ_ONLY);
    // In a path a quote is a character like any other.
    assert_eq!(lower(&[r#"lowerdir=a"b,ro"#]), [r#"a"b"#]);
    for value in [r#""a"#, r#"a"b"#, r#""""#, r#""a"b"#] {
        refused(
            &[&format!("lowerdir=l,context={value}")],
            &format!(
                "bad value `{value}` of mount option `context`: a label, alone or between two quotes"
            ),
            "write it as in `-o context=\"system_u:object_r:tmp_t:s0:c0,c1\"`",
        );
    }
}

#[test]
fn auto_unmount_is_carried_to_the_server() {
    let flags = |options| parse(&["lowerdir=l", options]).unwrap().flags;
    assert_eq!(flags("auto_unmount"), MountFlags::AUTO_UNMOUNT);
}

#[test]
fn shared_layers_have_short_timeouts_and_contradict_what_relies_on_lowers() {
    for option in ["shared", "shared_layers"] {
        let spec = parse(&[&format!("lowerdir=l,{option}")]).unwrap();
        assert_eq!(spec.stack.coherence, Coherence::Shared);
        assert_eq!(spec.fuse.cache, CacheTimes::SHARED);
    }
    let spec = parse(&["lowerdir=l,attr_timeout=5,shared"]).unwrap();
    let attr = std::time::Duration::from_secs(5);
    let times = CacheTimes {
        attr,
        ..CacheTimes::SHARED
    };
    assert_eq!(spec.fuse.cache, times);
    let plain = parse(&["lowerdir=l"]).unwrap();
    assert_eq!(plain.stack.coherence, Coherence::Exclusive);
    assert_eq!(plain.fuse.cache, CacheTimes::default());
    for other in ["metacopy=on", "index=on", "datadir+"] {
        let given = match other {
            "datadir+" => "lowerdir=l::d,shared".to_owned(),
            other => format!("lowerdir=l,{other},shared"),
        };
        let one = "shared";
        assert_eq!(parse(&[&given]), Err(OptionError::Conflict { one, other }));
    }
}

#[test]
fn what_becomes_of_pages_depends_on_shared() {
    for (option, noted_with_shared) in [
        ("auto_cache", true),
        ("auto_inval_data", true),
        ("kernel_cache", false),
        ("noauto_cache", false),
        ("no_auto_inval_data", false),
    ] {
        for (shared, noted) in [("shared", noted_with_shared), ("rw", !noted_with_shared)] {
            match parse(&[&format!("lowerdir=l,{option},{shared}")]) {
                Ok(spec) => assert!(noted && spec.notes.len() == 1, "{option} {shared}"),
                Err(OptionError::Refused { .. }) => assert!(!noted, "{option} {shared}"),
                Err(error) => panic!("{option} {shared}: {error}"),
            }
        }
    }
}
