//! What FUSE cannot carry (OVL-123 to OVL-125), pinned, so that a kernel that can shows up; and what has to be alike.

use std::fs::{self, File};

use crate::beside::{Beside, Driver};
use crate::ground::{Ground, can_mount};

const PREPARE: &str = "
    for f in lower lower2 lower3 lower4 lower5 lower6 x i a; do echo lower > l/$f; done; chattr +i l/i; chattr +a l/a
    echo up > u/mine; mkdir l/d l/di; chattr +i l/di; echo x > l/d/in; dd if=/dev/zero of=l/big bs=64k count=4 2>/dev/null
    ln -s lower l/sl; mkfifo l/fifo; mknod l/dev c 1 3
    perl -MSocket -e 'socket(S,AF_UNIX,SOCK_STREAM,0);bind(S,sockaddr_un(q(l/sock)))'";

#[test]
fn three_hundred_ordinary_calls_are_answered_as_by_the_kernels_overlay() {
    let test = "three_hundred_ordinary_calls_are_answered_as_by_the_kernels_overlay";
    if let Some(beside) = Beside::new(test, PREPARE) {
        // OVL-130, OVL-131: an overlay whose upper lies here needs both.
        let known = [
            ("mknod 0:0", "errno 0", "ok"),
            ("whiteout rename", "EINVAL", "ok"),
        ];
        beside.assert_differs_in(include_str!("beside/ordinary.pl"), &known);
    }
}

#[test]
fn ovl_128_acls_are_inherited_copied_up_and_count_as_in_the_kernels_overlay() {
    let test = "ovl_128_acls_are_inherited_copied_up_and_count_as_in_the_kernels_overlay";
    if let Some(beside) = Beside::new(test, include_str!("beside/acls.sh")) {
        beside.assert_same(include_str!("beside/acls.pl"));
    }
}

#[test]
fn ovl_123_what_is_protected_is_refused_at_the_change_and_not_at_open() {
    let test = "ovl_123_what_is_protected_is_refused_at_the_change_and_not_at_open";
    let Some(beside) = Beside::new(test, PREPARE) else {
        return;
    };
    let program = r#"
        for my $n (qw(i a)) {
            for (['to write', O_WRONLY], ['to append', O_WRONLY|O_APPEND], ['to do both', O_RDWR]) {
                my ($how, $flags) = @$_; deed("open $n $how", sub { opened("m/$n", $flags) }) }
            deed("write to $n", sub { put("m/$n", O_WRONLY) });
            deed("access of $n", sub { my $at = "m/$n"; sys('faccessat2', -100, $at, 2, 0) });
            deed("map $n", sub { my $fh = opened("m/$n", O_RDWR|O_APPEND) or return; mapped($fh, 4096, 3, 1) }) }
        my $at = 'm/di'; deed('access of a directory', sub { sys('faccessat2', -100, $at, 2, 0) });
        my $w = opened('m/lower2', O_RDWR); chattr('+i', 'm/lower2') or die;
        deed('write to what was open', sub { syswrite($w, 'x') }); deed('truncate what was open', sub { truncate($w, 1) });
    "#;
    let known = [
        ("open i to write", "EPERM", "ok"),
        ("open i to append", "EPERM", "ok"),
        ("open i to do both", "EPERM", "ok"),
        ("access of i", "EPERM", "ok"),
        ("map i", "EPERM", "ok"),
        ("open a to write", "EPERM", "ok"),
        ("open a to do both", "EPERM", "ok"),
        ("map a", "EACCES", "ok"),
        ("access of a directory", "EPERM", "ok"),
        ("write to what was open", "ok", "EPERM"),
        ("truncate what was open", "ok", "EPERM"),
    ];
    beside.assert_differs_in(program, &known);
}

#[test]
fn ovl_124_what_the_fuse_client_does_not_send_is_refused_by_it() {
    let test = "ovl_124_what_the_fuse_client_does_not_send_is_refused_by_it";
    let Some(beside) = Beside::new(test, PREPARE) else {
        return;
    };
    // What the kernel's overlay answers depends on the filesystem of the upper.
    let program = r#"
        my $f = opened('m/big', O_RDWR); my $to = opened('m/clone', O_RDWR|O_CREAT);
        deed('collapse', sub { alloc($f, 8, 4096, 4096) }); deed('insert', sub { alloc($f, 32, 4096, 4096) });
        sub ctl { my ($what, $nr, $value) = @_; deed($what, sub { defined ioctl($f, $nr, $value) }) }
        deed('FICLONE', sub { defined ioctl($to, 0x40049409, fileno $f) });
        deed('FICLONERANGE', sub { my $r = pack('qQQQ', fileno $f, 0, 0, 0); defined ioctl($to, 0x4020940d, $r) });
        ctl('FIDEDUPERANGE', 0xc0189436, pack('QQSSLqQQlL', 0, 4096, 1, 0, 0, fileno $to, 0, 0, 0, 0));
        ctl('FIEMAP', 0xc020660b, pack('QQLLLL', 0, 0xffffffff, 0, 0, 10, 0) . ("\0" x 560));
        ctl('FIGETBSZ', 2, pack('q', 0)); ctl('FS_IOC_GETVERSION', 0x80087601, pack('q', 0));
        ctl('FS_IOC_GETFSUUID', 0x80111500, "\0" x 17); ctl('FS_IOC_GETFSLABEL', 0x81009431, "\0" x 256);
        ctl('FITRIM', 0xc0185879, "\0" x 24); ctl('another', 0x1234, "\0" x 64);
    "#;
    let expected = [
        "collapse: ENOTSUP",
        "insert: ENOTSUP",
        "FICLONE: ENOTSUP",
        "FICLONERANGE: ENOTSUP",
        "FIDEDUPERANGE: ENOTSUP",
        "FIEMAP: ENOTSUP",
        "FIGETBSZ: ok",
        "FS_IOC_GETVERSION: ENOTTY",
        "FS_IOC_GETFSUUID: ENOTTY",
        "FS_IOC_GETFSLABEL: ENOTTY",
        "FITRIM: ENOTTY",
        "another: ENOTTY",
    ];
    assert_eq!(beside.perl(Driver::Mica, program), expected);
}

