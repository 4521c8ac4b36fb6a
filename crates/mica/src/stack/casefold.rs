//! Layers whose names are compared without regard to case.

use mica_overlay::Layer;
use mica_vfs::FileFlags;

use super::error::{LayerDir, StackError};

/// `FS_CASEFOLD_FL`: names in the directory, and in directories made in it, are found whatever their case.
const CASEFOLD: FileFlags = FileFlags::from_bits_retain(0x4000_0000);

/// Refuses a layer whose root folds case, as the kernel's overlayfs does before Linux 6.17: a name and its whiteout in
/// another layer would have to be spelled alike.
///
/// # Errors
///
/// [`StackError::Casefold`]
pub(super) fn refuse_casefold(dir: &LayerDir, layer: &Layer) -> Result<(), StackError> {
    match layer.fs.file_flags(layer.root) {
        Ok(flags) if flags.contains(CASEFOLD) => Err(StackError::Casefold { dir: dir.clone() }),
        // A filesystem without file flags folds no case, or does it for all and says so nowhere.
        Ok(_) | Err(_) => Ok(()),
    }
}
