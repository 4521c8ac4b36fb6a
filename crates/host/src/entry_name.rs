//! A name on the stack in the form system calls take.

use std::ffi::CStr;

use mica_vfs::NAME_MAX;

/// A name of at most [`NAME_MAX`] bytes, ended by NUL.
///
/// Names are copied out of the node table so that no lock is held across the call that uses them.
#[derive(Debug)]
pub(crate) struct EntryName([u8; NAME_MAX + 1]);

impl EntryName {
    /// Copies `name`, which is a checked name of a file or an attribute; what is beyond [`NAME_MAX`] is cut.
    pub(crate) fn new(name: &[u8]) -> Self {
        let mut bytes = [0; NAME_MAX + 1];
        let len = name.len().min(NAME_MAX);
        if let (Some(to), Some(from)) = (bytes.get_mut(..len), name.get(..len)) {
            to.copy_from_slice(from);
        }
        Self(bytes)
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}
