//! The stage: the process that makes the namespaces and the view of a session, and serves it.
//!
//! It starts as a child of whoever asked for the session, with its end of a link. Init is its child:
//! when the stage ends, however it does, init is killed, and with it all that runs in the session. It ends when init has ended
//! and nobody uses the view any more; until then it holds the session's lock.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use mica_host::UnmappedAs;
use mica_overlay::{Acls, IdRules, OVERFLOW_ID, Permissions, Unlisted, XattrNamespace};
use mica_sys::namespace::{self, Namespaces};
use mica_vfs::Errno;
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::Session;
use super::barred::Barred;
use super::base_log::BaseLog;
use super::changes::Changes;
use super::chroot;
use super::copying::copy_all;
use super::devices::{NODEV, NOSUID, filesystem};
use super::driver::Driver;
use super::error::{DoError, step};
use super::front::is_gone;
use super::init;
use super::link::{Link, Message, Work};
use super::plan::{Bytes, Plan, Users, upper_in};
use super::record::Record;
use super::tree::machine_tree;
use super::unlisted::UnlistedLog;
use super::view::{Medium, UnlistedDirs};
use crate::cage::{Mounts, enter_cage_in};
use crate::mount::{Mount, Mountpoint};
use crate::options::{MountFlags, MountSpec, UpperSpec};
use crate::stack::Stack;

/// Is the stage of a session, until the session ends: `socket` is what [`Session::start`](super::Session::start) gave it, as standard
/// input if it is a program.
///
/// It is for the whole process: it leaves namespaces and rights behind for good. What fails is told at the other end.
///
/// # Errors
///
/// The other end makes no sense, or is gone when there is something to tell.
pub fn be_stage(socket: OwnedFd) -> io::Result<()> {
    let front = Link::of(socket);
    // The terminal's signals are for the front, whatever there is to do.
    if let Err(errno) = rustix::process::setsid() {
        tracing::debug!(%errno, "this process leads a group already");
    }
    let done = match front.receive()? {
        Some((Message::Plan(plan), fds)) => run(&front, &plan, fds),
        Some((Message::Work(work, users), fds)) => do_work(&front, work, &users, fds),
        // The front has changed its mind.
        None => return Ok(()),
        Some(_) => return Err(Errno::PROTO.into()),
    };
    match done {
        Ok(()) => Ok(()),
        Err(error) => match front.send(&Message::Failed(error.tell()), &[]) {
            // A front that is gone knows why it went.
            Err(told) if is_gone(&told) => Ok(()),
            told => told,
        },
    }
}

fn run(front: &Link, plan: &Plan, fds: Vec<OwnedFd>) -> Result<(), DoError> {
    let Ok([socket, joining, lock]) = <[OwnedFd; 3]>::try_from(fds) else {
        return Err(DoError::Lost);
    };
    // What the caller had open is not for the session. An older kernel keeps it.
    if let Err(errno) = mica_sys::fds::close_on_exec() {
        tracing::debug!(%errno, "descriptors of the caller are inherited");
    }
    if let Some(users) = &plan.users {
        enter_users(front, users)?;
    }
    own_mounts(plan.users.is_some())?;
    if let Medium::Memory { size, inodes } = plan.view.medium {
        let upper = memory(plan, size, inodes)?;
        let told = front.send(&Message::Upper, &[upper.as_fd()]);
        told.map_err(|source| DoError::Start { source })?;
    }
    super::kernel::tidy(plan);
    let bear = || step("its first process", init::bear(socket, joining));
    match plan.driver {
        Driver::Mica => serve(plan, bear)?,
        Driver::Kernel(_) => wait_for_kernel(front, plan, bear)?,
    }
    // The session is in use for as long as this process runs, whatever becomes of the front.
    drop(lock);
    Ok(())
}

/// Has the kernel make the view, and waits until init has ended.
fn wait_for_kernel(
    front: &Link,
    plan: &Plan,
    bear: impl FnOnce() -> Result<(Pid, Link), DoError>,
) -> Result<(), DoError> {
    let view = super::kernel::mount(plan)?;
    let told = front.send(&Message::Lacks(view.lacks.clone()), &[]);
    told.map_err(|source| DoError::Start { source })?;
    // Init notices by the link if this process is gone before it is told so by a signal.
    let (init, _link) = bear()?;
    log_to(&plan.log())?;
    let ended = rustix::io::retry_on_intr(|| waitpid(Some(init), WaitOptions::empty()));
    if let Err(errno) = ended {
        tracing::warn!(%errno, "init is lost");
    }
    view.end();
    // The front may be gone.
    if let Err(error) = front.send(&Message::Done(Changes::default()), &[]) {
        tracing::debug!(%error, "nobody waits for the end");
    }
    Ok(())
}

