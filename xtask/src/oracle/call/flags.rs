//! File flags: chattr(1) and lsattr(1), by both pairs of ioctls.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use rustix::fs::{FileType, IFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{At, NONSENSE, Said, done, open};
use crate::dump::{self, FLAGS, PROTECTING};

/// Reads the flags of its standard input by `FS_IOC_FSGETXATTR`, and sets those of its argument by `FS_IOC_FSSETXATTR`
/// if there is one. No crate offers the two; which xflag is which flag `linux/fs.h` says.
const FSXATTR: &str = r#"
    my %flag = (i => 0x08, a => 0x10, S => 0x20, A => 0x40, d => 0x80);
    my $fsx = "\0" x 28;
    ioctl(STDIN, 0x801c581f, $fsx) or exit($! + 0);
    if (@ARGV) {
        my $had = unpack("L", $fsx);
        for my $letter (keys %flag) {
            $had = index($ARGV[0], $letter) < 0 ? $had & ~$flag{$letter} : $had | $flag{$letter};
        }
        substr($fsx, 0, 4) = pack("L", $had);
        ioctl(STDIN, 0x401c5820, $fsx) or exit($! + 0);
        print "ok";
    } else {
        my $has = unpack("L", $fsx);
        print "xflags ", grep { $has & $flag{$_} } qw(a i d A S);
    }
"#;

/// Does `words`, if they are one of these operations.
pub(super) fn apply(words: &[&str], at: At<'_>) -> Option<Said> {
    let opened = |path: &str| open(at(path), OFlags::RDONLY, Mode::empty());
    Some(match *words {
        ["setflags", path, flags] => opened(path).and_then(|fd| set(&fd, flags)),
        ["getflags", path] => opened(path).and_then(|fd| show(&fd)),
        ["setxflags", path, flags] => opened(path).and_then(|fd| fsxattr(fd, Some(flags))),
        ["getxflags", path] => opened(path).and_then(|fd| fsxattr(fd, None)),
        _ => return None,
    })
}

/// Sets exactly these of the known flags, and leaves the others as they are, as chattr(1) does.
pub(super) fn set(fd: &OwnedFd, letters: &str) -> Said {
    expect_flags(fd)?;
    let mut wanted = rustix::fs::ioctl_getflags(fd)?;
    wanted.remove(FLAGS.iter().map(|(_, flag)| *flag).collect());
    for letter in letters.chars().filter(|letter| *letter != '-') {
        wanted |= dump::flag(letter).ok_or(NONSENSE)?;
    }
    done(rustix::fs::ioctl_setflags(fd, wanted))
}

/// Writes those of the known flags that are set.
pub(super) fn show(fd: &OwnedFd) -> Said {
    expect_flags(fd)?;
    let flags = rustix::fs::ioctl_getflags(fd)?;
    Ok(format!("flags {}", dump::letters(flags)))
}

/// Says whether a file can be appended to, and not otherwise changed, and whether nothing can be changed in it.
///
/// What has no flags is not protected.
pub(super) fn protection(fd: impl AsFd) -> IFlags {
    rustix::fs::ioctl_getflags(fd).map_or(IFlags::empty(), |flags| flags & PROTECTING)
}

fn fsxattr(fd: OwnedFd, letters: Option<&str>) -> Said {
    expect_flags(&fd)?;
    let output = Command::new("perl")
        .args(["-e", FSXATTR])
        .args(letters)
        .stdin(Stdio::from(fd))
        .output()
        .map_err(|_| NONSENSE)?;
    match output.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Some(errno) => Err(Errno::from_raw_os_error(errno)),
        None => Err(NONSENSE),
    }
}

/// Lets files and directories through alone: an ioctl of a device asks its driver.
fn expect_flags(fd: &OwnedFd) -> Result<(), Errno> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
    if matches!(kind, FileType::RegularFile | FileType::Directory) {
        Ok(())
    } else {
        Err(Errno::NOTTY)
    }
}
