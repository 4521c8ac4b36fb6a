//! OVL-127: the copy-up of a node happens once, whoever asks for it and however often.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::sync::Barrier;
use std::thread;

use crate::ground::{Ground, can_mount, ok, run};

const ROUNDS: usize = 25;
const SIZE: usize = 256 * 1024;

/// What a reader may see of the file: all of the lower's bytes, but for the one block that writers fill.
fn is_whole(text: &[u8]) -> bool {
    let (first, rest) = text.split_at(text.len().min(8));
    let first = first.iter().all(|&b| b == b'l') || first.iter().all(|&b| b == b'W');
    first && rest.iter().all(|&b| b == b'l')
}

/// One of 32 threads does its part to `file`, which lies in a directory that another renames.
fn part(ground: &Ground, number: usize, held: &File, round: usize) {
    let dirs = [format!("m/{round}/d"), format!("m/{round}/e")];
    // The directory has one name or the other: what is not found under the one is tried under the other.
    let find = |deed: &dyn Fn(&std::path::Path) -> std::io::Result<()>| {
        for _ in 0..1000 {
            for dir in &dirs {
                match deed(&ground.at(&format!("{dir}/f"))) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    done => return done.unwrap(),
                }
            }
        }
        panic!("thread {number} finds the file nowhere");
    };
    match number % 8 {
        0 | 1 => find(&|f| {
            OpenOptions::new()
                .write(true)
                .open(f)?
                .write_all_at(b"WWWWWWWW", 0)
        }),
        2 => find(&|f| fs::set_permissions(f, Permissions::from_mode(0o640))),
        3 => find(&|f| fs::hard_link(f, ground.at(&format!("m/{round}/link{number}")))),
        4 => find(&|f| OpenOptions::new().write(true).open(f)?.set_len(SIZE as u64)),
        5 => find(&|f| {
            let perl = "open(F,'+<',$ARGV[0]) or exit 2; $a=syscall($ARGV[1],0,4096,3,1,fileno F,0); exit($a<0)";
            let map = if cfg!(target_arch = "x86_64") {
                "9"
            } else {
                "222"
            };
            let mut perl_does = std::process::Command::new("perl");
            perl_does.args(["-e", perl]).arg(f).arg(map);
            match perl_does.status()?.code() {
                Some(2) => Err(std::io::ErrorKind::NotFound.into()),
                code => {
                    assert_eq!(code, Some(0));
                    Ok(())
                }
            }
        }),
        6 if number == 6 => {
            let [d, e] = &dirs;
            for _ in 0..4 {
                let moved = fs::rename(ground.at(d), ground.at(e));
                moved
                    .and_then(|()| fs::rename(ground.at(e), ground.at(d)))
                    .unwrap();
            }
        }
        6 => find(&|f| {
            OpenOptions::new()
                .append(true)
                .open(f)?
                .set_len(SIZE as u64)
        }),
        _ => {
            for _ in 0..20 {
                let mut text = vec![0; SIZE];
                held.read_exact_at(&mut text, 0).unwrap();
                assert!(is_whole(&text), "a reader sees a mix");
            }
        }
    }
}

#[test]
fn ovl_127_thirty_two_threads_that_change_one_file_copy_it_up_once() {
    if !can_mount("ovl_127_thirty_two_threads_that_change_one_file_copy_it_up_once") {
        return;
    }
    let ground = Ground::new();
    for round in 0..ROUNDS {
        fs::create_dir_all(ground.at(&format!("l/{round}/d"))).unwrap();
        fs::write(ground.at(&format!("l/{round}/d/f")), vec![b'l'; SIZE]).unwrap();
    }
    let options = "lowerdir=l,upperdir=u,workdir=w,redirect_dir=on";
    assert_eq!(
        ground.run(&["mount", "-o", options, "--stats=numbers", "m"]),
        ok()
    );
    for round in 0..ROUNDS {
        let held = File::open(ground.at(&format!("m/{round}/d/f"))).unwrap();
        let together = Barrier::new(32);
        thread::scope(|scope| {
            for number in 0..32 {
                let (ground, held, together) = (&ground, &held, &together);
                scope.spawn(move || {
                    together.wait();
                    part(ground, number, held, round);
                });
            }
        });
        let shown = fs::read(ground.at(&format!("m/{round}/d/f"))).unwrap();
        assert!(shown.len() == SIZE && shown.starts_with(b"WWWWWWWW") && is_whole(&shown));
        let kept = fs::read(ground.at(&format!("u/{round}/d/f"))).unwrap();
        assert!(kept == shown, "what is shown is not what is kept");
    }
    let server = ground.server();
    let mut umount = std::process::Command::new("umount");
    assert_eq!(run(umount.arg(ground.at("m"))), ok());
    server.ends();
    let stats = fs::read_to_string(ground.at("numbers")).unwrap();
    let copy_ups = stats
        .lines()
        .find_map(|line| line.strip_prefix("copy_ups "));
    // In each round the file, its directory, and the directory above.
    assert_eq!(copy_ups, Some(&*(3 * ROUNDS).to_string()), "{stats}");
}

#[test]
fn ovl_127_a_copy_up_for_which_there_is_no_room_leaves_the_lower_file_for_the_next_try() {
    if !can_mount(
        "ovl_127_a_copy_up_for_which_there_is_no_room_leaves_the_lower_file_for_the_next_try",
    ) {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), vec![b'l'; SIZE]).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tiny", ground.at("u"), "tmpfs", flags, c"size=256k").unwrap();
    for dir in ["u/u", "u/w"] {
        fs::create_dir(ground.at(dir)).unwrap();
    }
    fs::write(ground.at("u/ballast"), vec![b'b'; SIZE / 2]).unwrap();
    let options = "lowerdir=l,upperdir=u/u,workdir=u/w";
    assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok());
    let file = ground.at("m/f");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let opened = OpenOptions::new().write(true).open(&file).unwrap();
                let written = opened.write_all_at(b"W", 0).unwrap_err();
                assert_eq!(written.raw_os_error(), Some(28), "{written}");
            });
        }
    });
    assert!(is_whole(&fs::read(&file).unwrap()));
    assert_eq!(fs::read_dir(ground.at("u/u")).unwrap().count(), 0);
    fs::remove_file(ground.at("u/ballast")).unwrap();
    let opened = OpenOptions::new().write(true).open(&file).unwrap();
    opened.write_all_at(b"W", 0).unwrap();
    assert!(fs::read(&file).unwrap().starts_with(b"Wl"));
    assert!(fs::read(ground.at("u/u/f")).unwrap().starts_with(b"Wl"));
}
