//! Requests made by hand, over a filesystem in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mica_tmpfs::{Clock, Limits, Tmpfs};
use mica_vfs::{Filesystem, KillPriv, NodeId, Time};

use super::*;
use crate::connection::CacheTimes;
use crate::wire::{
    AttrOut, CreateIn, GetxattrIn, GetxattrOut, InHeader, InitIn, MkdirIn, OpenOut, ReadIn,
    SetxattrIn, WRITE_CACHE, WriteIn, WriteOut,
};

/// A clock that panics when it is told to.
#[derive(Debug, Default)]
struct Bomb(AtomicBool);

impl Clock for Bomb {
    fn now(&self) -> Time {
        assert!(!self.0.load(Ordering::Relaxed), "on purpose");
        Time::default()
    }
}

/// A connection that is up, and what it serves.
struct Bench {
    fs: Arc<Tmpfs>,
    bomb: Arc<Bomb>,
    cx: Connection,
    reply: Vec<u8>,
}

fn message(opcode: u32, nodeid: u64, body: &[u8]) -> Vec<u8> {
    let header = InHeader {
        len: u32::try_from(40 + body.len()).unwrap(),
        opcode,
        unique: 42,
        nodeid,
        uid: 1000,
        gid: 1000,
        pid: 1,
        total_extlen: 0,
        padding: 0,
    };
    [header.as_bytes(), body].concat()
}

fn number(opcode: Opcode) -> u32 {
    u32::try_from(opcode.index()).unwrap()
}

impl Bench {
    fn new() -> Self {
        let bomb = Arc::<Bomb>::default();
        let limits = Limits {
            bytes: Some(1 << 20),
            inodes: Some(1000),
        };
        let fs = Arc::new(Tmpfs::with_clock(limits, bomb.clone()));
        let cx = Connection::new(fs.clone(), CacheTimes::default());
        let reply = vec![0xaa; 70_000];
        Self {
            fs,
            bomb,
            cx,
            reply,
        }
    }

    fn up() -> Self {
        let mut bench = Self::new();
        let init = InitIn {
            major: 7,
            minor: 45,
            max_readahead: 0,
            flags: u32::MAX,
            flags2: u32::MAX,
            unused: [0; 11],
        };
        let answer = bench.ask(Opcode::Init, 0, init.as_bytes());
        assert_eq!(answer.map(|body| body.len()), Ok(64));
        bench
    }

    fn send(&mut self, message: &[u8]) -> Outcome {
        dispatch(&self.cx, message, &mut self.reply)
    }

    /// Sends a request and returns the body of the reply.
    fn ask(&mut self, opcode: Opcode, node: u64, body: &[u8]) -> Result<Vec<u8>, Errno> {
        let Outcome::Reply(len) = self.send(&message(number(opcode), node, body)) else {
            panic!("no reply to {opcode:?}");
        };
        let (header, body) = take::<OutHeader>(&self.reply[..len]).unwrap();
        assert_eq!(
            (header.len, header.unique),
            (u32::try_from(len).unwrap(), 42)
        );
        match header.error {
            0 => Ok(body.to_vec()),
            error => Err(Errno::from_raw_os_error(-error)),
        }
    }

    fn entry(&mut self, opcode: Opcode, node: u64, body: &[u8]) -> Result<EntryOut, Errno> {
        self.ask(opcode, node, body)
            .map(|body| take::<EntryOut>(&body).unwrap().0)
    }

    fn create(&mut self, name: &str) -> Result<EntryOut, Errno> {
        self.entry(Opcode::Create, 1, &create_body(name))
    }

    /// Checks that the filesystem holds no node but those that the kernel was given.
    fn check_references(&self) {
        let held = self.cx.stats.references_held();
        assert!(self.fs.referenced_nodes().unwrap() as u64 <= held);
    }

    fn list(&mut self, opcode: Opcode, offset: u64) -> Vec<u8> {
        self.ask(opcode, 1, read_in(offset, 60_000).as_bytes())
            .unwrap()
    }
}

