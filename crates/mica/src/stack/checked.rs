//! Directories that were found to fit together, and what the overlay of them is to do.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use mica_host::{FdCache, Features, Owners};
use mica_overlay::{Config, Layer, SetupError, Unmapped, Upper, XattrNamespace};
use mica_vfs::{Caller, Uuid};

use super::apart::check_separate;
use super::in_use::{self, InUse};
use super::opened::{Opened, open_data, open_lowers};
use super::owners::{RootRecord, recorded_root, with_overflow_ids};
use super::writable::Writable;
use super::{LayerDir, Reach, Role, Stack, StackError, StackWarning, raise_fd_limit, unmapped};
use crate::options::StackSpec;

/// Directories that fit together, and what an overlay of them is made of.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) upper: Option<Upper>,
    pub(super) lowers: Vec<Layer>,
    pub(super) data: Vec<Layer>,
    pub(super) config: Config,
    pub(super) record: Option<RootRecord>,
    pub(super) fds: Arc<FdCache>,
    pub(super) features: Option<Features>,
    pub(super) reach: Option<Reach>,
    pub(super) warnings: Vec<StackWarning>,
    pub(super) in_use: Vec<InUse>,
}

impl Checked {
    pub(super) fn new(spec: &StackSpec) -> Result<Self, StackError> {
        if spec.xattrs == XattrNamespace::Trusted && !Stack::may_use_trusted() {
            return Err(StackError::Trusted);
        }
        let fds = FdCache::new(raise_fd_limit());
        let lowers = open_lowers(spec)?;
        let data = open_data(spec)?;
        let writable = spec.upper.as_ref().map(Writable::open).transpose()?;
        check_separate(lowers.iter().chain(&data), writable.as_ref())?;

        let mut in_use = Vec::new();
        let mut warnings = Vec::new();
        if let Some(writable) = &writable {
            in_use.extend(writable.claim()?);
        }
        refuse_shared(writable.as_ref(), lowers.iter().chain(&data), &mut warnings)?;
        let owners = spec.identity.owners;
        let like = recorded_root(&lowers, owners, &fds)?;
        let layers = |opened: Vec<Opened>| {
            let layers = opened
                .into_iter()
                .map(|dir| dir.into_lower(owners, spec.coherence, &fds));
            layers.collect::<Result<Vec<_>, _>>()
        };
        let (lowers, data) = (layers(lowers)?, layers(data)?);
        let mut features = None;
        let mut record = None;
        let reach = writable.as_ref().map(|writable| writable.reach.clone());
        let upper = match writable {
            Some(writable) => {
                let (upper, found, root) = writable.into_upper(
                    (spec.xattrs, spec.index),
                    (owners, like),
                    &fds,
                    &lowers,
                    &mut warnings,
                )?;
                features = Some(found);
                record = root;
                Some(upper)
            }
            None => None,
        };
        #[cfg(feature = "planted")]
        let (upper, lowers) = crate::planted::under(upper, lowers);
        let config = Config {
            xattrs: spec.xattrs,
            redirects: spec.redirects.in_xattrs(spec.xattrs),
            index: spec.index,
            xino: spec.xino,
            uuid: spec.uuid.with(fresh_uuid()),
            mounter: Caller {
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
                umask: 0,
            },
            durability: spec.durability,
            // Recorded owners are known, whoever they are (OVL-77).
            unmapped: match spec.identity.owners {
                Owners::Real => unmapped::unmapped(),
                Owners::Xattr(_) => Unmapped::default(),
            },
            coherence: spec.coherence,
            ids: with_overflow_ids(&spec.identity.ids),
            acls: spec.identity.acls,
            dir_links: spec.identity.dir_links,
            metacopies: spec.metacopies,
            // The other half is for the files that are in use.
            nameless_max: fds.limit() / 2,
            ..Config::default()
        };
        Ok(Self {
            upper,
            lowers,
            data,
            config,
            record,
            fds,
            features,
            reach,
            warnings,
            in_use,
        })
    }
}

/// Says in this module's words why the layers are no overlay.
pub(super) fn not_stacked(spec: &StackSpec, error: SetupError) -> StackError {
    match (error, &spec.upper) {
        (SetupError::Incompatible { feature }, Some(upper)) => StackError::Incompatible {
            upper: LayerDir {
                role: Role::Upper,
                path: upper.dir.clone(),
            },
            work: LayerDir {
                role: Role::Work,
                path: upper.work.clone(),
            },
            feature,
        },
        (error, _) => error.into(),
    }
}

/// Refuses an upper and a work directory that an overlay of another program writes to, and warns of such a lower.
fn refuse_shared<'a>(
    writable: Option<&Writable>,
    lowers: impl Iterator<Item = &'a Opened>,
    warnings: &mut Vec<StackWarning>,
) -> Result<(), StackError> {
    let written: Vec<&Opened> = writable.iter().flat_map(|w| [&w.upper, &w.work]).collect();
    let others = in_use::settled(&written);
    for written in written {
        in_use::refuse_shared(written, &others, warnings)?;
    }
    for lower in lowers {
        in_use::warn_of_shared_lower(lower, &others, warnings);
    }
    Ok(())
}

/// Makes a UUID as the kernel does (`uuid_gen`, version 4). That of an overlay only has to differ from others.
fn fresh_uuid() -> Uuid {
    let random = RandomState::new();
    let (high, low) = (random.hash_one(0_u8), random.hash_one(1_u8));
    let bits = u128::from(high) << 64 | u128::from(low);
    let version = bits & !(0xf << 76) | 4 << 76;
    Uuid((version & !(3 << 62) | 2 << 62).to_be_bytes())
}
