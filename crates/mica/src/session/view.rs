//! What a session's view has besides the files of the machine, and what it does not have: the choices of one run.

use std::path::PathBuf;

use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use super::error::DoError;
use super::plan::Bytes;
use crate::diff::Glob;

/// How a session that begins differs from a plain one. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViewSpec {
    /// Objects of the machine that do not exist inside.
    pub hidden: Vec<PathBuf>,
    /// What is mounted over the view, in this order. A mountpoint that is not there is made, in the session.
    pub mounts: Vec<Extra>,
    /// Whether nothing but what `mounts` adds can be changed.
    pub access: ViewAccess,
    /// What the network is.
    pub network: Network,
    /// Capabilities that the command keeps besides the usual ones, by their names in capabilities(7).
    pub capabilities: Vec<String>,
    /// Where the changes are kept.
    pub medium: Medium,
    /// What directories are that may not be listed.
    pub unlisted: UnlistedDirs,
    /// Names of which nothing is told from now on ([`Session::ignore`](super::Session::ignore)).
    pub ignored: Vec<Glob>,
}

/// A mount over the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// What it shows.
    pub source: ExtraSource,
    /// Where.
    pub target: PathBuf,
}

/// What a mount over the view shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtraSource {
    /// A file or directory of the machine itself, not a copy.
    Host(PathBuf, ViewAccess),
    /// An empty directory in memory.
    Memory,
}

/// Whether what is seen can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ViewAccess {
    /// It can.
    #[default]
    ReadWrite,
    /// It cannot: `EROFS`.
    ReadOnly,
}

/// The network of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Network {
    /// That of the machine.
    #[default]
    Host,
    /// The session talks to itself only.
    None,
}

/// What a directory of the machine is in a session that the command may not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum UnlistedDirs {
    /// What it is on the machine: `EACCES`.
    #[default]
    Refused,
    /// Empty.
    Empty,
}

/// Where the changes of a session are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Medium {
    /// In its directory.
    #[default]
    Directory,
    /// In memory: they are gone when it ends.
    Memory {
        /// The most bytes; `None`: half of the machine's memory.
        size: Option<u64>,
        /// The most objects; `None`: as many as the kernel thinks fit.
        inodes: Option<u64>,
    },
}

/// A [`ViewSpec`] as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct View {
    pub(super) hidden: Vec<Bytes>,
    pub(super) mounts: Vec<(Source, Bytes)>,
    pub(super) access: ViewAccess,
    pub(super) network: Network,
    /// The bits of a set of capabilities.
    pub(super) capabilities: u64,
    pub(super) medium: Medium,
    pub(super) unlisted: UnlistedDirs,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Source {
    Host(Bytes, ViewAccess),
    Memory,
}

impl ViewSpec {
    /// Resolves what it names on the machine.
    pub(super) fn resolve(&self) -> Result<View, DoError> {
        let reach = |path: &PathBuf| match path.canonicalize() {
            Ok(found) => Ok(Bytes::of(found)),
            Err(source) => Err(DoError::Store {
                action: "reach",
                path: path.clone(),
                source,
            }),
        };
        let mounts = self.mounts.iter().map(|extra| {
            let source = match &extra.source {
                ExtraSource::Host(path, access) => Source::Host(reach(path)?, *access),
                ExtraSource::Memory => Source::Memory,
            };
            Ok((source, Bytes::of(&extra.target)))
        });
        let mut capabilities = CapabilitySet::empty();
        for name in &self.capabilities {
            capabilities |= capability(name)?;
        }
        Ok(View {
            hidden: self.hidden.iter().map(reach).collect::<Result<_, _>>()?,
            mounts: mounts.collect::<Result<_, DoError>>()?,
            access: self.access,
            network: self.network,
            capabilities: capabilities.bits(),
            medium: self.medium,
            unlisted: self.unlisted,
        })
    }
}

/// Finds a capability by its name, with or without `CAP_`.
fn capability(name: &str) -> Result<CapabilitySet, DoError> {
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
    CapabilitySet::from_name(plain).ok_or_else(|| DoError::Capability { name: name.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_found_by_their_names() {
        for name in ["CAP_SYS_PTRACE", "sys_ptrace", "Cap_Sys_Ptrace"] {
            assert_eq!(
                capability(name).ok(),
                Some(CapabilitySet::SYS_PTRACE),
                "{name}"
            );
        }
        for name in ["", "ALL", "SYS_NOTHING", "CAP_CAP_SYS_PTRACE"] {
            assert!(capability(name).is_err(), "{name}");
        }
    }
}
