//! Help, versions and command lines that make no sense.

use crate::ground::{Ground, Outcome, mica, run};

#[test]
fn help_is_data_and_succeeds() {
    for arguments in [
        &["help"][..],
        &["--help"],
        &["mount", "--help"],
        &["help", "umount"],
    ] {
        let outcome = run(&mut mica(arguments));
        assert_eq!(outcome.status, Some(0), "{arguments:?}");
        assert!(outcome.stdout.contains("Usage: mica"), "{}", outcome.stdout);
        assert_eq!(outcome.stderr, "");
    }
}

#[test]
fn the_help_of_mount_lists_every_option() {
    let help = run(&mut mica(&["mount", "--help"])).stdout;
    for option in [
        "lowerdir=",
        "lowerdir+=",
        "upperdir=",
        "workdir=",
        "userxattr",
        "fsync=auto|strict|volatile",
        "volatile\n",
        "ro,",
        "rw",
        "noatime",
        " atime",
        "strictatime",
        "relatime",
        "nodiratime",
        "nodev",
        " dev,",
        "nosuid",
        " suid,",
        "noexec",
        " exec,",
        "nosymfollow",
        " symfollow\n",
        "sync, async",
        "allow_other",
        "allow_root",
        "auto_unmount",
        " timeout=",
        "entry_timeout=",
        "negative_timeout=",
        "attr_timeout=",
        "max_read=",
        "max_threads=",
        "max_idle_threads=",
        "threaded=",
        " context=",
        "fscontext=",
        "defcontext=",
        "rootcontext=",
        "fsname=",
        "subtype=",
        "debug\n",
        "remount\n",
    ] {
        assert!(help.contains(option), "{option} is not in:\n{help}");
    }
    assert!(
        !help.contains("--server") && !help.contains("--manner"),
        "{help}"
    );
    let table = help.lines().skip_while(|line| *line != "Mount options:");
    let long: Vec<&str> = table.filter(|line| line.len() > 78).collect();
    assert_eq!(long, [""; 0], "a terminal breaks the table");
}

#[test]
fn the_version_is_said() {
    let outcome = run(&mut mica(&["--version"]));
    let version = format!("mica {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((outcome.status, outcome.stdout), (Some(0), version));
}

#[test]
fn a_wrong_command_line_is_status_2() {
    for arguments in [
        &[][..],
        &["mount"],
        &["umount"],
        &["wibble"],
        &["mount", "-o"],
        &["mount", "--wibble", "m"],
        &["mount", "-o", "lowerdir=l", "m", "m2"],
        &["mount", "-o", "lowerdir=l", "--log-level", "loud", "m"],
    ] {
        let outcome = run(&mut mica(arguments));
        assert_eq!(
            (outcome.status, outcome.stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
        outcome.assert_said("--help");
    }
}

#[test]
fn a_wrong_option_is_status_2_and_named() {
    let ground = Ground::new();
    for (options, stderr) in [
        (
            "lowerdri=l",
            "error: unknown mount option `lowerdri`\n\
             hint: did you mean `lowerdir`? `mica mount --help` lists all options\n",
        ),
        (
            "lowerdir=l,wibble=1",
            "error: unknown mount option `wibble`\n\
             hint: `mica mount --help` lists all options\n",
        ),
        (
            "upperdir=u,workdir=w",
            "error: mount option `lowerdir` is missing\n\
             hint: give at least one directory: `mica mount -o lowerdir=DIR MOUNTPOINT`\n",
        ),
        (
            "lowerdir=l,upperdir=u",
            "error: `upperdir` is given, but `workdir` is missing\n\
             hint: add an empty directory next to the upper one: `mkdir u.work`, then `-o workdir=u.work`\n",
        ),
    ] {
        let expected = Outcome {
            status: Some(2),
            stdout: String::new(),
            stderr: stderr.into(),
        };
        assert_eq!(ground.run(&["mount", "-o", options, "m"]), expected);
        assert_eq!(ground.run(&["mount", "-f", "-o", options, "m"]), expected);
    }
}

#[test]
fn statistics_need_a_place() {
    let ground = Ground::new();
    let expected = Outcome {
        status: Some(2),
        stdout: String::new(),
        stderr: "error: `--stats` has no place to write to in the background\n\
                 hint: name a file with `--stats=FILE` or `--log FILE`, or stay in the foreground with `-f`\n"
            .into(),
    };
    assert_eq!(
        ground.run(&["mount", "--stats", "-o", "lowerdir=l", "m"]),
        expected
    );
}