#[test]
fn ovl_125_type_identity_and_attribute_flags_are_the_fuse_clients() {
    let test = "ovl_125_type_identity_and_attribute_flags_are_the_fuse_clients";
    let Some(beside) = Beside::new(test, PREPARE) else {
        return;
    };
    let program = r#"
        my ($at, $buf) = ('m', "\0" x 120); sys('statfs', $at, $buf); my @f = unpack('qqQQQQQll', $buf);
        printf "type: %x\n", $f[0]; print 'fsid: ', $f[7] || $f[8] ? 'some' : 'none', "\n";
        for my $n (qw(i a)) { my ($p, $x) = ("m/$n", "\0" x 256); sys('statx', -100, $p, 0, 0xfff, $x);
            printf "protection of $n: %x\n", unpack('x8Q', $x) & 0x30 }
        my $f = opened('m/mine', O_RDWR); deed('seek to the end of time', sub { sysseek($f, 9223372036854775807, 0) });
        utimens('m/mine', 99, 0, 99, 0); text('m/mine'); text('m/lower');
        print 'access time of the upper: ', (stat 'm/mine')[8] == 99 ? 'stays' : 'moves', "\n";
        opened('m/x', O_RDWR); print 'opened for writing: ', -e 'u/x' ? 'copied up' : 'not', "\n";
        put('m/x', O_WRONLY); print 'written: ', -e 'u/x' ? 'copied up' : 'not', "\n";
    "#;
    let known = [
        ("type", "794c7630", "65735546"),
        ("fsid", "some", "none"),
        ("protection of i", "10", "0"),
        ("protection of a", "20", "0"),
        ("seek to the end of time", "EINVAL", "ok"),
        ("access time of the upper", "moves", "stays"),
        ("opened for writing", "copied up", "not"),
    ];
    beside.assert_differs_in(program, &known);
}

#[test]
fn ovl_86_a_store_on_a_full_disk_is_told_by_msync_and_not_where_it_is_made() {
    let test = "ovl_86_a_store_on_a_full_disk_is_told_by_msync_and_not_where_it_is_made";
    let prepare = "mkdir disk; mount -t tmpfs -o size=256k tiny disk; rmdir u w; mkdir disk/u disk/w; ln -s disk/u u; ln -s disk/w w";
    let Some(beside) = Beside::new(test, prepare) else {
        return;
    };
    // A read into the mapping stores as a program does; where a program gets SIGBUS, it ends there.
    let program = r#"
        my $len = 1 << 20; my $f = opened('m/f', O_RDWR|O_CREAT); truncate($f, $len) or die; my $zero = opened('/dev/zero');
        my $at = mapped($f, $len, 3, 1); my $got = sys('read', fileno $zero, $at, $len);
        print 'stored: ', $got == $len ? 'all' : 'some', "\n"; deed('msync', sub { sys('msync', $at, $len, 4) });
        deed('fsync', sub { sys('fsync', fileno $f) }); sys('munmap', $at, $len); print 'size: ', -s 'm/f', "\n";
    "#;
    let known = [("stored", "some", "all"), ("msync", "ok", "ENOSPC")];
    beside.assert_differs_in(program, &known);
}

#[test]
fn ovl_125_syncfs_reaches_nobody() {
    let test = "ovl_125_syncfs_reaches_nobody";
    if !can_mount(test) {
        return;
    }
    let ground = Ground::new();
    ground.mount(&["--stats=numbers"]);
    let file = File::create(ground.at("m/f")).unwrap();
    rustix::fs::syncfs(&file).unwrap();
    rustix::fs::fsync(&file).unwrap();
    drop(file);
    let server = ground.server();
    ground.unmount("m");
    server.ends();
    let numbers = fs::read_to_string(ground.at("numbers")).unwrap();
    let asked: Vec<_> = numbers
        .lines()
        .filter(|line| line.contains("sync"))
        .collect();
    assert_eq!(asked, ["operation.fsync 1"], "{numbers}");
}
