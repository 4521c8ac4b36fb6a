//! A slab: values under ids that are never given twice, in memory that goes when the values do.
//!
//! An id is the generation of a slot above its index. The generation grows whenever a value leaves the slot, so an id
//! that was forgotten finds nothing. Slots lie in *chunks*; a chunk without a value is freed, and remembers one number
//! in place of its generations: the lowest that none of its slots has had (its *floor*). New values take the lowest
//! chunk with a free slot, so that the chunks at the end run empty, and its slots in turn, so that they wear evenly.

use crate::{Errno, NodeId};

/// Slots of a chunk: the free ones are the bits of one word.
const CHUNK: u32 = u64::BITS;
/// The length of the arrays of a chunk.
const LEN: usize = 64;
/// A chunk with generations above this one does not pass its floor on to those behind the end.
const WORN: u32 = u32::MAX / 2;

/// Values under [`NodeId`]s. The first one that goes into an empty slab gets [`NodeId::ROOT`].
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// One bit for each chunk with a free slot.
    roomy: Vec<u64>,
    /// No word of `roomy` before this one has a bit.
    first_roomy: usize,
    /// Generation of the slots behind the last chunk.
    floor: u32,
    /// A chunk that was left without a value and kept: the next value may come at once.
    spare: Option<u32>,
    len: usize,
}

#[derive(Debug)]
struct Chunk<T> {
    /// `None`: no value, no memory.
    slots: Option<Box<Slots<T>>>,
    /// Generation that its slots begin with when it gets memory again.
    floor: u32,
}

#[derive(Debug)]
struct Slots<T> {
    /// One bit for each slot that a value may take.
    free: u64,
    /// Where the search for a free one begins.
    turn: u32,
    generations: [u32; LEN],
    values: [Option<T>; LEN],
}

impl<T> Slots<T> {
    fn new(floor: u32) -> Box<Self> {
        Box::new(Self {
            free: u64::MAX,
            turn: 0,
            generations: [floor; LEN],
            values: [const { None }; LEN],
        })
    }

    fn is_empty(&self) -> bool {
        // A slot that ran out of generations is neither free nor used.
        self.values.iter().all(Option::is_none)
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            roomy: Vec::new(),
            first_roomy: 0,
            floor: 0,
            spare: None,
            len: 0,
        }
    }
}

/// Returns the slot that `id` names, if it can name one.
#[must_use]
pub fn slot_of(id: NodeId) -> Option<u32> {
    u32::try_from((id.0 & 0xffff_ffff).checked_sub(1)?).ok()
}

/// `generation << 32 | slot + 1`: never 0, and 1 for the first value.
fn id_of(generation: u32, slot: u32) -> NodeId {
    NodeId((u64::from(generation) << 32) | (u64::from(slot) + 1))
}

fn generation_of(id: NodeId) -> u64 {
    id.0 >> 32
}

/// Splits a slot into its chunk, and its place there.
fn split(slot: u32) -> Option<(usize, usize)> {
    let chunk = usize::try_from(slot / CHUNK).ok()?;
    Some((chunk, usize::try_from(slot % CHUNK).ok()?))
}

