//! Numbered places for sockets and files: 20 bits of index, 12 bits of generation.
//!
//! Invariant: (L1) a number names at most one thing: a place that was emptied comes back with the
//! next generation, so a number kept too long finds nothing instead of a stranger (up to 4,096
//! reuses of the same place; the shard drops its numbers at `Close`, long before).

/// Things of one kind by number.
pub(super) struct Slots<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

struct Place<T> {
    generation: u32,
    thing: Option<T>,
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// How many things there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Keeps a thing and numbers it, or gives it back when all 2^20 places are taken.
    pub(super) fn insert(&mut self, thing: T) -> Result<u32, T> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places.len() < PLACES_MAX => {
                self.places.push(Place {
                    generation: 0,
                    thing: None,
                });
                u32::try_from(self.places.len() - 1).expect("there are at most 2^20 places")
            }
            None => return Err(thing),
        };
        let place = &mut self.places[index as usize];
        place.thing = Some(thing);
        Ok(place.generation << INDEX_BITS | index)
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let place = self.places.get((number & INDEX_MASK) as usize)?;
        place.thing.as_ref().filter(|_| place.names(number))
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let place = self.places.get_mut((number & INDEX_MASK) as usize)?;
        if place.names(number) {
            place.thing.as_mut()
        } else {
            None
        }
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let index = number & INDEX_MASK;
        let place = self.places.get_mut(index as usize)?;
        if !place.names(number) {
            return None;
        }
        let thing = place.thing.take()?;
        place.generation = (place.generation + 1) & GENERATION_MASK;
        self.free.push(index);
        Some(thing)
    }
}

#[cfg(feature = "glommio")]
impl<T> Slots<T> {
    /// Takes everything out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        let places = std::mem::take(&mut self.places);
        self.free.clear();
        places.into_iter().filter_map(|place| place.thing)
    }
}

impl<T> Place<T> {
    fn names(&self, number: u32) -> bool {
        number >> INDEX_BITS == self.generation
    }
}

const INDEX_BITS: u32 = 20;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
const GENERATION_MASK: u32 = (1 << (32 - INDEX_BITS)) - 1;
const PLACES_MAX: usize = 1 << INDEX_BITS;
