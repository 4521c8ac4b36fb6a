//! Making an upper plain: what redirects and metacopies lead to is copied.
//!
//! A directory that was moved gets all that shows in it, and is opaque then: below its new name may lie another one.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;

use mica_overlay::parse_redirect;
use mica_vfs::{Errno, FileType};

use super::plan::{DirPlan, Names, Source, Step};
use super::survey::Survey;
use super::unsayable::Unsayable;
use crate::offline::{Marks, Object, Place, Start, Want};

/// Plans a regular file: a metacopy gets its data.
pub(super) fn file(survey: &mut Survey<'_>, object: &Object<'_>) -> Result<(), Errno> {
    let has_redirect = object.marks.has("redirect");
    if !object.marks.has("metacopy") {
        // One that was left behind.
        if has_redirect && survey.purpose.no_redirects {
            survey.xattr(object.name, survey.from(b"redirect"), None);
        }
        return Ok(());
    }
    if !survey.redirected(object.path) {
        return Ok(());
    }
    let start = match object.marks.get("redirect").map(parse_redirect) {
        None => Start::Name(object.name),
        Some(Ok(redirect)) => Start::Redirect(redirect),
        Some(Err(bad)) => {
            survey.refuse(object.path, Unsayable::Malformed(bad));
            return Ok(());
        }
    };
    let Some(parent) = object.parent else {
        return Ok(());
    };
    let found = survey.lowers.find(&parent.below, start, Want::Data)?;
    let Some(data) = with_data(survey, &found)? else {
        survey.refuse(object.path, Unsayable::NoData);
        return Ok(());
    };
    let mut marks = vec![survey.from(b"metacopy")];
    if has_redirect {
        marks.push(survey.from(b"redirect"));
    }
    let attr = object.node.attr();
    survey.step(Step::Fill {
        name: object.name.into(),
        data: source(data),
        marks,
        times: (attr.atime, attr.mtime),
        capability: object.node.xattr(b"security.capability")?,
    });
    Ok(())
}

/// Plans a directory whose lower part lies elsewhere: what shows in it is copied into it.
pub(super) fn directory(survey: &mut Survey<'_>, object: &Object<'_>) -> Result<(), Errno> {
    let path: Names = object
        .path
        .iter()
        .skip(1)
        .map(|name| name.as_bytes().into())
        .collect();
    let present: BTreeSet<_> = object.node.names()?.into_iter().collect();
    let mut steps = Vec::new();
    let mut todo = Vec::new();
    children(
        survey,
        (&path, object.below),
        &present,
        &mut steps,
        &mut todo,
    )?;
    for step in steps {
        survey.step(step);
    }
    while let Some((path, below)) = todo.pop() {
        let Some(top) = below.first() else {
            continue;
        };
        let attr = top.node.attr();
        let mut steps = Vec::new();
        children(
            survey,
            (&path, &below),
            &BTreeSet::new(),
            &mut steps,
            &mut todo,
        )?;
        survey.plan.dirs.push(DirPlan {
            path,
            times: (attr.atime, attr.mtime),
            steps,
        });
    }
    Ok(())
}

/// Plans the copies of what shows in the lower directories `below`, but for names that are `present`.
fn children(
    survey: &mut Survey<'_>,
    (dir, below): (&Names, &[Place]),
    present: &BTreeSet<Box<[u8]>>,
    steps: &mut Vec<Step>,
    todo: &mut Vec<(Names, Vec<Place>)>,
) -> Result<(), Errno> {
    let mut names = BTreeSet::new();
    for place in below {
        names.extend(place.node.names()?);
    }
    for name in names.difference(present) {
        let found = survey
            .lowers
            .find(below, Start::Name(name), Want::Anything)?;
        let Some(top) = found.first() else {
            continue;
        };
        let mut path = dir.clone();
        path.push(name.clone());
        let attr = *top.node.attr();
        if attr.kind == FileType::Directory {
            steps.push(copy(name, top, None));
            todo.push((path, found));
            continue;
        }
        let key = (top.layer, attr.dev.0, attr.ino.0);
        if attr.nlink > 1 {
            if let Some(first) = survey.links.get(&key) {
                let to = first.clone();
                let name = name.clone();
                steps.push(Step::Link { name, to });
                continue;
            }
            survey.links.insert(key, path);
        }
        let marks = Marks::read(&top.node, survey.purpose.from)?;
        if attr.kind == FileType::Regular && marks.has("metacopy") {
            match with_data(survey, &found)? {
                Some(data) => steps.push(copy(name, top, Some(data))),
                None => {
                    let at = top
                        .path
                        .iter()
                        .fold(std::path::PathBuf::from("/"), |at, name| {
                            at.join(crate::options::path(name.to_vec()))
                        });
                    survey.refuse(&at, Unsayable::NoData);
                }
            }
        } else {
            steps.push(copy(name, top, None));
        }
    }
    Ok(())
}

fn copy(name: &[u8], from: &Place, data: Option<&Place>) -> Step {
    Step::Copy {
        name: name.into(),
        source: source(from),
        data: data.map(source),
    }
}

fn source(place: &Place) -> Source {
    Source {
        layer: u32::try_from(place.layer).unwrap_or(u32::MAX),
        path: place.path.clone(),
    }
}

/// Returns the last of the files that were found, if it has data.
fn with_data<'p>(survey: &Survey<'_>, found: &'p [Place]) -> Result<Option<&'p Place>, Errno> {
    let Some(last) = found.last() else {
        return Ok(None);
    };
    let metacopy = survey.from(b"metacopy");
    let has = last.node.kind() == FileType::Regular && last.node.xattr(&metacopy)?.is_none();
    Ok(has.then_some(last))
}
