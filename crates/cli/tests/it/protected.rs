//! OVL-120 to OVL-122: file flags through both mounts, and what they leave in the upper.

use crate::beside::Beside;

/// In each form (from a lower, or set through the mount; a file or a directory; append-only or immutable) one object per
/// deed, so that what succeeds once does not change what comes after it.
const PREPARE: &str = "
    for f in a i; do for n in $(seq 30); do
        echo lower > l/f$f$n; mkdir l/d$f$n l/d$f$n/sub; echo x > l/d$f$n/in; echo other > l/o$f$n
        chattr +$f l/f$f$n l/d$f$n
        echo lower > l/g$f$n; mkdir l/e$f$n l/e$f$n/sub; echo x > l/e$f$n/in; echo other > l/p$f$n
    done; done";

/// The deeds, on `f` (append-only or immutable), `d` (a directory that is) and `o` (a file that is not).
const DEEDS: &str = r#"
    my @deeds = (
        [read => sub { text($_[0]) eq "lower\n" }],
        [append => sub { put($_[0], O_WRONLY|O_APPEND) }],
        [truncate => sub { sys('truncate', $_[0], 2) }],
        [creat => sub { opened($_[0], O_WRONLY|O_TRUNC|O_CREAT) }],
        [chmod => sub { chmod 0600, $_[0] }],
        ['chmod dir' => sub { chmod 0700, $_[1] }],
        [chown => sub { chown 1, 1, $_[0] }],
        [touch => sub { utimens($_[0], 0, 0x3fffffff, 0, 0x3fffffff) }],
        ['touch mtime' => sub { utimens($_[0], 0, 0x3ffffffe, 0, 0x3fffffff) }],
        ['set times' => sub { utimens($_[0], 1, 0, 1, 0) }],
        [setxattr => sub { setx($_[0], 'user.k', 'v') }],
        [removexattr => sub { sys('removexattr', $_[0], 'user.none') }],
        [setacl => sub { setx($_[0], 'system.posix_acl_access', pack('V(vvV)4', 2, 1,6,-1, 4,4,-1, 16,4,-1, 32,4,-1)) }],
        [link => sub { link $_[0], "m/ln$_[3]" }],
        ['link over' => sub { link $_[0], $_[2] }],
        [unlink => sub { unlink $_[0] }],
        [rename => sub { rename $_[0], "m/mv$_[3]" }],
        ['rename over' => sub { rename $_[2], $_[0] }],
        [exchange => sub { rename2($_[2], $_[0], 2) }],
        [noreplace => sub { rename2($_[2], $_[0], 1) }],
        [rmdir => sub { rmdir $_[1] }],
        ['rmdir a file' => sub { rmdir $_[0] }],
        ['create in' => sub { opened("$_[1]/new", O_CREAT|O_EXCL|O_WRONLY) && mkdir("$_[1]/nd") && symlink('x', "$_[1]/l") }],
        ['create what is there' => sub { mkdir "$_[1]/sub" }],
        ['link into' => sub { link $_[2], "$_[1]/o" }],
        ['rename into' => sub { rename $_[2], "$_[1]/o" }],
        ['unlink in' => sub { unlink "$_[1]/in" }],
        ['rename out' => sub { rename "$_[1]/in", "m/out$_[3]" }],
        ['write in' => sub { put("$_[1]/in", O_WRONLY) && opened("$_[1]/sub/x", O_CREAT|O_EXCL|O_WRONLY) }],
        [tmpfile => sub { opened($_[1], O_WRONLY|020200000) }],
    );
"#;

#[test]
fn ovl_121_the_table_of_refusals_is_the_kernels() {
    let test = "ovl_121_the_table_of_refusals_is_the_kernels";
    let Some(beside) = Beside::new(test, PREPARE) else {
        return;
    };
    let program = format!(
        "{DEEDS}
        for my $f (qw(a i)) {{ for my $n (1..@deeds) {{
            my ($what, $deed) = @{{$deeds[$n-1]}};
            deed(\"$what +$f of a lower\", sub {{ $deed->(\"m/f$f$n\", \"m/d$f$n\", \"m/o$f$n\", \"1$f$n\") }});
            chattr(\"+$f\", \"m/g$f$n\", \"m/e$f$n\") or die;
            deed(\"$what +$f\", sub {{ $deed->(\"m/g$f$n\", \"m/e$f$n\", \"m/p$f$n\", \"2$f$n\") }});
        }} }}"
    );
    beside.assert_same(&program);
    // What both left in the upper, and what they show of it after a remount.
    let program = r#"
        use File::Find;
        for my $root ('u', 'm') { find({no_chdir => 1, wanted => sub {
            my $at = $_; return if -l $at || (-c $at);
            my $value = "\0" x 64; my $len = sys('getxattr', $at, 'trusted.overlay.protattr', $value, 64);
            print "$at: ", $len < 0 ? errno() : substr($value, 0, $len), ' ', lsattr($at), "\n";
        }, preprocess => sub { sort @_ }}, $root) }
    "#;
    beside.assert_same(program);
    beside.remount();
    beside.assert_same(program);
}

#[test]
fn ovl_120_flags_are_copied_up_set_and_taken_off_as_by_the_kernel() {
    let test = "ovl_120_flags_are_copied_up_set_and_taken_off_as_by_the_kernel";
    let prepare = "
        for f in a i S A d ai SA aA; do echo x > l/$f; mkdir l/dir$f; echo x > l/dir$f/in; chattr +$f l/$f l/dir$f; done
        echo x > l/plain; mkdir u/new; echo x > u/mine";
    let Some(beside) = Beside::new(test, prepare) else {
        return;
    };
    let program = r#"
        my @all = map { ($_, "dir$_") } qw(a i S A d ai SA aA);
        sub show { for my $n (@all, 'plain', 'new', 'mine', '.') { for my $root ('u', 'm') {
            my $at = "$root/$n"; next unless -e $at;
            my $value = "\0" x 64; my $len = sys('getxattr', $at, 'trusted.overlay.protattr', $value, 64);
            my $kept = $len < 0 ? errno() : substr($value, 0, $len);
            print "$_[0] $at: ", lsattr($at), " $kept\n";
        } } }
        show('before');
        chmod 0700, map { "m/$_" } @all; opened("m/dir$_/new", O_CREAT|O_WRONLY) for qw(a i S A d ai SA aA);
        put("m/$_", O_WRONLY|O_APPEND) for @all;
        show('copied');
        for my $change ('+i', '-i', '+a', '+ia', '-a', '+A', '-i', '+S', '-AS', '+d', '-d') {
            for my $n (@all, 'plain', 'new', 'mine', '.') { print "$change $n: ", chattr($change, "m/$n") ? 'ok' : 'no', "\n" }
            show($change);
        }
    "#;
    beside.assert_same(program);
}

/// The kernel has changed `protattr` when the upper refuses the other flags.
#[test]
fn ovl_120_flags_that_the_upper_does_not_have_leave_what_protects() {
    let test = "ovl_120_flags_that_the_upper_does_not_have_leave_what_protects";
    let Some(beside) = Beside::new(test, "echo x > l/f") else {
        return;
    };
    let program = r#"
        chattr('+i', 'm/f') or die;
        # No filesystem has this flag.
        my $fh = opened('m/f') or die; my $flags = pack('J', 0x04000000);
        deed('set', sub { ioctl($fh, 0x40086602, $flags) });
        print "flags: ", lsattr('m/f'), "\n"; deed('write', sub { put('m/f', O_WRONLY) });
    "#;
    let known = [("flags", "", "i"), ("write", "ok", "EPERM")];
    beside.assert_differs_in(program, &known);
}