fn create_body(name: &str) -> Vec<u8> {
    let create = CreateIn {
        flags: 0,
        mode: 0o100_666,
        umask: 0o22,
        open_flags: 0,
    };
    [create.as_bytes(), name.as_bytes(), b"\0"].concat()
}

fn read_in(offset: u64, size: u32) -> ReadIn {
    ReadIn {
        fh: 0,
        offset,
        size,
        read_flags: 0,
        lock_owner: 0,
        flags: 0,
        padding: 0,
    }
}

fn write_body(offset: u64, size: u32, data: &[u8]) -> Vec<u8> {
    let write = WriteIn {
        fh: 0,
        offset,
        size,
        write_flags: 0,
        lock_owner: 0,
        flags: 0,
        padding: 0,
    };
    [write.as_bytes(), data].concat()
}

#[test]
fn nothing_is_served_before_init() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(Opcode::Getattr, 1, &[0; 16]), Err(Errno::IO));
}

#[test]
fn a_second_init_is_refused() {
    let mut bench = Bench::up();
    assert_eq!(bench.ask(Opcode::Init, 0, &[7; 64]).err(), None);
    let init = [7u32, 45, 0, 0];
    assert_eq!(bench.ask(Opcode::Init, 0, init.as_bytes()), Err(Errno::IO));
}

#[test]
fn an_old_kernel_is_refused_and_remembered() {
    let mut bench = Bench::new();
    let init = [7u32, 12, 0, 0];
    assert_eq!(
        bench.ask(Opcode::Init, 0, init.as_bytes()),
        Err(Errno::PROTO)
    );
    assert_eq!(bench.cx.init().unwrap().unwrap_err().to_string(), "7.12");
}

#[test]
fn open_opendir_and_flush_are_enosys() {
    let mut bench = Bench::up();
    for opcode in [Opcode::Open, Opcode::Opendir, Opcode::Flush, Opcode::Access] {
        assert_eq!(bench.ask(opcode, 1, &[0; 24]), Err(Errno::NOSYS));
    }
    assert_eq!(bench.send(&message(99, 1, &[])), Outcome::Reply(16));
    assert_eq!(bench.ask(Opcode::Release, 1, &[0; 24]), Ok(Vec::new()));
}

#[test]
fn a_missing_name_is_a_negative_entry() {
    let mut bench = Bench::up();
    let entry = bench.entry(Opcode::Lookup, 1, b"none\0").unwrap();
    assert_eq!(entry.nodeid, 0);
    assert_eq!(entry.entry_valid, CacheTimes::default().entry.as_secs());
    bench.check_references();
}

#[test]
fn a_created_file_belongs_to_the_caller_and_has_handle_0() {
    let mut bench = Bench::up();
    let body = bench.ask(Opcode::Create, 1, &create_body("f")).unwrap();
    let (entry, rest) = take::<EntryOut>(&body).unwrap();
    let (open, _) = take::<OpenOut>(rest).unwrap();
    assert_eq!((entry.attr.uid, entry.attr.gid), (1000, 1000));
    assert_eq!(entry.attr.mode, 0o100_644);
    assert_eq!(open.fh, 0);
    assert_eq!(bench.fs.referenced_nodes(), Ok(1));
}

#[test]
fn a_name_that_came_up_before_create_is_looked_up_again() {
    let mut bench = Bench::up();
    bench.create("f").unwrap();
    assert_eq!(bench.create("f").err(), Some(Errno::STALE));
    let mut exclusive = create_body("f");
    exclusive[0] = 0o200;
    let refused = bench.entry(Opcode::Create, 1, &exclusive);
    assert_eq!(refused.err(), Some(Errno::EXIST));
}

