//! Layers that `mica convert` has begun with and not finished.

use mica_overlay::Layer;
use mica_vfs::{Errno, XattrName};

use super::error::{LayerDir, StackError};
use crate::convert::MARKS;

/// Refuses a layer of which a part is in another form than the rest.
///
/// # Errors
///
/// [`StackError::HalfConverted`]
pub(super) fn refuse_half_converted(dir: &LayerDir, layer: &Layer) -> Result<(), StackError> {
    let mut value = [0; 1024];
    for mark in MARKS {
        let Ok(name) = XattrName::new(mark) else {
            continue;
        };
        let purpose = match layer.fs.get_xattr(layer.root, name, &mut value) {
            Ok(length) => value.get(..length).unwrap_or_default(),
            Err(Errno::RANGE) => b"mica convert",
            // Where there are no attributes there is no mark.
            Err(_) => continue,
        };
        return Err(StackError::HalfConverted {
            dir: dir.clone(),
            purpose: purpose.escape_ascii().to_string(),
        });
    }
    Ok(())
}
