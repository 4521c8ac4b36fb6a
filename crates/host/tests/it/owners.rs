//! OVL-77: owners and modes kept in an attribute.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_host::{FdCache, HostFs, LayerAccess, OwnerXattr, Owners, open_layer};
use mica_vfs::{
    Attr, Caller, Cookie, Errno, FileType, Filesystem, Flow, KillPriv, Mode, NodeId, Rdev, SetAttr,
    XattrMode,
};
use rustix::fs::XattrFlags;

use crate::ground::{is_root, name, skip, xattr_name};

const USER: &str = "user.fuseoverlayfs.override_stat";
const SECURITY: &str = "security.fuseoverlayfs.override_stat";
const CONTAINERS: &str = "user.containers.override_stat";

/// Somebody whom this process need not be able to become.
const ALICE: Caller = Caller {
    uid: 1234,
    gid: 5678,
    umask: 0o027,
};

/// A layer with recorded owners, and a directory beside it to prepare objects in.
struct Recording {
    fs: HostFs,
    fds: Arc<FdCache>,
    dir: tempfile::TempDir,
}

impl Recording {
    fn new(form: OwnerXattr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["up", "work"] {
            std::fs::create_dir(dir.path().join(sub)).unwrap();
        }
        let fds = FdCache::new(64);
        let fs = open(&dir.path().join("up"), form, LayerAccess::ReadWrite, &fds);
        fs.attach(opened(&dir.path().join("work"))).unwrap();
        Self { fs, fds, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("up").join(name)
    }

    /// Opens what was made for reading, with the other choice of name.
    fn lower(&self, form: OwnerXattr) -> HostFs {
        open(&self.path(""), form, LayerAccess::ReadOnly, &self.fds)
    }

    fn create(&self, name_: &str, mode: u32) -> (NodeId, Attr) {
        let made = self
            .fs
            .create(&ALICE, NodeId::ROOT, name(name_), Mode::new(mode));
        let made = made.unwrap();
        (made.node, made.attr)
    }

    fn value(&self, name: &str, attribute: &str) -> Option<String> {
        let mut value = vec![0; 128];
        let len = rustix::fs::lgetxattr(self.path(name), attribute, &mut value[..]).ok()?;
        value.truncate(len);
        Some(String::from_utf8(value).unwrap())
    }

    fn set(&self, name: &str, attribute: &str, value: &str) {
        let (path, flags) = (self.path(name), XattrFlags::empty());
        rustix::fs::lsetxattr(path, attribute, value.as_bytes(), flags).unwrap();
    }
}

fn opened(path: &Path) -> OwnedFd {
    open_layer(path, LayerAccess::ReadWrite).unwrap()
}

fn open(path: &Path, form: OwnerXattr, access: LayerAccess, fds: &Arc<FdCache>) -> HostFs {
    let fs = HostFs::new(opened(path), access, Arc::clone(fds)).unwrap();
    fs.with_owners(Owners::Xattr(form))
}

fn shown(attr: &Attr) -> (u32, u32, u32) {
    (attr.uid, attr.gid, attr.mode.bits())
}

fn owner(uid: u32, gid: u32) -> SetAttr {
    SetAttr {
        uid: Some(uid),
        gid: Some(gid),
        ..SetAttr::default()
    }
}

fn mode(mode: u32) -> SetAttr {
    SetAttr {
        mode: Some(Mode::new(mode)),
        ..SetAttr::default()
    }
}

#[test]
fn ovl_77_a_new_object_is_its_makers_though_nothing_was_given_away() {
    let layer = Recording::new(OwnerXattr::User);
    let (file, attr) = layer.create("f", 0o666);
    assert_eq!(shown(&attr), (1234, 5678, 0o640));
    assert_eq!(
        layer.fs.get_attr(file).map(|a| shown(&a)),
        Ok((1234, 5678, 0o640))
    );
    assert_eq!(layer.value("f", USER).as_deref(), Some("1234:5678:640"));
    let dir = layer
        .fs
        .mkdir(&ALICE, NodeId::ROOT, name("d"), Mode::new(0o777));
    assert_eq!(shown(&dir.unwrap().attr), (1234, 5678, 0o750));
    assert_eq!(layer.value("d", USER).as_deref(), Some("1234:5678:750"));
    let own = rustix::process::geteuid().as_raw();
    for (name, mode) in [("f", 0o600), ("d", 0o700)] {
        let real = std::fs::metadata(layer.path(name)).unwrap();
        assert_eq!((real.uid(), real.mode() & 0o7777), (own, mode), "{name}");
    }
    // The name is taken, and the work directory is empty again.
    let again = layer
        .fs
        .create(&ALICE, NodeId::ROOT, name("d"), Mode::new(0o600));
    assert_eq!(again, Err(Errno::EXIST));
    assert_eq!(
        std::fs::read_dir(layer.dir.path().join("work"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn ovl_77_a_setgid_directory_hands_its_recorded_group_down() {
    let layer = Recording::new(OwnerXattr::User);
    let dir = layer
        .fs
        .mkdir(&ALICE, NodeId::ROOT, name("d"), Mode::new(0o755));
    let dir = dir.unwrap().node;
    layer.fs.set_attr(dir, &owner(1, 99)).unwrap();
    layer.fs.set_attr(dir, &mode(0o2775)).unwrap();
    let file = layer
        .fs
        .create(&ALICE, dir, name("f"), Mode::new(0o644))
        .unwrap();
    assert_eq!(shown(&file.attr), (1234, 99, 0o640));
    let sub = layer
        .fs
        .mkdir(&ALICE, dir, name("s"), Mode::new(0o755))
        .unwrap();
    assert_eq!(shown(&sub.attr), (1234, 99, 0o2750));
    // The real bits would hand down the real group.
    assert_eq!(
        std::fs::metadata(layer.path("d/s")).unwrap().mode() & 0o7777,
        0o700
    );
}

#[test]
fn ovl_77_chown_and_chmod_change_what_is_recorded() {
    let layer = Recording::new(OwnerXattr::User);
    let (file, _) = layer.create("f", 0o600);
    let changed = layer.fs.set_attr(file, &mode(0o6755)).unwrap();
    assert_eq!(shown(&changed), (1234, 5678, 0o6755));
    // As a real chown, it takes setuid and setgid.
    let changed = layer.fs.set_attr(file, &owner(0, 7)).unwrap();
    assert_eq!(shown(&changed), (0, 7, 0o755));
    let only_group = SetAttr {
        uid: Some(u32::MAX),
        ..owner(0, 8)
    };
    let changed = layer.fs.set_attr(file, &only_group).unwrap();
    assert_eq!(shown(&changed), (0, 8, 0o755));
    assert_eq!(layer.value("f", USER).as_deref(), Some("0:8:755"));
    let both = SetAttr {
        mode: Some(Mode::new(0o4711)),
        ..owner(4_000_000_000, 0)
    };
    layer.fs.set_attr(file, &both).unwrap();
    assert_eq!(layer.value("f", USER).as_deref(), Some("4000000000:0:4711"));
    assert_eq!(
        std::fs::metadata(layer.path("f")).unwrap().mode() & 0o7777,
        0o600
    );
}

#[test]
fn ovl_77_writing_and_truncating_take_recorded_setuid() {
    let layer = Recording::new(OwnerXattr::User);
    let (file, _) = layer.create("f", 0o600);
    for change in [true, false] {
        layer.fs.set_attr(file, &mode(0o6755)).unwrap();
        assert_eq!(layer.fs.write(file, 0, b"x", KillPriv::Keep), Ok(1));
        assert_eq!(layer.fs.get_attr(file).unwrap().mode.bits(), 0o6755);
        if change {
            let truncate = SetAttr {
                size: Some(0),
                kill: KillPriv::Clear,
                ..SetAttr::default()
            };
            layer.fs.set_attr(file, &truncate).unwrap();
        } else {
            assert_eq!(layer.fs.write(file, 0, b"x", KillPriv::Clear), Ok(1));
        }
        assert_eq!(layer.fs.get_attr(file).unwrap().mode.bits(), 0o755);
    }
}

#[test]
fn ovl_77_a_nameless_file_has_its_owner_from_the_start() {
    let layer = Recording::new(OwnerXattr::User);
    let made = layer.fs.tmpfile(&ALICE, NodeId::ROOT, Mode::new(0o666));
    let made = match made {
        Err(Errno::OPNOTSUPP) => return skip("a nameless file", "the filesystem has no O_TMPFILE"),
        made => made.unwrap(),
    };
    assert_eq!(shown(&made.attr), (1234, 5678, 0o640));
    let linked = layer.fs.link(made.node, NodeId::ROOT, name("f")).unwrap();
    assert_eq!(shown(&linked.attr), (1234, 5678, 0o640));
    assert_eq!(layer.value("f", USER).as_deref(), Some("1234:5678:640"));
}

#[test]
fn ovl_77_the_attribute_is_seen_by_nobody_and_acls_are_not_supported() {
    let layer = Recording::new(OwnerXattr::User);
    let (file, _) = layer.create("f", 0o600);
    let set = |attribute: &str, value: &[u8]| {
        let (mode, kill) = (XattrMode::Set, KillPriv::Keep);
        layer
            .fs
            .set_xattr(file, xattr_name(attribute), value, mode, kill)
    };
    set("user.mine", b"1").unwrap();
    layer.set("f", CONTAINERS, "0:0:0644:file");
    let mut names = [0; 64];
    assert_eq!(layer.fs.list_xattr(file, &mut []), Ok(10));
    assert_eq!(
        layer.fs.list_xattr(file, &mut names[..9]),
        Err(Errno::RANGE)
    );
    assert_eq!(layer.fs.list_xattr(file, &mut names), Ok(10));
    assert_eq!(&names[..10], b"user.mine\0");
    for hidden in [USER, SECURITY, CONTAINERS] {
        let got = layer.fs.get_xattr(file, xattr_name(hidden), &mut []);
        assert_eq!(got, Err(Errno::NODATA), "{hidden}");
        assert_eq!(set(hidden, b"0:0:777"), Err(Errno::PERM), "{hidden}");
        let removed = layer.fs.remove_xattr(file, xattr_name(hidden));
        assert_eq!(removed, Err(Errno::NODATA), "{hidden}");
    }
    let acl = "system.posix_acl_access";
    let got = layer.fs.get_xattr(file, xattr_name(acl), &mut []);
    assert_eq!(got, Err(Errno::OPNOTSUPP));
    assert_eq!(set(acl, b"\x02\0\0\0"), Err(Errno::OPNOTSUPP));
    assert_eq!(
        shown(&layer.fs.get_attr(file).unwrap()),
        (1234, 5678, 0o600)
    );
}

#[test]
fn ovl_77_all_names_are_read_and_the_one_that_is_written_wins() {
    let layer = Recording::new(OwnerXattr::User);
    std::fs::write(layer.path("f"), "").unwrap();
    let look = |fs: &HostFs| {
        let entry = fs.lookup(NodeId::ROOT, name("f")).unwrap();
        fs.forget(entry.node, 1);
        shown(&entry.attr)
    };
    let own = rustix::process::geteuid().as_raw();
    assert_eq!(look(&layer.fs).0, own, "nothing is recorded");
    layer.set("f", CONTAINERS, "3:33:0333:file");
    let lower = layer.lower(OwnerXattr::Security);
    assert_eq!(
        (look(&layer.fs), look(&lower)),
        ((3, 33, 0o333), (3, 33, 0o333))
    );
    layer.set("f", USER, "2:22:100222");
    assert_eq!(
        (look(&layer.fs), look(&lower)),
        ((2, 22, 0o222), (3, 33, 0o333))
    );
    if is_root() {
        layer.set("f", SECURITY, "1:11:111");
        assert_eq!(
            (look(&layer.fs), look(&lower)),
            ((2, 22, 0o222), (1, 11, 0o111))
        );
    }
}

#[test]
fn ovl_77_what_another_program_recorded_goes_when_it_is_out_of_date() {
    let layer = Recording::new(OwnerXattr::User);
    std::fs::write(layer.path("f"), "").unwrap();
    layer.set("f", CONTAINERS, "3:33:0333:file");
    let file = layer.fs.lookup(NodeId::ROOT, name("f")).unwrap().node;
    let changed = layer.fs.set_attr(file, &mode(0o600)).unwrap();
    assert_eq!(shown(&changed), (3, 33, 0o600));
    assert_eq!(layer.value("f", USER).as_deref(), Some("3:33:600"));
    assert_eq!(layer.value("f", CONTAINERS), None);
}

#[test]
fn ovl_77_an_empty_file_may_stand_for_a_device() {
    let layer = Recording::new(OwnerXattr::User);
    for (file, value) in [
        ("c", "0:5:0620:char-1-3"),
        ("p", "0:0:0600:pipe"),
        ("f", "0:0:0644:file"),
    ] {
        std::fs::write(layer.path(file), "").unwrap();
        layer.set(file, CONTAINERS, value);
    }
    let null = layer.fs.lookup(NodeId::ROOT, name("c")).unwrap();
    assert_eq!(null.attr.kind, FileType::CharDevice);
    assert_eq!(null.attr.rdev, Rdev { major: 1, minor: 3 });
    let mut listed = Vec::new();
    let each = &mut |entry: mica_vfs::DirEntry<'_>| {
        listed.push((entry.name.as_bytes().to_vec(), entry.kind));
        Flow::Continue
    };
    layer
        .fs
        .read_dir(NodeId::ROOT, Cookie::START, each)
        .unwrap();
    listed.sort_by(|a, b| a.0.cmp(&b.0));
    let kinds: Vec<_> = listed.into_iter().filter_map(|(_, kind)| kind).collect();
    assert_eq!(
        kinds,
        [FileType::CharDevice, FileType::Regular, FileType::Fifo]
    );
    // A change does not forget what it is.
    let changed = layer.fs.set_attr(null.node, &mode(0o666)).unwrap();
    assert_eq!(
        (changed.kind, shown(&changed)),
        (FileType::CharDevice, (0, 5, 0o666))
    );
    assert_eq!(layer.value("c", USER).as_deref(), Some("0:5:666:char-1-3"));
}

#[test]
fn ovl_77_a_senseless_value_is_eio_for_its_object_alone() {
    let layer = Recording::new(OwnerXattr::User);
    std::fs::create_dir(layer.path("d")).unwrap();
    for (file, value) in [
        ("a", "0:0"),
        ("b", "0:0:644:dir"),
        ("c", "0:0:644"),
        ("e", &"9".repeat(300)),
    ] {
        std::fs::write(layer.path(file), "").unwrap();
        layer.set(file, USER, value);
    }
    layer.set("d", CONTAINERS, "0:0:0644:file");
    for bad in ["a", "b", "d", "e"] {
        assert_eq!(
            layer.fs.lookup(NodeId::ROOT, name(bad)).err(),
            Some(Errno::IO),
            "{bad}"
        );
    }
    assert!(layer.fs.lookup(NodeId::ROOT, name("c")).is_ok());
    assert_eq!(layer.fs.nodes(), 3, "two roots and one found");
}

#[test]
fn ovl_77_what_cannot_carry_the_attribute_keeps_its_real_owner() {
    let layer = Recording::new(OwnerXattr::User);
    let own = rustix::process::geteuid().as_raw();
    let me = Caller {
        uid: own,
        gid: rustix::process::getegid().as_raw(),
        umask: 0,
    };
    let link = layer
        .fs
        .symlink(&me, NodeId::ROOT, name("l"), b"t")
        .unwrap();
    assert_eq!(link.attr.uid, own);
    assert_eq!(layer.fs.read_link(link.node).as_deref(), Ok(&b"t"[..]));
    let fifo = layer.fs.mknod(
        &me,
        NodeId::ROOT,
        name("p"),
        FileType::Fifo,
        Mode::new(0o640),
        Rdev::default(),
    );
    let fifo = fifo.unwrap();
    assert_eq!(
        (fifo.attr.kind, fifo.attr.mode.bits()),
        (FileType::Fifo, 0o640)
    );
    let changed = layer.fs.set_attr(fifo.node, &mode(0o600)).unwrap();
    assert_eq!(changed.mode.bits(), 0o600);
    let real = std::fs::symlink_metadata(layer.path("p")).unwrap();
    assert!(real.file_type().is_fifo() && real.mode() & 0o7777 == 0o600);
}

#[test]
fn ovl_77_the_security_name_fits_every_object() {
    if !is_root() {
        return skip(
            "ovl_77_the_security_name_fits_every_object",
            "needs CAP_SYS_ADMIN",
        );
    }
    let layer = Recording::new(OwnerXattr::Security);
    let (file, _) = layer.create("f", 0o600);
    let link = layer
        .fs
        .symlink(&ALICE, NodeId::ROOT, name("l"), b"t")
        .unwrap();
    let device = Rdev { major: 1, minor: 3 };
    let null = layer.fs.mknod(
        &ALICE,
        NodeId::ROOT,
        name("n"),
        FileType::CharDevice,
        Mode::new(0o666),
        device,
    );
    let null = null.unwrap();
    assert_eq!(shown(&link.attr), (1234, 5678, 0o777));
    assert_eq!(
        (shown(&null.attr), null.attr.rdev),
        ((1234, 5678, 0o640), device)
    );
    for node in [file, link.node, null.node] {
        let changed = layer.fs.set_attr(node, &owner(8, 9)).unwrap();
        assert_eq!((changed.uid, changed.gid), (8, 9));
    }
    assert_eq!(
        layer.fs.set_attr(link.node, &mode(0)),
        Err(Errno::OPNOTSUPP)
    );
    assert_eq!(layer.value("l", SECURITY).as_deref(), Some("8:9:777"));
    assert_eq!(layer.value("n", SECURITY).as_deref(), Some("8:9:640"));
    assert_eq!(std::fs::symlink_metadata(layer.path("n")).unwrap().uid(), 0);
    // A whiteout is shared by many names, and nobody's.
    let made = layer.fs.mknod(
        &ALICE,
        NodeId::ROOT,
        name("w"),
        FileType::CharDevice,
        Mode::empty(),
        Rdev::WHITEOUT,
    );
    assert!(made.is_ok());
    assert_eq!(layer.value("w", SECURITY), None);
}

#[test]
fn ovl_77_the_root_is_marked_with_what_it_is_like() {
    let layer = Recording::new(OwnerXattr::User);
    assert_eq!(layer.fs.recorded_root(), Ok(None));
    layer.fs.probe_owners().unwrap();
    assert_eq!(layer.fs.recorded_root(), Ok(None), "a probe leaves nothing");
    layer.fs.record_root(None).unwrap();
    let real = std::fs::metadata(layer.path("")).unwrap();
    let expected = format!("{}:{}:{:o}", real.uid(), real.gid(), real.mode() & 0o7777);
    assert_eq!(layer.value("", USER), Some(expected));
    layer.set("", USER, "7:8:555");
    let like = layer.fs.recorded_root().unwrap().unwrap();
    assert_eq!((like.uid, like.gid, like.mode.bits()), (7, 8, 0o555));
    let other = Recording::new(OwnerXattr::User);
    other.fs.record_root(Some(like)).unwrap();
    assert_eq!(
        shown(&other.fs.get_attr(NodeId::ROOT).unwrap()),
        (7, 8, 0o555)
    );
}

#[test]
fn what_a_crash_left_in_the_stage_is_removed_and_nothing_else() {
    let layer = Recording::new(OwnerXattr::User);
    let work = layer.dir.path().join("work");
    std::fs::write(work.join("#own-0"), "").unwrap();
    std::fs::create_dir(work.join("#own-1f")).unwrap();
    std::fs::create_dir(work.join("work")).unwrap();
    let again = open(
        &layer.path(""),
        OwnerXattr::User,
        LayerAccess::ReadWrite,
        &layer.fds,
    );
    again.attach(opened(&work)).unwrap();
    let left: Vec<_> = std::fs::read_dir(&work)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["work"]);
}

#[test]
fn a_layer_with_recorded_owners_makes_nothing_without_a_place_to_prepare_it() {
    let layer = Recording::new(OwnerXattr::User);
    let bare = open(
        &layer.path(""),
        OwnerXattr::User,
        LayerAccess::ReadWrite,
        &layer.fds,
    );
    assert_eq!(bare.probe_owners(), Err(Errno::OPNOTSUPP));
    let made = bare.create(&ALICE, NodeId::ROOT, name("f"), Mode::new(0o600));
    assert_eq!(made, Err(Errno::OPNOTSUPP));
}