#[test]
fn a_caller_without_an_id_makes_nothing() {
    let mut bench = Bench::up();
    let body = [MkdirIn { mode: 0, umask: 0 }.as_bytes(), b"d\0"].concat();
    let mut request = message(number(Opcode::Mkdir), 1, &body);
    request[24..28].copy_from_slice(&[0xff; 4]);
    let Outcome::Reply(16) = bench.send(&request) else {
        panic!("not refused");
    };
    let (header, _) = take::<OutHeader>(&bench.reply).unwrap();
    assert_eq!(header.error, -Errno::OVERFLOW.raw_os_error());
}

#[test]
fn forget_ends_exactly_what_it_says() {
    let mut bench = Bench::up();
    let node = bench.create("f").unwrap().nodeid;
    let again = bench.entry(Opcode::Lookup, 1, b"f\0").unwrap();
    assert_eq!(again.nodeid, node);
    let forget = |count: u64| message(number(Opcode::Forget), node, count.as_bytes());
    assert_eq!(bench.send(&forget(1)), Outcome::Silent);
    assert_eq!(bench.fs.referenced_nodes(), Ok(1));
    let batch = [[1u32, 0].as_bytes(), [node, 1].as_bytes()].concat();
    let batch = message(number(Opcode::BatchForget), 0, &batch);
    assert_eq!(bench.send(&batch), Outcome::Silent);
    assert_eq!(bench.fs.referenced_nodes(), Ok(0));
    assert_eq!(bench.cx.stats.references_held(), 0);
}

#[test]
fn data_goes_both_ways() {
    let mut bench = Bench::up();
    let node = bench.create("f").unwrap().nodeid;
    let body = bench
        .ask(Opcode::Write, node, &write_body(3, 4, b"data"))
        .unwrap();
    assert_eq!(take::<WriteOut>(&body).unwrap().0.size, 4);
    let read = bench.ask(Opcode::Read, node, read_in(0, 4096).as_bytes());
    assert_eq!(read, Ok(b"\0\0\0data".to_vec()));
    let short = bench.ask(Opcode::Write, node, &write_body(0, 5, b"data"));
    assert_eq!(short, Err(Errno::INVAL));
}

#[test]
fn the_length_of_an_attribute_can_be_asked_for() {
    let mut bench = Bench::up();
    let node = bench.create("f").unwrap().nodeid;
    let set = SetxattrIn {
        size: 5,
        flags: 0,
        setxattr_flags: 0,
        padding: 0,
    };
    let set = [set.as_bytes(), b"user.a\0value"].concat();
    assert_eq!(bench.ask(Opcode::Setxattr, node, &set), Ok(Vec::new()));
    let get = |size| [GetxattrIn { size, padding: 0 }.as_bytes(), b"user.a\0"].concat();
    let body = bench.ask(Opcode::Getxattr, node, &get(0)).unwrap();
    assert_eq!(take::<GetxattrOut>(&body).unwrap().0.size, 5);
    let value = bench.ask(Opcode::Getxattr, node, &get(5));
    assert_eq!(value, Ok(b"value".to_vec()));
    assert_eq!(
        bench.ask(Opcode::Getxattr, node, &get(4)),
        Err(Errno::RANGE)
    );
}

#[test]
fn a_reply_that_the_kernel_does_not_take_gives_its_references_back() {
    let mut bench = Bench::up();
    let request = message(number(Opcode::Create), 1, &create_body("f"));
    let Outcome::Reply(len) = bench.send(&request) else {
        panic!("no reply");
    };
    assert_eq!(bench.fs.referenced_nodes(), Ok(1));
    undo(&bench.cx, &request, &bench.reply[..len]);
    assert_eq!(bench.fs.referenced_nodes(), Ok(0));
    let list = read_in(0, 60_000);
    let request = message(number(Opcode::Readdirplus), 1, list.as_bytes());
    bench.create("g").unwrap();
    for _ in 0..3 {
        let Outcome::Reply(len) = bench.send(&request) else {
            panic!("no reply");
        };
        undo(&bench.cx, &request, &bench.reply[..len]);
    }
    assert_eq!(bench.cx.stats.references_held(), 1);
    assert_eq!(bench.fs.referenced_nodes(), Ok(1));
}

