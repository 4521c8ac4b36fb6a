//! An overlay over literals, on any kind of layer.
//!
//! The layers outlive the overlay: it can be dropped and mounted again. When it is dropped for good, a [`Mounted`] checks
//! what must hold of every test: no lower changed, and no reference on a layer was left behind.

mod medium;

pub use medium::{Filesystems, Medium};

use std::fmt;
use std::sync::Arc;

use mica_overlay::{Config, Index, Layer, Metacopies, Overlay, Redirects, Upper};
use mica_vfs::NodeId;

use crate::{Detail, Dump, FaultLayer, KernelMount, Model, Tree, Walk, assert_same, dump};
use medium::Ground;

/// The layers of an overlay, written as literals.
#[derive(Debug, Clone, Default)]
pub struct Stack {
    upper: Option<Tree>,
    lowers: Vec<Tree>,
    data: Vec<Tree>,
    config: Config,
    filesystems: Filesystems,
}

impl Stack {
    /// A stack without layers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a lower below those that there are.
    #[must_use]
    pub fn lower(mut self, tree: impl Into<Tree>) -> Self {
        self.lowers.push(tree.into());
        self
    }

    /// Adds a data-only layer after those that there are.
    #[must_use]
    pub fn data(mut self, tree: impl Into<Tree>) -> Self {
        self.data.push(tree.into());
        self
    }

    /// Gives it an upper.
    #[must_use]
    pub fn upper(mut self, tree: impl Into<Tree>) -> Self {
        self.upper = Some(tree.into());
        self
    }

    /// Mounts it with these choices.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Lays the layers on one filesystem, or each on its own.
    #[must_use]
    pub const fn filesystems(mut self, filesystems: Filesystems) -> Self {
        self.filesystems = filesystems;
        self
    }

    /// Builds the layers and mounts an overlay of them.
    ///
    /// # Panics
    ///
    /// If a literal cannot be built or the stack cannot be mounted.
    #[must_use]
    pub fn mount(&self, medium: Medium) -> Mounted {
        let prefix = std::str::from_utf8(self.config.xattrs.prefix()).unwrap();
        let mut ground = Ground::new(medium, self.filesystems);
        let mut build = |trees: &[Tree], name: &str| -> Vec<_> {
            let trees = trees.iter().zip(1..);
            trees
                .map(|(tree, number)| {
                    let layer = ground.layer(&format!("{name}{number}"));
                    tree.build(&*layer.fs, layer.root, prefix);
                    ground.seal(layer)
                })
                .collect()
        };
        let (lowers, data) = (build(&self.lowers, "lower"), build(&self.data, "data"));
        let upper = self.upper.as_ref().map(|tree| {
            let layer = ground.layer("upper");
            tree.build(&*layer.fs, layer.root, prefix);
            let work = ground.layer("work").root;
            Upper { layer, work }
        });
        let before = lowers.iter().chain(&data).map(untouched).collect();
        let mut mounted = Mounted {
            overlay: None,
            config: self.config.clone(),
            faults: None,
            upper,
            lowers,
            data,
            before,
            ground,
        };
        mounted.remount();
        mounted
    }
}

impl fmt::Display for Stack {
    /// Writes the literals, topmost first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(upper) = &self.upper {
            writeln!(f, "upper: {upper}")?;
        }
        self.lowers
            .iter()
            .try_for_each(|lower| writeln!(f, "lower: {lower}"))
    }
}

fn untouched(layer: &Layer) -> Dump {
    dump(&*layer.fs, layer.root, Detail::UNTOUCHED)
}

/// A mounted [`Stack`].
pub struct Mounted {
    overlay: Option<Arc<Overlay>>,
    config: Config,
    faults: Option<Arc<FaultLayer>>,
    upper: Option<Upper>,
    lowers: Vec<Layer>,
    /// The data-only layers.
    data: Vec<Layer>,
    /// What each lower was before the overlay.
    before: Vec<Dump>,
    ground: Ground,
}

impl Mounted {
    /// Returns the overlay.
    ///
    /// # Panics
    ///
    /// After [`unmount`](Self::unmount).
    #[must_use]
    pub fn overlay(&self) -> &Arc<Overlay> {
        self.overlay.as_ref().unwrap()
    }

    /// Returns whether changes of metadata copy data.
    #[must_use]
    pub fn metacopies(&self) -> Metacopies {
        self.config.metacopies
    }

