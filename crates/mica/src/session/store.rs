//! The directory of sessions: one directory each, by its name.
//!
//! ```text
//! NAME/session.json   what it is; session.json.new while it is being made or written
//! NAME/lock           flock(2) of whoever runs or changes it
//! NAME/socket         where commands come to it while it runs
//! NAME/log            what the server had to say
//! NAME/base.log       what the objects were that it changed
//! NAME/unlisted       which directories of the machine commands wanted to list, and may not
//! NAME/upper          the changes
//! NAME/work           the work directory of the overlay
//! NAME/work-kernel    what belongs to a view that the kernel makes
//! NAME/root           an empty directory, the mountpoint in the session's namespaces
//! NAME/memory         another one, where the changes are in the memory of a session that keeps nothing
//! NAME/journal        what a commit does, until it is done
//! NAME/committed      the changes, when all of them are on the machine and the session is being removed
//! ```

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use mica_vfs::Errno;

use super::error::DoError;
use super::lock::{self, PATIENCE, Patience, pause};
use super::plan::{memory_in, root_in, socket_in, upper_in, work_in};
use super::record::{Record, record_in};
use super::removal::remove;
use super::{Joined, Session};

/// The sessions of a user.
#[derive(Debug, Clone)]
pub struct Sessions {
    dir: PathBuf,
}

/// A session that was found, or made.
#[derive(Debug)]
pub enum Entered {
    /// Nothing runs in it.
    Idle(Session),
    /// Commands run in it, and another one can be started beside them.
    Running(Joined),
}

pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DoError {
    move |source| DoError::Store {
        action,
        path: path.to_owned(),
        source,
    }
}

impl Sessions {
    /// The sessions in `dir`, which need not exist.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Returns the directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a session on the tree `lower`, or `/`, named by the next number, or enters the one called `name`, which is made if
    /// there is none. What nothing runs in is locked until it is dropped.
    ///
    /// # Errors
    ///
    /// A [`DoError`]: the name, or a session of it that is on another tree or in use otherwise.
    pub fn enter(&self, name: Option<&OsStr>, lower: Option<&Path>) -> Result<Entered, DoError> {
        let lower = lower.map(reach).transpose()?;
        let new = lower.as_deref().unwrap_or(Path::new("/"));
        self.make_dir()?;
        let Some(name) = name else {
            return furnish(self.make_numbered()?, new).map(Entered::Idle);
        };
        let dir = self.dir_of(name)?;
        let mut since = Since::now(&dir);
        loop {
            match DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => match furnish(dir.clone(), new) {
                    // Somebody took it for what a maker left who was killed.
                    Err(DoError::Store { .. }) if !dir.exists() && !since.is_long() => continue,
                    made => return made.map(Entered::Idle),
                },
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("make", &dir)(error)),
            }
            match self.enter_known(name) {
                // It is being made, or removed.
                Err(DoError::Missing { .. }) => {
                    if since.is_long() && clear(&dir)? {
                        continue;
                    }
                    since.look(&dir);
                    pause();
                }
                entered => return entered.and_then(|entered| on(entered, lower.as_deref())),
            }
        }
    }

    /// Enters the session called `name`. If nothing runs in it, it is locked until it is dropped.
    ///
    /// # Errors
    ///
    /// A [`DoError`]: there is none of that name, or it is in use otherwise.
    pub fn enter_known(&self, name: &OsStr) -> Result<Entered, DoError> {
        let dir = self.dir_of(name)?;
        let patience = Patience::new();
        loop {
            let busy = match Session::take(&dir) {
                Err(busy @ DoError::Running { .. }) => busy,
                opened => return opened.map(Entered::Idle),
            };
            // It begins or ends, or a list looks at it.
            match patience.wait(&dir) {
                Ok(Some(init)) => {
                    let record = read(&dir, name)?;
                    if record.in_memory {
                        return Err(DoError::InMemory { name: name.into() });
                    }
                    return Ok(Entered::Running(Joined { dir, record, init }));
                }
                Ok(None) => {}
                Err(errno) => {
                    tracing::debug!(%errno, "nobody listens");
                    return Err(busy);
                }
            }
        }
    }

    /// Makes a directory that has the next number.
    pub(super) fn make_numbered(&self) -> Result<PathBuf, DoError> {
        self.make_dir()?;
        let mut number = self
            .names()?
            .iter()
            .filter_map(|name| name.parse::<u64>().ok())
            .max();
        loop {
            let next = number.map_or(1, |number| number + 1);
            let dir = self.dir.join(next.to_string());
            match DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => return Ok(dir),
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number = Some(next),
                Err(error) => return Err(failed("make", &dir)(error)),
            }
        }
    }

    /// Opens a session that nothing runs in, and locks it until it is dropped.
    ///
    /// # Errors
    ///
    /// A [`DoError`]: there is none of that name, or it is in use.
    pub fn open(&self, name: &OsStr) -> Result<Session, DoError> {
        let dir = self.dir_of(name)?;
        let patience = Patience::new();
        loop {
            match Session::take(&dir) {
                // What ends holds it a moment longer than its last command runs.
                Err(DoError::Running { .. }) if matches!(patience.wait(&dir), Ok(None)) => {}
                opened => return opened,
            }
        }
    }

    /// Returns where a session of that name would be.
    pub(super) fn dir_of(&self, name: &OsStr) -> Result<PathBuf, DoError> {
        Ok(self.dir.join(checked(name)?))
    }

    fn make_dir(&self) -> Result<(), DoError> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir);
        made.map_err(failed("make", &self.dir))
    }
}

