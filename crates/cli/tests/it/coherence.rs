//! OVL-126: what was begun before a copy-up goes on after it, beside the kernel.

use crate::beside::Beside;

const PREPARE: &str = "
    for f in ro gone gonew lock plock olock lease w1 fan moved; do echo lower > l/$f; done; echo up > u/mine
    mkdir l/wd; echo 1 > l/wd/in; echo 2 > l/wd/wo; cp /bin/sleep l/sleep; cp /bin/true l/true
    truncate -s 1M l/holes; printf data | dd of=l/holes bs=1 seek=262144 conv=notrunc 2>/dev/null
    dd if=/dev/zero of=l/big bs=64k count=4 2>/dev/null";

#[test]
fn ovl_126_mappings_and_descriptors_from_before_a_copy_up_see_what_is_written_after() {
    let test = "ovl_126_mappings_and_descriptors_from_before_a_copy_up_see_what_is_written_after";
    let Some(beside) = Beside::new(test, PREPARE) else {
        return;
    };
    let program = r#"
        my $ro = opened('m/ro'); sysread($ro, my $text, 100); print "before: ", $text;
        my $shared = mapped($ro, 4096, 1, 1); my $private = mapped($ro, 4096, 1, 2);
        print "shared before: ", peek($shared, 5), "\nprivate before: ", peek($private, 5), "\n";
        put('m/ro', O_WRONLY, 'UPPER') or die;
        sub again { sysseek($ro, 0, 0); sysread($ro, $text, 100); $text =~ tr/\n/ /; $text }
        print "descriptor: ", again(), "\nshared: ", peek($shared, 5), "\nprivate: ", peek($private, 5), "\n";
        print "number: ", (stat $ro)[1] == (stat 'm/ro')[1] ? 'same' : 'another', "\nsize: ", (stat $ro)[7], "\n";
        put('m/ro', O_WRONLY|O_APPEND, 'more'); print "appended: ", again(), "\n";
        truncate('m/ro', 2); print "cut: ", again(), "\n"; rename('m/ro', 'm/ro2'); put('m/ro2', O_WRONLY, 'X');
        print "renamed: ", again(), "\n";
        my $gone = opened('m/gone'); unlink 'm/gone'; print "unlinked: ", <$gone>;
        print "links: ", (stat $gone)[3], "\n"; deed('chmod unlinked', sub { chmod 0600, $gone });
        my $w = opened('m/gonew', O_RDWR); unlink 'm/gonew'; deed('write unlinked', sub { syswrite($w, 'NEW') });
        sysseek($w, 0, 0); sysread($w, $text, 100); print "then: ", $text;
    "#;
    // OVL-126: the page cache belongs to the node; OVL-60: nobody sees a link that is gone.
    let known = [
        ("shared", "lower", "UPPER"),
        ("private", "lower", "UPPER"),
        ("links", "1", "0"),
    ];
    beside.assert_differs_in(program, &known);
}

#[test]
fn ovl_126_locks_and_leases_outlast_a_copy_up() {
    let test = "ovl_126_locks_and_leases_outlast_a_copy_up";
    let Some(beside) = Beside::new(test, PREPARE) else {
        return;
    };
    let program = r#"
        my $f1 = opened('m/lock'); deed('flock of a lower', sub { flock($f1, LOCK_EX) });
        put('m/lock', O_WRONLY); my $f2 = opened('m/lock', O_RDWR);
        deed('flock after copy-up', sub { flock($f2, LOCK_EX|LOCK_NB) });
        flock($f1, LOCK_UN); deed('flock when free', sub { flock($f2, LOCK_EX|LOCK_NB) });
        sub lk { my ($fh, $cmd, $type) = @_; fcntl($fh, $cmd, pack('s s l q q l x4', $type, 0, 0, 0, 0, 0)) }
        sub child { my ($what) = @_; my $pid = fork; return waitpid($pid, 0) if $pid;
            my $c = opened('m/plock', O_RDWR); syswrite($c, 'zz'); deed($what, sub { lk($c, 6, 1) }); POSIX::_exit(0) }
        my $p = opened('m/plock'); deed('posix lock of a lower', sub { lk($p, 6, 0) });
        child('posix lock by another'); lk($p, 6, 2); child('posix lock when free');
        my $o1 = opened('m/olock'); deed('OFD lock of a lower', sub { lk($o1, 37, 0) });
        my $o2 = opened('m/olock', O_RDWR); syswrite($o2, 'q'); deed('OFD lock after copy-up', sub { lk($o2, 37, 1) });
        close $o1; deed('OFD lock when free', sub { lk($o2, 37, 1) });
        link 'm/olock', 'm/olock2'; my $o3 = opened('m/olock2', O_RDWR); deed('OFD lock by another name', sub { lk($o3, 37, 1) });
        flock($o2, LOCK_EX); deed('flock by another name', sub { flock($o3, LOCK_EX|LOCK_NB) });
        for my $n (qw(lease mine)) {
            my $r = opened("m/$n"); for ([read => 0], [write => 1]) { my $kind = $_->[1];
                deed("$_->[0] lease of $n", sub { fcntl($r, 1024, $kind) }) } fcntl($r, 1024, 2);
            my $w = opened("m/$n", O_RDWR); deed("read lease of $n that is written", sub { fcntl($w, 1024, 0) }) }
        my ($r, $broken) = (opened('m/lease'), 0); $SIG{IO} = sub { $broken++; fcntl($r, 1024, 2) }; fcntl($r, 1024, 0);
        my $pid = fork; if (!$pid) { put('m/lease', O_WRONLY, 'b'); POSIX::_exit(0) }
        waited(sub { waitpid($pid, POSIX::WNOHANG()) == $pid }); print "leases broken: $broken\n";
    "#;
    beside.assert_same(program);
}