impl<T> Slab<T> {
    /// Returns how many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn slots(&self, slot: u32) -> Option<(&Slots<T>, usize)> {
        let (chunk, place) = split(slot)?;
        Some((self.chunks.get(chunk)?.slots.as_deref()?, place))
    }

    /// Returns the value in `slot`.
    #[must_use]
    pub fn at(&self, slot: u32) -> Option<&T> {
        let (slots, place) = self.slots(slot)?;
        slots.values.get(place)?.as_ref()
    }

    /// Returns the value in `slot` to change it.
    pub fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (chunk, place) = split(slot)?;
        let slots = self.chunks.get_mut(chunk)?.slots.as_deref_mut()?;
        slots.values.get_mut(place)?.as_mut()
    }

    /// Returns the id of the value in `slot`.
    #[must_use]
    pub fn id_at(&self, slot: u32) -> Option<NodeId> {
        let (slots, place) = self.slots(slot)?;
        slots.values.get(place)?.as_ref()?;
        Some(id_of(*slots.generations.get(place)?, slot))
    }

    /// Returns the slot of `id` if its value is still there.
    fn find(&self, id: NodeId) -> Option<u32> {
        let slot = slot_of(id)?;
        let (slots, place) = self.slots(slot)?;
        let generation = *slots.generations.get(place)?;
        (u64::from(generation) == generation_of(id)).then_some(slot)
    }

    /// Finds the value of `id`.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<&T> {
        self.at(self.find(id)?)
    }

    /// Finds the value of `id` to change it.
    pub fn get_mut(&mut self, id: NodeId) -> Option<&mut T> {
        self.at_mut(self.find(id)?)
    }

    /// Puts in what `make` returns for the id that it will have.
    ///
    /// # Errors
    ///
    /// `ENFILE`: every id is taken.
    pub fn insert_with(&mut self, make: impl FnOnce(NodeId) -> T) -> Result<NodeId, Errno> {
        let at = self.roomy_chunk()?;
        let chunk = usize::try_from(at).map_err(|_| Errno::NFILE)?;
        let Chunk { slots, floor } = self.chunks.get_mut(chunk).ok_or(Errno::NFILE)?;
        let slots = slots.get_or_insert_with(|| Slots::new(*floor));
        let ahead = slots.free.rotate_right(slots.turn).trailing_zeros();
        let place = (slots.turn + ahead) % CHUNK;
        let slot = at * CHUNK + place;
        let (value, generation) = usize::try_from(place)
            .ok()
            .and_then(|at| Some((slots.values.get_mut(at)?, *slots.generations.get(at)?)))
            .ok_or(Errno::NFILE)?;
        let id = id_of(generation, slot);
        *value = Some(make(id));
        slots.free &= !(1 << place);
        slots.turn = (place + 1) % CHUNK;
        if slots.free == 0 {
            self.set_roomy(at, false);
        }
        if self.spare == Some(at) {
            self.spare = None;
        }
        self.len += 1;
        Ok(id)
    }

    /// Puts `value` in.
    ///
    /// # Errors
    ///
    /// As [`insert_with`](Self::insert_with).
    pub fn insert(&mut self, value: T) -> Result<NodeId, Errno> {
        self.insert_with(|_| value)
    }

    /// Takes the value of `id` out. The id finds nothing from then on.
    pub fn remove(&mut self, id: NodeId) -> Option<T> {
        let slot = self.find(id)?;
        let (chunk, place) = split(slot)?;
        let slots = self.chunks.get_mut(chunk)?.slots.as_deref_mut()?;
        let value = slots.values.get_mut(place)?.take()?;
        self.len -= 1;
        let generation = slots.generations.get_mut(place)?;
        // The last generation has no next one: the slot stays unused rather than give an id twice.
        if let Some(next) = generation.checked_add(1) {
            *generation = next;
            slots.free |= 1 << place;
        }
        let (roomy, empty) = (slots.free != 0, slots.is_empty());
        let at = slot / CHUNK;
        self.set_roomy(at, roomy);
        if empty {
            self.chunk_is_empty(at);
        }
        Some(value)
    }

    /// Frees a chunk without a value unless it is the lowest such, which is the spare one.
    fn chunk_is_empty(&mut self, at: u32) {
        match self.spare {
            Some(low) if low < at => self.free_chunk(at),
            Some(high) => {
                self.spare = Some(at);
                self.free_chunk(high);
            }
            None => self.spare = Some(at),
        }
        // Behind the last value nothing is remembered but one floor.
        while let Some(last) = self.chunks.len().checked_sub(1) {
            let spare = self.spare.and_then(|spare| usize::try_from(spare).ok());
            match self.chunks.last() {
                Some(chunk)
                    if chunk.slots.is_none() && chunk.floor < WORN && spare != Some(last) =>
                {
                    self.floor = self.floor.max(chunk.floor);
                    self.chunks.pop();
                    self.set_roomy(u32::try_from(last).unwrap_or(u32::MAX), false);
                }
                _ => break,
            }
        }
        self.roomy.truncate(self.chunks.len().div_ceil(LEN));
        shrink(&mut self.roomy);
        shrink(&mut self.chunks);
    }

    fn free_chunk(&mut self, at: u32) {
        let chunk = usize::try_from(at).ok();
        let Some(chunk) = chunk.and_then(|at| self.chunks.get_mut(at)) else {
            return;
        };
        if let Some(slots) = chunk.slots.take() {
            let highest = slots.generations.iter().copied().max();
            chunk.floor = highest.unwrap_or(u32::MAX);
            // A chunk whose slots ran out of generations gets no memory again.
            let roomy = chunk.floor != u32::MAX;
            self.set_roomy(at, roomy);
        }
    }

    fn set_roomy(&mut self, chunk: u32, roomy: bool) {
        let Some((word, bit)) = split(chunk) else {
            return;
        };
        if let Some(bits) = self.roomy.get_mut(word) {
            if roomy {
                *bits |= 1 << bit;
                self.first_roomy = self.first_roomy.min(word);
            } else {
                *bits &= !(1 << bit);
            }
        }
    }

    /// Returns the first chunk with a free slot, or a new one.
    fn roomy_chunk(&mut self) -> Result<u32, Errno> {
        let rest = self.roomy.get(self.first_roomy..).unwrap_or_default();
        let found = rest.iter().position(|&bits| bits != 0);
        self.first_roomy = found.map_or(self.roomy.len(), |at| self.first_roomy + at);
        if let Some(&bits) = self.roomy.get(self.first_roomy) {
            let word = u32::try_from(self.first_roomy).map_err(|_| Errno::NFILE)?;
            return Ok(word * CHUNK + bits.trailing_zeros());
        }
        let at = u32::try_from(self.chunks.len()).map_err(|_| Errno::NFILE)?;
        // All ids of the chunk have to fit, and a generation must be left.
        if at >= u32::MAX / CHUNK || self.floor == u32::MAX {
            return Err(Errno::NFILE);
        }
        self.chunks.push(Chunk {
            slots: None,
            floor: self.floor,
        });
        self.roomy.resize(self.chunks.len().div_ceil(LEN), 0);
        self.set_roomy(at, true);
        Ok(at)
    }
}

