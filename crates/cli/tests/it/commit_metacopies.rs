//! `mica diff` and `mica commit` of an upper that the kernel wrote with `metacopy=on`: files of it have no data, which is the
//! machine's.

use std::ffi::OsStr;
use std::process::Command;

use mica::Sessions;
use tempfile::TempDir;

use crate::ground::{Outcome, can_mount, run};

/// What is below.
const MAKE: &str = "mkdir -p tree/d tree/e tree/far one; for f in a b c d/x d/y e/f e/g h; do printf 'line\\n%s\\n' $f > tree/$f; done; \
                    touch -h -d @1000000 tree/* tree/*/*";

/// Changes the tree of which the kernel has a view: none of it needs data of files.
const CHANGE: &str = "chmod 600 a; mv b b2; mv c d/c2; mkdir n; mv e/f n/f; chown 5:6 n/f; mv d moved; chmod 640 moved/x; mv moved/y moved/z; \
                      ln a a2; mv e/g h; echo more >> moved/x";

/// Makes a tree, changes a view of it that the kernel mounts, and then does `script` with its upper as that of a session.
fn with_upper(change: &str, script: &str) -> Outcome {
    let dir = TempDir::new().unwrap();
    let at = |path: &str| dir.path().join(path);
    let make = |script: &str| {
        let mut command = Command::new("unshare");
        let mica = env!("CARGO_BIN_EXE_mica");
        command.args(["-m", "sh", "-ec", &script.replace("MICA", mica)]);
        run(command
            .env("XDG_STATE_HOME", dir.path())
            .current_dir(dir.path()))
    };
    let made = make(MAKE);
    assert_eq!(made.status, Some(0), "{made:?}");
    let sessions = Sessions::new(at("mica/sessions"));
    drop(
        sessions
            .enter(Some(OsStr::new("s")), Some(&at("tree")))
            .unwrap(),
    );
    let s = "mica/sessions/s";
    let changed = make(&format!(
        "mount -t overlay -o lowerdir=tree,upperdir={s}/upper,workdir={s}/work,metacopy=on,redirect_dir=on o one; \
         cp -a --sparse=never one expected; (cd expected; {change}); (cd one; {change}); getfattr -h -R -d -m overlay.metacopy {s}/upper"
    ));
    assert!(
        changed.stdout.matches("metacopy").count() >= 3,
        "{changed:?}"
    );
    make(script)
}

#[test]
fn files_of_an_upper_that_have_no_data_are_committed_with_that_of_the_machine() {
    let test = "files_of_an_upper_that_have_no_data_are_committed_with_that_of_the_machine";
    if !can_mount(test) {
        return;
    }
    let state = "find . -mindepth 1 -printf '%P %y %m %U:%G %n %s\\n' | sort; find . -type f | sort | xargs md5sum";
    let done = with_upper(
        CHANGE,
        &format!(
            "MICA diff s; MICA diff --patch s /h | grep ^[-+]; echo other >> tree/a; echo other >> expected/a; \
             MICA commit s --force; for t in tree expected; do (cd $t; {{ {state}; }} > ../$t.state); done; \
             diff tree.state expected.state && echo same"
        ),
    );
    let expected = "M  /a  (mode 0644 -> 0600)\nA  /a2\nR  /b -> /b2\nD  /e/g\nM  /h\nR  /d/ -> /moved/\nR  /c -> /moved/c2\n\
                    M  /moved/x  (content, mode 0644 -> 0640)\nR  /moved/y -> /moved/z\nA  /n/\nR  /e/f -> /n/f  (owner 0:0 -> 5:6)\n\
                    --- a/h\n+++ b/h\n-h\n+e/g\nsame\n";
    assert_eq!(done.stdout, expected, "{done:?}");
}
