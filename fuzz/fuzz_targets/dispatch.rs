//! The FUSE dispatcher on an overlay of trees in memory: any bytes, and sequences of almost valid requests.
//!
//! The kernel is trusted to speak the protocol, but the bodies carry what a program chose; and a connection that is
//! handed over speaks to another server's state. A panic aborts here, though the server would answer `EIO`.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use mica_fuse::{CacheTimes, Connection, MIN_REPLY, Outcome, dispatch};
use mica_overlay::{Config, Layer, Overlay, Upper};
use mica_tmpfs::{Limits, Tmpfs};
use mica_vfs::{Caller, FileName, Filesystem, KillPriv, Mode, NodeId};

/// Length of `struct fuse_in_header`.
const HEADER: usize = 40;
/// `FUSE_INIT`.
const INIT: u32 = 26;

fuzz_target!(|data: &[u8]| {
    let Some((shape, data)) = data.split_first() else {
        return;
    };
    let lower = Arc::new(tree());
    let connection = Connection::new(Arc::new(overlay(&lower)), CacheTimes::default());
    if shape & 1 == 0 {
        send(&connection, data);
    }
    send(&connection, &message(INIT, 0, &init_body(*shape)));
    for body in data.split(|byte| *byte == 0xfe) {
        // The first bytes choose operation and node: mostly ones that exist.
        let [opcode, node, rest @ ..] = body else {
            continue;
        };
        // A NUL that the split may have cost.
        let mut rest = rest.to_vec();
        rest.push(0);
        send(
            &connection,
            &message(u32::from(opcode % 64), u64::from(node % 16), &rest),
        );
    }
    let mut content = [0; 16];
    let file = lower
        .lookup(NodeId::ROOT, name(b"file"))
        .expect("the lower file is there");
    let len = lower
        .read(file.node, 0, &mut content)
        .expect("the lower file can be read");
    assert_eq!(&content[..len], b"lower data", "a lower was changed");
});

/// Sends one request and checks what the reply promises.
fn send(connection: &Connection, message: &[u8]) {
    let mut reply = vec![0; MIN_REPLY + (128 << 10)];
    if let Outcome::Reply(len) = dispatch(connection, message, &mut reply) {
        assert!((16..=reply.len()).contains(&len), "a reply of {len} bytes");
        let word = |at: usize| <[u8; 4]>::try_from(&reply[at..at + 4]).expect("four bytes");
        assert_eq!(
            u32::from_le_bytes(word(0)) as usize,
            len,
            "the length of the header"
        );
        let error = i32::from_le_bytes(word(4));
        assert!((-511..=0).contains(&error), "error {error}");
        assert!(error == 0 || len == 16, "an error with a body");
        assert_eq!(reply[8..16], message[8..16], "the request's unique number");
    }
}

fn message(opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(len.to_le_bytes());
    message.extend(opcode.to_le_bytes());
    message.extend(7_u64.to_le_bytes());
    message.extend(node.to_le_bytes());
    // uid, gid, pid, length of extensions and padding.
    message.extend([0; 16]);
    message.extend(body);
    message
}

/// Protocol 7.45 with all flags, or an older one with few.
fn init_body(shape: u8) -> Vec<u8> {
    let (minor, flags) = if shape & 2 == 0 {
        (45_u32, u32::MAX)
    } else {
        (31, 0x0001_8029)
    };
    let mut body = Vec::new();
    for word in [7, minor, 1 << 17, flags, flags] {
        body.extend(word.to_le_bytes());
    }
    body.resize(64, 0);
    body
}

fn name(bytes: &[u8]) -> FileName<'_> {
    FileName::new(bytes).expect("a valid name")
}

/// A tree with an object of each kind that is treated in a way of its own.
fn tree() -> Tmpfs {
    let fs = Tmpfs::with_limits(Limits {
        bytes: Some(8 << 20),
        inodes: Some(1000),
    });
    let caller = Caller::ROOT;
    let file = fs
        .create(
            &caller,
            NodeId::ROOT,
            name(b"file"),
            Mode::from_bits_truncate(0o644),
        )
        .expect("create");
    fs.write(file.node, 0, b"lower data", KillPriv::Keep)
        .expect("write");
    let dir = fs
        .mkdir(
            &caller,
            NodeId::ROOT,
            name(b"dir"),
            Mode::from_bits_truncate(0o755),
        )
        .expect("mkdir");
    fs.create(
        &caller,
        dir.node,
        name(b"a"),
        Mode::from_bits_truncate(0o4755),
    )
    .expect("create");
    fs.symlink(&caller, dir.node, name(b"l"), b"a")
        .expect("symlink");
    fs.link(file.node, dir.node, name(b"h")).expect("link");
    fs
}

fn overlay(lower: &Arc<Tmpfs>) -> Overlay {
    let upper: Arc<dyn Filesystem> = Arc::new(Tmpfs::with_limits(Limits {
        bytes: Some(8 << 20),
        inodes: Some(1000),
    }));
    let make = |dir: &[u8]| {
        upper
            .mkdir(
                &Caller::ROOT,
                NodeId::ROOT,
                name(dir),
                Mode::from_bits_truncate(0o755),
            )
            .expect("mkdir")
            .node
    };
    let (root, work) = (make(b"upper"), make(b"work"));
    let layer = |fs: Arc<dyn Filesystem>, root, label: &str| Layer {
        fs,
        root,
        label: label.to_owned(),
    };
    let top = Upper {
        layer: layer(Arc::clone(&upper), root, "upper"),
        work,
    };
    let lowers = vec![layer(Arc::<Tmpfs>::clone(lower), NodeId::ROOT, "lower")];
    // One input must always do the same.
    let config = Config {
        cookie_key: (1, 2),
        ..Config::default()
    };
    Overlay::new(Some(top), lowers, config).expect("an overlay")
}