    /// Walks the overlay.
    #[must_use]
    pub fn walk(&self) -> Walk<'_> {
        Walk::new(&**self.overlay())
    }

    /// Walks the upper itself.
    #[must_use]
    pub fn walk_upper(&self) -> Walk<'_> {
        let layer = self.upper_layer();
        Walk::at(&*layer.fs, layer.root)
    }

    /// Walks the work directory itself.
    #[must_use]
    pub fn walk_work(&self) -> Walk<'_> {
        let upper = self.upper.as_ref().unwrap();
        Walk::at(&*upper.layer.fs, upper.work)
    }

    /// Returns the upper with its work directory.
    #[must_use]
    pub const fn upper(&self) -> Option<&Upper> {
        self.upper.as_ref()
    }

    /// Returns the lowers, topmost first.
    #[must_use]
    pub fn lowers(&self) -> &[Layer] {
        &self.lowers
    }

    /// Drops the overlay. What it left in the layers stays.
    ///
    /// # Panics
    ///
    /// If somebody else holds it.
    pub fn unmount(&mut self) {
        if let Some(overlay) = self.overlay.take() {
            let left = Arc::into_inner(overlay).is_some();
            assert!(left, "the overlay is in use elsewhere");
        }
    }

    /// Drops the overlay and mounts the same layers again.
    ///
    /// # Panics
    ///
    /// If that fails.
    pub fn remount(&mut self) {
        self.unmount();
        let (upper, lowers) = (self.upper.clone(), self.lowers.clone());
        let overlay = Overlay::with_data(upper, lowers, self.data.clone(), self.config.clone())
            .unwrap_or_else(|error| panic!("cannot mount the stack: {error}"));
        self.overlay = Some(Arc::new(overlay));
    }

    /// Drops the overlay and mounts the same layers with other choices.
    ///
    /// # Panics
    ///
    /// If that fails.
    pub fn remount_with(&mut self, config: Config) {
        self.config = config;
        self.remount();
    }

    /// Mounts again with faults under the upper, none of them armed.
    ///
    /// # Panics
    ///
    /// If that fails or there is no upper.
    pub fn with_faults(&mut self) -> Arc<FaultLayer> {
        self.unmount();
        let upper = self.upper.as_mut().unwrap();
        let faults = Arc::new(FaultLayer::new(Arc::clone(&upper.layer.fs)));
        upper.layer.fs = Arc::<FaultLayer>::clone(&faults);
        self.faults = Some(Arc::clone(&faults));
        self.remount();
        faults.reset();
        faults
    }

    /// Mounts again with faults under all lowers, counted together, none of them armed.
    ///
    /// # Panics
    ///
    /// If that fails or there is no lower.
    pub fn with_lower_faults(&mut self) -> Arc<FaultLayer> {
        self.unmount();
        let mut first: Option<Arc<FaultLayer>> = None;
        for lower in self.lowers.iter_mut().chain(&mut self.data) {
            let inner = Arc::clone(&lower.fs);
            let faults = Arc::new(match &first {
                Some(first) => first.beside(inner),
                None => FaultLayer::new(inner),
            });
            lower.fs = Arc::<FaultLayer>::clone(&faults);
            first.get_or_insert(faults);
        }
        self.remount();
        let first = first.unwrap();
        first.reset();
        first
    }

    /// Returns the directory of the host that `upper` and `work` lie in.
    ///
    /// # Panics
    ///
    /// If the layers are in memory.
    #[must_use]
    pub fn host_dir(&self) -> &std::path::Path {
        self.ground.dir().unwrap()
    }

    /// Mounts the same layers by the kernel, read-write. The overlay must have been [dropped](Self::unmount).
    ///
    /// # Errors
    ///
    /// What the kernel answers, with what it says of the reason.
    ///
    /// # Panics
    ///
    /// If the layers are not directories of the host.
    pub fn mount_by_kernel(&self) -> std::io::Result<KernelMount> {
        let dir = self.ground.dir().unwrap();
        let lowers: Vec<_> = self.lowers.iter().map(|l| dir.join(&l.label)).collect();
        let data: Vec<_> = self.data.iter().map(|l| dir.join(&l.label)).collect();
        let (upper, work) = (dir.join("upper"), dir.join("work"));
        let upper = (&*upper, &*work);
        let index = self.config.index;
        if self.config.metacopies == Metacopies::Off && data.is_empty() {
            let (xattrs, redirects) = (self.config.xattrs, self.config.redirects);
            return KernelMount::indexed(&lowers, upper, xattrs, redirects, index);
        }
        let index = ("index", if index == Index::On { "on" } else { "off" });
        let options: &[_] = match self.config.metacopies {
            Metacopies::On => &[("redirect_dir", "on"), ("metacopy", "on"), index],
            Metacopies::Off => &[("metacopy", "off"), index],
        };
        let xattrs = self.config.xattrs;
        KernelMount::with_options(&lowers, &data, upper, xattrs, options)
    }

    /// Reads the merged tree.
    #[must_use]
    pub fn dump(&self, detail: Detail) -> Dump {
        dump(&**self.overlay(), NodeId::ROOT, detail)
    }

    /// Reads what the overlay shows, to compare it with a model: all that the medium keeps still.
    #[must_use]
    pub fn dump_shown(&self) -> Dump {
        let detail = Model::DETAIL.difference(self.ground.unsettled());
        self.dump(detail).without_root()
    }

    /// Reads the upper itself.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    pub fn dump_upper(&self, detail: Detail) -> Dump {
        let layer = self.upper_layer();
        dump(&*layer.fs, layer.root, detail)
    }

    /// Merges the layers as they are by the rules of the model.
    #[must_use]
    pub fn model(&self) -> Model {
        let detail = Model::LAYER.difference(self.ground.unsettled());
        let upper = self.upper.as_ref().map(|_| self.dump_upper(detail));
        let lowers: Vec<_> = self
            .lowers
            .iter()
            .map(|layer| dump(&*layer.fs, layer.root, detail))
            .collect();
        let prefix = std::str::from_utf8(self.config.xattrs.prefix()).unwrap();
        let redirects = self.config.redirects == Redirects::On;
        Model::merge(upper.as_ref(), &lowers, prefix).with_redirects(redirects)
    }

    /// Checks that the overlay shows what the layers hold.
    ///
    /// # Panics
    ///
    /// If not, with what differs.
    #[track_caller]
    pub fn assert_shows_layers(&self) {
        let expected = self.model().dump();
        let found = self.dump_shown();
        assert_same(&expected, &found, "the layers and the overlay");
    }

    /// Checks that no lower changed.
    ///
    /// # Panics
    ///
    /// If one did, with what changed.
    #[track_caller]
    pub fn assert_lowers_untouched(&self) {
        let all = self.lowers.iter().chain(&self.data);
        for (layer, before) in all.zip(&self.before) {
            assert_same(before, &untouched(layer), &layer.label);
        }
    }

    /// Counts the references on the layers' nodes, those of the overlay among them.
    #[must_use]
    pub fn layer_nodes(&self) -> usize {
        self.ground.nodes()
    }

    fn upper_layer(&self) -> &Layer {
        &self.upper.as_ref().unwrap().layer
    }

    /// Drops the overlay and checks what must hold of every test.
    ///
    /// # Panics
    ///
    /// If a lower changed, or a reference on a layer was left behind.
    #[track_caller]
    pub fn finish(mut self) {
        self.unmount();
        self.assert_lowers_untouched();
        let nodes = self.ground.nodes();
        let roots = self.ground.roots();
        assert_eq!(
            nodes, roots,
            "nodes of the layers are referenced after the end"
        );
    }
}