/// Serves the view until nobody uses it.
fn serve(plan: &Plan, bear: impl FnOnce() -> Result<(Pid, Link), DoError>) -> Result<(), DoError> {
    // First: it has much to do until it needs the view.
    let (init, link) = bear()?;
    let (lower, store, root) = (plan.lower.to_path(), plan.store.to_path(), plan.root());
    let hidden = plan.view.hidden.iter().map(Bytes::to_path);
    let hidden: Vec<_> = hidden.chain([store]).collect();
    let (mut tree, _empty) = machine_tree(&lower, &hidden, &root)?;
    if plan.users.as_ref().is_some_and(|users| !users.alone()) {
        // Nearly all that is not the user's own is root's, and here nobody can see whose it is.
        tree.unmapped = Some(UnmappedAs {
            overflow: OVERFLOW_ID,
            uid: 0,
            gid: 0,
        });
    }
    let spec = spec_of(plan)?;
    tree.foreign = Some(spec.stack.xattrs.prefix());
    let log = BaseLog::open(&plan.base_log())?;
    let unlisted = UnlistedLog::open(&plan.dir.to_path())?;
    let stack = Stack::over_tree(&spec.stack, tree, |fs| Arc::new(log.of(unlisted, fs)))?;
    let mountpoint = Mountpoint::find(&root).map_err(DoError::Mount)?;
    let attached = Mount::attach(stack, &spec, &mountpoint).map_err(DoError::Mount)?;
    // Init makes mountpoints, which its user might not.
    attached.trust(init);
    let given = log_to(&plan.log()).and_then(|()| give_view(&root, link));
    // Nobody else is left in this mount namespace.
    let caged = given.and_then(|()| Ok(enter_cage_in(Mounts::Own, &spec.stack)?));
    if let Err(error) = caged {
        attached.abandon();
        return Err(error);
    }
    let mount = attached.serve().map_err(DoError::Mount)?;
    if let Err(error) = mount.join() {
        tracing::warn!(%error, "the view ended");
    }
    Ok(())
}

/// Gives init the view, and waits until it has mounts of its own.
fn give_view(root: &Path, init: Link) -> Result<(), DoError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let view = step(
        "the view for its first process",
        open_tree(CWD, root, flags),
    )?;
    // What there is to say of an init that is gone it has said.
    if let Err(error) = init.send(&Message::View, &[view.as_fd()]) {
        tracing::debug!(%error, "nobody wants the view");
    }
    match init.receive() {
        Ok(Some((Message::Apart, _)) | None) => Ok(()),
        Ok(Some(_)) => Err(DoError::Lost),
        Err(source) => Err(DoError::Start { source }),
    }
}

/// Mounts memory for the changes, and makes the directories in it. Returns that of the changes.
fn memory(plan: &Plan, size: Option<u64>, inodes: Option<u64>) -> Result<OwnedFd, DoError> {
    let (size, inodes) = (
        size.map(|size| size.to_string()),
        inodes.map(|inodes| inodes.to_string()),
    );
    let mut options = vec![("mode", "0700")];
    options.extend(size.as_deref().map(|size| ("size", size)));
    options.extend(inodes.as_deref().map(|inodes| ("nr_inodes", inodes)));
    let make = || -> Result<OwnedFd, Errno> {
        let like = rustix::fs::stat(upper_in(&plan.dir.to_path()))?;
        let mount = filesystem("tmpfs", &options, NODEV | NOSUID)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&mount, "", CWD, plan.memory(), flags)?;
        for dir in [plan.upper(), plan.work()] {
            rustix::fs::mkdir(&dir, Mode::RWXU)?;
        }
        let upper = plan.upper();
        let (uid, gid) = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
        rustix::fs::chown(&upper, Some(uid), Some(gid))?;
        rustix::fs::chmod(&upper, Mode::from_raw_mode(like.st_mode & 0o7777))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&upper, flags, Mode::empty())
    };
    step("room in memory for the changes", make())
}