#[test]
fn ovl_126_watches_from_before_a_copy_up_fire_after_it() {
    let test = "ovl_126_watches_from_before_a_copy_up_fire_after_it";
    let Some(beside) = Beside::new(test, PREPARE) else {
        return;
    };
    let program = r#"
        my $i = sys('inotify_init1', 2048); open(my $in, '+<&=', $i) or die;
        for ('m/w1', 'm/wd') { my $at = $_; told("watch $at", sys('inotify_add_watch', $i, $at, 0xfff)) }
        sub events { my ($what) = @_; my ($buf, @seen) = ('');
            while (sysread($in, $buf, 4096)) { while (length $buf) {
                my ($wd, $mask, undef, $len) = unpack('lLLL', $buf); my $name = substr($buf, 16, $len); $name =~ s/\0.*//s;
                push @seen, sprintf('%d:%x:%s', $wd, $mask, $name); substr($buf, 0, 16 + $len) = '' } }
            print "$what: @seen\n" }
        put('m/w1', O_WRONLY); events('written'); chmod 0600, 'm/w1'; events('chmod'); truncate('m/w1', 0); events('truncated');
        opened('m/wd/new', O_CREAT|O_WRONLY); events('made in it'); put('m/wd/in', O_WRONLY|O_APPEND); events('written in it');
        rename 'm/wd/new', 'm/wd/new2'; events('renamed in it'); unlink 'm/wd/in'; events('removed in it');
        rename 'm/w1', 'm/w2'; put('m/w2', O_WRONLY); events('written under another name'); unlink 'm/w2'; events('removed');
        my $fan = sys('fanotify_init', 2, 0); told('fanotify', $fan); open(my $fh, '+<&=', $fan) or die; my $at = 'm/fan';
        told('fanotify mark', sys('fanotify_mark', $fan, 1, 0x2a, -100, $at)); put($at, O_WRONLY);
        my ($buf, @seen) = (''); sysread($fh, $buf, 4096); while (length $buf) {
            my ($len, undef, undef, undef, $mask, $fd) = unpack('LCCSQl', $buf); push @seen, sprintf '%x', $mask;
            POSIX::close($fd); substr($buf, 0, $len) = '' } print "fanotify: @seen\n";
    "#;
    beside.assert_same(program);
}

