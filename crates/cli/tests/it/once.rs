//! OVL-127: the copy-up of a node happens once, whoever asks for it and however often.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use crate::ground::{Ground, can_mount, has_program, ok, run};

const ROUNDS: usize = 25;
const SIZE: usize = 256 * 1024;

/// What a reader may see of the file: all of the lower's bytes, but for the one block that writers fill.
fn is_whole(text: &[u8]) -> bool {
    let (first, rest) = text.split_at(text.len().min(8));
    let first = first.iter().all(|&b| b == b'l') || first.iter().all(|&b| b == b'W');
    first && rest.iter().all(|&b| b == b'l')
}

/// Stores into a shared mapping of its argument; 2: there is no such file.
const STORE: &str = r#"open(F, '+<', $ARGV[0]) or exit 2; pipe(R, W); syswrite(W, 'W' x 8);
    my ($mmap, $read) = `uname -m` =~ /x86_64/ ? (9, 0) : (222, 63); my $at = syscall($mmap, 0, 4096, 3, 1, fileno F, 0);
    exit($at < 0 || syscall($read, fileno R, $at, 8) != 8)"#;

fn store(file: &Path) -> io::Result<()> {
    let status = Command::new("perl")
        .args(["-e", STORE])
        .arg(file)
        .status()?;
    if status.code() == Some(2) {
        return Err(io::ErrorKind::NotFound.into());
    }
    assert!(status.success());
    Ok(())
}

/// Does something to the file of a round, which has one of two names in a directory that has one of two names, too.
fn find(ground: &Ground, round: usize, deed: &dyn Fn(&Path) -> io::Result<()>) {
    for _ in 0..1000 {
        for name in ["d/f", "d/g", "e/f", "e/g"] {
            match deed(&ground.at(&format!("m/{round}/{name}"))) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => return done.unwrap(),
            }
        }
    }
    panic!("the file is found nowhere");
}

/// Each of 32 threads does its part.
fn part(ground: &Ground, number: usize, held: &File, round: usize) {
    let find = |deed: &dyn Fn(&Path) -> io::Result<()>| find(ground, round, deed);
    let open = |file: &Path| OpenOptions::new().write(true).open(file);
    match number {
        6 => {
            let [d, e] = ["d", "e"].map(|name| ground.at(&format!("m/{round}/{name}")));
            for _ in 0..4 {
                fs::rename(&d, &e).unwrap();
                fs::rename(&e, &d).unwrap();
            }
        }
        14 => {
            // Whatever the name is, it gets the other.
            let moved = |file: &Path| {
                let other = if file.ends_with("f") { "g" } else { "f" };
                fs::rename(file, file.with_file_name(other))
            };
            (0..4).for_each(|_| find(&moved));
        }
        _ => match number % 8 {
            0 | 1 => find(&|file| open(file)?.write_all_at(b"WWWWWWWW", 0)),
            2 => find(&|file| fs::set_permissions(file, Permissions::from_mode(0o640))),
            3 => find(&|file| fs::hard_link(file, ground.at(&format!("m/{round}/link{number}")))),
            4 | 6 => find(&|file| open(file)?.set_len(SIZE as u64)),
            5 => find(&store),
            _ => {
                for _ in 0..20 {
                    let mut text = vec![0; SIZE];
                    held.read_exact_at(&mut text, 0).unwrap();
                    assert!(is_whole(&text), "a reader sees a mix");
                }
            }
        },
    }
}

#[test]
fn ovl_127_thirty_two_threads_that_change_one_file_copy_it_up_once() {
    let test = "ovl_127_thirty_two_threads_that_change_one_file_copy_it_up_once";
    if !can_mount(test) || !has_program(test, "perl") {
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
        let file = ground.at(&format!("m/{round}/d/f"));
        let shown = fs::read(&file).unwrap();
        assert!(shown.len() == SIZE && shown.starts_with(b"WWWWWWWW") && is_whole(&shown));
        let kept = fs::read(ground.at(&format!("u/{round}/d/f"))).unwrap();
        assert!(kept == shown, "what is shown is not what is kept");
        let attributes = fs::metadata(&file).unwrap();
        assert_eq!((attributes.mode() & 0o7777, attributes.nlink()), (0o640, 5));
        let names = ["link3", "link11", "link19", "link27"];
        let numbers = names.map(|name| {
            fs::metadata(ground.at(&format!("m/{round}/{name}")))
                .unwrap()
                .ino()
        });
        assert_eq!(numbers, [attributes.ino(); 4]);
    }
    let server = ground.server();
    let mut umount = Command::new("umount");
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
