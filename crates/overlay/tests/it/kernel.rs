//! What the tests have in common that let the kernel mount the same layers.

use mica_testkit::{Detail, Dump, KernelMount, Medium, Mounted, Walk};

/// Whether the kernel can be asked.
pub(crate) fn is_possible(test: &str) -> bool {
    Medium::all().any(|medium| medium == Medium::Host) && KernelMount::is_possible(test)
}

/// Who does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Mica,
    Kernel,
}

/// Lets one of the two mount the layers and do something.
pub(crate) fn by<T>(by: By, mounted: &mut Mounted, run: impl FnOnce(Walk<'_>) -> T) -> T {
    mounted.unmount();
    match by {
        By::Mica => {
            mounted.remount();
            let done = run(mounted.walk());
            mounted.unmount();
            done
        }
        By::Kernel => {
            let kernel = mounted.mount_by_kernel().unwrap();
            let fs = kernel.fs();
            run(Walk::new(&fs))
        }
    }
}

/// Reads the upper. The handles of origins are those of other inodes in another stack, and the root has a UUID from the kernel.
pub(crate) fn upper_of(mounted: &Mounted) -> Dump {
    let mut upper = mounted.dump_upper(Detail::empty());
    for object in upper.0.values_mut() {
        object.xattrs.remove("trusted.overlay.uuid");
        if let Some(origin) = object.xattrs.get_mut("trusted.overlay.origin") {
            origin.truncate(5);
        }
    }
    upper
}

/// What the mount shows: Mica, then the kernel, over the same layers.
pub(crate) fn shown(mounted: &mut Mounted) -> (Dump, Dump) {
    mounted.remount();
    let mica = mounted.dump(Detail::NLINK).without_root();
    mounted.assert_shows_layers();
    mounted.unmount();
    let kernel = mounted.mount_by_kernel().unwrap();
    (mica, kernel.dump(Detail::NLINK).without_root())
}
