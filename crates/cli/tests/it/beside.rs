//! The same layers mounted by the kernel and by Mica, and the same program run on both.
//!
//! The programs are in Perl, which is on every Debian and can make any system call. Each prints what it saw, line by line.

use std::path::PathBuf;
use std::process::Command;

use crate::ground::{Ground, can_mount, has_program, ok, run, skipped};

/// Who mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    Kernel,
    Mica,
}

pub(crate) const DRIVERS: [Driver; 2] = [Driver::Kernel, Driver::Mica];

/// Comes before each program: numbers of system calls, and how a result is told.
const PRELUDE: &str = r#"
use strict; use warnings; no warnings 'once'; use Errno; use Fcntl qw(:DEFAULT :mode :flock :seek); use POSIX ();
$| = 1;
our %nr = `uname -m` =~ /x86_64/
  ? (read=>0, mmap=>9, munmap=>11, msync=>26, fadvise=>221, splice=>275, setxattr=>188, lsetxattr=>189, getxattr=>191,
     lgetxattr=>192, listxattr=>194, removexattr=>197, statfs=>137, fstatfs=>138, inotify_add_watch=>254, linkat=>265, utimensat=>280, fallocate=>285,
     inotify_init1=>294, fanotify_init=>300, fanotify_mark=>301, name_to_handle_at=>303, syncfs=>306, renameat2=>316,
     copy_file_range=>326, pwritev2=>328, statx=>332, fchmodat2=>452, sendfile=>40, fsync=>74, openat=>257, faccessat2=>439, truncate=>76)
  : (read=>63, mmap=>222, munmap=>215, msync=>227, fadvise=>223, splice=>76, setxattr=>5, lsetxattr=>6, getxattr=>8,
     lgetxattr=>9, listxattr=>11, removexattr=>14, statfs=>43, fstatfs=>44, inotify_add_watch=>27, linkat=>37, utimensat=>88, fallocate=>47,
     inotify_init1=>26, fanotify_init=>262, fanotify_mark=>263, name_to_handle_at=>264, syncfs=>267, renameat2=>276,
     copy_file_range=>285, pwritev2=>287, statx=>291, fchmodat2=>452, sendfile=>71, fsync=>82, openat=>56, faccessat2=>439, truncate=>45);
