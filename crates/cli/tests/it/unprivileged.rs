//! OVL-133 to OVL-135: what an overlay may and keeps without privileges, compared with the kernel's in the same namespace.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use rustix::fs::{XattrFlags, listxattr, setxattr};

use crate::ground::{Ground, Outcome, can_mount, run};
use crate::layers::sh;
use crate::users::run_as_nobody;

/// How each of the two mounts `l`, `u` and `w` at `m` with options `$1`.
const DRIVERS: [(&str, &str); 2] = [
    (
        "kernel",
        "mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w,$1 m",
    ),
    (
        "mica",
        "\"$MICA\" mount -o lowerdir=l,upperdir=u,workdir=w,$1 m",
    ),
];

fn attributes(path: &std::path::Path) -> Vec<String> {
    let mut names = vec![0; 4096];
    let len = listxattr(path, &mut names[..]).unwrap();
    let mut names: Vec<_> = names[..len]
        .split(|&b| b == 0)
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8(name.to_vec()).unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn ovl_133_with_userxattr_root_sees_and_copies_trusted_attributes_as_the_kernel_does() {
    if !can_mount(
        "ovl_133_with_userxattr_root_sees_and_copies_trusted_attributes_as_the_kernel_does",
    ) {
        return;
    }
    let names = [
        "trusted.a",
        "trusted.overlay.a",
        "trusted.overlay.opaque",
        "trusted.overlay.overlay.a",
        "user.a",
        "user.overlay.a",
        "user.overlay.overlay.a",
    ];
    for options in ["userxattr", "rw"] {
        let [kernel, mica] = DRIVERS.map(|(driver, mount)| {
            let ground = Ground::new();
            fs::write(ground.at("l/f"), "lower").unwrap();
            fs::create_dir(ground.at("l/d")).unwrap();
            for (file, name) in ["l/f", "l/d"]
                .iter()
                .flat_map(|f| names.map(|name| (f, name)))
            {
                setxattr(ground.at(file), name, b"y", XattrFlags::empty()).unwrap();
            }
            let mount = mount.replace("$1", options);
            let mount = mount.replace("\"$MICA\"", env!("CARGO_BIN_EXE_mica"));
            assert_eq!(sh(&ground, &mount).stderr, "", "{driver}");
            let before = ["m/f", "m/d"].map(|file| attributes(&ground.at(file)));
            assert_eq!(sh(&ground, "chmod 700 m/f m/d").stderr, "", "{driver}");
            let after = ["m/f", "m/d", "u/f", "u/d"].map(|file| attributes(&ground.at(file)));
            assert_eq!(sh(&ground, "umount m").stderr, "", "{driver}");
            (before, after)
        });
        assert_eq!(mica, kernel, "{options}");
    }
}

/// Who has no `CAP_DAC_OVERRIDE` may not give such a directory another parent, which is how a copy of it appears.
#[test]
fn ovl_134_a_directory_that_is_closed_to_its_owner_is_copied_up_moved_and_removed() {
    if !can_mount("ovl_134_a_directory_that_is_closed_to_its_owner_is_copied_up_moved_and_removed")
    {
        return;
    }
    let ground = Ground::alone();
    for dir in ["chmod", "touch", "file", "gone", "deep/in"] {
        let path = ground.at("l").join(dir);
        fs::create_dir_all(&path).unwrap();
        if dir != "gone" {
            fs::write(path.join("f"), "lower\n").unwrap();
        }
    }
    sh(
        &ground,
        "chown -R 65534:65534 l; find l -mindepth 1 -type d | xargs chmod 555",
    );
    let script = "./mica mount -o lowerdir=l,upperdir=u,workdir=w,userxattr m
        chmod 750 m/chmod; touch -d @1000 m/touch; echo more >> m/file/f; echo more >> m/deep/in/f
        rmdir m/gone; mkdir -m 555 m/gone; rmdir m/gone; mkdir -m 555 m/new; rmdir m/new
        find m -mindepth 1 -printf '%P %m\\n' | sort; stat -c %Y m/touch; cat m/deep/in/f
        ./mica umount m; find u -mindepth 1 -printf '%P %m %y\\n' | sort; find w -mindepth 2";
    let outcome = run_as_nobody(&ground, script);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""));
    let expected = "chmod 750\nchmod/f 644\ndeep 555\ndeep/in 555\ndeep/in/f 644\nfile 555\nfile/f 644\ntouch 555\n\
                    touch/f 644\n1000\nlower\nmore\nchmod 750 d\ndeep 555 d\ndeep/in 555 d\ndeep/in/f 644 f\nfile 555 d\n\
                    file/f 644 f\ngone 0 c\ntouch 555 d\n";
    assert_eq!(outcome.stdout, expected);
}

