//! The error of every engine operation.

/// An errno, as the kernel returns it.
pub use rustix::io::Errno;

/// Logs why Mica makes an errno up, and evaluates to it.
///
/// For errors that no lower layer returned: a bad xattr, a refused redirect, an inode that vanished.
/// `grep 'invent!'` lists every fault that Mica detects by itself. Fields name the layer and the object.
///
/// ```
/// use mica_vfs::{Errno, invent};
/// let errno = invent!(Errno::IO, "opaque value is not `y`", layer = 2, name = "etc");
/// assert_eq!(errno, Errno::IO);
/// ```
#[macro_export]
macro_rules! invent {
    ($errno:expr, $reason:literal $(, $field:ident = $value:expr)* $(,)?) => {{
        let errno: $crate::Errno = $errno;
        $crate::tracing::warn!(errno = %errno, $($field = %$value,)* $reason);
        errno
    }};
}
