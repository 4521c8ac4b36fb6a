//! One request, read field by field.
//!
//! Nothing here trusts a length: a body that ends early, a name without its NUL and a name that is none are errors.

use mica_vfs::{Caller, Errno, FileName, NodeId, XattrName, invent};
use zerocopy::FromBytes;

use crate::wire::{INVALID_ID, InHeader, take};

/// A request: its header and what of its body was not yet taken.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) header: InHeader,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Splits a message into header and body; `None` if it is shorter than a header.
    ///
    /// The extensions that a kernel may put behind the body are cut off: none is negotiated.
    pub(crate) fn new(message: &'a [u8]) -> Option<Self> {
        let (header, body) = take::<InHeader>(message)?;
        let extensions = usize::from(header.total_extlen) * 8;
        let body = body.get(..body.len().checked_sub(extensions)?)?;
        Some(Self { header, body })
    }

    /// Returns the node that the request is about.
    pub(crate) const fn node(&self) -> NodeId {
        NodeId(self.header.nodeid)
    }

    /// Returns whom to make an object for.
    ///
    /// # Errors
    ///
    /// `EOVERFLOW`: the caller has no id in the mount (an idmapped mount without a mapping for it).
    pub(crate) const fn caller(&self, umask: u32) -> Result<Caller, Errno> {
        if self.header.uid == INVALID_ID || self.header.gid == INVALID_ID {
            return Err(Errno::OVERFLOW);
        }
        Ok(Caller {
            uid: self.header.uid,
            gid: self.header.gid,
            umask,
        })
    }

    /// Takes a structure.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the body is too short.
    pub(crate) fn take<T: FromBytes>(&mut self) -> Result<T, Errno> {
        let (value, rest) = take(self.body).ok_or_else(|| self.short())?;
        self.body = rest;
        Ok(value)
    }

    /// Takes `len` bytes.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the body is too short.
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Errno> {
        let (bytes, rest) = self
            .body
            .split_at_checked(len)
            .ok_or_else(|| self.short())?;
        self.body = rest;
        Ok(bytes)
    }

    /// Takes all that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.body)
    }

    /// Takes bytes up to a NUL, and the NUL.
    ///
    /// # Errors
    ///
    /// `EINVAL`: there is no NUL.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Errno> {
        let end = self.body.iter().position(|&byte| byte == 0);
        let end = end.ok_or_else(|| self.short())?;
        let string = self.bytes(end)?;
        self.bytes(1)?;
        Ok(string)
    }

    /// Takes a file name.
    ///
    /// # Errors
    ///
    /// As [`string`](Self::string) and [`FileName::new`].
    pub(crate) fn file_name(&mut self) -> Result<FileName<'a>, Errno> {
        FileName::new(self.string()?)
    }

    /// Takes the name of an extended attribute.
    ///
    /// # Errors
    ///
    /// As [`string`](Self::string) and [`XattrName::new`].
    pub(crate) fn xattr_name(&mut self) -> Result<XattrName<'a>, Errno> {
        XattrName::new(self.string()?)
    }

    fn short(&self) -> Errno {
        let opcode = self.header.opcode;
        invent!(Errno::INVAL, "request ends early", opcode = opcode)
    }
}
