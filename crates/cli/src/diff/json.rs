//! Changes as one JSON object. docs/do.md has its keys.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use mica::vfs::{Attr, FileType};
use mica::{Aspects, Change, ChangeKind, Diff, Session};
use serde_json::{Map, Value, json};

use super::text::type_name;
use crate::cause::Cause;

/// Shows all of it, on one line.
pub(super) fn show(session: &Session, diff: &Diff) -> String {
    let changes: Vec<Value> = diff.changes.iter().map(change).collect();
    let unreadable = diff.unreadable.iter().map(|(path, errno)| {
        let mut object = Map::new();
        put_path(&mut object, "path", path);
        object.insert("error".into(), Cause(*errno).to_string().into());
        Value::from(object)
    });
    let counted = diff.count();
    let all = json!({
        "session": session.name().to_string_lossy(),
        "lower": session.lower().to_string_lossy(),
        "changes": changes,
        "unreadable": unreadable.collect::<Vec<_>>(),
        "added": counted.added,
        "modified": counted.modified,
        "deleted": counted.deleted,
        "bytes": counted.bytes,
    });
    format!("{all}\n")
}

fn change(change: &Change) -> Value {
    let mut object = Map::new();
    let kind = match change.kind {
        ChangeKind::Added => "added",
        ChangeKind::Deleted => "deleted",
        ChangeKind::Modified => "modified",
        ChangeKind::Renamed => "renamed",
        ChangeKind::Retyped => "retyped",
    };
    object.insert("kind".into(), kind.into());
    put_path(&mut object, "path", &change.path);
    if let Some(from) = &change.from {
        put_path(&mut object, "from", from);
    }
    let names = [
        (Aspects::CONTENT, "content"),
        (Aspects::MODE, "mode"),
        (Aspects::OWNER, "owner"),
        (Aspects::XATTR, "xattr"),
        (Aspects::TIME, "time"),
    ];
    let differs = names
        .iter()
        .filter(|(aspect, _)| change.aspects.contains(*aspect));
    let differs: Vec<&str> = differs.map(|(_, name)| *name).collect();
    object.insert("differs".into(), differs.into());
    object.insert("old".into(), change.before().map_or(Value::Null, side));
    object.insert("new".into(), change.after().map_or(Value::Null, side));
    object.into()
}

fn side(attr: &Attr) -> Value {
    let mut side = json!({
        "type": type_name(attr.kind),
        "mode": format!("{:04o}", attr.mode.bits()),
        "uid": attr.uid,
        "gid": attr.gid,
        "mtime": attr.mtime.secs,
    });
    if let Some(object) = side.as_object_mut()
        && attr.kind == FileType::Regular
    {
        object.insert("size".into(), attr.size.into());
    }
    side
}

/// A path that is not UTF-8 is also given as the numbers of its bytes.
fn put_path(object: &mut Map<String, Value>, key: &str, path: &Path) {
    object.insert(key.into(), path.to_string_lossy().into());
    if path.to_str().is_none() {
        let bytes = path.as_os_str().as_bytes();
        object.insert(format!("{key}_bytes"), bytes.into());
    }
}
