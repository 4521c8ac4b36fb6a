//! The `origin` attribute: what an upper object was copied up from.
//!
//! Its bytes are the kernel's `struct ovl_fh` (docs/format.md), so that an upper keeps its inode numbers whoever mounts
//! it next.

use std::sync::Arc;

use mica_vfs::{Attr, Errno, FileHandle, FileType, Ino, Uuid, met};

use crate::bad_mark::{BadMark, MarkError};
use crate::marks::Marks;
use crate::overlay::Overlay;
use crate::stack::{LayerInfo, LayerNode};

const VERSION: u8 = 0;
const MAGIC: u8 = 0xfb;
/// No value is longer: its length is one byte.
pub(crate) const LEN_MAX: usize = 0xff;
/// Version, magic, length, flags, type, UUID.
const HEADER_LEN: usize = 21;
/// Largest handle that fits the length byte.
const FID_MAX: usize = LEN_MAX - HEADER_LEN;
const FLAG_BIG_ENDIAN: u8 = 1;
const FLAG_ANY_ENDIAN: u8 = 2;
const FLAG_PATH_UPPER: u8 = 4;
const FLAGS_ALL: u8 = FLAG_BIG_ENDIAN | FLAG_ANY_ENDIAN | FLAG_PATH_UPPER;

/// A decoded `origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The filesystem of the lower object.
    pub uuid: Uuid,
    /// Its handle there.
    pub handle: FileHandle,
}

/// Why an `origin` is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// Copied up from something that cannot be named: no bytes, or a form of another version or byte order. Not a fault.
    #[error("the origin is not known")]
    Unknown,
    /// The bytes are no file handle.
    #[error("the origin is malformed")]
    Malformed,
}

impl Origin {
    /// Reads the value of an `origin` attribute (ovl_check_fb_len).
    ///
    /// # Errors
    ///
    /// [`OriginError`], of which one says that there is no origin to know.
    pub fn parse(value: &[u8]) -> Result<Self, OriginError> {
        let [version, magic, len, flags, kind, rest @ ..] = value else {
            let unknown = value.is_empty();
            return Err(if unknown {
                OriginError::Unknown
            } else {
                OriginError::Malformed
            });
        };
        let (uuid, fid) = rest
            .split_first_chunk::<16>()
            .ok_or(OriginError::Malformed)?;
        if *magic != MAGIC || usize::from(*len) != value.len() {
            return Err(OriginError::Malformed);
        }
        if *version > VERSION || flags & !FLAGS_ALL != 0 {
            return Err(OriginError::Unknown);
        }
        let big = flags & FLAG_BIG_ENDIAN != 0;
        if flags & FLAG_ANY_ENDIAN == 0 && big != cfg!(target_endian = "big") {
            return Err(OriginError::Unknown);
        }
        let handle = FileHandle {
            kind: i32::from(*kind),
            bytes: fid.into(),
        };
        Ok(Self {
            uuid: Uuid(*uuid),
            handle,
        })
    }

    /// Returns the bytes of the attribute; none if the handle is too long for them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encoded(0)
    }

    /// Returns the bytes of an `upper` attribute, whose handle is that of an upper object.
    #[must_use]
    pub fn encode_upper(&self) -> Vec<u8> {
        self.encoded(FLAG_PATH_UPPER)
    }

    fn encoded(&self, flags: u8) -> Vec<u8> {
        let kind = u8::try_from(self.handle.kind);
        let len = u8::try_from(HEADER_LEN + self.handle.bytes.len());
        let (Ok(kind), Ok(len), true) = (kind, len, self.handle.bytes.len() <= FID_MAX) else {
            return Vec::new();
        };
        let flags = if cfg!(target_endian = "big") {
            flags | FLAG_BIG_ENDIAN
        } else {
            flags
        };
        let mut value = vec![VERSION, MAGIC, len, flags, kind];
        value.extend_from_slice(&self.uuid.0);
        value.extend_from_slice(&self.handle.bytes);
        value
    }
}

impl Overlay {
    /// Returns the value of `origin` for a copy of `lower`: empty if its filesystem has no handles.
    ///
    /// # Errors
    ///
    /// `EIO`, `ENOMEM`: there may be one, and a copy without it would have another number for ever.
    pub(crate) fn origin_of(lower: &LayerNode) -> Result<Vec<u8>, Errno> {
        match lower.fs().file_handle(lower.id) {
            Ok(handle) => Ok(Origin {
                uuid: lower.layer.uuid,
                handle,
            }
            .encode()),
            Err(errno @ (Errno::IO | Errno::NOMEM)) => Err(errno),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Reads the `origin` of upper object `node` into `value`: empty if there is none.
    pub(crate) fn value_of_origin<'v>(
        &self,
        node: &LayerNode,
        value: &'v mut [u8; LEN_MAX],
        path: &dyn Fn() -> String,
    ) -> Result<&'v [u8], Errno> {
        match self.mark(node, "origin", value) {
            Ok(value) => Ok(value),
            Err(Errno::NODATA) => Ok(&[]),
            Err(Errno::RANGE) => Err(MarkError::Bad(BadMark::Origin).errno(node, path)),
            Err(errno) => Err(errno),
        }
    }

