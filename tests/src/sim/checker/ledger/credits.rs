//! What consumers were willing to hold, and what they held.

use super::super::history::Receiver;
use super::super::{Verdict, violation};
use super::Checker;

impl Checker {
    pub(super) fn on_credit(&mut self, by: Receiver, credit: u32) {
        let known = self.credits.entry(by).or_default();
        known.confirmed = credit;
        if let Some(index) = known.asked.iter().position(|asked| *asked == credit) {
            known.asked.drain(..=index);
        }
    }

    pub(super) fn on_held(&self, by: Receiver, messages: u32) -> Verdict {
        let Some(credit) = self.credits.get(&by) else {
            return violation(
                "credit",
                format!("{by:?} holds {messages}, never subscribed"),
            );
        };
        let most = credit.asked.iter().fold(credit.confirmed, |a, b| a.max(*b));
        if messages > most {
            return violation(
                "credit",
                format!("{by:?} holds {messages}, credit is {most}"),
            );
        }
        Ok(())
    }
}
