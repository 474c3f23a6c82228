//! A piece of state that is copied when it is written to, so that a cut of the whole costs next to nothing.
//!
//! Between two cuts a chunk belongs to the live state alone and is changed in place. A cut freezes it: from then on
//! the cut and the live state share it, and the next change makes a copy. A frozen chunk knows where the last
//! checkpoint put it, so one that did not change is not written again.
//! Invariant: (C1) what is frozen never changes but for its place.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use corelane_wire::ChunkPlace;

/// A piece of state.
#[derive(Clone, Debug)]
pub(crate) enum Chunk<T> {
    /// Changed since the last cut.
    Own(T),
    /// As at the last cut.
    Frozen(Arc<Frozen<T>>),
}

/// A piece of state as of a cut.
#[derive(Debug)]
pub(crate) struct Frozen<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// Where a checkpoint put something, once one did.
#[derive(Debug, Default)]
pub(crate) struct Place(Mutex<Option<ChunkPlace>>);

impl Place {
    /// Known from the start: it was read from there.
    pub(crate) const fn at(place: ChunkPlace) -> Self {
        Self(Mutex::new(Some(place)))
    }

    /// Where it lies.
    pub(crate) fn get(&self) -> Option<ChunkPlace> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It lies there from now on.
    pub(crate) fn set(&self, place: ChunkPlace) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }
}

impl<T: Clone + Default> Chunk<T> {
    /// As it was read from a checkpoint.
    pub(crate) fn stored(value: T, place: ChunkPlace) -> Self {
        let place = Place::at(place);
        Self::Frozen(Arc::new(Frozen { value, place }))
    }

    /// To look at.
    pub(crate) fn get(&self) -> &T {
        match self {
            Self::Own(value) => value,
            Self::Frozen(frozen) => &frozen.value,
        }
    }

    /// To change.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        if let Self::Frozen(frozen) = self {
            let frozen = Arc::clone(frozen);
            // Dropped first: if no cut holds it any more, it need not be copied.
            *self = Self::Own(T::default());
            let value = match Arc::try_unwrap(frozen) {
                Ok(frozen) => frozen.value,
                Err(shared) => shared.value.clone(),
            };
            *self = Self::Own(value);
        }
        match self {
            Self::Own(value) => value,
            Self::Frozen(_) => unreachable!("it was made its own a moment ago"),
        }
    }

    /// As of now, to be kept; `inside` freezes the chunks in it first.
    pub(crate) fn freeze(&mut self, inside: impl FnOnce(&mut T)) -> Arc<Frozen<T>> {
        if let Self::Own(value) = self {
            let mut value = std::mem::take(value);
            inside(&mut value);
            let place = Place::default();
            *self = Self::Frozen(Arc::new(Frozen { value, place }));
        }
        match self {
            Self::Frozen(frozen) => Arc::clone(frozen),
            Self::Own(_) => unreachable!("it was frozen a moment ago"),
        }
    }
}

impl<T: Default> Default for Chunk<T> {
    fn default() -> Self {
        Self::Own(T::default())
    }
}

impl<T: Clone + Default + Hash> Hash for Chunk<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.get().hash(state);
    }
}
