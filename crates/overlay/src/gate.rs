//! Gates: one operation at a time on a node.
//!
//! A gate is held across I/O, so it is not a lock of [`mica_vfs::lock`]: it costs no memory while nobody is inside,
//! and an operation takes all the gates of a kind that it needs at once, in rising order.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use mica_vfs::NodeId;

/// How many sets the nodes are spread over, so that operations on different nodes rarely meet.
const SHARDS: usize = 16;

#[derive(Debug, Default)]
struct Shard {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The nodes that somebody is inside of.
    inside: HashSet<NodeId>,
    /// How many wait at a gate of this shard: waking nobody is a system call, too.
    waiting: usize,
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is never left half changed, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gates of one kind.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    shards: [Shard; SHARDS],
}

impl Gates {
    fn shard(&self, node: NodeId) -> &Shard {
        let at = usize::try_from(node.0).unwrap_or(0) % SHARDS;
        // The index is below the length by construction; the first shard is as good as any other.
        self.shards.get(at).unwrap_or(&self.shards[0])
    }

    /// Goes through the gate of `node`, waiting until it is free.
    pub(crate) fn enter(&self, node: NodeId) -> Inside<'_> {
        self.enter_all([Some(node), None, None, None])
    }

    /// Goes through the gates of all `nodes`; the same node may be named twice.
    pub(crate) fn enter_all(&self, mut nodes: [Option<NodeId>; 4]) -> Inside<'_> {
        nodes.sort_unstable();
        let mut last = None;
        for slot in &mut nodes {
            if *slot == last {
                *slot = None;
            }
            last = slot.or(last);
            if let Some(node) = *slot {
                self.wait(node);
            }
        }
        Inside { gates: self, nodes }
    }

    fn wait(&self, node: NodeId) {
        let shard = self.shard(node);
        let mut state = shard.lock();
        while !state.inside.insert(node) {
            state.waiting += 1;
            state = shard
                .left
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }
}

/// Leaves the gates when dropped.
#[derive(Debug)]
pub(crate) struct Inside<'a> {
    gates: &'a Gates,
    nodes: [Option<NodeId>; 4],
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        for node in self.nodes.into_iter().flatten() {
            let shard = self.gates.shard(node);
            let mut state = shard.lock();
            state.inside.remove(&node);
            let waiting = state.waiting;
            drop(state);
            if waiting > 0 {
                shard.left.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_named_twice_is_entered_once() {
        let gates = Gates::default();
        let n = |n| Some(NodeId(n));
        drop(gates.enter_all([n(7), n(7), None, n(3)]));
        drop(gates.enter(NodeId(7)));
    }

    #[test]
    fn only_one_is_inside_at_a_time() {
        let gates = Gates::default();
        let count = Mutex::new(0u32);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let _inside =
                            gates.enter_all([Some(NodeId(1)), Some(NodeId(17)), None, None]);
                        let seen = *count.lock().unwrap();
                        std::thread::yield_now();
                        *count.lock().unwrap() = seen + 1;
                    }
                });
            }
        });
        assert_eq!(*count.lock().unwrap(), 2000);
    }
}