impl fmt::Debug for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mounted")
            .field("upper", &self.upper)
            .field("lowers", &self.lowers)
            .field("faults", &self.faults.is_some())
            .finish_non_exhaustive()
    }
}

/// Runs `operate` on the stack over every kind of layer and compares what it returns.
///
/// Afterwards the overlay must show what its layers hold, before and after a remount, with nothing left referenced and no
/// lower changed.
///
/// # Panics
///
/// If anything is not as expected, with the kind of layer.
#[track_caller]
pub fn check<T, E>(stack: &Stack, operate: impl Fn(Walk<'_>) -> T, expected: E)
where
    T: PartialEq<E> + fmt::Debug,
    E: fmt::Debug,
{
    for medium in Medium::all() {
        let mut mounted = stack.mount(medium);
        let found = operate(mounted.walk());
        assert!(
            found == expected,
            "over {medium:?}: expected {expected:?}, found {found:?}"
        );
        mounted.assert_shows_layers();
        let before = mounted.dump_shown();
        let nodes = mounted.overlay().stats().nodes;
        assert!(nodes <= 1, "over {medium:?}: {nodes} nodes are referenced");
        mounted.remount();
        let after = mounted.dump_shown();
        assert_same(&before, &after, "before and after a remount");
        mounted.finish();
    }
}

#[cfg(test)]
mod tests;