/// Lets what this process has to say go to a file, and lets go of the front's stderr, for whose end somebody may wait.
fn log_to(path: &Path) -> Result<(), DoError> {
    let log = File::options().append(true).create(true).open(path);
    let redirected = log.and_then(|log| Ok(rustix::stdio::dup2_stderr(log)?));
    redirected.map_err(|source| DoError::Store {
        action: "open",
        path: path.to_owned(),
        source,
    })
}

/// Does what takes the ids of a session, and says that it is done.
fn do_work(front: &Link, work: Work, users: &Users, fds: Vec<OwnedFd>) -> Result<(), DoError> {
    enter_users(front, users)?;
    let mut fds = fds.into_iter();
    let mut changes = Changes::default();
    match work {
        Work::Remove(dir) => super::removal::remove(&dir.to_path())?,
        Work::Count(dir) => {
            let dir = dir.to_path();
            let session = Session::seen(&dir, Record::read(&dir)?, fds.next());
            changes = session.count()?;
        }
        Work::Copy => match (fds.next(), fds.next()) {
            (Some(from), Some(to)) => copy_all(from, to, &mut |steps| {
                // A step to tell of is one that somebody may notice.
                let silent = steps % STEPS != 0;
                match silent || front.send(&Message::Step(steps), &[]).is_ok() {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            })?,
            _ => return Err(DoError::Lost),
        },
    }
    let told = front.send(&Message::Done(changes), &[]);
    told.map_err(|source| DoError::Start { source })
}

/// So many steps are told of at once.
const STEPS: u64 = 64;

/// Enters a user namespace, and gets its ids.
pub(super) fn enter_users(front: &Link, users: &Users) -> Result<(), DoError> {
    let entered = namespace::enter(Namespaces::USER);
    entered.map_err(|source| DoError::Barred {
        why: Barred::of(source),
        source,
    })?;
    if users.alone() {
        return super::users::map_alone(users);
    }
    let link = |source| DoError::Start { source };
    front.send(&Message::Unmapped, &[]).map_err(link)?;
    match front.receive().map_err(link)? {
        Some((Message::Mapped, _)) => {}
        _ => return Err(DoError::Lost),
    }
    super::users::take_on(users)
}

/// Enters a mount namespace from which nothing goes back.
fn own_mounts(in_users: bool) -> Result<(), DoError> {
    if let Err(source) = namespace::enter(Namespaces::MOUNT) {
        return Err(match Barred::of_rights(source).filter(|_| in_users) {
            Some(why) => DoError::Barred { why, source },
            None => DoError::Step {
                step: "a mount namespace",
                source,
            },
        });
    }
    if chroot::is_chrooted() {
        step("the chroot the root of all mounts", chroot::leave())?;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    let changed = rustix::mount::mount_change("/", private);
    step("mounts of its own", changed)
}

/// Says how the view is mounted.
fn spec_of(plan: &Plan) -> Result<MountSpec, DoError> {
    // Each path is set below, as no option string can hold all of them. The host goes on to change its files.
    let spec = MountSpec::parse(["lowerdir=/,upperdir=/,workdir=/,shared,redirect_dir=on"]);
    let mut spec = spec.map_err(|_| DoError::Lost)?;
    spec.stack.lower = vec![plan.lower.to_path()];
    spec.stack.upper = Some(UpperSpec {
        dir: plan.upper(),
        work: plan.work(),
    });
    spec.flags |= MountFlags::ALLOW_OTHER | MountFlags::NODEV;
    spec.stack.limits = plan.view.limits;
    spec.stack.identity.unlisted = match plan.view.unlisted {
        UnlistedDirs::Empty => Unlisted::Empty,
        UnlistedDirs::Refused if plan.users.is_some() => Unlisted::Removable,
        UnlistedDirs::Refused => Unlisted::Kept,
    };
    if let Some(users) = &plan.users {
        spec.stack.xattrs = XattrNamespace::User;
        let identity = &mut spec.stack.identity;
        identity.permissions = super::users::permissions(users);
        if identity.permissions != Permissions::Shown {
            // The kernel has none where it does not decide.
            identity.acls = Acls::Off;
        }
        if users.alone() {
            let only = |id| IdRules {
                squash: Some(id),
                ..IdRules::default()
            };
            spec.stack.identity.ids.users = only(users.uid);
            spec.stack.identity.ids.groups = only(users.gid);
        }
    }
    Ok(spec)
}
