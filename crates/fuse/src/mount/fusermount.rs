//! Mounting by `fusermount3`, the setuid helper of libfuse, where this process may not mount.
//!
//! The helper opens `/dev/fuse` itself, mounts it and sends the descriptor over a socket, which is its standard input
//! here: so no descriptor of this process has to lose its close-on-exec flag.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::io::IoSliceMut;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};

use super::{Audience, MountAccess, MountFlags, MountOptions, Mountpoint};
use crate::error::MountError;
use crate::session::Decider;

/// The helper of libfuse 3, then that of libfuse 2.
pub(super) const PROGRAMS: [&str; 2] = ["fusermount3", "fusermount"];

/// Mounts on `mountpoint` by the helper; `direct` is why this process could not.
pub(crate) fn mount(
    mountpoint: &Mountpoint,
    options: &MountOptions,
    direct: MountError,
) -> Result<OwnedFd, MountError> {
    for program in PROGRAMS {
        match ask(program, &mountpoint.path, options) {
            Ok(device) => return Ok(device),
            Err(Refusal::NotInstalled) => {}
            Err(Refusal::Said(message)) => {
                return Err(MountError::Helper {
                    program,
                    message,
                    source: Box::new(direct),
                });
            }
        }
    }
    Err(MountError::HelperMissing {
        source: Box::new(direct),
    })
}

/// How a helper unmounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmount {
    /// Only if nobody uses it.
    Idle,
    /// When the last user is gone.
    Lazy,
}

/// Unmounts `path` by the helper, or says why not.
pub(crate) fn unmount(path: &Path, how: Unmount) -> Result<(), String> {
    for program in PROGRAMS {
        let mut command = Command::new(program);
        command.arg("-u");
        if how == Unmount::Lazy {
            command.arg("-z");
        }
        match run(command.arg("--").arg(path).stdin(Stdio::null())) {
            Ok(_) => return Ok(()),
            Err(Refusal::NotInstalled) => {}
            Err(Refusal::Said(message)) => return Err(message),
        }
    }
    Err("neither `fusermount3` nor `fusermount` is installed".to_owned())
}

/// Why a helper did not do it.
enum Refusal {
    NotInstalled,
    Said(String),
}

impl From<rustix::io::Errno> for Refusal {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Said(errno.to_string())
    }
}

fn ask(program: &str, path: &Path, options: &MountOptions) -> Result<OwnedFd, Refusal> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let mut command = Command::new(program);
    command
        .arg("-o")
        .arg(option_string(options))
        .arg("--")
        .arg(path);
    run(command.env("_FUSE_COMMFD", "0").stdin(theirs))?;
    receive(&ours)?.ok_or_else(|| Refusal::Said("it sent no descriptor".to_owned()))
}

fn run(command: &mut Command) -> Result<Output, Refusal> {
    let output = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Refusal::NotInstalled,
        _ => Refusal::Said(error.to_string()),
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = printable(&String::from_utf8_lossy(&output.stderr));
    Err(Refusal::Said(match said.as_str() {
        "" => output.status.to_string(),
        _ => said,
    }))
}

/// Returns what a helper said without its own name in front, and with nothing that moves a cursor.
fn printable(said: &str) -> String {
    let said = said.trim();
    let words = PROGRAMS
        .iter()
        .find_map(|program| said.strip_prefix(program)?.strip_prefix(": "));
    let mut shown = String::new();
    for c in words.unwrap_or(said).chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Takes the descriptor that lies in the socket.
fn receive(socket: &OwnedFd) -> rustix::io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        flags,
    )?;
    let mut device = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            device = descriptors.last().or(device);
        }
    }
    Ok(device)
}

fn option_string(options: &MountOptions) -> String {
    let mut all = vec![
        format!("fsname={}", escaped(&options.source)),
        format!("subtype={}", escaped(&options.subtype)),
    ];
    let words = [
        (options.decider == Decider::Kernel, "default_permissions"),
        (options.access != MountAccess::ReadWrite, "ro"),
        (options.audience == Audience::Everyone, "allow_other"),
        (options.flags.contains(MountFlags::NOEXEC), "noexec"),
        (options.flags.contains(MountFlags::NOATIME), "noatime"),
        (options.flags.contains(MountFlags::NODIRATIME), "nodiratime"),
        (
            options.flags.contains(MountFlags::STRICTATIME),
            "strictatime",
        ),
        (
            options.flags.contains(MountFlags::NOSYMFOLLOW),
            "nosymfollow",
        ),
        (options.flags.contains(MountFlags::SYNC), "sync"),
    ];
    // The helper sets nodev and nosuid for ordinary users, asked or not.
    all.extend(
        words
            .iter()
            .filter(|(set, _)| *set)
            .map(|(_, word)| (*word).to_owned()),
    );
    all.extend(options.max_read.map(|bytes| format!("max_read={bytes}")));
    let labels = options.labels.iter();
    all.extend(labels.map(|label| format!("{}={}", label.option, escaped(&label.value))));
    all.join(",")
}

/// Protects what separates options.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,")
}

#[cfg(test)]
mod tests {
    use super::super::SecurityLabel;
    use super::*;

    #[test]
    fn the_helper_is_told_every_flag() {
        let options = MountOptions {
            access: MountAccess::ReadOnlyHere,
            flags: MountFlags::all(),
            audience: Audience::Everyone,
            max_read: Some(8192),
            labels: vec![SecurityLabel {
                option: "context",
                value: "a:b,c".to_owned(),
            }],
            ..MountOptions::default()
        };
        assert_eq!(
            option_string(&options),
            "fsname=mica,subtype=mica,default_permissions,ro,allow_other,noexec,noatime,nodiratime,\
             strictatime,nosymfollow,sync,max_read=8192,context=a:b\\,c"
        );
    }

    #[test]
    fn what_a_helper_says_is_shown_in_its_words() {
        let said = printable("fusermount3: option x only allowed if 'y' is set\n");
        assert_eq!(said, "option x only allowed if 'y' is set");
        assert_eq!(printable("a\n\u{1b}b"), "a\\n\\u{1b}b");
    }

    #[test]
    fn a_comma_in_the_source_is_no_option() {
        let options = MountOptions {
            source: "a,allow_other\\".to_owned(),
            access: MountAccess::ReadOnly,
            ..MountOptions::default()
        };
        let string = option_string(&options);
        assert_eq!(
            string,
            "fsname=a\\,allow_other\\\\,subtype=mica,default_permissions,ro"
        );
    }
}
