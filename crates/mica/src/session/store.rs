//! The directory of sessions: one directory each, by its name.
//!
//! ```text
//! NAME/session.json   what it is
//! NAME/lock           flock(2) of whoever runs or changes it
//! NAME/socket         where commands come to it while it runs
//! NAME/log            what the server had to say
//! NAME/base.log       what the objects were that it changed
//! NAME/unlisted       which directories of the machine commands wanted to list, and may not
//! NAME/upper          the changes
//! NAME/work           the work directory of the overlay
//! NAME/root           an empty directory, the mountpoint in the session's namespaces
//! NAME/journal        what a commit does, until it is done
//! NAME/committed      the changes, when all of them are on the machine and the session is being removed
//! NAME/memory         another one, where the changes are in the memory of a session that keeps nothing
//! ```

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mica_vfs::Errno;
use rustix::fs::FlockOperation;

use super::error::DoError;
use super::joining::connect;
use super::plan::{memory_in, root_in, upper_in, work_in};
use super::record::{Record, draft_in};
use super::{Joined, Session};

/// The sessions of a user.
#[derive(Debug, Clone)]
pub struct Sessions {
    dir: PathBuf,
}

/// Whether a command runs in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// One does.
    Running,
    /// None does.
    Idle,
}

/// A session that was found, or made.
#[derive(Debug)]
pub enum Entered {
    /// Nothing runs in it.
    Idle(Session),
    /// Commands run in it, and another one can be started beside them.
    Running(Joined),
}

/// A session as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its name.
    pub name: String,
    /// The tree that it is on.
    pub lower: PathBuf,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When a command last began or ended in it, in seconds since 1970.
    pub used: u64,
    /// Whether a command runs in it.
    pub activity: Activity,
    /// The last command, as it was given.
    pub command: Vec<std::ffi::OsString>,
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
        let dir = self.dir.join(checked(name)?);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => return furnish(dir, new).map(Entered::Idle),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("make", &dir)(error)),
            }
            match self.enter_known(name) {
                // It is being made, or removed.
                Err(DoError::Missing { .. }) if Instant::now() < deadline => pause(),
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
        let dir = self.dir.join(checked(name)?);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let busy = match self.try_open(name) {
                Err(busy @ DoError::Running { .. }) => busy,
                opened => return opened.map(Entered::Idle),
            };
            match connect(&dir) {
                Ok(init) => {
                    let record = read(&dir, name)?;
                    return Ok(Entered::Running(Joined { dir, record, init }));
                }
                // It begins or ends, or a list looks at it.
                Err(_) if Instant::now() < deadline => pause(),
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
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_open(name) {
                // What ends holds it a moment longer than its last command runs.
                Err(DoError::Running { .. })
                    if Instant::now() < deadline && connect(&self.dir.join(name)).is_err() =>
                {
                    pause();
                }
                opened => return opened,
            }
        }
    }

    fn try_open(&self, name: &OsStr) -> Result<Session, DoError> {
        let dir = self.dir.join(checked(name)?);
        let lock = match File::options().write(true).open(dir.join("lock")) {
            Ok(lock) => OwnedFd::from(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DoError::Missing { name: name.into() });
            }
            Err(error) => return Err(failed("open", &dir.join("lock"))(error)),
        };
        take(&lock, name)?;
        let record = read(&dir, name)?;
        Ok(Session {
            dir,
            record,
            lock: Some(lock),
            memory: None,
            on_lack: |_| (),
        })
    }

    /// Returns where a session of that name would be.
    pub(super) fn dir_of(&self, name: &OsStr) -> Result<PathBuf, DoError> {
        Ok(self.dir.join(checked(name)?))
    }

    /// Lists all sessions by name, numbers first. One that cannot be read is left out.
    ///
    /// # Errors
    ///
    /// The directory cannot be read. That there is none is no error.
    pub fn list(&self) -> Result<Vec<SessionInfo>, DoError> {
        let names = self.names()?;
        Ok(names
            .into_iter()
            .filter_map(|name| self.info(name))
            .collect())
    }

    /// Returns the name of the session that was used last; `None` if there is no session.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub fn latest(&self) -> Result<Option<String>, DoError> {
        let number = |name: &str| name.parse::<u64>().ok();
        let latest = self
            .list()?
            .into_iter()
            .max_by_key(|info| (info.used, info.created, number(&info.name)));
        Ok(latest.map(|info| info.name))
    }

    /// Removes the sessions in which nothing runs and nothing began or ended since `before`, and those that were not made to their end,
    /// and tells the name of each. `stage` is as
    /// [`Session::discard`] takes it.
    ///
    /// # Errors
    ///
    /// One of them cannot be removed.
    pub fn prune(
        &self,
        before: SystemTime,
        stage: &mut Command,
        told: &mut dyn FnMut(&str),
    ) -> Result<(), DoError> {
        let before = before.duration_since(UNIX_EPOCH).unwrap_or_default();
        for info in self.list()? {
            if info.used > before.as_secs() || info.activity == Activity::Running {
                continue;
            }
            match self.open(OsStr::new(&info.name)) {
                Ok(session) => session.discard(stage)?,
                // Somebody was faster, whatever he does with it.
                Err(DoError::Running { .. } | DoError::Missing { .. }) => continue,
                Err(error) => return Err(error),
            }
            told(&info.name);
        }
        for name in self.names()? {
            if let Some(session) = self.abandoned(&name, before) {
                session.discard(stage)?;
                told(&name);
            }
        }
        Ok(())
    }

    /// Finds a session that was being made before that moment, by a process that is gone.
    fn abandoned(&self, name: &str, before: Duration) -> Option<Session> {
        let dir = self.dir.join(name);
        let begun = fs::metadata(draft_in(&dir)).ok()?.mtime();
        if u64::try_from(begun).ok()? > before.as_secs() {
            return None;
        }
        let lock = OwnedFd::from(File::open(dir.join("lock")).ok()?);
        take(&lock, OsStr::new(name)).ok()?;
        let record = Record::read_draft(&dir).ok()?;
        // One that is whole was only being written to.
        if Record::read(&dir).is_ok() {
            return None;
        }
        Some(Session {
            dir,
            record,
            lock: Some(lock),
            memory: None,
            on_lack: |_| (),
        })
    }

    fn info(&self, name: String) -> Option<SessionInfo> {
        let dir = self.dir.join(&name);
        let record = Record::read(&dir).ok()?;
        let lock = File::open(dir.join("lock")).ok()?;
        let activity = match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
            // What ends listens no more, and what changes a session that does not run never did.
            Err(Errno::WOULDBLOCK) if connect(&dir).is_ok() => Activity::Running,
            _ => Activity::Idle,
        };
        let used = fs::metadata(dir.join("session.json")).ok()?.mtime();
        Some(SessionInfo {
            name,
            lower: record.lower(),
            created: record.created,
            used: u64::try_from(used).unwrap_or(0),
            activity,
            command: record
                .command
                .iter()
                .map(super::plan::Bytes::to_os_string)
                .collect(),
        })
    }

    fn names(&self) -> Result<Vec<String>, DoError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("read", &self.dir)(error)),
        };
        let names = entries.map(|entry| Ok(entry?.file_name()));
        let names: io::Result<Vec<_>> = names.collect();
        let names = names.map_err(failed("read", &self.dir))?;
        let mut names: Vec<_> = names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort_by_cached_key(|name| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone()));
        Ok(names)
    }

    fn make_dir(&self) -> Result<(), DoError> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir);
        made.map_err(failed("make", &self.dir))
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
    session.record.write(&session.dir)?;
    Ok(session)
}

