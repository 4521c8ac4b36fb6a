//! An object of a layer, referenced for as long as it is needed.

use std::sync::Arc;

use mica_vfs::{
    Attr, Cookie, Errno, FileName, FileType, Filesystem, Flow, NodeId, XATTR_SIZE_MAX, XattrName,
};

/// A referenced object of a layer.
#[derive(Debug, Clone)]
pub(crate) struct Node(Arc<Referenced>);

#[derive(Debug)]
struct Referenced {
    fs: Arc<dyn Filesystem>,
    id: NodeId,
    /// As they were when the object was found.
    attr: Attr,
    /// A root is never forgotten.
    is_root: bool,
}

impl Drop for Referenced {
    fn drop(&mut self) {
        if !self.is_root {
            self.fs.forget(self.id, 1);
        }
    }
}

impl Node {
    /// Takes a root of a layer.
    pub(crate) fn root(fs: Arc<dyn Filesystem>, id: NodeId) -> Result<Self, Errno> {
        let attr = fs.get_attr(id)?;
        Ok(Self(Arc::new(Referenced {
            fs,
            id,
            attr,
            is_root: true,
        })))
    }

    pub(crate) fn fs(&self) -> &Arc<dyn Filesystem> {
        &self.0.fs
    }

    pub(crate) fn id(&self) -> NodeId {
        self.0.id
    }

    /// Returns the attributes that the object had when it was found.
    pub(crate) fn attr(&self) -> &Attr {
        &self.0.attr
    }

    pub(crate) fn kind(&self) -> FileType {
        self.0.attr.kind
    }

    /// Looks a name up; a name that the layer cannot hold is not there (OVL-7).
    pub(crate) fn child(&self, name: &[u8]) -> Result<Option<Self>, Errno> {
        let Ok(name) = FileName::new(name) else {
            return Ok(None);
        };
        match self.0.fs.lookup(self.0.id, name) {
            Ok(entry) => Ok(Some(self.adopt(entry.node, entry.attr))),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Takes over a reference to another object of the same layer.
    pub(crate) fn adopt(&self, id: NodeId, attr: Attr) -> Self {
        Self(Arc::new(Referenced {
            fs: Arc::clone(&self.0.fs),
            id,
            attr,
            is_root: false,
        }))
    }

    /// Lists a directory, in the order of bytes.
    pub(crate) fn names(&self) -> Result<Vec<Box<[u8]>>, Errno> {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        self.0.fs.read_dir(self.0.id, Cookie::START, &mut |entry| {
            names.push(entry.name.as_bytes().into());
            Flow::Continue
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// Returns the names of all extended attributes; none where there cannot be any.
    pub(crate) fn xattr_names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let mut names = vec![0; 1024];
        let length = loop {
            match self.0.fs.list_xattr(self.0.id, &mut names) {
                Err(Errno::RANGE) if names.len() < XATTR_SIZE_MAX => {
                    names.resize(XATTR_SIZE_MAX, 0);
                }
                Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
                length => break length?,
            }
        };
        let names = names.get(..length).unwrap_or_default();
        let names = names
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }

    /// Reads an extended attribute; `None` if there is none.
    pub(crate) fn xattr(&self, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let name = XattrName::new(name)?;
        let mut value = vec![0; 512];
        loop {
            match self.0.fs.get_xattr(self.0.id, name, &mut value) {
                Ok(length) => {
                    value.truncate(length);
                    return Ok(Some(value));
                }
                Err(Errno::RANGE) if value.len() < XATTR_SIZE_MAX => {
                    value.resize(XATTR_SIZE_MAX, 0);
                }
                Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
                Err(errno) => return Err(errno),
            }
        }
    }
}
