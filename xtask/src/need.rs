//! What a tier needs of the machine, how to see whether it is there, and how to install it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{find_program, quiet, run};
use crate::{private, repo};

/// One need of a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Effective user id 0, with the right to make namespaces.
    Root,
    /// A `/dev/fuse` that this user may open.
    Fuse,
    /// Loop devices.
    Loop,
    /// The kernel's overlayfs, against which Mica is compared.
    KernelOverlay,
    /// A program, and where it comes from.
    Program(&'static str, Source),
    /// A program of a crate and its version, kept out of `PATH`, where another one of its name is.
    Apart(&'static str, &'static str),
    /// The Debian mirror, for a fresh system inside a mount.
    Mirror,
}

/// Where a program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A Debian package.
    Debian(&'static str),
    /// A crate and its version, all three numbers: cargo takes less for a mistake.
    Crate(&'static str, &'static str),
}

/// The host from which debootstrap and apt fetch.
const MIRROR: &str = "deb.debian.org:80";

impl Need {
    /// Returns why this need is not met, or nothing if it is.
    pub(crate) fn missing(self) -> Option<String> {
        match self {
            Self::Root => (!private::is_root()).then(|| "needs root".to_owned()),
            Self::Fuse => std::fs::File::options()
                .read(true)
                .write(true)
                .open("/dev/fuse")
                .err()
                .map(|error| format!("/dev/fuse cannot be opened ({error})")),
            Self::Loop => (!Path::new("/dev/loop-control").exists())
                .then(|| "the kernel has no loop devices".to_owned()),
            Self::KernelOverlay => {
                let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
                let loadable = || quiet(Command::new("modprobe").arg("overlay")).is_ok();
                let there = known.lines().any(|line| line.ends_with("\toverlay")) || loadable();
                (!there).then(|| "the kernel has no overlayfs".to_owned())
            }
            Self::Program(name, _) => find_program(name)
                .is_none()
                .then(|| format!("`{name}` is not installed")),
            Self::Apart(name, version) => (!apart(name).is_ok_and(|path| path.is_file()))
                .then(|| format!("`{name}` {version} is not installed")),
            Self::Mirror => {
                mirror_error().map(|error| format!("{MIRROR} is not reachable ({error})"))
            }
        }
    }

    /// Says whether [`install`] can meet this need.
    pub(crate) fn is_installable(self) -> bool {
        matches!(self, Self::Program(..) | Self::Apart(..))
    }
}

/// Returns where the program of a crate is that is not put into `PATH`.
pub(crate) fn apart(name: &str) -> Result<PathBuf> {
    Ok(apart_root()?.join("bin").join(name))
}

fn apart_root() -> Result<PathBuf> {
    repo::cache_dir("programs")
}

fn mirror_error() -> Option<String> {
    use std::net::{TcpStream, ToSocketAddrs};
    if std::env::var_os("http_proxy").is_some() {
        // Whether the proxy lets it through only a download can tell.
        return None;
    }
    let addresses = match MIRROR.to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return Some(error.to_string()),
    };
    let mut last = "no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, std::time::Duration::from_secs(5)) {
            Ok(_) => return None,
            Err(error) => last = error.to_string(),
        }
    }
    Some(last)
}

/// Installs what is missing of `needs`: Debian packages in one go, then crates one by one.
pub(crate) fn install(needs: &[Need]) -> Result<()> {
    let mut packages = Vec::new();
    let mut crates = Vec::new();
    let mut apart = Vec::new();
    for need in needs.iter().filter(|need| need.missing().is_some()) {
        match need {
            Need::Program(_, Source::Debian(package)) => packages.push(*package),
            Need::Program(_, Source::Crate(name, version)) => crates.push((*name, *version)),
            Need::Apart(name, version) => apart.push((*name, *version)),
            Need::Root | Need::Fuse | Need::Loop | Need::KernelOverlay | Need::Mirror => {}
        }
    }
    packages.sort_unstable();
    packages.dedup();
    crates.dedup();
    if !packages.is_empty() {
        println!("installing Debian packages: {}", packages.join(" "));
        run(Command::new("apt-get").args(["update", "-qq"]))
            .context("cannot update the package lists; --install needs root and apt")?;
        run(Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&packages)
            .env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    for (name, version) in crates {
        install_crate((name, version), None)?;
    }
    for (name, version) in apart {
        install_crate((name, version), Some(&apart_root()?))?;
    }
    Ok(())
}

/// Installs a crate where cargo keeps programs, or below `root`.
fn install_crate((name, version): (&str, &str), root: Option<&Path>) -> Result<()> {
    println!("installing the crate {name} {version}");
    let mut cargo = repo::cargo()?;
    // Unoptimised: these run for seconds, and an optimised build takes minutes. One target directory for all of them lets
    // them share dependencies.
    cargo.args(["install", "--quiet", "--locked", "--debug", name]);
    cargo.args(["--version", version]);
    if let Some(root) = root {
        cargo.arg("--root").arg(root);
    }
    run(cargo.env("CARGO_TARGET_DIR", repo::cache_dir("tools")?))
}