#[test]
fn programs_direct_io_holes_and_nameless_files_are_as_in_the_kernels_overlay() {
    let test = "programs_direct_io_holes_and_nameless_files_are_as_in_the_kernels_overlay";
    let Some(beside) = Beside::new(test, PREPARE) else {
        return;
    };
    let program = r#"
        my $direct = opened('m/big', O_RDWR|(`uname -m` =~ /x86_64/ ? 040000 : 0200000)); told('O_DIRECT', $direct);
        my $page = sys('mmap', 0, 8192, 3, 0x22, -1, 0);
        deed('read', sub { sys('read', fileno $direct, $page, 4096) == 4096 });
        my $pid = fork; if (!$pid) { exec 'm/sleep', '60' }
        waited(sub { (readlink("/proc/$pid/exe") // '') =~ m{/m/sleep$} }) or die;
        deed('write to what runs', sub { opened('m/sleep', O_WRONLY) });
        deed('truncate what runs', sub { sys('truncate', 'm/sleep', 1) }); kill 9, $pid; waitpid($pid, 0);
        deed('write to what ran', sub { opened('m/sleep', O_WRONLY) });
        { my $w = opened('m/true', O_WRONLY); no warnings; deed('run what is written', sub { system('m/true') == 0 }) }
        deed('run', sub { system('m/true') == 0 });
        my $h = opened('m/holes', O_RDWR); print "data at ", sysseek($h, 0, 3) + 0, ", hole at ", sysseek($h, 0, 4) + 0, "\n";
        print "data again at ", sysseek($h, 200000, 3) + 0, "\n"; deed('past the end', sub { sysseek($h, 1 << 30, 3) });
        my $t = opened('m/wd', O_RDWR|020200000); told('O_TMPFILE', $t); syswrite($t, 'tmp');
        my $fd = "/proc/self/fd/" . fileno $t; my $named = sub { my ($at) = @_; sys('linkat', -100, $fd, -100, $at, 0x400) };
        deed('a name', sub { $named->('m/wd/linked') }); print "text: ", text('m/wd/linked'), "\n"; unlink 'm/wd/wo';
        deed('a name over a whiteout', sub { $named->('m/wd/wo') }); print "text: ", text('m/wd/wo'), ", links: ", (stat $t)[3], "\n";
        deed('a name that is taken', sub { $named->('m/wd/in') });
        my $x = opened('m/wd', O_RDWR|020200000|O_EXCL); $fd = "/proc/self/fd/" . fileno $x;
        deed('a name for an O_EXCL one', sub { $named->('m/wd/excl') });
    "#;
    // O_TMPFILE has other bits elsewhere.
    if cfg!(target_arch = "x86_64") {
        beside.assert_same(program);
    }
}

#[test]
fn ovl_126_a_store_counts_when_it_is_written_and_takes_file_capabilities() {
    let test = "ovl_126_a_store_counts_when_it_is_written_and_takes_file_capabilities";
    let prepare = "truncate -s 1M l/holes; touch -d 2001-01-01 l/holes; echo lower > l/able";
    let Some(beside) = Beside::new(test, prepare) else {
        return;
    };
    let program = r#"
        sub store { my ($at, $text) = @_; pipe(my $r, my $w); syswrite($w, $text); sys('read', fileno $r, $at, length $text) }
        my $f = opened('m/holes', O_RDWR); my $map = mapped($f, 16384, 3, 1);
        sub state { my ($when) = @_;
            print "time $when: ", (stat $f)[9] > 1e9 ? 'now' : 'then', "\ndata $when: ", sysseek($f, 0, 3) // errno(), "\n" }
        deed('store', sub { store($map + 8192, 'S') == 1 });
        state('before'); deed('msync', sub { sys('msync', $map, 16384, 4) == 0 }); state('after');
        print "seen: ", text('m/holes') eq "\0" x 8192 . 'S' . "\0" x (1048576 - 8193) ? 'ok' : 'no', "\n";
        setx('m/able', 'security.capability', pack('V5', 0x02000001, 0x2000, 0, 0, 0)) == 0 or die;
        my $g = opened('m/able', O_RDWR); my $able = mapped($g, 4096, 3, 1); store($able, 'S'); sys('msync', $able, 4096, 4);
        deed('capability', sub { my $value = "\0" x 64; sys('getxattr', 'm/able', 'security.capability', $value, 64) > 0 });
        print "able: ", text('m/able');
    "#;
    // OVL-126: the FUSE client tells of a store when it writes the page; OVL-43: it is a write then.
    let known = [
        ("time before", "now", "then"),
        ("data before", "8192", "ENXIO"),
        ("capability", "ok", "ENODATA"),
    ];
    beside.assert_differs_in(program, &known);
}

#[test]
fn ovl_126_a_mapping_shows_what_a_refused_write_had_until_the_file_is_read() {
    let test = "ovl_126_a_mapping_shows_what_a_refused_write_had_until_the_file_is_read";
    let Some(beside) = Beside::new(test, "echo lower > l/f; chattr +i l/f") else {
        return;
    };
    let program = r#"
        my $f = opened('m/f'); my $map = mapped($f, 4096, 1, 1); print "mapped: ", peek($map, 5), "\n";
        deed('write', sub { put('m/f', O_WRONLY, 'UPPER') }); print "after: ", peek($map, 5), "\n";
        print "read: ", text('m/f'); print "then: ", peek($map, 5), "\n";
    "#;
    beside.assert_differs_in(program, &[("after", "lower", "UPPER")]);
}
