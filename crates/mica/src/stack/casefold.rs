//! Layers whose names are compared without regard to case.

use mica_overlay::Layer;
use mica_vfs::{Errno, FileFlags};

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
    judge(dir, layer.fs.file_flags(layer.root))
}

fn judge(dir: &LayerDir, flags: Result<FileFlags, Errno>) -> Result<(), StackError> {
    match flags {
        Ok(flags) if flags.contains(CASEFOLD) => Err(StackError::Casefold { dir: dir.clone() }),
        // A filesystem without file flags folds no case, or does it for all and says so nowhere.
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Role;

    /// The flags are given here: few kernels have `CONFIG_UNICODE`, which a filesystem that folds case needs.
    #[test]
    fn ovl_87_a_root_that_folds_case_is_refused() {
        let dir = LayerDir {
            role: Role::Lower,
            path: "/l".into(),
        };
        let folds = FileFlags::from_bits_retain(0x4008_0000);
        let refused = judge(&dir, Ok(folds)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "lowerdir `/l` is casefolded: names in it are found whatever their case"
        );
        assert!(refused.hint().unwrap().contains("`lsattr -d /l`"));
        for taken in [Ok(FileFlags::from_bits_retain(0x8_0000)), Err(Errno::NOTTY)] {
            judge(&dir, taken).unwrap();
        }
    }
}
