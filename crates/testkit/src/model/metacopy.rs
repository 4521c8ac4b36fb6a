//! The data of metacopies: it lies in a layer below.

use mica_vfs::FileType;

use super::merge::{Merge, Part};
use crate::Object;

impl<'a> Merge<'a> {
    /// Returns the data of the file that `top` is the topmost object of, cut or filled up to its size.
    ///
    /// # Panics
    ///
    /// If a metacopy has no data below.
    pub(super) fn data(&self, path: &str, top: Part<'a>, parts: &[Part<'a>]) -> Vec<u8> {
        let size = usize::try_from(top.object.size.unwrap_or(0)).unwrap();
        let mut data = self.data_below(path, top, parts);
        data.resize(size, 0);
        data
    }

    fn data_below(&self, path: &str, top: Part<'a>, parts: &[Part<'a>]) -> Vec<u8> {
        let mut target = path.to_owned();
        let mut layers: Vec<usize> = parts.iter().map(|part| part.layer).collect();
        let mut at = top;
        while self.is_metacopy(at.object) {
            if let Some(redirect) = at.object.xattrs.get(&format!("{}redirect", self.prefix)) {
                let redirect = String::from_utf8(redirect.clone()).unwrap();
                match redirect.strip_prefix('/') {
                    Some(path) => {
                        target = path.to_owned();
                        layers = (0..self.layers.len()).collect();
                    }
                    None => {
                        let dir = target.rfind('/').map_or(0, |slash| slash + 1);
                        target.replace_range(dir.., &redirect);
                    }
                }
            }
            let mut below = layers.iter().filter(|&&layer| layer > at.layer);
            let next = below.find_map(|&layer| {
                let object = self.layers[layer].dump.0.get(&target)?;
                Some(Part { layer, object })
            });
            at = next.unwrap_or_else(|| panic!("/{path} has no data below"));
        }
        at.object.raw.clone().unwrap_or_default()
    }

    fn is_metacopy(&self, object: &Object) -> bool {
        let mark = format!("{}metacopy", self.prefix);
        object.kind == FileType::Regular && object.xattrs.contains_key(&mark)
    }
}