/// Gives back the memory of a list that has become short.
fn shrink<T>(list: &mut Vec<T>) {
    if list.capacity() > LEN && list.len() < list.capacity() / 4 {
        list.shrink_to(list.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_first_value_is_the_root_and_no_id_is_0() {
        let mut slab = Slab::default();
        assert_eq!(slab.insert('a'), Ok(NodeId::ROOT));
        assert_eq!(slab.insert('b'), Ok(NodeId(2)));
        assert_eq!(slab.get(NodeId(0)), None);
        assert_eq!(slab.get(NodeId(3)), None);
        assert_eq!(slab.get(NodeId(2)), Some(&'b'));
    }

    #[test]
    fn an_id_that_was_removed_finds_nothing_though_its_slot_is_used_again() {
        let mut slab = Slab::default();
        let first = slab.insert(1).unwrap();
        assert_eq!(slab.remove(first), Some(1));
        let others: Vec<_> = (0..LEN).map(|_| slab.insert(2).unwrap()).collect();
        assert!(others.iter().any(|&id| slot_of(id) == slot_of(first)));
        assert!(!others.contains(&first));
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
    }

    #[test]
    fn memory_goes_with_the_values_and_no_id_comes_back() {
        let mut slab = Slab::default();
        let root = slab.insert(0).unwrap();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..3 {
            let ids: Vec<_> = (0..100_000).map(|n| slab.insert(n).unwrap()).collect();
            assert!(ids.iter().all(|&id| seen.insert(id)));
            for id in ids {
                slab.remove(id).unwrap();
            }
            assert_eq!(slab.get(root), Some(&0));
            let used = slab.chunks.iter().filter(|c| c.slots.is_some()).count();
            assert!(used <= 2, "{used} chunks for one value");
            assert!(slab.chunks.capacity() <= LEN, "{}", slab.chunks.capacity());
        }
    }

    #[test]
    fn a_slot_without_a_generation_left_is_not_used_again() {
        let mut slab = Slab::default();
        let id = slab.insert('a').unwrap();
        slab.chunks[0].slots.as_mut().unwrap().generations[0] = u32::MAX;
        let last = NodeId(id.0 | (u64::from(u32::MAX) << 32));
        assert_eq!(slab.remove(last), Some('a'));
        for _ in 0..2 * LEN {
            let next = slab.insert('b').unwrap();
            assert_ne!(slot_of(next), slot_of(id));
        }
    }

    #[test]
    fn random_use_finds_what_is_there_and_only_that() {
        let mut slab = Slab::default();
        let mut model = HashMap::new();
        let mut gone = Vec::new();
        let mut seed = 7u64;
        for step in 0..200_000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let pick = seed >> 33;
            // Grows for a while, then shrinks for a while.
            if pick % 8 < if step % 40_000 < 20_000 { 6 } else { 2 } {
                let id = slab.insert(step).unwrap();
                assert_eq!(model.insert(id, step), None, "an id was given twice");
            } else if let Some(id) = model.keys().next().copied() {
                assert_eq!(slab.remove(id), model.remove(&id));
                gone.push(id);
            }
            assert_eq!(slab.len(), model.len());
        }
        assert!(model.iter().all(|(&id, value)| slab.get(id) == Some(value)));
        assert!(gone.iter().all(|&id| slab.get(id).is_none()));
    }
}
