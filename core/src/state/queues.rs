//! The queues of a partition, by number and by name.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use corelane_wire::{Offset, QueueConfig, Storage, Timestamp};

use super::chunk::{Chunk, Frozen};
use super::queue::Queue;
use super::runs::Layout;
use crate::ids::QueueId;

/// The queues of a partition, by number and by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    /// By number: neighbours share a page.
    pages: BTreeMap<u32, Chunk<QueuePage>>,
    len: usize,
    by_name: BTreeMap<String, QueueId>,
    /// The number of the next queue; never given twice.
    next: u32,
    /// How many keep their messages in memory only; follows from the queues.
    in_memory: usize,
}

/// Queues with neighbouring numbers, ascending.
pub(crate) type QueuePage = Vec<(QueueId, Queue)>;

impl Queues {
    /// The queue with this number.
    pub(crate) fn get(&self, id: QueueId) -> Option<&Queue> {
        let page = self.pages.get(&page_of(id))?.get();
        let at = page.binary_search_by_key(&id, |entry| entry.0).ok()?;
        Some(&page[at].1)
    }

    /// The queue with this number, to change it.
    pub(crate) fn get_mut(&mut self, id: QueueId) -> Option<&mut Queue> {
        let page = self.pages.get_mut(&page_of(id))?;
        let at = page.get().binary_search_by_key(&id, |entry| entry.0).ok()?;
        Some(&mut page.get_mut()[at].1)
    }

    /// The number of the queue with this name.
    pub(crate) fn find(&self, name: &str) -> Option<QueueId> {
        self.by_name.get(name).copied()
    }

    /// The names of all queues.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The number that the next queue gets; `None` when all are used up.
    pub(crate) const fn next_id(&self) -> Option<QueueId> {
        if self.next == u32::MAX {
            return None;
        }
        Some(QueueId(self.next))
    }

    /// Adds a queue under the next number.
    pub(crate) fn create(
        &mut self,
        id: QueueId,
        name: &str,
        created: Timestamp,
    ) -> Result<(), &'static str> {
        if self.next_id() != Some(id) {
            return Err("the number of the queue is not the next one");
        }
        if self.by_name.contains_key(name) {
            return Err("a queue of that name exists");
        }
        self.next += 1;
        self.put(id, Queue::new(name.to_owned(), created));
        Ok(())
    }

    /// Adds a queue of the same number, name and end as another one, without its messages, unless there is one.
    pub(crate) fn mirror(&mut self, id: QueueId, other: &Queue) {
        if self.get(id).is_none() {
            let queue = Queue {
                end: other.end,
                start: other.end,
                ..Queue::new(other.name.clone(), other.created)
            };
            self.put(id, queue);
        }
    }

    /// Takes a queue out.
    pub(crate) fn delete(&mut self, id: QueueId) -> Option<Queue> {
        let page = self.pages.get_mut(&page_of(id))?;
        let at = page.get().binary_search_by_key(&id, |entry| entry.0).ok()?;
        let (_, queue) = page.get_mut().remove(at);
        if page.get().is_empty() {
            self.pages.remove(&page_of(id));
        }
        self.len -= 1;
        self.in_memory -= usize::from(queue.config.storage == Storage::Memory);
        self.by_name.remove(&queue.name);
        Some(queue)
    }

    /// Replaces a queue's configuration; `None` if there is no such queue.
    pub(crate) fn configure(&mut self, id: QueueId, config: QueueConfig) -> Option<()> {
        let queue = self.get_mut(id)?;
        let before = std::mem::replace(&mut queue.config, config);
        self.in_memory -= usize::from(before.storage == Storage::Memory);
        self.in_memory += usize::from(config.storage == Storage::Memory);
        Some(())
    }

    /// How many keep their messages in memory only.
    pub(crate) const fn in_memory(&self) -> usize {
        self.in_memory
    }

    /// Takes in a page that was read from a checkpoint; false if it does not follow those before.
    pub(crate) fn push_page(&mut self, page: Chunk<QueuePage>) -> bool {
        let entries = page.get();
        let Some(&(first, _)) = entries.first() else {
            return false;
        };
        let number = page_of(first);
        let fits = entries
            .iter()
            .all(|(id, _)| page_of(*id) == number && id.0 < self.next)
            && entries.is_sorted_by(|left, right| left.0 < right.0)
            && self
                .pages
                .last_key_value()
                .is_none_or(|(last, _)| *last < number);
        if !fits {
            return false;
        }
        self.len += entries.len();
        for (id, queue) in entries {
            if self.by_name.insert(queue.name.clone(), *id).is_some() {
                return false;
            }
            self.in_memory += usize::from(queue.config.storage == Storage::Memory);
        }
        self.pages.insert(number, page);
        true
    }

    /// The number of the next queue, as a checkpoint says it.
    pub(crate) const fn set_next(&mut self, next: u32) {
        self.next = next;
    }

    /// The number of the next queue, for a checkpoint.
    pub(crate) const fn next(&self) -> u32 {
        self.next
    }

    /// The pages as of now; `closed` learns of the stretches that became chunks of their own.
    pub(crate) fn freeze(
        &mut self,
        layout: Layout,
        mut closed: impl FnMut(QueueId, Offset, usize),
    ) -> Vec<Arc<Frozen<QueuePage>>> {
        let mut freeze = |queues: &mut QueuePage| {
            for (id, queue) in queues {
                if let Some(last) = queue.freeze(layout) {
                    closed(*id, last, queue.runs.loaded_at(last));
                }
            }
        };
        let pages = self.pages.values_mut();
        pages.map(|page| page.freeze(&mut freeze)).collect()
    }

    /// How many queues there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The queues behind a name, in the order of their names.
    pub(crate) fn after<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Queue> {
        let behind = (
            std::ops::Bound::Excluded(name.to_owned()),
            std::ops::Bound::Unbounded,
        );
        self.by_name
            .range::<String, _>(behind)
            .filter_map(|(_, id)| self.get(*id))
    }

    /// All queues, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (QueueId, &Queue)> {
        let pages = self.pages.values();
        pages.flat_map(|page| page.get().iter().map(|(id, queue)| (*id, queue)))
    }

    fn put(&mut self, id: QueueId, queue: Queue) {
        self.by_name.insert(queue.name.clone(), id);
        self.len += 1;
        let page = self.pages.entry(page_of(id)).or_default().get_mut();
        // The number of one that is created is the last of its page.
        let at = page.partition_point(|(of, _)| *of < id);
        page.insert(at, (id, queue));
    }
}

impl Hash for Queues {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.next.hash(state);
        self.len.hash(state);
        for entry in self.iter() {
            entry.hash(state);
        }
    }
}

const fn page_of(id: QueueId) -> u32 {
    id.0 / PAGE_QUEUES
}

/// Queues of one page.
pub(crate) const PAGE_QUEUES: u32 = 32;

#[cfg(test)]
mod tests;
