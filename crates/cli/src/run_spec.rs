//! From the command line of `mica do` to what is to be run.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use mica::{Extra, ExtraSource, Medium, Network, RunSpec, UnlistedDirs, ViewAccess, ViewSpec, Who};

use crate::args::{DoArgs, Net, Share};
use crate::error::CliError;

/// Says what is to be run.
///
/// # Errors
///
/// What is to be shared is not there.
pub(crate) fn spec_of(args: &DoArgs) -> Result<RunSpec, CliError> {
    let command = if args.command.is_empty() {
        vec![own_shell()]
    } else {
        args.command.clone()
    };
    // Of another tree than this one the current directory is no part.
    let dir = match (&args.dir, &args.lower) {
        (Some(dir), _) => Some(dir.clone()),
        (None, Some(_)) => Some(PathBuf::from("/")),
        (None, None) => None,
    };
    Ok(RunSpec {
        command,
        dir,
        who: if args.as_root { Who::Root } else { Who::Same },
        environment: environment(args),
        view: view(args)?,
    })
}

pub(crate) fn own_shell() -> OsString {
    env::var_os("SHELL").unwrap_or("/bin/sh".into())
}

fn environment(args: &DoArgs) -> Option<Vec<(OsString, OsString)>> {
    if !args.clearenv && args.setenv.is_empty() && args.unsetenv.is_empty() {
        return None;
    }
    let mut all: Vec<_> = env::vars_os()
        .filter(|(name, _)| !args.clearenv && !args.unsetenv.contains(name))
        .collect();
    all.extend(args.setenv.iter().cloned());
    Some(all)
}

fn view(args: &DoArgs) -> Result<ViewSpec, CliError> {
    let mut mounts = Vec::new();
    for target in &args.tmpfs {
        let target = absolute(target)?;
        let source = ExtraSource::Memory;
        mounts.push(Extra { source, target });
    }
    for bind in &args.bind {
        let source = ExtraSource::Host(absolute(&bind.source)?, bind.access);
        let target = bind.target.clone();
        mounts.push(Extra { source, target });
    }
    let mut itself = |path: PathBuf| {
        let source = ExtraSource::Host(path.clone(), ViewAccess::ReadWrite);
        let target = path;
        mounts.push(Extra { source, target });
    };
    for path in &args.write {
        // Where it is without links, there is what it leads to in the view, too.
        itself(path.canonicalize().map_err(|source| CliError::OpenFile {
            path: path.clone(),
            source,
        })?);
    }
    for &share in &args.share {
        itself(socket_of(share)?);
    }
    let hidden = args.hide.iter().map(|path| absolute(path));
    Ok(ViewSpec {
        hidden: hidden.collect::<Result<_, _>>()?,
        mounts,
        access: if args.ro {
            ViewAccess::ReadOnly
        } else {
            ViewAccess::ReadWrite
        },
        network: match args.net {
            Net::Host => Network::Host,
            Net::None => Network::None,
        },
        capabilities: args.cap_add.clone(),
        medium: if args.memory {
            let (size, inodes) = (args.size, args.inodes);
            Medium::Memory { size, inodes }
        } else {
            Medium::Directory
        },
        unlisted: if args.hide_unreadable {
            UnlistedDirs::Empty
        } else {
            UnlistedDirs::Refused
        },
        ignored: args.ignore.clone(),
    })
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|source| CliError::OpenFile {
        path: path.to_owned(),
        source,
    })
}

/// Finds the socket by which programs reach something.
fn socket_of(share: Share) -> Result<PathBuf, CliError> {
    let word = |name: &str| env::var_os(name).and_then(|word| word.into_string().ok());
    let path = match share {
        Share::Ssh => word("SSH_AUTH_SOCK"),
        Share::Dbus => word("DBUS_SESSION_BUS_ADDRESS").and_then(|address| bus(&address)),
        Share::X11 => word("DISPLAY").and_then(|display| x11(&display)),
        Share::Wayland => word("WAYLAND_DISPLAY").and_then(|name| {
            let dir = PathBuf::from(word("XDG_RUNTIME_DIR")?);
            dir.join(name).into_os_string().into_string().ok()
        }),
    };
    let path = path.map(PathBuf::from).filter(|path| path.is_absolute());
    path.ok_or_else(|| CliError::Usage {
        message: format!("`--share`: the environment names no socket for {share:?}").to_lowercase(),
        hint: "see that SSH_AUTH_SOCK, DBUS_SESSION_BUS_ADDRESS, DISPLAY, or WAYLAND_DISPLAY and XDG_RUNTIME_DIR is set",
    })
}

/// Finds the path in the address of a bus.
fn bus(address: &str) -> Option<String> {
    let all = address.split(';');
    let mut paths = all.filter_map(|one| one.strip_prefix("unix:path="));
    Some(paths.next()?.split(',').next()?.to_owned())
}

/// Finds the socket of a display of this machine.
fn x11(display: &str) -> Option<String> {
    let number = display.strip_prefix(':')?.split('.').next()?;
    let known = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    known.then(|| format!("/tmp/.X11-unix/X{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_in_what_the_environment_says() {
        let path = "/run/user/1/bus".to_owned();
        assert_eq!(bus("unix:path=/run/user/1/bus,guid=9"), Some(path.clone()));
        assert_eq!(bus("tcp:host=x;unix:path=/run/user/1/bus"), Some(path));
        assert_eq!(bus("unix:abstract=/tmp/x"), None);
        assert_eq!(x11(":10.0"), Some("/tmp/.X11-unix/X10".to_owned()));
        assert_eq!(x11("host:0"), None);
        assert_eq!(x11(":../x"), None);
    }
}
