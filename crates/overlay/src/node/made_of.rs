//! The objects of layers that a node is made of.

use std::sync::OnceLock;

use crate::lower_data::LowerData;
use crate::stack::LayerNode;

/// A lower object under a node.
#[derive(Debug)]
pub(crate) struct Lower {
    pub(crate) node: LayerNode,
    /// Whether names in this directory may be whiteouts in the xattr form (opaque `x`, OVL-6).
    pub(crate) xattr_whiteouts: XattrWhiteouts,
}

impl Lower {
    const fn of_upper(node: LayerNode) -> Self {
        Self {
            node,
            xattr_whiteouts: XattrWhiteouts::None,
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        let whiteouts = self.xattr_whiteouts == other.xattr_whiteouts;
        let (own, other) = (&self.node, &other.node);
        whiteouts && own.layer.idx == other.layer.idx && own.id == other.id
    }
}

/// Whether a directory of a lower holds whiteouts in the xattr form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum XattrWhiteouts {
    None,
    Possible,
}

/// Objects of layers, topmost first: one for a file, those that merge for a directory.
#[derive(Debug)]
pub(super) enum MadeOf {
    One(Lower),
    Several(Box<[Lower]>),
    /// A metacopy, and where its data is.
    Metacopy(Box<(Lower, LowerData)>),
    /// The directories of a shared mount.
    Changing(Box<Changing>),
}

/// How often others may change which directories merge in a node, before it is another node.
const RENEWALS_MAX: usize = 32;

/// Directories that merge, and those that come instead of them. What was replaced stays, as somebody may be reading it.
#[derive(Debug)]
pub(crate) struct Changing {
    objects: Box<[Lower]>,
    /// Set once.
    newer: OnceLock<Box<Self>>,
}

impl Changing {
    pub(super) fn new(upper: Option<LayerNode>, lowers: Vec<Lower>) -> Self {
        let objects = upper.map(Lower::of_upper).into_iter().chain(lowers);
        Self {
            objects: objects.collect(),
            newer: OnceLock::new(),
        }
    }

    /// All that there were, the present one last.
    fn versions(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |at| at.newer.get().map(|newer| &**newer))
    }

    fn present(&self) -> &Self {
        self.versions().last().unwrap_or(self)
    }
}

/// What became of a change of the directories that merge in a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewed {
    Yes,
    /// The parent changed meanwhile.
    Raced,
    /// The node holds what it was made of too often already.
    TooOften,
}

impl MadeOf {
    pub(super) fn new(
        upper: Option<LayerNode>,
        lowers: Vec<Lower>,
        data: Option<LowerData>,
    ) -> Self {
        let upper = upper.map(Lower::of_upper);
        let mut objects = upper.into_iter().chain(lowers);
        match (objects.next(), objects.next(), data) {
            (Some(metacopy), None, Some(data)) => Self::Metacopy(Box::new((metacopy, data))),
            (Some(only), None, None) => Self::One(only),
            (first, second, _) => {
                let first_two = [first, second].into_iter().flatten();
                Self::Several(first_two.chain(objects).collect())
            }
        }
    }

    pub(super) fn objects(&self) -> &[Lower] {
        match self {
            Self::One(object) => std::slice::from_ref(object),
            Self::Several(objects) => objects,
            Self::Metacopy(metacopy) => std::slice::from_ref(&metacopy.0),
            Self::Changing(changing) => &changing.present().objects,
        }
    }

    /// Takes `newer` as what is there from here on, unless that happened too often.
    pub(super) fn renew(&self, newer: &mut Option<Box<Changing>>) -> Renewed {
        let Self::Changing(changing) = self else {
            return Renewed::TooOften;
        };
        if changing.versions().count() > RENEWALS_MAX {
            return Renewed::TooOften;
        }
        if let Some(newer) = newer.take() {
            changing.present().newer.get_or_init(|| newer);
        }
        Renewed::Yes
    }
}