#[test]
fn listings_of_both_formats_agree_and_go_on_where_they_stopped() {
    let mut bench = Bench::up();
    for n in 0..30 {
        bench.create(&format!("f{n}")).unwrap();
    }
    let plain = names(&bench.list(Opcode::Readdir, 0), 0);
    assert_eq!(plain.len(), 32);
    assert_eq!((plain[0].0.as_str(), plain[1].0.as_str()), (".", ".."));
    for _ in 0..8 {
        assert_eq!(names(&bench.list(Opcode::Readdirplus, 0), 128), plain);
    }
    for place in 0..plain.len() {
        let rest = names(&bench.list(Opcode::Readdir, plain[place].1), 0);
        assert_eq!(rest, plain[place + 1..]);
    }
    let tiny = bench.ask(Opcode::Readdir, 1, read_in(0, 16).as_bytes());
    assert_eq!(tiny, Err(Errno::INVAL));
}

/// The names of a listing and the offsets after them; `skip` bytes come before each `struct fuse_dirent`.
fn names(mut body: &[u8], skip: usize) -> Vec<(String, u64)> {
    let mut names = Vec::new();
    while let Some((dirent, rest)) = body.get(skip..).and_then(take::<crate::wire::Dirent>) {
        let len = dirent.namelen as usize;
        names.push((String::from_utf8(rest[..len].to_vec()).unwrap(), dirent.off));
        body = &body[padded(skip + 24 + len)..];
    }
    assert!(body.is_empty());
    names
}

#[test]
fn a_panic_is_one_eio_and_the_next_request_is_served() {
    let mut bench = Bench::up();
    bench.bomb.0.store(true, Ordering::Relaxed);
    assert_eq!(bench.create("f").err(), Some(Errno::IO));
    assert_eq!(bench.cx.stats.panics(), 1);
    bench.bomb.0.store(false, Ordering::Relaxed);
    bench.create("f").unwrap();
    let body = bench.ask(Opcode::Getattr, 1, &[0; 16]).unwrap();
    assert_eq!(take::<AttrOut>(&body).unwrap().0.attr.nlink, 2);
}

/// One request of each opcode that is well formed.
fn well_formed(node: u64) -> Vec<(Opcode, u64, Vec<u8>)> {
    let mut all = vec![
        (Opcode::Lookup, 1, b"f\0".to_vec()),
        (Opcode::Create, 1, create_body("new")),
        (Opcode::Tmpfile, 1, create_body("/")),
        (Opcode::Write, node, write_body(0, 4, b"data")),
        (Opcode::Read, node, read_in(0, 100).as_bytes().to_vec()),
        (Opcode::Readdir, 1, read_in(0, 4096).as_bytes().to_vec()),
        (Opcode::Readdirplus, 1, read_in(0, 4096).as_bytes().to_vec()),
        (Opcode::Symlink, 1, b"link\0target\0".to_vec()),
        (Opcode::Unlink, 1, b"link\0".to_vec()),
        (
            Opcode::Rename,
            1,
            [1u64.as_bytes(), b"new\0newer\0"].concat(),
        ),
        (Opcode::Link, 1, [node.as_bytes(), b"second\0"].concat()),
    ];
    // Enough zeros for the structures of all the others.
    let covered: Vec<Opcode> = all.iter().map(|&(opcode, ..)| opcode).collect();
    let others = Opcode::ALL
        .iter()
        .filter(|opcode| !covered.contains(opcode));
    all.extend(others.map(|&opcode| (opcode, node, vec![0; 100])));
    all
}