    /// Returns the inode number of the lower object that upper object `node` was copied up from, if that is known and
    /// still there (OVL-30).
    ///
    /// `candidate` finds the lower object of the same name: where this process may not open handles, a copy that was
    /// not renamed is recognised by comparing them.
    pub(crate) fn origin_ino(
        &self,
        node: &LayerNode,
        kind: FileType,
        marks: Marks,
        candidate: &dyn Fn() -> Result<Option<(LayerNode, Attr)>, Errno>,
        path: &dyn Fn() -> String,
    ) -> Result<Option<Ino>, Errno> {
        if !marks.contains(Marks::ORIGIN) {
            return Ok(None);
        }
        let mut value = [0; LEN_MAX];
        let origin = self.value_of_origin(node, &mut value, path)?;
        let found = self.origin_attr((node, origin), kind, candidate, path)?;
        Ok(found.map(|(layer, attr)| self.number(&layer, attr.dev, attr.ino)))
    }

    /// Returns the attributes of the lower object that upper object `node` was copied up from by its `origin`, and a layer of its
    /// filesystem.
    pub(crate) fn origin_attr(
        &self,
        (node, origin): (&LayerNode, &[u8]),
        kind: FileType,
        candidate: &dyn Fn() -> Result<Option<(LayerNode, Attr)>, Errno>,
        path: &dyn Fn() -> String,
    ) -> Result<Option<(Arc<LayerInfo>, Attr)>, Errno> {
        let origin = match Origin::parse(origin) {
            Ok(origin) => origin,
            Err(OriginError::Unknown) => return Ok(None),
            Err(OriginError::Malformed) => {
                return Err(MarkError::Bad(BadMark::Origin).errno(node, path));
            }
        };
        let found = |layer: &Arc<LayerInfo>, attr: Attr| {
            (attr.kind == kind).then(|| {
                met!(30);
                (Arc::clone(layer), attr)
            })
        };
        for layer in self.lowers.iter().filter(|l| l.uuid == origin.uuid) {
            match layer.fs.attr_by_handle(&origin.handle) {
                Ok(attr) => return Ok(found(layer, attr)),
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS) => break,
                // It may be there: a node with another number would keep it (ovl_decode_real_fh).
                Err(errno @ (Errno::IO | Errno::NOMEM)) => return Err(errno),
                Err(_) => {}
            }
        }
        let Some((lower, attr)) = candidate()? else {
            return Ok(None);
        };
        let same = lower.layer.uuid == origin.uuid
            && match lower.fs().file_handle(lower.id) {
                Ok(handle) => handle == origin.handle,
                Err(errno @ (Errno::IO | Errno::NOMEM)) => return Err(errno),
                Err(_) => false,
            };
        Ok(if same {
            found(&lower.layer, attr)
        } else {
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Origin {
        let handle = FileHandle {
            kind: 1,
            bytes: [1, 2, 3, 4, 5, 6, 7, 8].into(),
        };
        Origin {
            uuid: Uuid([7; 16]),
            handle,
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_kernel() {
        let bytes = example().encode();
        assert_eq!(bytes.len(), 29);
        assert_eq!(bytes[..5], [0, 0xfb, 29, 0, 1]);
        assert_eq!(bytes[5..21], [7; 16]);
        assert_eq!(Origin::parse(&bytes), Ok(example()));
    }

    #[test]
    fn other_versions_and_byte_orders_are_unknown_not_errors() {
        let with = |at: usize, byte: u8| {
            let mut bytes = example().encode();
            bytes[at] = byte;
            Origin::parse(&bytes)
        };
        assert_eq!(with(0, 1), Err(OriginError::Unknown));
        assert_eq!(with(3, FLAG_BIG_ENDIAN), Err(OriginError::Unknown));
        assert_eq!(with(3, 0x80), Err(OriginError::Unknown));
        assert!(with(3, FLAG_ANY_ENDIAN | FLAG_BIG_ENDIAN).is_ok());
        assert_eq!(with(1, 0), Err(OriginError::Malformed));
        assert_eq!(with(2, 28), Err(OriginError::Malformed));
        assert_eq!(Origin::parse(b""), Err(OriginError::Unknown));
        assert_eq!(Origin::parse(&[0, 0xfb, 3]), Err(OriginError::Malformed));
    }

    #[test]
    fn a_handle_that_does_not_fit_is_an_unknown_origin() {
        let mut long = example();
        long.handle.bytes = vec![0; 300].into();
        assert_eq!(long.encode(), b"");
    }
}
