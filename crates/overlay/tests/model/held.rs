//! Files that somebody holds while their names go.

use std::collections::VecDeque;

use mica_testkit::{Model, ModelId, Mounted};
use mica_vfs::{Filesystem as _, KillPriv, NodeId};

/// How many are held at once.
const MAX: usize = 5;

/// Writes this to the start of each file that lost its last name.
const MARK: u8 = b'!';

#[derive(Debug)]
struct File {
    path: String,
    node: NodeId,
    id: ModelId,
    /// The content, as the model had it last.
    data: Vec<u8>,
    /// Whether the model knows its link count: names of a lower file that are hidden count, too.
    counted: bool,
    lost: bool,
}

/// The files that are held, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct HeldFiles(VecDeque<File>);

impl HeldFiles {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Holds the file at `path`, if there is one; lets the oldest go if those are too many.
    pub(crate) fn hold(&mut self, path: &str, mounted: &Mounted, model: &Model) {
        let Some(id) = model.file(path) else { return };
        if self.0.iter().any(|file| file.id == id) {
            return;
        }
        let held = mounted.walk().hold(path).unwrap();
        let node = held.node();
        // The reference is ended by number: what is held outlives the borrow.
        std::mem::forget(held);
        if self.0.len() == MAX {
            self.let_one_go(mounted);
        }
        let path = path.to_owned();
        let (data, links) = model.state(id).unwrap();
        let (data, counted) = (data.to_owned(), links.is_some());
        let lost = false;
        self.0.push_back(File {
            path,
            node,
            id,
            data,
            counted,
            lost,
        });
    }

    fn let_one_go(&mut self, mounted: &Mounted) {
        if let Some(file) = self.0.pop_front() {
            mounted.overlay().forget(file.node, 1);
        }
    }

    pub(crate) fn let_go(&mut self, mounted: &Mounted) {
        while !self.is_empty() {
            self.let_one_go(mounted);
        }
    }

    /// Checks that each file is what the model says; and if that has it no more, that it can be used all the same.
    pub(crate) fn check(&mut self, mounted: &Mounted, model: &Model) {
        let fs = mounted.overlay();
        for file in &mut self.0 {
            let what = format!("held as /{}", file.path);
            let state = model.state(file.id);
            let links = match state {
                Some((data, links)) => {
                    data.clone_into(&mut file.data);
                    links
                }
                None => file.counted.then_some(0),
            };
            let found = read(mounted, file.node);
            assert_eq!(found, file.data, "the content of what is {what}");
            let attr = fs.get_attr(file.node).unwrap();
            if let Some(links) = links {
                assert_eq!(attr.nlink, links, "the link count of what is {what}");
            }
            if state.is_none() && !file.lost {
                file.lost = true;
                fs.write(file.node, 0, &[MARK], KillPriv::Keep).unwrap();
                file.data.resize(file.data.len().max(1), 0);
                file.data[0] = MARK;
                assert_eq!(read(mounted, file.node), file.data, "written to {what}");
                let links = fs.get_attr(file.node).unwrap().nlink;
                assert!(links == 0 || !file.counted, "{links} links: {what}");
            }
        }
    }
}

fn read(mounted: &Mounted, node: NodeId) -> Vec<u8> {
    let fs = mounted.overlay();
    let size = fs.get_attr(node).unwrap().size;
    let mut data = vec![0; usize::try_from(size).unwrap()];
    let got = fs.read(node, 0, &mut data).unwrap();
    assert_eq!(got, data.len());
    data
}
