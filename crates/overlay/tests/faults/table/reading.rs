//! What changes nothing, and what it answers.

use mica_testkit::Walk;
use mica_vfs::{Access, Cookie, Errno, Flow, SeekFrom};

/// Reads something and writes down what it read.
pub(crate) type Reading = (&'static str, fn(Walk<'_>) -> Result<String, Errno>);

pub(crate) const UPPER: &str =
    "u='upper'[user.k=v] m='merged' w:whiteout d/new='1' d/gone:whiteout l2->up s:opaque s/x='1'";
/// Two lowers, so that what is listed is looked at in both.
pub(crate) const LOWERS: [&str; 2] = [
    "f='lower'[user.k=v] e='' n='two' n2=>n l->target c:char(1,3) d:whiteouts d/x:xwhiteout d/a='1' s/y='1' copied='1'",
    "w='1' m='hidden' d/x='1' d/b='2' d/gone='1' deep/er/a='1'",
];

fn names(w: Walk<'_>, path: &str) -> Result<String, Errno> {
    Ok(w.ls(path)?.join(" "))
}

/// Lists with attributes; a name may come without any, and must come.
fn names_plus(w: Walk<'_>, path: &str) -> Result<String, Errno> {
    let held = w.hold(path)?;
    let mut names = Vec::new();
    let fs = w.fs();
    let mut nodes = Vec::new();
    fs.read_dir_plus(held.node(), Cookie::START, &mut |listed, node| {
        names.push(listed.name.to_string());
        nodes.extend(node.as_ref().map(|entry| entry.node));
        Flow::Continue
    })?;
    for node in nodes {
        fs.forget(node, 1);
    }
    names.sort();
    Ok(names.join(" "))
}

fn stat(w: Walk<'_>, path: &str) -> Result<String, Errno> {
    let attr = w.stat(path)?;
    Ok(format!(
        "{:?} {} {} {}",
        attr.kind, attr.size, attr.nlink, attr.ino.0
    ))
}

fn seek(w: Walk<'_>, path: &str) -> Result<String, Errno> {
    let held = w.hold(path)?;
    Ok(w.fs().seek(held.node(), SeekFrom::Hole(0))?.to_string())
}

fn flags(w: Walk<'_>, path: &str) -> Result<String, Errno> {
    let held = w.hold(path)?;
    Ok(format!("{:?}", w.fs().file_flags(held.node())?))
}

fn host_file(w: Walk<'_>, path: &str) -> Result<String, Errno> {
    let held = w.hold(path)?;
    let file = w.fs().host_file(held.node(), Access::Read)?;
    Ok(file.is_some().to_string())
}

fn value(w: Walk<'_>, path: &str) -> Result<String, Errno> {
    Ok(w.getxattr(path, "user.k")?.escape_ascii().to_string())
}

/// The number of a copied file is that of its origin (OVL-30), whoever asks.
fn copied(w: Walk<'_>, path: &str) -> Result<String, Errno> {
    let before = w.stat(path)?.ino.0;
    Ok(format!("{before} {}", w.stat(path)?.ino.0))
}

pub(crate) const READINGS: &[Reading] = &[
    ("list the root", |w| names(w, "")),
    ("list a merged directory", |w| names(w, "d")),
    ("list an opaque directory", |w| names(w, "s")),
    ("list the root with attributes", |w| names_plus(w, "")),
    ("list a merged directory with attributes", |w| {
        names_plus(w, "d")
    }),
    ("stat an upper file", |w| stat(w, "u")),
    ("stat a merged file", |w| stat(w, "m")),
    ("stat a lower file", |w| stat(w, "f")),
    ("stat an empty lower file", |w| stat(w, "e")),
    ("stat a lower file with two names", |w| stat(w, "n")),
    ("stat a device", |w| stat(w, "c")),
    ("stat a merged directory", |w| stat(w, "d")),
    ("stat deep", |w| stat(w, "deep/er/a")),
    ("stat a copied file", |w| copied(w, "copied")),
    ("read an upper file", |w| w.read_text("u")),
    ("read a lower file", |w| w.read_text("f")),
    ("read a symlink", |w| w.readlink("l")),
    ("read an upper symlink", |w| w.readlink("l2")),
    ("read an attribute of a lower file", |w| value(w, "f")),
    ("read an attribute of an upper file", |w| value(w, "u")),
    ("list the attributes of a lower file", |w| {
        Ok(w.listxattr("f")?.join(" "))
    }),
    ("list the attributes of an upper file", |w| {
        Ok(w.listxattr("u")?.join(" "))
    }),
    ("search a hole in a lower file", |w| seek(w, "f")),
    ("search a hole in an upper file", |w| seek(w, "u")),
    ("read the flags of a lower file", |w| flags(w, "f")),
    ("read the flags of an upper file", |w| flags(w, "u")),
    ("ask for the host file of a lower file", |w| {
        host_file(w, "f")
    }),
    ("ask for the host file of an upper file", |w| {
        host_file(w, "u")
    }),
    ("ask for space", |w| {
        Ok(w.fs().stat_fs()?.name_max.to_string())
    }),
];
