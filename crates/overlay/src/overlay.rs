//! The overlay: its layers, what it remembers of them, and how it is set up.

use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use mica_vfs::{Attr, DevId, Errno, FileName, FileType, Ino, NodeId, Observer, Uuid, invent};

use crate::bad_mark::MarkError;
use crate::config::{Config, Index, Metacopies, Redirects, XattrNamespace};
use crate::error::SetupError;
use crate::examine::examine;
use crate::gate::Gates;
use crate::index::IndexDir;
use crate::ino::{Filesystems, FsIdx, Numbering, next_dev};
use crate::listing::{LIMITS, Listings, hash_name};
use crate::marks::{Marks, Opaque};
use crate::node::{Known, Lower, NewNode, XattrWhiteouts};
use crate::orphan::Orphans;
use crate::stack::{LAYERS_MAX, Layer, LayerIdx, LayerInfo, LayerNode, Position, Upper};
use crate::stats::{Counters, OverlayStats};
use crate::table::Table;
use crate::uuid::{self, OwnUuid};
use crate::work::Work;

/// A union of filesystems.
#[derive(Debug)]
pub struct Overlay {
    pub(crate) config: Config,
    /// The lower layers, topmost first.
    pub(crate) lowers: Vec<Arc<LayerInfo>>,
    /// The data-only layers, in the order in which they are asked.
    pub(crate) data_layers: Vec<Arc<LayerInfo>>,
    pub(crate) numbering: Numbering,
    /// The roots of all layers and the work directory, in rising order: none of them may be reached through a layer (OVL-92).
    traps: Box<[(DevId, Ino)]>,
    /// `st_dev` of every object.
    pub(crate) dev: DevId,
    pub(crate) table: Table,
    pub(crate) listings: Listings,
    /// One copy-up of a node at a time. Before `names`.
    pub(crate) copying: Gates,
    /// One change of a directory at a time.
    pub(crate) names: Gates,
    /// One change of the names of an indexed file at a time. After `names`.
    pub(crate) linking: Gates,
    pub(crate) counters: Counters,
    /// Whom to tell of changes that reach beyond what was asked for. Set once.
    pub(crate) observer: OnceLock<Box<dyn Observer>>,
    /// Told of a whiteout in a form that is not read (OVL-81).
    pub(crate) foreign_told: Once,
    /// Told of a lower that changed during a copy-up (OVL-137).
    pub(crate) changed_told: Once,
    /// The upper's work directory; `None`: the overlay is read-only.
    work: Option<Arc<Work>>,
    /// `None`: names of lower files stay together only for this mount.
    pub(crate) index: Option<IndexDir>,
}

/// The layers, with what is known of each.
struct Described {
    upper: Option<Arc<LayerInfo>>,
    work: Option<NodeId>,
    lowers: Vec<Arc<LayerInfo>>,
    numbering: Numbering,
}

