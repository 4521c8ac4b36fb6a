//! Dumping a filesystem.

use std::collections::BTreeMap;

use mica_vfs::{
    Attr, Cookie, DevId, Entry, Errno, FileName, FileType, Filesystem, Flow, Ino, NodeId, SeekFrom,
    XattrName,
};

use super::{Detail, Dump, FirstPaths, Object, Summary};
use crate::walk::whole;

/// Reads the tree at `root`.
///
/// # Panics
///
/// If something cannot be read, or if a listing and stat do not agree.
#[must_use]
pub fn dump(fs: &dyn Filesystem, root: NodeId, detail: Detail) -> Dump {
    let mut dumper = Dumper {
        fs,
        detail,
        dev: None,
        dump: Dump::default(),
        first: FirstPaths::default(),
    };
    let attr = fs.get_attr(root).unwrap();
    dumper.object("", root, &attr);
    let mut dump = dumper.dump;
    // In the order of the paths, whatever order the listing had.
    for (path, object) in &dump.0 {
        if object.kind != FileType::Directory {
            dumper.first.note(object.ino.unwrap(), path);
        }
    }
    dumper.first.finish(&mut dump, detail);
    dump
}

/// What a listing told of a name.
struct Listed {
    name: Vec<u8>,
    ino: Ino,
    kind: Option<FileType>,
}

struct Dumper<'a> {
    fs: &'a dyn Filesystem,
    detail: Detail,
    dev: Option<DevId>,
    dump: Dump,
    first: FirstPaths,
}

impl Dumper<'_> {
    fn object(&mut self, path: &str, node: NodeId, attr: &Attr) {
        let fail = |what: &str, errno: Errno| -> ! { panic!("/{path}: cannot {what}: {errno}") };
        assert_eq!(
            *self.dev.get_or_insert(attr.dev),
            attr.dev,
            "/{path}: st_dev"
        );
        let mut object = Object {
            kind: attr.kind,
            mode: attr.mode.bits(),
            uid: attr.uid,
            gid: attr.gid,
            nlink: None,
            same_as: None,
            mtime: self.detail.contains(Detail::MTIME).then_some(attr.mtime),
            atime: self.detail.contains(Detail::ATIME).then_some(attr.atime),
            ctime: self.detail.contains(Detail::CTIME).then_some(attr.ctime),
            ino: Some(attr.ino.0),
            size: None,
            data: None,
            target: None,
            rdev: None,
            xattrs: self
                .xattrs(node)
                .unwrap_or_else(|errno| fail("read the xattrs", errno)),
            raw: None,
        };
        if self.detail.contains(Detail::NLINK) && attr.kind != FileType::Directory {
            object.nlink = Some(attr.nlink);
        }
        match attr.kind {
            FileType::Regular => {
                let data = self.data(node, attr.size);
                object.size = Some(attr.size);
                object.data = Some(data.unwrap_or_else(|errno| fail("read", errno)));
                if self.detail.contains(Detail::RAW) {
                    let size = usize::try_from(attr.size).unwrap();
                    let mut raw = vec![0; size];
                    assert_eq!(self.fs.read(node, 0, &mut raw), Ok(size), "/{path}");
                    object.raw = Some(raw);
                }
            }
            FileType::Symlink => {
                let target = self.fs.read_link(node);
                object.target = Some(target.unwrap_or_else(|errno| fail("read the link", errno)));
            }
            FileType::CharDevice | FileType::BlockDevice => object.rdev = Some(attr.rdev),
            FileType::Directory | FileType::Fifo | FileType::Socket => {}
        }
        self.dump.0.insert(path.to_owned(), object);
        if attr.kind == FileType::Directory {
            self.directory(path, node)
                .unwrap_or_else(|errno| fail("list", errno));
        }
    }

    fn directory(&mut self, path: &str, node: NodeId) -> Result<(), Errno> {
        let mut names = Vec::new();
        self.fs.read_dir(node, Cookie::START, &mut |entry| {
            names.push(Listed {
                name: entry.name.as_bytes().to_vec(),
                ino: entry.ino,
                kind: entry.kind,
            });
            Flow::Continue
        })?;
        names.sort_by(|a, b| a.name.cmp(&b.name));
        for listed in &names {
            let name = FileName::new(&listed.name)?;
            let child = match path {
                "" => name.to_string(),
                dir => format!("{dir}/{name}"),
            };
            let entry: Entry = self
                .fs
                .lookup(node, name)
                .unwrap_or_else(|errno| panic!("/{child} is listed, but looking it up: {errno}"));
            let attr = entry.attr;
            // A filesystem may allocate blocks when it likes (delayed allocation).
            let again = self.fs.get_attr(entry.node).map(|again| Attr {
                blocks: attr.blocks,
                ..again
            });
            assert_eq!(again, Ok(attr), "/{child}: lookup and stat");
            assert_eq!(listed.ino, attr.ino, "/{child}: d_ino and st_ino");
            if let Some(kind) = listed.kind {
                assert_eq!(kind, attr.kind, "/{child}: d_type and st_mode");
            }
            assert!(
                !self.dump.0.contains_key(&child),
                "/{child} is listed twice"
            );
            self.object(&child, entry.node, &attr);
            self.fs.forget(entry.node, 1);
        }
        Ok(())
    }

    fn xattrs(&self, node: NodeId) -> Result<BTreeMap<String, Vec<u8>>, Errno> {
        let list = match whole(|names| self.fs.list_xattr(node, names)) {
            Err(Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
            list => list?,
        };
        let mut xattrs = BTreeMap::new();
        for name in list
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
        {
            let key = XattrName::new(name)?;
            let value = whole(|value| self.fs.get_xattr(node, key, value))?;
            xattrs.insert(key.to_string(), value);
        }
        Ok(xattrs)
    }

    /// Reads the blocks of data; a filesystem that knows no holes is read whole.
    fn data(&self, node: NodeId, size: u64) -> Result<String, Errno> {
        let block_size = Summary::BLOCK as u64;
        let mut summary = Summary::default();
        let mut at = 0;
        while at < size {
            match self.fs.seek(node, SeekFrom::Data(at)) {
                Ok(data) => at = data / block_size * block_size,
                Err(Errno::NXIO) => break,
                Err(_) => {}
            }
            let mut block = [0; Summary::BLOCK];
            let got = self.fs.read(node, at, &mut block)?;
            summary.add(at, &block[..got]);
            at += block_size;
        }
        Ok(summary.finish(size))
    }
}
