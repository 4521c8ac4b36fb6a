//! Reading directories: one pass over each layer makes a listing, and readers take from it.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mica_vfs::{
    Cookie, DirEntry, Entry, Errno, FileName, FileNameBuf, FileType, Flow, Ino, ListedNode, met,
};

use crate::config::Unlisted;
use crate::listing::{Listed, Listing};
use crate::lookup::Hint;
use crate::marks::Marks;
use crate::node::{Node, XattrWhiteouts};
use crate::overlay::Overlay;
use crate::stack::LayerNode;

/// How many names are taken out of a listing at a time: their lookups are made outside its lock.
const BATCH: usize = 64;

/// The number of a listed name whose object cannot be read: any but 0 will do.
const UNKNOWN: Ino = Ino(u64::MAX >> 1);

/// What came of asking for the number of a listed name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolved {
    /// It is in the listing, or the name is not any more.
    Noted,
    /// Its object cannot be read now.
    Unreadable,
}

/// A name as one layer lists it.
struct Raw {
    name: FileNameBuf,
    kind: Option<FileType>,
    ino: Ino,
}

/// What a listing keeps of a number; 0 is not one (readers take it for a removed name), and is asked for again.
fn known(ino: Ino) -> Option<NonZeroU64> {
    NonZeroU64::new(ino.0)
}

fn ino_of(listed: &Listed) -> Option<Ino> {
    listed.ino.map(|ino| Ino(ino.get()))
}

impl Raw {
    fn listed(self, ino: Option<Ino>, first: u16) -> Listed {
        let Self { name, kind, .. } = self;
        let ino = ino.and_then(known);
        Listed {
            name,
            kind,
            ino,
            first,
        }
    }
}

/// What the upper directory says of its entries' numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purity {
    /// No entry was copied up: the numbers in the directory are those of the entries.
    Pure,
    /// Some were, or are whiteouts of another overlay: each must be looked at (`impure`, OVL-34; `nested`, OVL-130).
    Impure,
}

impl Overlay {
    /// Returns the listing of `dir`: the one in memory, or a new one.
    pub(crate) fn listing(&self, dir: &Arc<Node>) -> Result<Arc<Listing>, Errno> {
        if let Some(listing) = self.listings.get(dir.id)? {
            return Ok(listing);
        }
        // In the gate nothing changes the directory, so the listing misses nothing that is not put into it later.
        let _names = self.names.enter(dir.id);
        if let Some(listing) = self.listings.get(dir.id)? {
            return Ok(listing);
        }
        let listing = Arc::new(self.read_layers(dir)?);
        self.listings.keep(dir.id, &listing)?;
        Ok(listing)
    }

    /// Returns the listing of `dir` to who reads on from `from`. Where others change the lowers, each that begins reads the
    /// layers (OVL-139).
    fn listing_from(&self, dir: &Arc<Node>, from: Cookie) -> Result<Arc<Listing>, Errno> {
        if from != Cookie::START {
            met!(12);
        } else if self.is_shared() {
            self.listings.drop_dir(dir.id)?;
        }
        self.with_fresh(dir, || self.listing(dir))
    }

    /// Reads every layer's directory once, topmost first (OVL-10).
    pub(crate) fn read_layers(&self, dir: &Node) -> Result<Listing, Errno> {
        self.counters.listings.fetch_add(1, Relaxed);
        met!(10);
        let mut listing = Vec::new();
        let mut hidden = Hidden::default();
        // Asked once: where others change the lowers, other directories may merge before this is done.
        let lowers = dir.lowers();
        let mut below = lowers.len();
        if let Some(upper) = dir.upper() {
            let purity = self.purity(dir, upper)?;
            for raw in self.read_layer(upper, XattrWhiteouts::None, &mut hidden, below)? {
                let ino = match (purity, raw.kind) {
                    (Purity::Pure, Some(kind)) if kind != FileType::Directory => Some(raw.ino),
                    // A directory that merges has the number of the lower one.
                    (Purity::Pure, Some(_)) if lowers.is_empty() => Some(raw.ino),
                    _ => None,
                };
                let ino = ino.map(|ino| self.number(&upper.layer, upper.layer.dev, ino));
                listing.push((self.hash(raw.name.as_name()), raw.listed(ino, 0)));
            }
        }
        for (at, lower) in lowers.iter().enumerate() {
            below -= 1;
            let layer = &lower.node.layer;
            let first = u16::try_from(at).unwrap_or(u16::MAX);
            let nested = self.is_marked_nested(&lower.node)?;
            let raws = match self.read_layer(&lower.node, lower.xattr_whiteouts, &mut hidden, below)
            {
                Err(Errno::ACCESS) => {
                    self.witness_closed(&lower.node);
                    match self.config.unlisted {
                        Unlisted::Empty => Vec::new(),
                        _ => return Err(Errno::ACCESS),
                    }
                }
                raws => raws?,
            };
            for raw in raws {
                let must_look = nested && raw.kind == Some(FileType::Regular);
                let ino = (!must_look).then(|| self.number(layer, layer.dev, raw.ino));
                listing.push((self.hash(raw.name.as_name()), raw.listed(ino, first)));
            }
        }
        Listing::of(listing)
    }