# A buffer is written to where it lies; what is read-only has to be copied first.
sub sys { my $name = shift; for my $i (0..$#_) { splice @_, $i, 1, my $copy = $_[$i] if Internals::SvREADONLY($_[$i]) }
  no warnings; syscall($nr{$name}, @_) }
sub errno { my ($n) = grep { $!{$_} } sort keys %!; $n // "errno ".($!+0) }
# Tells how a call ended: 0 and what is true is a success.
sub told { my ($what, $r) = @_; print "$what: ", (!defined $r || $r eq '' || $r eq '-1' || $r eq '0 but false') ? errno() : 'ok', "\n" }
sub deed { my ($what, $code) = @_; $! = 0; told($what, $code->()) }
sub opened { my ($path, $flags, $mode) = @_; sysopen(my $fh, $path, $flags // O_RDONLY, $mode // 0644) or return; $fh }
sub put { my ($path, $flags, $text) = @_; my $fh = opened($path, $flags) or return; my $n = syswrite($fh, $text // 'x'); $n && close($fh) }
sub text { my ($path) = @_; open(my $fh, '<', $path) or return errno(); local $/; <$fh> // '' }
# The flags of chattr(1), changed by a word such as +ia, and read.
our %flag = (S => 8, i => 16, a => 32, d => 64, A => 128);
sub getflags { my ($path) = @_; my $fh = opened($path, O_RDONLY|O_NONBLOCK) or return; my $f = pack('J', 0);
  defined ioctl($fh, 0x80086601, $f) or return; unpack('J', $f) }
sub chattr { my ($word, @paths) = @_; my ($sign, $letters) = $word =~ /(.)(.*)/; my $mask = 0; $mask |= $flag{$_} for split //, $letters;
  for (@paths) { my $had = getflags($_) // return; my $fh = opened($_, O_RDONLY) or return;
    my $f = pack('J', $sign eq '+' ? $had | $mask : $had & ~$mask); defined ioctl($fh, 0x40086602, $f) or return } 1 }
sub lsattr { my $f = getflags($_[0]) // return errno(); join '', map { $f & $flag{$_} ? $_ : '' } sort keys %flag }
sub rename2 { my ($from, $to, $flags) = @_; sys('renameat2', -100, $from, -100, $to, $flags) }
sub setx { my ($path, $name, $value, $flags) = @_; sys('setxattr', $path, $name, $value, length $value, $flags // 0) }
sub utimens { my ($path, $as, $an, $ms, $mn) = @_; sys('utimensat', -100, $path, pack('q4', $as, $an, $ms, $mn), 0) }
sub alloc { my ($fh, $mode, $at, $len) = @_; sys('fallocate', fileno $fh, $mode, $at, $len) }
sub mapped { my ($fh, $len, $prot, $flags) = @_; sys('mmap', 0, $len, $prot, $flags, fileno $fh, 0) }
sub peek { my ($addr, $len) = @_; unpack("P$len", pack('J', $addr)) }
sub waited { my ($code) = @_; for (1..6000) { return 1 if $code->(); select undef, undef, undef, 0.01 } 0 }
"#;

/// Two mounts of equal layers.
#[derive(Debug)]
pub(crate) struct Beside {
    pub(crate) ground: Ground,
}

impl Beside {
    /// Runs `prepare`, a shell script, in a directory for each driver that has `l`, `u`, `w` and `m`, and mounts at `m`.
    ///
    /// `None`: `test` cannot run here, which was said.
    pub(crate) fn new(test: &str, prepare: &str) -> Option<Self> {
        if !can_mount(test) || !["perl", "chattr"].iter().all(|p| has_program(test, p)) {
            return None;
        }
        let beside = Self {
            ground: Ground::new(),
        };
        for driver in DRIVERS {
            let script = format!("mkdir l u w m && {prepare}");
            std::fs::create_dir(beside.dir(driver)).unwrap();
            let mut shell = Command::new("sh");
            shell.args(["-ec", &script]).current_dir(beside.dir(driver));
            let outcome = run(&mut shell);
            if outcome.stderr.contains("setting flags") {
                skipped(
                    test,
                    "needs a filesystem with file flags for temporary files",
                );
                return None;
            }
            assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
            beside.mount(driver);
        }
        Some(beside)
    }

    /// The directory of a driver.
    pub(crate) fn dir(&self, driver: Driver) -> PathBuf {
        self.ground.at(match driver {
            Driver::Kernel => "kernel",
            Driver::Mica => "mica",
        })
    }

    #[track_caller]
    pub(crate) fn mount(&self, driver: Driver) {
        let options = "lowerdir=l,upperdir=u,workdir=w";
        let mut command = match driver {
            Driver::Mica => self.ground.mica(&["mount", "-o", options, "m"]),
            Driver::Kernel => {
                let mut mount = Command::new("mount");
                let options = format!("{options},redirect_dir=nofollow,index=off,metacopy=off");
                mount.args(["-t", "overlay", "-o", &options, "o", "m"]);
                mount
            }
        };
        assert_eq!(run(command.current_dir(self.dir(driver))), ok());
    }

    #[track_caller]
    pub(crate) fn remount(&self) {
        for driver in DRIVERS {
            let point = self.dir(driver).join("m");
            assert_eq!(run(Command::new("umount").arg(point)), ok());
            self.mount(driver);
        }
    }

    /// Runs a Perl program in the directory of a driver, and returns what it printed.
    #[track_caller]
    pub(crate) fn perl(&self, driver: Driver, program: &str) -> Vec<String> {
        let mut perl = Command::new("perl");
        perl.args(["-e", &format!("{PRELUDE}\n{program}")]);
        let outcome = run(self.ground.here(&mut perl).current_dir(self.dir(driver)));
        assert_eq!(
            (outcome.status, outcome.stderr.as_str()),
            (Some(0), ""),
            "{driver:?}: {}",
            outcome.stdout
        );
        outcome.stdout.lines().map(str::to_owned).collect()
    }

    /// Runs a Perl program on both, and returns the lines in which they differ: the kernel's, and Mica's.
    #[track_caller]
    pub(crate) fn differences(&self, program: &str) -> Vec<(String, String)> {
        let [kernel, mica] = DRIVERS.map(|driver| self.perl(driver, program));
        assert_eq!(
            kernel.len(),
            mica.len(),
            "kernel: {kernel:#?}\nMica: {mica:#?}"
        );
        assert!(!kernel.is_empty(), "the program says nothing");
        let both = kernel.into_iter().zip(mica);
        both.filter(|(kernel, mica)| kernel != mica).collect()
    }

    /// Fails unless a Perl program differs in the given lines alone: what it is about, the kernel's word, and Mica's.
    #[track_caller]
    pub(crate) fn assert_differs_in(&self, program: &str, known: &[(&str, &str, &str)]) {
        let known: Vec<_> = known
            .iter()
            .map(|(what, kernel, mica)| (format!("{what}: {kernel}"), format!("{what}: {mica}")))
            .collect();
        assert_eq!(self.differences(program), known);
    }

    /// Fails if a Perl program sees a difference.
    #[track_caller]
    pub(crate) fn assert_same(&self, program: &str) {
        self.assert_differs_in(program, &[]);
    }
}

impl Drop for Beside {
    /// Takes the flags off that would keep the layers from being removed.
    fn drop(&mut self) {
        for driver in DRIVERS {
            let point = self.dir(driver).join("m");
            run(Command::new("umount").arg(point));
            for layer in ["l", "u"] {
                let layer = self.dir(driver).join(layer);
                run(Command::new("chattr").args(["-R", "-f", "-ia"]).arg(layer));
            }
        }
    }
}