impl Described {
    fn new(upper: Option<Upper>, lowers: Vec<Layer>, config: &Config) -> Result<Self, SetupError> {
        let count = lowers.len();
        let mut filesystems = Filesystems::default();
        let (upper, work) = match upper {
            Some(Upper { layer, work }) => {
                let fs_of = |dev| filesystems.index(dev);
                let info = LayerInfo::new(layer, LayerIdx::UPPER, Position::Above, fs_of)?;
                (Some(info), Some(work))
            }
            None => (None, None),
        };
        let lowers = lowers
            .into_iter()
            .zip(1..)
            .map(|(layer, idx)| {
                let position = if usize::from(idx) == count {
                    Position::Bottom
                } else {
                    Position::Above
                };
                LayerInfo::new(layer, LayerIdx(idx), position, |dev| filesystems.index(dev))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let numbering = filesystems.numbering();
        let (mut upper, mut lowers) = (upper, lowers);
        if config.uuid == OwnUuid::Off && numbering == Numbering::One {
            // On several filesystems the UUID tells which one a handle is of, and so it stays (ovl_fill_super).
            let layers = upper.iter_mut().chain(&mut lowers);
            layers
                .filter_map(Arc::get_mut)
                .for_each(|layer| layer.uuid = Uuid::default());
        }
        Ok(Self {
            upper,
            work,
            lowers,
            numbering,
        })
    }
}

impl Overlay {
    /// Makes the overlay of `lowers`, topmost first, under `upper`, and prepares its work directory.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: nothing was changed but the work directory.
    pub fn new(
        upper: Option<Upper>,
        lowers: Vec<Layer>,
        config: Config,
    ) -> Result<Self, SetupError> {
        Self::with_data(upper, lowers, Vec::new(), config)
    }

    /// Makes the overlay as [`new`](Self::new) does, over layers that show no names: metacopies of the lowers find their data
    /// in them (OVL-102).
    ///
    /// # Errors
    ///
    /// [`SetupError`]: nothing was changed but the work directory.
    pub fn with_data(
        upper: Option<Upper>,
        lowers: Vec<Layer>,
        data: Vec<Layer>,
        mut config: Config,
    ) -> Result<Self, SetupError> {
        if config.metacopies == Metacopies::On {
            config.redirects = Redirects::On;
        }
        if lowers.is_empty() {
            return Err(SetupError::NoLower);
        }
        let all = lowers.len() + data.len();
        if all > LAYERS_MAX {
            return Err(SetupError::TooManyLayers {
                count: all,
                max: LAYERS_MAX,
            });
        }
        let count = lowers.len();
        let Described {
            upper,
            work: work_dir,
            lowers,
            numbering,
        } = Described::new(upper, lowers, &config)?;
        let data_layers = data_layers(data, count)?;
        let root = root_of(upper.as_ref(), &lowers, numbering, config.xattrs)?;
        let traps = traps(upper.as_ref().zip(work_dir), &lowers)?;
        // After all that can be refused: it changes something, and what is refused must not be marked (OVL-66).
        let (work, index) = match (&upper, work_dir) {
            (Some(upper), Some(dir)) => {
                let work = Arc::new(Work::prepare(upper, dir, &config)?);
                uuid::mark(&LayerNode::root(upper), config.uuid, config.xattrs);
                let index = match config.index {
                    Index::Off => Ok(None),
                    Index::On => IndexDir::prepare(upper, dir, &lowers, &config).map(Some),
                };
                let index = index.inspect_err(|_| _ = work.abandon())?;
                (Some(work), index)
            }
            _ => (None, None),
        };
        let orphans = work
            .clone()
            .map(|work| Orphans::new(work, config.nameless_max));
        let table =
            Table::new(root, orphans, config.coherence).map_err(|source| SetupError::Root {
                label: "overlay".to_owned(),
                source,
            })?;
        let overlay = Self {
            config,
            numbering,
            traps,
            dev: next_dev(),
            table,
            listings: Listings::new(LIMITS),
            copying: Gates::default(),
            linking: Gates::default(),
            names: Gates::default(),
            counters: Counters::default(),
            observer: OnceLock::new(),
            foreign_told: Once::new(),
            changed_told: Once::new(),
            work,
            index,
            lowers,
            data_layers,
        };
        overlay.learn_root().map_err(|source| SetupError::Root {
            label: "overlay".to_owned(),
            source,
        })?;
        Ok(overlay)
    }

    /// Looks whether [`new`](Self::new) would take the work directory of `upper` and the index in it, and changes nothing.
    /// Returns how many unfinished objects it would remove.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn examine(upper: Upper, lowers: Vec<Layer>, config: &Config) -> Result<usize, SetupError> {
        let Described {
            upper: Some(upper),
            work: Some(work),
            lowers,
            ..
        } = Described::new(Some(upper), lowers, config)?
        else {
            return Ok(0);
        };
        let unfinished = examine(&upper, work)?;
        if config.index == Index::On {
            IndexDir::examine(&upper, work, &lowers, config)?;
        }
        Ok(unfinished)
    }

    /// Refuses directory `node` of a layer if it is the root of one, or the work directory (OVL-92, ovl_lookup_trap_inode).
    pub(crate) fn refuse_trap(
        &self,
        node: &LayerNode,
        attr: &Attr,
        path: &dyn Fn() -> String,
    ) -> Result<(), Errno> {
        if self.traps.binary_search(&(attr.dev, attr.ino)).is_err() {
            return Ok(());
        }
        Err(invent!(
            Errno::LOOP,
            "overlapping layers: the root of one is found in another",
            layer = node.layer.label,
            path = path()
        ))
    }

    /// Returns what the overlay has done and holds.
    #[must_use]
    pub fn stats(&self) -> OverlayStats {
        self.counters.snapshot(self.table.count())
    }

    /// Returns how many unfinished objects were found in the work directory and removed: what a mount before, which ended
    /// without unmounting, was working on (OVL-50).
    #[must_use]
    pub fn recovered(&self) -> usize {
        self.work.as_ref().map_or(0, |work| work.recovered)
    }

    /// Drops the directory listings that nobody has read for `idle`: they are read again from the layers.
    pub fn trim_idle(&self, idle: Duration) {
        self.listings.trim_idle(idle);
    }

    /// Returns how many things it remembers, nodes and listed names, each of some hundred bytes at most.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.table.len() + self.listings.names()
    }

    /// Removes what the mount keeps in the work directory, at the end of its life. A drop does the same, but the overlay
    /// may be shared by who only reads its counters.
    pub fn clear_work(&self) {
        // The upper must not go on to keep what loses its name in the work directory: that would take a descriptor each.
        let cleared = self.table.end_orphans();
        if let Some(work) = &self.work
            && let Err(errno) = cleared.and_then(|()| work.clear())
        {
            // The next mount empties it.
            tracing::debug!(%errno, "work directory not emptied");
        }
    }

