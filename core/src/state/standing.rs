//! How one message stands in a subscription.

use corelane_wire::Offset;

use super::subscription::Subscription;

/// How a message stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It can be given out for the first time.
    New,
    /// It can be given out, after so many attempts.
    Returned(u32),
    /// It is leased or delayed.
    Held,
    /// It is done, or was set aside.
    Over,
}

impl Standing {
    /// Whether the message can be given out.
    pub(crate) const fn is_ready(self) -> bool {
        matches!(self, Self::New | Self::Returned(_))
    }
}

impl Subscription {
    /// How a message stands.
    pub(crate) fn standing(&self, offset: Offset) -> Standing {
        if self.over_end(offset).is_some() {
            return Standing::Over;
        }
        if let Some((_, row)) = self.behind.row_of(offset) {
            return Standing::Returned(row.fragment.attempts);
        }
        let returned = self.returned.at_or_before(&offset);
        match returned.filter(|(first, of)| offset.0 < first.0 + of.count) {
            Some((_, fragment)) => Standing::Returned(fragment.attempts),
            None if self.cursor <= offset && !self.is_ahead(offset) => Standing::New,
            None => Standing::Held,
        }
    }

    /// The first message from `offset` on that is neither done nor set aside, or `end`.
    pub(crate) fn unfinished_from(&self, mut offset: Offset, end: Offset) -> Offset {
        while offset < end
            && let Some(over) = self.over_end(offset)
        {
            offset = over;
        }
        offset.min(end)
    }

    /// What was given out and is ready again, as ranges, ends exclusive.
    pub(crate) fn ready_again(&self) -> impl Iterator<Item = (Offset, Offset)> {
        let returned = self.returned.iter();
        let returned = returned.map(|(first, of)| (*first, of.count));
        let behind = self.behind.rows().iter();
        let behind = behind.map(|(first, row)| (*first, row.fragment.count));
        let ranges = returned.chain(behind);
        ranges.map(|(first, count)| (first, Offset(first.0 + count)))
    }

    /// How far messages are done, or set aside alike, from `offset` on, if it is.
    fn over_end(&self, offset: Offset) -> Option<Offset> {
        let letter = self.letter.as_ref();
        let letter = letter.filter(|letter| (letter.first..letter.end()).contains(&offset));
        if let Some(letter) = letter {
            return Some(letter.end());
        }
        self.done_end(offset).or_else(|| {
            let asides = [&self.dead, &self.parked];
            asides.into_iter().find_map(|aside| {
                let (first, row) = aside.rows().at_or_before(&offset)?;
                let end = Offset(first.0 + row.count);
                (offset < end).then_some(end)
            })
        })
    }
}

#[cfg(test)]
mod tests;