/// Makes all of it but the description: whoever lists sessions meanwhile finds none, and so no session.
pub(super) fn lay_out(dir: PathBuf, record: Record) -> Result<Session, DoError> {
    let lower = record.lower();
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("lock"));
    let lock = OwnedFd::from(lock.map_err(failed("make", &dir.join("lock")))?);
    take(&lock, dir.file_name().unwrap_or_default())?;
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
    Ok(Session {
        dir,
        record,
        lock: Some(lock),
        memory: None,
        on_lack: |_| (),
    })
}

/// How long a session may take to begin or to end, for who wants to enter it. A list holds the lock for a moment, too.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits before a session is looked at again: that it listens, or is gone, tells nobody.
fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}

fn take(lock: &OwnedFd, name: &OsStr) -> Result<(), DoError> {
    match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(DoError::Running { name: name.into() }),
        Err(errno) => Err(DoError::Store {
            action: "lock",
            path: name.into(),
            source: errno.into(),
        }),
    }
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

/// What the name of a session that is being removed begins with: no session is called so.
const GONE: &str = ".gone.";

/// Removes the directory of a session. All of it is gone at once: what a process that is killed leaves has no session's name,
/// and goes with the next one.
pub(super) fn remove(dir: &Path) -> Result<(), DoError> {
    let (Some(store), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Ok(());
    };
    sweep(store);
    let mut aside = std::ffi::OsString::from(GONE);
    aside.push(name);
    let aside = store.join(aside);
    let removed = match fs::rename(dir, &aside) {
        Ok(()) => remove_all(&aside),
        // What could not be swept is in the way.
        Err(_) => remove_all(dir),
    };
    removed.map_err(failed("remove", dir))
}

/// Removes what is left of sessions that are gone.
fn sweep(store: &Path) {
    let entries = fs::read_dir(store).into_iter().flatten();
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().as_bytes().starts_with(GONE.as_bytes())
            && let Err(error) = remove_all(&entry.path())
        {
            tracing::debug!(path = ?entry.path(), %error, "what is left of a session stays");
        }
    }
}

/// Removes a directory and what is in it. Directories that their owner may not enter are opened first: a work directory
/// has some. Others may remove it at the same time.
fn remove_all(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fs::set_permissions(dir, Permissions::from_mode(0o700))?;
            fs::read_dir(dir)?
        }
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_all(&entry.path())?;
        } else {
            remove_in(dir, || fs::remove_file(entry.path()))?;
        }
    }
    match dir.parent() {
        Some(parent) => remove_in(parent, || fs::remove_dir(dir)),
        None => fs::remove_dir(dir),
    }
}

/// Removes something from `dir`, which may be closed to writing.
fn remove_in(dir: &Path, remove: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let removed = match remove() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fs::set_permissions(dir, Permissions::from_mode(0o700))?;
            remove()
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let _init = crate::session::joining::listen(one.dir()).unwrap();
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
    fn names_that_are_paths_or_options_are_refused() {
        let (dir, sessions) = store();
        for name in ["", ".", "..", "a/b", "-x", "a b", "\u{e9}"] {
            let made = create(&sessions, Some(OsStr::new(name)), dir.path());
            assert!(matches!(made, Err(DoError::Name { .. })), "{name}");
        }
    }

    #[test]
    fn what_is_closed_to_its_owner_is_removed_all_the_same() {
        let (dir, _) = store();
        let tree = dir.path().join("t");
        fs::create_dir_all(tree.join("closed/below")).unwrap();
        fs::write(tree.join("closed/below/f"), "").unwrap();
        for at in ["closed/below", "closed"] {
            fs::set_permissions(tree.join(at), Permissions::from_mode(0o0)).unwrap();
        }
        remove(&tree).unwrap();
        assert!(!tree.exists());
        remove(&tree).unwrap();
    }
}