    /// Lists one layer's directory: the names that it adds to those in `hidden`, which then hides them in the directories
    /// below, if there are any.
    fn read_layer(
        &self,
        dir: &LayerNode,
        whiteouts: XattrWhiteouts,
        hidden: &mut Hidden,
        below: usize,
    ) -> Result<Vec<Raw>, Errno> {
        let mut raws = Vec::new();
        let read = dir.fs().read_dir(dir.id, Cookie::START, &mut |entry| {
            self.tell_foreign(dir, entry.name);
            if !hidden.hides(entry.name) {
                let name = entry.name.to_owned();
                let (kind, ino) = (entry.kind, entry.ino);
                raws.push(Raw { name, kind, ino });
            }
            Flow::Continue
        });
        read.map_err(|errno| match errno {
            // Removed by others, and still open.
            Errno::NOENT if self.is_shared() => Errno::STALE,
            errno => errno,
        })?;
        if below > 0 {
            hidden.hide(&raws);
        }
        let mut failed = None;
        raws.retain_mut(|raw| {
            if !Self::listing_must_look(dir.layer.idx, whiteouts, raw.kind) {
                return true;
            }
            match self.look_at(dir, raw) {
                Ok(keep) => keep,
                Err(errno) => {
                    failed = Some(errno);
                    false
                }
            }
        });
        failed.map_or(Ok(raws), Err)
    }

    /// Says once that a layer holds whiteouts in the form of aufs and of OCI layers, which are files here (OVL-81).
    fn tell_foreign(&self, dir: &LayerNode, name: FileName<'_>) {
        if name.as_bytes().starts_with(b".wh.") {
            self.foreign_told.call_once(|| {
                tracing::warn!(
                    layer = dir.layer.label,
                    name = %name,
                    "a name like that of a whiteout of aufs, fuse-overlayfs or an OCI layer is shown as a file; others are not reported"
                );
            });
        }
    }

    /// Looks at a listed name that may be a whiteout; returns whether it is to be shown.
    fn look_at(&self, dir: &LayerNode, raw: &mut Raw) -> Result<bool, Errno> {
        let Some((node, attr)) = dir.child(raw.name.as_name())? else {
            return Ok(false);
        };
        raw.kind = Some(attr.kind);
        Ok(!self.is_whiteout(&node, &attr)?)
    }

    fn purity(&self, dir: &Node, upper: &LayerNode) -> Result<Purity, Errno> {
        if dir.is_impure() || dir.holds_nested() {
            return Ok(Purity::Impure);
        }
        let marks = self.marks(upper)?;
        if marks.contains(Marks::NESTED) {
            dir.set_holds_nested();
        }
        if marks.contains(Marks::IMPURE) {
            dir.set_impure();
        }
        Ok(if marks.intersects(Marks::IMPURE | Marks::NESTED) {
            Purity::Impure
        } else {
            Purity::Pure
        })
    }

    pub(crate) fn dir_read(
        &self,
        dir: &Arc<Node>,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Flow,
    ) -> Result<(), Errno> {
        let listing = self.listing_from(dir, from)?;
        let mut from = from;
        loop {
            let mut unresolved: Option<(Cookie, Listed)> = None;
            let mut stopped = false;
            listing.for_each_after(from, &mut |cookie, listed| {
                let Some(ino) = ino_of(listed) else {
                    unresolved = Some((cookie, listed.clone()));
                    return false;
                };
                let entry = DirEntry {
                    name: listed.name.as_name(),
                    ino,
                    kind: listed.kind,
                    cookie,
                };
                met!(11);
                stopped = sink(entry) == Flow::Stop;
                if !stopped {
                    from = cookie;
                }
                !stopped
            })?;
            let Some((cookie, listed)) = unresolved.filter(|_| !stopped) else {
                return Ok(());
            };
            if self.resolve(dir, &listing, &listed)? == Resolved::Unreadable {
                let (name, kind) = (listed.name.as_name(), listed.kind);
                let unknown = DirEntry {
                    name,
                    ino: UNKNOWN,
                    kind,
                    cookie,
                };
                if sink(unknown) == Flow::Stop {
                    return Ok(());
                }
                from = cookie;
            }
        }
    }

