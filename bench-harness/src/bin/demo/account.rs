//! What became of every message: the demo's proof.

/// One entry for each message, counted from 0.
#[derive(Debug)]
pub(crate) struct Account {
    confirmed: Vec<bool>,
    deliveries: Vec<u32>,
    /// Deliveries whose body is not what was sent under its number, or that was never sent.
    pub(crate) corrupt: u64,
    /// Messages whose enqueue was refused.
    pub(crate) rejected: u64,
    /// Messages whose enqueue had no answer.
    pub(crate) unknown: u64,
}

/// The sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) confirmed: u64,
    /// Different messages that were delivered.
    pub(crate) delivered: u64,
    /// Confirmed and never delivered.
    pub(crate) lost: u64,
    /// Deliveries of a message after its first.
    pub(crate) duplicates: u64,
}

impl Account {
    pub(crate) fn new(messages: usize) -> Self {
        Self {
            confirmed: vec![false; messages],
            deliveries: vec![0; messages],
            corrupt: 0,
            rejected: 0,
            unknown: 0,
        }
    }

    pub(crate) fn confirm(&mut self, index: usize) {
        self.confirmed[index] = true;
    }

    /// Counts a delivery; `index` is nothing if the body is not one that was sent.
    pub(crate) fn deliver(&mut self, index: Option<usize>) {
        match index.and_then(|index| self.deliveries.get_mut(index)) {
            Some(count) => *count += 1,
            None => self.corrupt += 1,
        }
    }

    pub(crate) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for (&is_confirmed, &deliveries) in self.confirmed.iter().zip(&self.deliveries) {
            sums.confirmed += u64::from(is_confirmed);
            sums.delivered += u64::from(deliveries > 0);
            sums.lost += u64::from(is_confirmed && deliveries == 0);
            sums.duplicates += u64::from(deliveries.saturating_sub(1));
        }
        sums
    }
}

#[cfg(test)]
mod tests;