/// The ids of a user namespace.
#[derive(Debug, Clone, Copy)]
enum Maps {
    One,
    Ranges,
}

impl Maps {
    /// Returns the script that runs another, its `$0`, as root of a namespace of user `id`.
    fn enter(self, id: u32) -> String {
        let user = format!("setpriv --reuid {id} --regid {id} --clear-groups");
        match self {
            Self::One => format!("exec {user} unshare -Urm sh -ec \"$0\""),
            // Only root outside may map them.
            Self::Ranges => format!(
                "mkfifo -m 666 ready go
                {user} unshare -Um sh -ec 'echo $$ > ready; read _ < go
                    exec setpriv --reuid 0 --regid 0 --clear-groups sh -ec \"$0\"' \"$0\" &
                read pid < ready; for map in uid_map gid_map; do echo 0 {id} 65536 > /proc/$pid/$map; done
                echo > go; wait $!"
            ),
        }
    }
}

/// Runs `script` after a mount of either driver as root of a user namespace, and shows what it finds and leaves.
fn in_namespace(maps: Maps, mount: &str, options: &str, script: &str) -> Outcome {
    let ground = Ground::alone();
    fs::set_permissions(ground.root(), Permissions::from_mode(0o755)).unwrap();
    let fill = "mkdir -p l/d/e l/closed l/other; for f in l/f l/g l/d/f l/d/e/f l/closed/f l/other/f; do echo lower > $f; done
        ln -s f l/link; mkfifo l/p; ln l/g l/g2; touch -d @1000 l/f l/d; chmod 555 l/closed; chmod 444 l/closed/f";
    assert_eq!(sh(&ground, fill).stderr, "");
    let ids = [0, 1, 1000].map(|id| id + 100_000);
    for name in ["l", "u", "w", "m"] {
        let script = format!("chown -hR {0}:{0} {name}", ids[0]);
        assert_eq!(sh(&ground, &script).stderr, "");
    }
    // Of these one is in a range, and the other has no mapping at all.
    for (name, id) in [("l/other", ids[1]), ("l/other/f", ids[2] + 70_000)] {
        chown(ground.at(name), Some(id), Some(id)).unwrap();
    }
    ground.copy_program("mica");
    let mount = mount.replace("$1", options).replace("\"$MICA\"", "./mica");
    let show = "(cd m; find . -printf '%p %y %m %U:%G %n %s %l\\n' | sort)
        umount m; (cd u; find . -printf '%p %y %m %U:%G %n %s %l\\n' | sort)";
    let script = format!("{mount}\n{{ set +e\n{script}\n}} 2>&1\nset -e\n{show}");
    let prepare = format!(
        "mknod -m 666 fuse c 10 229; mount --bind fuse /dev/fuse; {}",
        maps.enter(ids[0])
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", &prepare, &script]);
    ground.shown(run(ground.here(&mut command)))
}

/// Returns where the whiteouts are in what [`in_namespace`] shows.
fn whiteouts(shown: &str) -> Vec<&str> {
    let whiteouts = shown
        .lines()
        .filter_map(|line| line.split_once(" c 0 0:0 "));
    whiteouts.map(|(path, _)| path).collect()
}

#[test]
fn ovl_135_in_a_user_namespace_a_mount_is_what_the_kernels_is() {
    if !can_mount("ovl_135_in_a_user_namespace_a_mount_is_what_the_kernels_is") {
        return;
    }
    let script = "cd m
        echo more >> f; chmod 600 d/f; rm d/e/f; rmdir d/e; mkdir d/e; touch d/e/new; mv g moved; ln f hard; rm p link
        chmod 755 closed; rm -f closed/f; touch closed/new; mknod zero c 1 3; mknod fifo p
        rm -rf other; echo more >> other/f; chmod 600 other/f; touch other/new; chown 1:1 f; chown 0:0 hard; mv d d2
        mkdir -m 2770 sg; touch sg/in; ln -s x sl; rm g2; touch g2; mv g2 closed/g2; ls closed; cd ..";
    // What VFS refuses for a user without a mapping it refuses a FUSE mount in other words (OVL-72).
    let same = |text: &str| {
        // The one that the others are links to may be in the work directory or not.
        let whiteout = |line: &&str| !line.contains(" c 0 0:0 ");
        let others: Vec<&str> = text.lines().filter(whiteout).collect();
        others
            .join("\n")
            .replace("Value too large for defined data type", "Permission denied")
            .replace("Operation not permitted", "Permission denied")
    };
    for maps in [Maps::One, Maps::Ranges] {
        let [kernel, mica] =
            DRIVERS.map(|(_, mount)| in_namespace(maps, mount, "userxattr", script));
        assert_eq!(kernel.status, Some(0), "{kernel:?}");
        assert_eq!(same(&mica.stdout), same(&kernel.stdout));
        assert_eq!(whiteouts(&mica.stdout), whiteouts(&kernel.stdout));
        assert_eq!(mica.stderr, kernel.stderr);
    }
}

#[test]
fn ovl_136_numbers_of_copies_in_a_user_namespace_stay_over_a_remount() {
    if !can_mount("ovl_136_numbers_of_copies_in_a_user_namespace_stay_over_a_remount") {
        return;
    }
    // The one that an `mv` made is found by its handle alone, which nobody may open there.
    let script = "before=$(stat -c %i m/f m/d m/d/f); chmod 600 m/f m/d/f; changed=$(stat -c %i m/f m/d m/d/f)
        umount m; MOUNT; after=$(stat -c %i m/f m/d m/d/f)
        test \"$before\" = \"$changed\" || echo changed; test \"$before\" = \"$after\" || echo remounted";
    let [kernel, mica] = DRIVERS.map(|(_, mount)| {
        let again = mount
            .replace("$1", "userxattr")
            .replace("\"$MICA\"", "./mica");
        let script = script.replace("MOUNT", &again);
        in_namespace(Maps::One, mount, "userxattr", &script)
    });
    let said = |outcome: &Outcome| outcome.stdout.lines().next().map(str::to_owned);
    // D-33.
    assert_eq!(said(&kernel).as_deref(), Some("remounted"), "{kernel:?}");
    assert_eq!(
        said(&mica).as_deref(),
        Some(". d 755 0:0 1 4096 "),
        "{mica:?}"
    );
}

#[test]
fn ovl_136_with_userxattr_what_is_no_file_has_another_number_from_the_next_mount_on() {
    if !can_mount(
        "ovl_136_with_userxattr_what_is_no_file_has_another_number_from_the_next_mount_on",
    ) {
        return;
    }
    let script = "mkfifo l/p; ln -s x l/s; mknod l/c c 1 3; echo x > l/f; MOUNT; cd m
        for i in p s c f; do stat -c '%n %i' $i; chown -h 1:1 $i; stat -c '%n %i' $i; done > ../said; cd ..; umount m
        ls -i u | sed 's/^ *\\([0-9]*\\) \\(.*\\)/\\2 \\1/' >> said; MOUNT; cd m; stat -c '%n %i' p s c f >> ../said; cd ..; umount m
        cut -d' ' -f2 said | awk '!n[$1] {n[$1] = ++i} {print n[$1]}'";
    let [kernel, mica] = DRIVERS.map(|(driver, mount)| {
        let ground = Ground::new();
        let mount = mount.replace("$1", "userxattr");
        let mount = mount.replace("\"$MICA\"", env!("CARGO_BIN_EXE_mica"));
        let shown = sh(&ground, &script.replace("MOUNT", &mount));
        assert_eq!(
            (shown.status, shown.stderr.as_str()),
            (Some(0), ""),
            "{driver}"
        );
        shown.stdout
    });
    // Where a number was seen first.
    let expected = "1 1 2 2 3 3 4 4 5 6 7 8 7 8 5 4";
    for shown in [mica, kernel] {
        assert_eq!(
            shown.split_whitespace().collect::<Vec<_>>().join(" "),
            expected
        );
    }
}

#[test]
fn ovl_136_both_names_of_what_cannot_say_its_origin_have_one_number() {
    if !can_mount("ovl_136_both_names_of_what_cannot_say_its_origin_have_one_number") {
        return;
    }
    let [kernel, mica] = DRIVERS.map(|(driver, mount)| {
        let ground = Ground::new();
        let mount = mount.replace("$1", "userxattr");
        let mount = mount.replace("\"$MICA\"", env!("CARGO_BIN_EXE_mica"));
        let script = format!(
            "mkfifo l/p; {mount}; cd m; ln p new; stat -c %i p new | uniq | wc -l; cd ..; umount m"
        );
        let shown = sh(&ground, &script);
        assert_eq!(
            (shown.status, shown.stderr.as_str()),
            (Some(0), ""),
            "{driver}"
        );
        shown.stdout
    });
    // D-34.
    assert_eq!((kernel.as_str(), mica.as_str()), ("2\n", "1\n"));
}
