//! The connection itself: mounting, the negotiation, unmounting, references.

use std::fs;
use std::sync::Arc;

use mica_fuse::{
    InitFlags, MountAccess, MountError, MountFlags, MountOptions, Session, SessionConfig, Unmounted,
};
use mica_tmpfs::Tmpfs;

use crate::mounted::{mount_with, on_mount};

fn mountinfo_of(path: &std::path::Path) -> Option<String> {
    let path = fs::canonicalize(path).unwrap();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let at = format!(" {} ", path.display());
    table
        .lines()
        .find(|line| line.contains(&at))
        .map(str::to_owned)
}

on_mount! {
    fn a_mount_answers_when_mount_returns(mounted) {
        assert_eq!(fs::read_dir(mounted.root()).unwrap().count(), 0);
        fs::write(mounted.path("a"), "1").unwrap();
        assert_eq!(fs::read(mounted.path("a")).unwrap(), b"1");
    }
}

on_mount! {
    fn source_and_type_are_shown(mounted) {
        let line = mountinfo_of(mounted.root()).unwrap();
        assert!(line.contains(" - fuse.mica mica "), "{line}");
        assert!(line.contains("default_permissions"), "{line}");
    }
}

#[test]
fn restrictions_are_shown() {
    let mounted = mount_with("restrictions_are_shown", |options| {
        options.source = "a b,c".to_owned();
        options.subtype = "other".to_owned();
        options.flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        options.access = MountAccess::ReadOnly;
    });
    let Some(mounted) = mounted else { return };
    let line = mountinfo_of(mounted.root()).unwrap();
    assert!(line.contains(" ro,nosuid,nodev,noexec,relatime"), "{line}");
    assert!(line.contains(" - fuse.other a\\040b,c ro,"), "{line}");
    let refused = fs::write(mounted.path("a"), "1").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

on_mount! {
    fn what_is_negotiated_is_what_the_table_wants_of_the_offer(mounted) {
        let init = mounted.session().init();
        assert_eq!(init.negotiated, init.offered.and(InitFlags::wanted()));
        assert!(init.negotiated.contains(InitFlags::INIT_EXT));
        eprintln!("{init}");
    }
}

on_mount! {
    fn unmounting_ends_the_server_and_lets_go_of_the_filesystem(mounted) {
        fs::create_dir(mounted.path("d")).unwrap();
        fs::write(mounted.path("d/f"), "x").unwrap();
        let root = mounted.root().to_owned();
        let unmounter = mounted.session().unmounter();
        assert!(mountinfo_of(&root).is_some());
        let fs = mounted.end();
        assert_eq!(unmounter.unmount().unwrap(), Unmounted::Before);
        assert_eq!(Arc::strong_count(&fs), 1);
    }
}

on_mount! {
    fn a_mount_in_use_is_detached_and_ends_with_its_last_user(mounted) {
        fs::write(mounted.path("f"), "x").unwrap();
        let file = fs::File::open(mounted.path("f")).unwrap();
        let unmounter = mounted.session().unmounter();
        assert_eq!(unmounter.unmount().unwrap(), Unmounted::Detached);
        assert!(mountinfo_of(mounted.root()).is_none());
        assert_eq!(std::io::read_to_string(&file).unwrap(), "x");
        drop(file);
        drop(mounted);
    }
}

#[test]
fn a_missing_mountpoint_is_named() {
    let fs = Arc::new(Tmpfs::new());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    let (options, config) = (MountOptions::default(), SessionConfig::default());
    let error = Session::mount(fs.clone(), &path, &options, config).unwrap_err();
    assert!(
        matches!(error, MountError::MountpointMissing { .. }),
        "{error:?}"
    );
    assert_eq!(error.hint(), Some(format!("mkdir -p '{}'", path.display())));
    std::fs::write(&path, "").unwrap();
    let error = Session::mount(fs, &path, &options, config).unwrap_err();
    assert!(
        matches!(error, MountError::MountpointNotDirectory { .. }),
        "{error:?}"
    );
}

on_mount! {
    /// From the first request of the connection on: files that CREATE opened before the kernel learnt that OPEN is
    /// ENOSYS get a RELEASE, later ones do not.
    fn no_node_is_left_of_20000_files_that_were_made_and_removed(mounted) {
        let before = open_descriptors();
        for n in 0..20_000 {
            let path = mounted.path(&format!("f{}", n % 100));
            fs::write(&path, n.to_string()).unwrap();
            if n == 10_000 {
                fs::read(&path).unwrap();
            }
            if n % 100 == 99 {
                for name in 0..100 {
                    fs::remove_file(mounted.path(&format!("f{name}"))).unwrap();
                }
            }
        }
        assert_eq!(mounted.requests("OPEN"), 1);
        assert!(mounted.requests("RELEASE") < 11_000);
        assert!(open_descriptors() <= before + 2);
        // The kernel sends FORGET after the reply to UNLINK, at its leisure, but before the connection ends.
        let stats = mounted.session().stats();
        let fs = mounted.end();
        assert_eq!(fs.referenced_nodes().unwrap() as u64, stats.references_held());
        assert!(stats.references_held() < 100, "{}", stats.references_held());
    }
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

on_mount! {
    fn opening_and_closing_sends_nothing_once_the_kernel_knows(mounted) {
        fs::write(mounted.path("f"), "x").unwrap();
        fs::read(mounted.path("f")).unwrap();
        fs::read_dir(mounted.root()).unwrap().for_each(drop);
        // Asks for the time of birth, which the kernel keeps from then on.
        fs::metadata(mounted.path("f")).unwrap();
        assert!(!mounted.path("missing").exists());
        let before = mounted.session().stats().requests_in_all();
        for _ in 0..100 {
            fs::read(mounted.path("f")).unwrap();
            fs::metadata(mounted.path("f")).unwrap();
            assert!(!mounted.path("missing").exists());
        }
        let requests = mounted.session().stats().requests_in_all() - before;
        assert!(requests == 0, "{:?}", mounted.session().stats().requests().collect::<Vec<_>>());
    }
}