    /// Takes back what [`new`](Self::new) did to the work directory, the mark of a volatile mount included: for an overlay that
    /// nobody has used.
    pub fn abandon(&self) {
        if let Some(work) = &self.work
            && let Err(errno) = work.abandon()
        {
            tracing::warn!(%errno, "work directory not emptied");
        }
    }

    /// Returns the work directory, `EROFS` if there is no upper.
    pub(crate) fn work(&self) -> Result<&Work, Errno> {
        self.work.as_deref().ok_or(Errno::ROFS)
    }

    pub(crate) fn hash(&self, name: FileName<'_>) -> u64 {
        hash_name(self.config.cookie_key, name)
    }

    /// The layer that answers for the whole: the upper, else the topmost lower.
    pub(crate) fn top(&self) -> Result<&LayerInfo, Errno> {
        let upper = self.work.as_ref().map(|work| &work.dir.layer);
        upper
            .or_else(|| self.lowers.first())
            .map(|layer| &**layer)
            .ok_or(Errno::STALE)
    }
}

/// Reads the roots of the data-only layers, which come after `above` lowers. What lies in them has no numbers.
fn data_layers(data: Vec<Layer>, above: usize) -> Result<Vec<Arc<LayerInfo>>, SetupError> {
    let first = u16::try_from(above + 1).unwrap_or(u16::MAX);
    let data = data.into_iter().zip(first..);
    data.map(|(layer, idx)| LayerInfo::new(layer, LayerIdx(idx), Position::Bottom, |_| FsIdx(0)))
        .collect()
}

/// Collects the root: the roots of all layers merge, whatever opaque marks they carry.
fn root_of(
    upper: Option<&Arc<LayerInfo>>,
    lowers: &[Arc<LayerInfo>],
    numbering: Numbering,
    namespace: XattrNamespace,
) -> Result<NewNode, SetupError> {
    let mut merged = Vec::with_capacity(lowers.len());
    let (mut ino, mut protection) = (None, None);
    for layer in lowers {
        let failed = |source| SetupError::Root {
            label: layer.label.clone(),
            source,
        };
        let node = LayerNode::root(layer);
        let attr = node.attr().map_err(failed)?;
        protection = protection.or(Some(attr.protection));
        let own = || numbering.number(layer.fs_idx, attr.ino);
        ino = ino
            .or_else(own)
            .or_else(|| Some(numbering.foreign(attr.dev, attr.ino)));
        let xattr_whiteouts = root_whiteouts(&node, namespace).map_err(failed)?;
        merged.push(Lower {
            node,
            xattr_whiteouts,
        });
    }
    Ok(NewNode {
        kind: FileType::Directory,
        ino: ino.ok_or(SetupError::NoLower)?,
        upper: upper.map(LayerNode::root),
        lowers: merged,
        data: None,
        place: None,
        protection: protection.unwrap_or_default(),
        known: Known::empty(),
    })
}

/// Lists the objects that only the overlay itself may lead to (ovl_setup_trap).
fn traps(
    upper: Option<(&Arc<LayerInfo>, NodeId)>,
    lowers: &[Arc<LayerInfo>],
) -> Result<Box<[(DevId, Ino)]>, SetupError> {
    let mut traps: Vec<_> = lowers.iter().map(|layer| (layer.dev, layer.ino)).collect();
    if let Some((upper, work)) = upper {
        let failed = |source| SetupError::Work {
            action: "look at",
            name: "work".to_owned(),
            source,
        };
        let work = upper.fs.get_attr(work).map_err(failed)?;
        traps.extend([(upper.dev, upper.ino), (work.dev, work.ino)]);
    }
    traps.sort_unstable();
    Ok(traps.into())
}

/// Reads whether the root of a lower holds whiteouts in the xattr form; the mark means nothing on the lowest (OVL-6).
fn root_whiteouts(root: &LayerNode, namespace: XattrNamespace) -> Result<XattrWhiteouts, Errno> {
    if root.layer.position == Position::Bottom {
        return Ok(XattrWhiteouts::None);
    }
    match Marks::read(root, namespace)?.opaque(root, namespace) {
        Ok(Opaque::XattrWhiteouts) => Ok(XattrWhiteouts::Possible),
        Ok(Opaque::Stop | Opaque::No) => Ok(XattrWhiteouts::None),
        Err(MarkError::Layer(errno)) => Err(errno),
        // Roots merge whatever they say, so nothing hidden can show.
        Err(MarkError::Bad(reason)) => {
            tracing::warn!(layer = root.layer.label, path = "/", %reason, "malformed mark ignored");
            Ok(XattrWhiteouts::None)
        }
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        self.clear_work();
    }
}
