//! The one rule of lease and fence, shared by every implementation of a journal.

use std::time::Duration;

use super::JournalError;
use crate::model::{Epoch, Seq, Timestamp};

/// Who may write a service's journal, as it is kept beside the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The epoch of the lease; appends with another one are refused.
    pub epoch: Epoch,
    /// Who took it.
    pub owner: String,
    /// When it ends unless it is renewed.
    pub until: Timestamp,
}

impl Holder {
    /// The holder after `owner` asked for the lease at `now`.
    ///
    /// `held` is the epoch that the asking side already works under, if any. A live lease of the
    /// same owner and epoch is renewed; a live lease of the same owner that the asking side does
    /// not know is one from before a restart, and is taken over with a higher epoch; an ended one
    /// is taken with a higher epoch, also by its former owner.
    ///
    /// # Errors
    /// [`JournalError::Leased`]: somebody else's lease is live, or the same name took over from
    /// the asking side.
    pub fn take(
        current: Option<&Self>,
        held: Option<Epoch>,
        owner: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Self, JournalError> {
        let epoch = match current {
            None => Epoch::new(1),
            Some(holder) if now >= holder.until => holder.epoch.next(),
            Some(holder) if holder.owner == owner => match held {
                None => holder.epoch.next(),
                Some(epoch) if epoch == holder.epoch => epoch,
                Some(_) => return Err(holder.refusal()),
            },
            Some(holder) => return Err(holder.refusal()),
        };
        Ok(Self {
            epoch,
            owner: owner.to_owned(),
            until: now.after(ttl),
        })
    }

    /// The number of the last entry after entries with the numbers `seqs` came with `epoch` and
    /// the journal ended at `last`. A service that nobody ever leased has no holder.
    ///
    /// # Errors
    /// [`JournalError::Fenced`] when the epoch is not the holder's, [`JournalError::OutOfOrder`]
    /// when the numbers do not follow `last` one by one.
    pub fn admit(
        current: Option<&Self>,
        last: Seq,
        epoch: Epoch,
        seqs: impl IntoIterator<Item = Seq>,
    ) -> Result<Seq, JournalError> {
        let valid = current.map_or_else(Epoch::default, |holder| holder.epoch);
        if current.is_none() || epoch != valid {
            return Err(JournalError::Fenced {
                ours: epoch,
                current: valid,
            });
        }
        let mut last = last;
        for got in seqs {
            if got != last.next() {
                return Err(JournalError::OutOfOrder { got, last });
            }
            last = got;
        }
        Ok(last)
    }

    fn refusal(&self) -> JournalError {
        JournalError::Leased {
            owner: self.owner.clone(),
            until: self.until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    #[test]
    fn a_lease_is_renewed_taken_over_or_refused() {
        let first = Holder::take(None, None, "a", TTL, at(0)).unwrap();
        assert_eq!((first.epoch, first.until), (Epoch::new(1), at(10)));
        let ended = at(10);
        let live = at(9);
        for (held, owner, now, epoch) in [
            (Some(1), "a", live, Some(1)),
            (None, "a", live, Some(2)),
            (Some(7), "a", live, None),
            (None, "b", live, None),
            (None, "b", ended, Some(2)),
            (Some(1), "a", ended, Some(2)),
        ] {
            let taken = Holder::take(Some(&first), held.map(Epoch::new), owner, TTL, now);
            match epoch {
                Some(epoch) => assert_eq!(taken.unwrap().epoch, Epoch::new(epoch)),
                None => assert_eq!(taken.unwrap_err(), first.refusal()),
            }
        }
    }

    #[test]
    fn only_the_holder_appends_and_only_in_order() {
        let holder = Holder::take(None, None, "a", TTL, at(0)).unwrap();
        let admit = |holder, epoch, seqs: &[u64]| {
            let seqs: Vec<Seq> = seqs.iter().copied().map(Seq::new).collect();
            Holder::admit(holder, Seq::new(4), Epoch::new(epoch), seqs)
        };
        assert_eq!(admit(Some(&holder), 1, &[5, 6]), Ok(Seq::new(6)));
        assert_eq!(admit(Some(&holder), 1, &[]), Ok(Seq::new(4)));
        for seqs in [&[4][..], &[6], &[5, 7], &[5, 5]] {
            assert!(matches!(
                admit(Some(&holder), 1, seqs),
                Err(JournalError::OutOfOrder { .. })
            ));
        }
        for (holder, epoch) in [(Some(&holder), 0), (Some(&holder), 2), (None, 0), (None, 1)] {
            assert!(matches!(
                admit(holder, epoch, &[5]),
                Err(JournalError::Fenced { .. })
            ));
        }
    }
}
