//! OVL-129: EDQUOT of the upper's filesystem is passed on, beside the kernel.

use crate::beside::{Beside, Driver};
use crate::ground::{can_mount, has_program};

/// The upper may hold 2 MiB. A limit of btrfs is for a subvolume, whoever writes, and needs no support for users' quotas.
const PREPARE: &str = r#"
    truncate -s 128M image; mkfs.btrfs -q image; mkdir disk; mount -o loop image disk; btrfs -q quota enable disk
    btrfs -q quota rescan -w disk; btrfs -q subvolume create disk/s; btrfs qgroup limit 2M disk/s
    rmdir u w; mkdir disk/s/u disk/s/w; ln -s disk/s/u u; ln -s disk/s/w w
    yes | head -c 4M > l/big; echo small > l/small; echo other > l/other
    echo kept > u/kept; sync -f disk"#;

#[test]
fn ovl_129_what_is_over_a_quota_of_the_upper_is_edquot_as_by_the_kernels_overlay() {
    let test = "ovl_129_what_is_over_a_quota_of_the_upper_is_edquot_as_by_the_kernels_overlay";
    let programs = ["mkfs.btrfs", "btrfs"];
    if !can_mount(test) || !programs.iter().all(|program| has_program(test, program)) {
        return;
    }
    let Some(beside) = Beside::new(test, PREPARE) else {
        return;
    };
    let program = r#"
        # The kernel says it at open(2), Mica at the first change (D-2): both are asked for the two together.
        deed('write a lower file that is too large', sub { put('m/big', O_WRONLY) });
        print 'it stays in the lower: ', -e 'u/big' ? 'no' : 'yes', ', ', -s 'm/big', "\n";
        deed('write a small one', sub { put('m/small', O_WRONLY|O_APPEND) });
        deed('fill a new file', sub { my $fh = opened('m/new', O_CREAT|O_WRONLY) or return;
            for (1..200) { defined syswrite($fh, 'x' x 65536) or return } 1 });
        deed('allocate', sub { alloc(opened('m/kept', O_RDWR), 0, 0, 8 << 20) });
        print 'read: ', text('m/small'), text('m/other'), text('m/kept');
        deed('remove what filled it', sub { unlink 'm/new' });
        system('sync', '-f', 'disk'); deed('there is room again', sub { put('m/kept', O_WRONLY|O_APPEND, 'x' x 65536) });
        deed('a lower file', sub { put('m/other', O_WRONLY|O_APPEND, 'more') }); print text('m/other'), "\n";
    "#;
    beside.assert_same(program);
    let said = beside.perl(Driver::Mica, "print text('m/small')");
    assert_eq!(said, ["small", "x"]);
}