    /// Finds the number of a listed name and notes it in the listing.
    fn resolve(
        &self,
        dir: &Arc<Node>,
        listing: &Listing,
        listed: &Listed,
    ) -> Result<Resolved, Errno> {
        let name = listed.name.as_name();
        let hash = self.hash(name);
        match self.lookup_at(dir, name, None) {
            Ok((node, attr)) => {
                self.table.put(&node, 1);
                let (kind, ino) = (Some(attr.kind), known(attr.ino).or(known(UNKNOWN)));
                let known = Listed {
                    kind,
                    ino,
                    ..listed.clone()
                };
                listing.insert(hash, known)?;
            }
            // It went away after the listing was read.
            Err(Errno::NOENT) => listing.remove(hash, name)?,
            // A name is listed even if its object cannot be read. The next reader asks again: it may be read then.
            Err(_) => return Ok(Resolved::Unreadable),
        }
        Ok(Resolved::Noted)
    }

    pub(crate) fn dir_read_plus(
        &self,
        dir: &Arc<Node>,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>, &ListedNode) -> Flow,
    ) -> Result<(), Errno> {
        // Before the listing, and once: the listing may be dropped from the cache meanwhile, and is told of no change then.
        let version = dir.version();
        let listing = self.listing_from(dir, from)?;
        let mut from = from;
        let mut batch: Vec<(Cookie, Listed)> = Vec::with_capacity(BATCH);
        loop {
            listing.for_each_after(from, &mut |cookie, listed| {
                batch.push((cookie, listed.clone()));
                batch.len() < BATCH
            })?;
            if batch.is_empty() {
                return Ok(());
            }
            for (cookie, listed) in batch.drain(..) {
                let name = listed.name.as_name();
                let hint = Hint {
                    first: usize::from(listed.first),
                    version,
                };
                let found = match self.lookup_at(dir, name, Some(hint)) {
                    Ok((node, attr)) => Some(Entry {
                        node: node.id,
                        attr,
                    }),
                    // What has to be looked at for its number and is not there is not listed (ovl_cache_update).
                    Err(Errno::NOENT) if ino_of(&listed).is_none() => {
                        listing.remove(self.hash(name), name)?;
                        from = cookie;
                        continue;
                    }
                    // Also one that is not there: it went away meanwhile, or a lookup alone hides it (OVL-6).
                    Err(_) => None,
                };
                met!(11);
                let ino = found.as_ref().map(|e| e.attr.ino).or(ino_of(&listed));
                let kind = found.as_ref().map(|e| e.attr.kind).or(listed.kind);
                let ino = ino.unwrap_or(UNKNOWN);
                if sink(
                    DirEntry {
                        name,
                        ino,
                        kind,
                        cookie,
                    },
                    &found,
                ) == Flow::Stop
                {
                    if let Some(entry) = found {
                        self.table.forget(entry.node, 1);
                    }
                    return Ok(());
                }
                from = cookie;
            }
        }
    }

    /// Whether a directory shows no name, by its layers (ovl_check_empty_dir). The caller is in its gate.
    pub(crate) fn is_empty_dir(&self, dir: &Node) -> Result<bool, Errno> {
        if !self.is_shared()
            && let Some(listing) = self.listings.get(dir.id)?
        {
            return listing.is_empty();
        }
        match self.read_layers(dir) {
            // Nobody sees what is lost with it (OVL-233).
            Err(Errno::ACCESS)
                if self.config.unlisted != Unlisted::Kept && dir.upper().is_none() =>
            {
                met!(233);
                Ok(true)
            }
            names => names?.is_empty(),
        }
    }

    /// Notes a new name in the listing of `dir`, if there is one.
    pub(crate) fn listing_add(
        &self,
        dir: &Node,
        name: FileName<'_>,
        node: &Node,
    ) -> Result<(), Errno> {
        self.listings.change(dir.id, |listing| {
            let listed = Listed {
                name: name.to_owned(),
                kind: Some(node.kind),
                ino: known(node.ino()),
                first: 0,
            };
            listing.insert(self.hash(name), listed)
        })
    }

    /// Notes in the listing of `dir`, if there is one, that a name is gone.
    pub(crate) fn listing_remove(&self, dir: &Node, name: FileName<'_>) -> Result<(), Errno> {
        let hash = self.hash(name);
        self.listings
            .change(dir.id, |listing| listing.remove(hash, name))
    }
}

/// The names that a layer need not show: a layer above has them, or a whiteout for them.
#[derive(Default)]
struct Hidden {
    names: std::collections::HashSet<FileNameBuf>,
}

impl Hidden {
    fn hides(&self, name: FileName<'_>) -> bool {
        !self.names.is_empty() && self.names.contains(name.as_bytes())
    }

    fn hide(&mut self, raws: &[Raw]) {
        self.names.extend(raws.iter().map(|raw| raw.name.clone()));
    }
}
