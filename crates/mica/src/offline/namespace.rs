//! Under which prefix an upper keeps its marks.

use std::path::Path;

use mica_overlay::XattrNamespace;
use mica_vfs::Errno;

use super::below::Lowers;
use super::node::Node;
use super::walk::{Object, Visit, walk};
use crate::stack::Stack;

/// Finds out by the first marks that are met: those under `trusted.` count where this process can see them. Without any it
/// is the prefix that a mount of this process would use.
pub(crate) fn namespace_of(upper: &Node) -> Result<XattrNamespace, Errno> {
    if !Stack::may_use_trusted() {
        return Ok(XattrNamespace::User);
    }
    let mut search = Search {
        trusted: false,
        user: false,
    };
    let none = Lowers::new(Vec::new(), 0, XattrNamespace::Trusted);
    match walk(upper, &none, &mut search) {
        Ok(()) | Err(ENOUGH) => {}
        Err(errno) => return Err(errno),
    }
    Ok(if search.user && !search.trusted {
        XattrNamespace::User
    } else {
        XattrNamespace::Trusted
    })
}

/// Ends the walk.
const ENOUGH: Errno = Errno::CANCELED;

struct Search {
    trusted: bool,
    user: bool,
}

impl Visit for Search {
    fn object(&mut self, object: &Object<'_>) -> Result<(), Errno> {
        self.trusted |= object.marks.iter().next().is_some();
        let user = XattrNamespace::User.prefix();
        self.user |= object
            .marks
            .others
            .iter()
            .any(|name| name.starts_with(user));
        if self.trusted { Err(ENOUGH) } else { Ok(()) }
    }

    fn unreadable(&mut self, _: &Path, _: Errno) {}
}
