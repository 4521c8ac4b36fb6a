//! Symbolic links that point out of a mount: what is done to the link never reaches what it points at.
//!
//! Every link here points into the test's own directory.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::beside::{Beside, DRIVERS, Driver};

const PREPARE: &str = r#"
    mkdir -m 0751 outside; echo text > outside/f; mkdir l/d; echo x > l/d/f; echo x > l/file; echo x > l/old
    ln -s "$PWD/outside" l/low; ln -s "$PWD/outside/f" l/lowf; ln -s "$PWD/outside" u/up; ln -s "$PWD/outside/f" u/upf"#;

/// Everything of an object that a change would move; a change of attributes cannot hide from the ctime.
fn state(path: &Path) -> (u32, u32, i64, i64, i64, i64) {
    let seen = fs::metadata(path).unwrap();
    let changed = (seen.ctime(), seen.ctime_nsec());
    let (owner, mode, written) = (seen.uid(), seen.mode(), seen.mtime());
    (
        owner,
        mode,
        written,
        seen.mtime_nsec(),
        changed.0,
        changed.1,
    )
}

fn states(beside: &Beside) -> Vec<(u32, u32, i64, i64, i64, i64)> {
    let outside = DRIVERS.map(|driver| beside.dir(driver).join("outside"));
    let both = outside.iter().flat_map(|dir| [dir.clone(), dir.join("f")]);
    both.map(|path| state(&path)).collect()
}

#[test]
fn what_is_done_to_a_link_never_reaches_the_directory_that_it_points_at() {
    let test = "what_is_done_to_a_link_never_reaches_the_directory_that_it_points_at";
    let Some(beside) = Beside::new(test, PREPARE) else {
        return;
    };
    let before = states(&beside);
    // Mode 0600, owner 1 and the other marks of a follower would show in what lies outside.
    let program = r#"
        for my $n (qw(low up lowf upf)) {
            my $at = "m/$n"; my $empty = ''; my $fd = opened($at, 010000000|O_NOFOLLOW); told("open $n", $fd);
            deed("fchmodat2 of $n", sub { sys('fchmodat2', -100, $at, 0600, 0x100) });
            deed("fchmodat2 of the open $n", sub { sys('fchmodat2', fileno $fd, $empty, 0600, 0x1000) });
            deed("chmod of the open $n", sub { chmod 0600, "/proc/self/fd/" . fileno $fd });
            deed("lchown of $n", sub { system('chown', '-h', '1:1', $at) == 0 });
            deed("times of $n", sub { sys('utimensat', -100, $at, pack('q4', 1, 0, 1, 0), 0x100) });
            deed("attribute of $n", sub { sys('lsetxattr', $at, 'trusted.k', 'v', 1, 0) });
            deed("ACL of $n", sub { sys('lsetxattr', $at, 'system.posix_acl_access', pack('V(vvV)3', 2, 1,6,-1, 4,0,-1, 32,0,-1), 28, 0) });
            deed("link of $n", sub { sys('linkat', -100, $at, -100, "m/$n.link", 0) });
            deed("rename of $n", sub { rename $at, "m/$n.moved" });
            deed("exchange of $n", sub { rename2("m/$n.moved", "m/file", 2) });
            print "$n: ", (readlink('m/file') // '') =~ m{/outside(/f)?$} ? 'points' : 'gone', "\n";
            deed("exchange back of $n", sub { rename2("m/$n.moved", "m/file", 2) });
            deed("removal of $n", sub { unlink "m/$n.moved" });
        }
    "#;
    beside.assert_same(program);
    assert_eq!(states(&beside), before, "a link was followed");
}

#[test]
fn a_link_that_takes_the_place_of_what_was_looked_up_is_not_followed_by_the_server() {
    let test = "a_link_that_takes_the_place_of_what_was_looked_up_is_not_followed_by_the_server";
    let Some(beside) = Beside::new(test, PREPARE) else {
        return;
    };
    let before = states(&beside);
    // What the server knows as a file or a directory becomes a link, in the lower and in the upper. The changes go by open
    // descriptors: by a name the caller's own kernel would look again, see the link and rightly follow it.
    let program = r#"
        opened('m/mine', O_CREAT|O_WRONLY); mkdir 'm/made'; put('m/made/f', O_CREAT|O_WRONLY);
        my @held = map { opened($_, 010000000) or die $_ } qw(m/d m/made m/d/f m/made/f m/file m/mine);
        use Cwd; my $out = getcwd() . '/outside';
        for (['l/d', $out], ['u/made', $out], ['l/file', "$out/f"], ['u/mine', "$out/f"]) {
            my ($at, $to) = @$_; rename $at, "$at.aside" or die; symlink $to, $at or die }
        for my $fd (@held) {
            my $at = '/proc/self/fd/' . fileno $fd;
            chmod 0600, $at; chown 1, 1, $at; utimens($at, 1, 0, 1, 0); setx($at, 'user.k', 'v'); put($at, O_WRONLY);
            sys('truncate', $at, 1); opened("$at/new", O_CREAT|O_WRONLY); mkdir "$at/dir"; rename "$at/f", "$at/g";
        }
        print "done\n";
    "#;
    // How each of them ends is nobody's promise, as layers changed under the mount. Where it ends is.
    assert_eq!(beside.perl(Driver::Mica, program), ["done"]);
    assert_eq!(states(&beside), before, "the server followed a link");
    let names: Vec<_> = fs::read_dir(beside.dir(Driver::Mica).join("outside"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["f"]);
}
