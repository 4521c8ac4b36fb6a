//! System errors as a person reads them.

use std::fmt;
use std::io;

use mica_vfs::Errno;

/// The errno behind a failed setup step, in words: "permission denied (EACCES)".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cause(pub(crate) Errno);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0.raw_os_error();
        let text = io::Error::from_raw_os_error(number).to_string();
        let words = text.split(" (os error").next().unwrap_or_default();
        let mut chars = words.chars();
        if let Some(first) = chars.next() {
            write!(f, "{}{}", first.to_lowercase(), chars.as_str())?;
        }
        match NAMES.iter().find(|(errno, _)| *errno == self.0) {
            Some((_, name)) => write!(f, " ({name})"),
            None => write!(f, " (errno {number})"),
        }
    }
}

impl Cause {
    /// Returns the name of the errno, its number if it has none here.
    pub(crate) fn name(self) -> String {
        let known = NAMES.iter().find(|(errno, _)| *errno == self.0);
        known.map_or_else(
            || self.0.raw_os_error().to_string(),
            |(_, name)| (*name).to_owned(),
        )
    }
}

/// The errnos that opening, probing, locking and mounting meet.
const NAMES: [(Errno, &str); 34] = [
    (Errno::PERM, "EPERM"),
    (Errno::NOENT, "ENOENT"),
    (Errno::INTR, "EINTR"),
    (Errno::IO, "EIO"),
    (Errno::NXIO, "ENXIO"),
    (Errno::BADF, "EBADF"),
    (Errno::AGAIN, "EAGAIN"),
    (Errno::NOMEM, "ENOMEM"),
    (Errno::ACCESS, "EACCES"),
    (Errno::BUSY, "EBUSY"),
    (Errno::EXIST, "EEXIST"),
    (Errno::XDEV, "EXDEV"),
    (Errno::NODEV, "ENODEV"),
    (Errno::NOTDIR, "ENOTDIR"),
    (Errno::ISDIR, "EISDIR"),
    (Errno::INVAL, "EINVAL"),
    (Errno::NFILE, "ENFILE"),
    (Errno::MFILE, "EMFILE"),
    (Errno::FBIG, "EFBIG"),
    (Errno::NOSPC, "ENOSPC"),
    (Errno::ROFS, "EROFS"),
    (Errno::MLINK, "EMLINK"),
    (Errno::RANGE, "ERANGE"),
    (Errno::NAMETOOLONG, "ENAMETOOLONG"),
    (Errno::NOLCK, "ENOLCK"),
    (Errno::NOSYS, "ENOSYS"),
    (Errno::NOTEMPTY, "ENOTEMPTY"),
    (Errno::LOOP, "ELOOP"),
    (Errno::OVERFLOW, "EOVERFLOW"),
    (Errno::OPNOTSUPP, "EOPNOTSUPP"),
    (Errno::TIMEDOUT, "ETIMEDOUT"),
    (Errno::STALE, "ESTALE"),
    (Errno::NOTCONN, "ENOTCONN"),
    (Errno::DQUOT, "EDQUOT"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_is_words_and_a_name() {
        assert_eq!(
            Cause(Errno::PERM).to_string(),
            "operation not permitted (EPERM)"
        );
        assert_eq!(
            Cause(Errno::XDEV).to_string(),
            "invalid cross-device link (EXDEV)"
        );
    }

    #[test]
    fn an_errno_without_a_name_keeps_its_number() {
        let cause = Cause(Errno::from_raw_os_error(60));
        assert_eq!(cause.to_string(), "device not a stream (errno 60)");
    }
}
