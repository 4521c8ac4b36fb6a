//! More options and features for the table: each is a script that makes the layers, options, and a script that looks.

/// An option or a feature, by scripts of bash that run in the test's directory, `$` in the options.
pub(crate) struct Scripted {
    /// What the page calls it.
    pub(crate) name: &'static str,
    /// Makes what is mounted, besides `l` with `f`, `g`, `a`, `b` and `d/f`, and `u`, `w`, `m`.
    pub(crate) prepare: &'static str,
    /// All options of the mount.
    pub(crate) options: fn() -> String,
    /// Prints what the mount, at `m`, shows; after [`SHOWN`].
    pub(crate) look: &'static str,
    /// More tests that show what Mica does.
    pub(crate) also: &'static str,
}

impl Scripted {
    /// Whether it is tried in a user namespace with one id, of which the tester is root.
    pub(crate) fn is_in_namespace(&self) -> bool {
        self.name.starts_with("in a user namespace")
    }
}

/// For the scripts that look: whether the commands succeed, in a word; and attributes.
pub(crate) const SHOWN: &str = r#"
says() { if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi; }
attribute() { python3 -c 'import os, sys; os.setxattr(sys.argv[1], sys.argv[2], sys.argv[3].encode())' "$@"; }
names() { python3 -c 'import os, sys; print(*os.listxattr(sys.argv[1]))' "$@"; }
"#;

macro_rules! scripted {
    ($($name:literal, $prepare:literal, $options:expr => $look:literal, $also:literal;)*) => {
        &[$(Scripted {
            name: $name, prepare: $prepare, options: || String::from($options), look: $look, also: $also,
        }),*]
    };
}

const UPPER: &str = "lowerdir=$/l,upperdir=$/u,workdir=$/w";

fn with(more: &str) -> String {
    format!("{UPPER},{more}")
}

