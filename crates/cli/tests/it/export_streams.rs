//! `mica export` and `mica import` as parts of a pipe: in memory that does not grow with the layer.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};

use crate::export_archive::{archive, file, raw};
use crate::ground::{Ground, ok, until};

/// How much goes through.
const SIZE: usize = 96 << 20;
/// The most memory that a process may have had meanwhile: it is less than half of that.
const MEMORY: u64 = 40 << 20;

/// Returns the most memory that a process has had, in bytes.
fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

#[test]
fn a_layer_goes_through_a_pipe_in_little_memory() {
    let ground = Ground::new();
    let block = vec![b'x'; 1 << 20];
    let mut big = File::create(ground.at("u/big")).unwrap();
    for _ in 0..SIZE / block.len() {
        big.write_all(&block).unwrap();
    }
    drop(big);
    let mut export = ground.mica(&["export", "u"]);
    let mut export = export.stdout(Stdio::piped()).spawn().unwrap();
    let mut import = ground.mica(&["import", "-", "new", "--owners", "mine"]);
    let mut import = import
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut from = export.stdout.take().unwrap();
    let mut to = import.stdin.take().unwrap();
    // All but the end, at which both would be gone.
    let body = u64::try_from(SIZE).unwrap();
    let copied = std::io::copy(&mut from.by_ref().take(body), &mut to).unwrap();
    assert_eq!(copied, body);
    for (name, child) in [("export", &export), ("import", &import)] {
        let peak = peak(child);
        assert!(peak < MEMORY, "{name}: {peak}");
    }
    std::io::copy(&mut from, &mut to).unwrap();
    drop(to);
    assert!(export.wait().unwrap().success());
    assert!(import.wait().unwrap().success());
    let length = fs::metadata(ground.at("new/big")).unwrap().len();
    assert_eq!(length, body);
}

#[test]
fn many_directories_take_no_more_memory_than_one() {
    let ground = Ground::new();
    let mut import = ground.mica(&["import", "-", "new", "--owners", "mine"]);
    let mut import = import
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut to = import.stdin.take().unwrap();
    let data = vec![b'x'; 4096];
    for nth in 0..3000 {
        let dir = format!("{nth:0>90}/");
        to.write_all(&raw(&dir, b'5').encode()).unwrap();
        to.write_all(&file(&format!("{dir}f"), &data).encode())
            .unwrap();
    }
    let peak = peak(&import);
    assert!(peak < MEMORY, "{peak}");
    to.write_all(&archive(&[])).unwrap();
    drop(to);
    assert!(import.wait().unwrap().success());
    assert_eq!(fs::read_dir(ground.at("new")).unwrap().count(), 3000);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let ground = Ground::new();
    fs::write(ground.at("u/f"), vec![b'x'; 1 << 20]).unwrap();
    let mut export = ground.mica(&["export", "u"]);
    let mut export = export
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(export.stdout.take());
    let ended = export.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stderr.is_empty(), "{ended:?}");
    assert_eq!(ground.run(&["export", "u", "-o", "/dev/null"]), ok());
}

#[test]
fn a_killed_import_is_refused_as_a_layer_and_begun_anew() {
    let ground = Ground::new();
    let mut import = ground.mica(&["import", "-", "new", "--owners", "mine"]);
    let mut import = import.stdin(Stdio::piped()).spawn().unwrap();
    let mut to = import.stdin.take().unwrap();
    to.write_all(&raw("d/", b'5').encode()).unwrap();
    to.write_all(&file("d/f", &[b'x'; 5000]).encode()).unwrap();
    until(|| ground.at("new/d/f").exists());
    import.kill().unwrap();
    import.wait().unwrap();
    drop(to);

    let exported = ground.run(&["export", "new", "-o", "layer.tar"]);
    assert_eq!(exported.status, Some(1));
    let said = "is half converted: `mica import` was interrupted";
    assert!(exported.stderr.contains(said), "{exported:?}");
    let mounted = ground.run(&["mount", "-o", "lowerdir=new:l,userxattr", "m"]);
    assert!(mounted.stderr.contains(said), "{mounted:?}");
    assert!(mounted.stderr.contains("hint: run `mica import` again"));
    let checked = ground.run(&["check", "new"]);
    assert!(
        checked.stdout.contains("an import was interrupted"),
        "{checked:?}"
    );
    assert!(
        checked.stdout.contains("run the same `mica import` again"),
        "{checked:?}"
    );

    fs::write(ground.at("whole"), archive(&[file("f", b"x").encode()])).unwrap();
    let again = ground.run(&["import", "whole", "new", "--owners", "mine"]);
    assert_eq!(again.stdout, "imported 1 entry\n", "{again:?}");
    let names: Vec<_> = fs::read_dir(ground.at("new"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["f"]);
    assert_eq!(ground.run(&["export", "new", "-o", "layer.tar"]), ok());
}