#[test]
fn a_request_cut_at_any_length_is_answered_and_leaks_nothing() {
    let mut bench = Bench::up();
    let node = bench.create("f").unwrap().nodeid;
    for (opcode, node, body) in well_formed(node) {
        for cut in 0..body.len() {
            // Both a short message and one whose header says more than there is.
            bench.send(&message(number(opcode), node, &body[..cut]));
            let whole = message(number(opcode), node, &body);
            bench.send(&whole[..40 + cut]);
            bench.check_references();
        }
    }
    for cut in 0..40 {
        let outcome = bench.send(&message(1, 1, b"f\0")[..cut]);
        assert_eq!(outcome, Outcome::Silent);
    }
    assert_eq!(bench.cx.stats.panics(), 0);
}

/// Sends 20,000 requests of which up to five bytes from `first` on are anything.
fn send_mangled(bench: &mut Bench, templates: &[(Opcode, u64, Vec<u8>)], first: usize) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let fits = |n: u64, len: usize| usize::try_from(n % len as u64).unwrap();
    for _ in 0..20_000 {
        let (opcode, node, body) = &templates[fits(random(), templates.len())];
        let mut request = message(number(*opcode), *node, body);
        for _ in 0..random() % 6 {
            let place = first + fits(random(), request.len() - first);
            request[place] = u8::try_from(random() & 0xff).unwrap();
        }
        if let Outcome::Reply(len) = bench.send(&request) {
            assert!((16..=bench.reply.len()).contains(&len));
        }
    }
    assert_eq!(bench.cx.stats.panics(), 0);
}

#[test]
fn mangled_bodies_are_answered_and_leak_nothing() {
    let mut bench = Bench::up();
    let node = bench.create("f").unwrap().nodeid;
    let mut templates = well_formed(node);
    // Only a broken kernel forgets what it does not have, and what it says it forgot is what is counted.
    templates.retain(|(opcode, ..)| !matches!(opcode, Opcode::Forget | Opcode::BatchForget));
    send_mangled(&mut bench, &templates, 40);
    bench.check_references();
}

#[test]
fn mangled_requests_are_answered() {
    let mut bench = Bench::up();
    let node = bench.create("f").unwrap().nodeid;
    send_mangled(&mut bench, &well_formed(node), 4);
}

#[test]
fn ovl_86_pages_stored_through_a_mapping_are_kept_where_they_fit_and_the_rest_is_an_error() {
    let mut bench = Bench::up();
    let create = CreateIn {
        flags: 0,
        mode: 0o100_644,
        umask: 0,
        open_flags: 0,
    };
    let name = [create.as_bytes(), b"f\0"].concat();
    let node = bench.entry(Opcode::Create, 1, &name).unwrap().nodeid;
    let page = |byte| [byte; 4096];
    let fs = bench.fs.clone();
    let file = NodeId(node);
    // The limit is 256 pages. The last page of the request has its place already, all but one of the others are used.
    fs.write(file, 4 * 4096, &page(b'o'), KillPriv::Keep)
        .unwrap();
    fs.write(file, 16 * 4096, &[1; 254 * 4096], KillPriv::Keep)
        .unwrap();
    let write = |write_flags| WriteIn {
        fh: 0,
        offset: 2 * 4096,
        size: 3 * 4096,
        write_flags,
        lock_owner: 0,
        flags: 0,
        padding: 0,
    };
    let data = [page(b'a'), page(b'b'), page(b'c')].concat();
    let body = [write(WRITE_CACHE).as_bytes(), &data].concat();
    assert_eq!(bench.ask(Opcode::Write, node, &body), Err(Errno::NOSPC));
    let mut found = vec![9; 3 * 4096];
    fs.read(file, 2 * 4096, &mut found).unwrap();
    assert!(found == [page(b'a'), page(0), page(b'c')].concat());
    // A write(2) is told what it was that fitted, and goes no further.
    let data = [page(b'x'), page(b'y'), page(b'z')].concat();
    let body = [write(0).as_bytes(), &data].concat();
    let reply = bench.ask(Opcode::Write, node, &body).unwrap();
    assert_eq!(take::<WriteOut>(&reply).unwrap().0.size, 4096);
    fs.read(file, 2 * 4096, &mut found).unwrap();
    assert!(found == [page(b'x'), page(0), page(b'c')].concat());
}