/// Since when a directory is as it is.
struct Since {
    begun: Instant,
    /// Which one it is, and when it was last changed.
    is: Option<(u64, i64, i64)>,
}

impl Since {
    fn now(dir: &Path) -> Self {
        let found = fs::metadata(dir).ok();
        Self {
            begun: Instant::now(),
            is: found.map(|found| (found.ino(), found.ctime(), found.ctime_nsec())),
        }
    }

    /// Begins again if it is another one, or not as it was.
    fn look(&mut self, dir: &Path) {
        let now = Self::now(dir);
        if now.is != self.is {
            *self = now;
        }
    }

    /// Whether who makes a session of it, if somebody does, would have done so by now.
    fn is_long(&self) -> bool {
        self.begun.elapsed() > PATIENCE
    }
}

/// Removes a directory of which no session was made, as who began that was killed. Returns whether it is gone.
fn clear(dir: &Path) -> Result<bool, DoError> {
    let lock = match lock::take(dir) {
        Err(DoError::Missing { .. }) if dir.exists() => lock::make(dir),
        taken => taken,
    };
    let _lock = match lock {
        Ok(lock) => lock,
        Err(DoError::Running { .. } | DoError::Missing { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    if record_in(dir).exists() {
        return Ok(false);
    }
    remove(dir).map(|()| true)
}

impl Session {
    /// Has nobody wait for what ran in it to end: who finds it locked from now on finds it in use.
    pub fn shut(&self) {
        let socket = socket_in(&self.dir);
        if let Err(error) = fs::remove_file(&socket)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(path = ?socket, %error, "stays");
        }
    }

    /// Opens the session in `dir`, and locks it.
    fn take(dir: &Path) -> Result<Self, DoError> {
        let lock = lock::take(dir)?;
        let record = read(dir, dir.file_name().unwrap_or_default())?;
        let session = Self::new(dir.to_owned(), record, Some(lock));
        session.shut();
        Ok(session)
    }
}

/// Finds the tree to work on.
fn reach(lower: &Path) -> Result<PathBuf, DoError> {
    let found = lower.canonicalize().and_then(|path| {
        if path.metadata()?.is_dir() {
            Ok(path)
        } else {
            Err(Errno::NOTDIR.into())
        }
    });
    found.map_err(|error| DoError::Directory {
        path: lower.to_owned(),
        source: Errno::from_io_error(&error).unwrap_or(Errno::IO),
    })
}

/// Makes what belongs to a session in its new directory.
fn furnish(dir: PathBuf, lower: &Path) -> Result<Session, DoError> {
    let session = lay_out(dir, Record::new(lower))?;
    Record::publish(&session.dir)?;
    Ok(session)
}

/// Makes all of it, with a draft of the description: whoever lists sessions meanwhile finds none, and so no session.
pub(super) fn lay_out(dir: PathBuf, record: Record) -> Result<Session, DoError> {
    let lower = record.lower();
    let lock = lock::make(&dir)?;
    record.write_draft(&dir)?;
    for path in [
        upper_in(&dir),
        work_in(&dir),
        root_in(&dir),
        memory_in(&dir),
    ] {
        fs::create_dir(&path).map_err(failed("make", &path))?;
    }
    // The root of the upper is the root of the view.
    let like = fs::metadata(&lower).map_err(failed("read", &lower))?;
    let upper = upper_in(&dir);
    let mode = Permissions::from_mode(like.mode() & 0o7777);
    if rustix::process::geteuid().is_root() {
        match std::os::unix::fs::chown(&upper, Some(like.uid()), Some(like.gid())) {
            // In a container root may not be able to give anything away, and there are ids that it does not have.
            Err(error)
                if matches!(
                    Errno::from_io_error(&error),
                    Some(Errno::PERM | Errno::INVAL)
                ) => {}
            owned => owned.map_err(failed("make", &upper))?,
        }
    }
    fs::set_permissions(&upper, mode).map_err(failed("make", &upper))?;
    Ok(Session::new(dir, record, Some(lock)))
}

/// Reads the description of a session. One that is not described is made or removed by somebody else, and none.
fn read(dir: &Path, name: &OsStr) -> Result<Record, DoError> {
    match Record::read(dir) {
        Err(DoError::Store { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Err(DoError::Missing { name: name.into() })
        }
        record => record,
    }
}

/// Fails if a session is on another tree than is asked for.
fn on(entered: Entered, lower: Option<&Path>) -> Result<Entered, DoError> {
    let (name, is) = match &entered {
        Entered::Idle(session) => (session.name(), session.lower()),
        Entered::Running(joined) => (joined.name(), joined.lower()),
    };
    match lower {
        Some(lower) if lower != is => Err(DoError::OtherLower {
            name: name.into(),
            lower: is,
        }),
        _ => Ok(entered),
    }
}

/// Checks that a name is one of a directory here, and of no option.
fn checked(name: &OsStr) -> Result<&OsStr, DoError> {
    let bytes = name.as_bytes();
    let begins_well = bytes
        .first()
        .is_some_and(|&first| first.is_ascii_alphanumeric() || first == b'_');
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    if begins_well && bytes.len() <= 64 && bytes.iter().all(plain) {
        return Ok(name);
    }
    Err(DoError::Name { name: name.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::joining::{door, listen};
    use crate::session::{Activity, SessionInfo};

    fn store() -> (tempfile::TempDir, Sessions) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("l")).unwrap();
        let sessions = Sessions::new(dir.path().join("a/sessions"));
        (dir, sessions)
    }

    fn create(sessions: &Sessions, name: Option<&OsStr>, lower: &Path) -> Result<Session, DoError> {
        match sessions.enter(name, Some(lower))? {
            Entered::Idle(session) => Ok(session),
            Entered::Running(_) => panic!("nothing runs"),
        }
    }

    #[test]
    fn what_is_left_of_a_session_that_was_being_removed_is_none_and_goes_with_the_next() {
        let (dir, sessions) = store();
        let lower = dir.path().join("l");
        let one = create(&sessions, None, &lower).unwrap();
        let two = create(&sessions, None, &lower).unwrap();
        // As a process leaves it that is killed.
        let left = sessions.dir().join(".gone.1");
        fs::rename(one.dir(), &left).unwrap();
        let names = |list: Vec<SessionInfo>| list.into_iter().map(|info| info.name);
        let listed: Vec<_> = names(sessions.list().unwrap()).collect();
        assert_eq!(listed, ["2"]);
        create(&sessions, Some(OsStr::new("1")), &lower).unwrap();
        two.remove().unwrap();
        let mut there = fs::read_dir(sessions.dir()).unwrap();
        assert_eq!(there.next().unwrap().unwrap().file_name(), "1");
        assert!(there.next().is_none());
    }

    #[test]
    fn sessions_are_numbered_from_one_and_up() {
        let (dir, sessions) = store();
        let lower = dir.path().join("l");
        assert_eq!(sessions.list().unwrap(), []);
        let one = create(&sessions, None, &lower).unwrap();
        let init = door().unwrap();
        listen(&init, one.dir()).unwrap();
        create(&sessions, Some(OsStr::new("7")), &lower).unwrap();
        create(&sessions, Some(OsStr::new("x")), &lower).unwrap();
        create(&sessions, None, &lower).unwrap();
        let list = sessions.list().unwrap();
        let names: Vec<_> = list
            .iter()
            .map(|info| (info.name.as_str(), info.activity))
            .collect();
        assert_eq!(
            names,
            [
                ("1", Activity::Running),
                ("7", Activity::Idle),
                ("8", Activity::Idle),
                ("x", Activity::Idle)
            ]
        );
        one.discard(&mut std::process::Command::new("false"))
            .unwrap();
        assert_eq!(sessions.list().unwrap().len(), 3);
    }

    #[test]
    fn a_session_is_open_once_and_of_one_tree() {
        let (dir, sessions) = store();
        let (lower, name) = (dir.path().join("l"), Some(OsStr::new("n")));
        let session = create(&sessions, name, &lower).unwrap();
        let again = create(&sessions, name, &lower);
        assert!(matches!(again, Err(DoError::Running { .. })), "{again:?}");
        drop(session);
        let other = create(&sessions, name, dir.path());
        assert!(
            matches!(other, Err(DoError::OtherLower { .. })),
            "{other:?}"
        );
        create(&sessions, name, &lower).unwrap();
    }

    #[test]
    fn what_ends_is_waited_for_longer_than_what_others_do() {
        let (dir, sessions) = store();
        let (lower, name) = (dir.path().join("l"), OsStr::new("n"));
        let session = create(&sessions, Some(name), &lower).unwrap();
        listen(&door().unwrap(), session.dir()).unwrap();
        let ending = std::thread::spawn(move || {
            std::thread::sleep(PATIENCE.mul_f32(1.2));
            drop(session);
        });
        let opened = sessions.open(name).unwrap();
        ending.join().unwrap();
        // This one works on it, and does not end.
        let other = sessions.open(name);
        assert!(matches!(other, Err(DoError::Running { .. })), "{other:?}");
        drop(opened);
        sessions.open(name).unwrap();
    }

    #[test]
    fn a_name_whose_maker_was_killed_is_had_again() {
        let (dir, sessions) = store();
        let (lower, name) = (dir.path().join("l"), OsStr::new("n"));
        fs::create_dir_all(sessions.dir().join(name)).unwrap();
        create(&sessions, Some(name), &lower).unwrap();
        fs::remove_file(record_in(&sessions.dir().join(name))).unwrap();
        let open = sessions.open(name);
        assert!(matches!(open, Err(DoError::Missing { .. })), "{open:?}");
        create(&sessions, Some(name), &lower).unwrap();
    }

    #[test]
    fn names_that_are_paths_or_options_are_refused() {
        let (dir, sessions) = store();
        for name in ["", ".", "..", "a/b", "-x", "a b", "\u{e9}"] {
            let made = create(&sessions, Some(OsStr::new(name)), dir.path());
            assert!(matches!(made, Err(DoError::Name { .. })), "{name}");
        }
    }
}