pub(crate) const SCRIPTED: &[Scripted] = scripted! {
    "`lowerdir+=`, once for each layer", "mkdir l2; touch l2/x", "lowerdir+=$/l,lowerdir+=$/l2,upperdir=$/u,workdir=$/w"
        => "says test -e m/f -a -e m/x", "paths_with_separators_in_them_are_escaped";
    "escaped colons in a path of a layer", "mkdir l:2; touch l:2/x", r"lowerdir=$/l\:2,upperdir=$/u,workdir=$/w"
        => "says test -e m/x", "paths_with_separators_in_them_are_escaped";
    "`::` and a layer of data alone", "mkdir data; echo data > data/blob; truncate -s 5 l/i;
        attribute l/i trusted.overlay.metacopy ''; attribute l/i trusted.overlay.redirect /blob", "lowerdir=$/l::$/data,upperdir=$/u,workdir=$/w,metacopy=on"
        => "says cmp m/i data/blob", "ovl_102_the_data_of_an_image_is_read_from_data_only_layers";
    "`datadir+=`: the same", "mkdir data; echo data > data/blob; truncate -s 5 l/i;
        attribute l/i trusted.overlay.metacopy ''; attribute l/i trusted.overlay.redirect /blob", "lowerdir+=$/l,datadir+=$/data,upperdir=$/u,workdir=$/w,metacopy=on"
        => "says cmp m/i data/blob", "ovl_102_the_data_of_an_image_is_read_from_data_only_layers";
    "500 lower layers", "mkdir {100..599}", format!("lowerdir=l:{},upperdir=u,workdir=w", (100..599).map(|n| n.to_string()).collect::<Vec<_>>().join(":"))
        => "says test -e m/f", "five_hundred_layers_are_mounted_and_listed";
    "501 lower layers", "mkdir {100..599}", format!("lowerdir=l:{},upperdir=u,workdir=w", (100..600).map(|n| n.to_string()).collect::<Vec<_>>().join(":"))
        => "says test -e m/f", "five_hundred_layers_are_mounted_and_listed";
    "options longer than a page", "mkdir -p $(printf 'a-directory-with-a-name-that-is-rather-long-for-a-layer-%s ' {100..199})",
        format!("lowerdir=l:{},upperdir=u,workdir=w", (100..200).map(|n| format!("a-directory-with-a-name-that-is-rather-long-for-a-layer-{n}")).collect::<Vec<_>>().join(":"))
        => "says test -e m/f", "option_strings_longer_than_a_page_are_taken";
    "whiteouts in the xattr form (`xwhiteouts`)", "mkdir l2; touch l2/x l/x; attribute l/x trusted.overlay.whiteout ''; attribute l trusted.overlay.opaque x",
        "lowerdir=$/l:$/l2,upperdir=$/u,workdir=$/w" => "says test ! -e m/x", "ovl_6_whiteouts_in_the_xattr_form_are_the_kernels_in_every_layer";
    "`fsync=volatile`: the mark in the work directory", "true", with("fsync=volatile")
        => "says test -e w/work/incompat/volatile", "ovl_66_the_mark_is_the_kernels";
    "`fsync=strict` is taken", "true", with("fsync=strict")
        => "says test -e m/f", "ovl_65_ovl_67_a_copy_up_flushes_the_disk_as_asked";
    "`default_permissions` is taken", "true", with("default_permissions") => "says test -e m/f", "";
    "`squash_to_root`: the owner of a file of 1000 that is shown", "chown 1000:1000 l/f", with("squash_to_root")
        => "stat -c %u:%g m/f", "ovl_73_who_has_the_squashed_id_may_do_what_an_owner_may";
    "`squash_to_gid=1000`: the group that is shown", "true", with("squash_to_gid=1000")
        => "stat -c %g m/f", "ovl_73_who_has_the_squashed_id_may_do_what_an_owner_may";
    "`uidmapping=0:1000:1`: the owner of a file of root that is shown", "true", with("uidmapping=0:1000:1:1:2000:5")
        => "stat -c %u m/f", "ovl_78_the_mapping_of_the_mount_comes_on_top_of_that_of_the_options";
    "`gidmapping=0:1000:1`: the group of a file of root that is shown", "true", with("gidmapping=0:1000:1:1:2000:5")
        => "stat -c %g m/f", "ovl_78_the_mapping_of_the_mount_comes_on_top_of_that_of_the_options";
    "`xattr_permissions=2`: chown(2) is an attribute in the upper", "true", with("xattr_permissions=2")
        => "chown 5:5 m/f; says grep override_stat <(names u/f)", "ovl_77_owners_are_recorded_where_they_cannot_be_given";
    "`static_nlink`: links of a directory", "mkdir l/d/s", with("static_nlink")
        => "stat -c %h m/d", "ovl_76_with_static_nlink_stat_says_one_link_of_every_directory";
    "a default ACL is inherited", "setfacl -d -m u:1000:rwx l/d", UPPER
        => "touch m/d/new; says grep user:1000 <(getfacl -n m/d/new)", "ovl_128_acls_are_inherited_copied_up_and_count_as_in_the_kernels_overlay";
    "an ACL is kept by a copy-up", "setfacl -m u:1000:rwx l/f", UPPER
        => "echo >> m/f; says grep user:1000 <(getfacl -n u/f)", "ovl_128_acls_are_inherited_copied_up_and_count_as_in_the_kernels_overlay";
    "`noacl`: setting an ACL", "true", with("noacl")
        => "says setfacl -m u:1000:rwx m/f", "ovl_75_with_noacl_the_umask_counts_and_acls_are_not_supported";
    "flock(2) of a lower file excludes after its copy-up", "true", UPPER
        => "says sh -c 'exec 7<m/f; flock -x 7; echo >> m/f; ! flock -xn m/f true'", "ovl_126_locks_and_leases_outlast_a_copy_up";
    "an OFD lock of a lower file excludes after its copy-up", "true", UPPER
        => r#"says python3 -c '
import fcntl, struct
def lock(f, kind): fcntl.fcntl(f, 37, struct.pack("hhqqi4x", kind, 0, 0, 0, 0))
r = open("m/f"); lock(r, 0); w = open("m/f", "r+"); w.write("x"); w.flush()
try: lock(w, 1)
except BlockingIOError: exit(0)
exit(1)'"#, "ovl_126_locks_and_leases_outlast_a_copy_up";
    "a read lease of a file", "true", UPPER
        => r#"says python3 -c 'import fcntl; fcntl.fcntl(open("m/f"), 1024, 0)'"#, "ovl_126_locks_and_leases_outlast_a_copy_up";
    "a lower on an overlay of the kernel", "mkdir k l2 u2 w2; mount -i -t overlay o -o lowerdir=l,upperdir=u2,workdir=w2 k", "lowerdir=$/k,upperdir=$/u,workdir=$/w"
        => "says test -e m/f", "a_lower_can_be_an_overlay_of_the_kernel";
    "an upper on an overlay of the kernel", "mkdir k l2 u2 w2; mount -i -t overlay o -o lowerdir=l2,upperdir=u2,workdir=w2 k; mkdir k/u k/w",
        "lowerdir=$/l,upperdir=$/k/u,workdir=$/k/w"
        => "says eval 'rm -r m/d && mkdir m/d && test ! -e m/d/f'", "ovl_84_the_kernels_overlay_takes_no_upper";
    "a lower on a mount of Mica", "mkdir k u2 w2; mica mount -o lowerdir=l,upperdir=u2,workdir=w2 k", "lowerdir=$/k,upperdir=$/u,workdir=$/w"
        => "says test -e m/f", "a_lower_can_be_a_mount_of_mica";
    "an upper on a mount of Mica", "mkdir k l2 u2 w2; mica mount -o lowerdir=l2,upperdir=u2,workdir=w2 k; mkdir k/u k/w", "lowerdir=$/l,upperdir=$/k/u,workdir=$/k/w"
        => "says eval 'rm -r m/d && mkdir m/d && test ! -e m/d/f'", "ovl_130_an_upper_on_a_mount_of_mica_is_one_on_a_directory";
    "another overlay of the kernel on it", "true", UPPER
        => "mkdir o l2; says mount -i -t overlay o -o lowerdir=m:l2 o; umount o 2>/dev/null", "ovl_132_three_overlays_keep_their_marks_apart";
    "another two overlays of the kernel on it", "true", UPPER
        => "mkdir o o2 l2 l3; says eval 'mount -i -t overlay o -o lowerdir=m:l2 o && mount -i -t overlay o -o lowerdir=o:l3 o2'; umount o2 o 2>/dev/null", "ovl_132_three_overlays_keep_their_marks_apart";
    "in a user namespace, with `userxattr`: a directory is made again, and is empty", "true", with("userxattr")
        => "says eval 'rm -r m/d && mkdir m/d && test ! -e m/d/f'", "ovl_135_in_a_user_namespace_a_mount_is_what_the_kernels_is";
    "in a user namespace, without: the same", "true", UPPER
        => "says eval 'rm -r m/d && mkdir m/d && test ! -e m/d/f'", "ovl_135_in_a_user_namespace_a_mount_is_what_the_kernels_is";
    "in a user namespace: a lower directory is renamed", "true", with("userxattr")
        => "says perl -e 'rename(qw(m/d m/e)) or exit 1'", "ovl_135_in_a_user_namespace_a_mount_is_what_the_kernels_is";
};
