//! What is removed from the log for good, and what goes with it: outcomes of events that are no more, and old dead letters.
//!
//! What may go is decided elsewhere ([`crate::retention`]).

pub mod forgotten;
pub(super) mod removal;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::broker::dead_letters::list::{DeadLetterFilter, dead_letters_from};
use crate::broker::objects::provision::stream_info;
use crate::broker::snapshot::missed::subjects;
use crate::broker::topology::{DEAD_LETTER_STREAM, OUTCOME_STREAM, STREAM, last_event_of_segment, stored_subject};
use crate::broker::trim::forgotten::was_forgotten;
use crate::broker::trim::removal::{purge, remove};
use crate::broker::{Broker, BrokerError};
use crate::domain::{Channel, Sequence, StoredAt};

/// Messages that are removed one by one, at once.
const REMOVALS_AT_ONCE: usize = 64;

/// Where the log begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The place of the first message; one behind the last where there is none.
    pub first: Sequence,
    /// The place of the last message that was ever stored.
    pub last: Sequence,
}

/// Where the log begins and ends, as its leader has it.
pub async fn extent(broker: &Broker) -> Result<Extent, BrokerError> {
    let info = stream_info(broker, STREAM).await?.ok_or(BrokerError::NotThere)?;
    let (first, last) = (info.state.first_sequence, info.state.last_sequence);
    Ok(Extent { first: Sequence(first), last: Sequence(last) })
}

/// Whether a message lay at a sequence that is empty now, and was trimmed: what was forgotten never was.
pub async fn was_trimmed(broker: &Broker, place: Sequence) -> Result<bool, BrokerError> {
    let was_there = place >= Sequence::FIRST && place <= extent(broker).await?.last;
    Ok(was_there && !was_forgotten(broker, place).await?)
}

/// Removes everything before a place.
pub async fn remove_head(broker: &Broker, before: Sequence) -> Result<(), BrokerError> {
    purge(broker, STREAM, None, Some(before.0)).await.map(drop)
}

/// Removes everything of one channel before a place.
pub async fn remove_head_of(
    broker: &Broker,
    partition: u16,
    channel: &Channel,
    before: Sequence,
) -> Result<(), BrokerError> {
    purge(broker, STREAM, Some(&stored_subject(partition, channel)), Some(before.0)).await.map(drop)
}

/// Removes the messages at these sequences.
pub async fn remove_messages(broker: &Broker, places: &[Sequence]) -> Result<(), BrokerError> {
    let removals = places.iter().copied().map(|place| remove(broker, STREAM, place.0));
    stream::iter(removals).buffer_unordered(REMOVALS_AT_ONCE).try_for_each(|_| async { Ok(()) }).await
}

/// Removes the outcomes of segments that lie wholly before the log's first message.
pub async fn remove_outcomes_before(broker: &Broker, first: Sequence) -> Result<(), BrokerError> {
    let (mut gone, mut offset) = (Vec::new(), 0);
    loop {
        let page = subjects(broker, OUTCOME_STREAM, offset).await?;
        if page.is_empty() {
            break;
        }
        offset += page.len();
        gone.extend(page.into_iter().filter(|of| last_event_of_segment(of).is_some_and(|last| last < first.0)));
    }
    for subject in gone {
        purge(broker, OUTCOME_STREAM, Some(&subject), None).await?;
    }
    Ok(())
}

/// Removes the dead letters that were stored before this time; returns how many there were.
pub async fn remove_dead_letters_before(broker: &Broker, before: StoredAt) -> Result<u64, BrokerError> {
    let (filter, mut next, mut end) = (DeadLetterFilter::default(), Some(1), None);
    while let Some(from) = next {
        let page = dead_letters_from(broker, &filter, from).await?;
        let old = page.dead_letters.iter().take_while(|dead_letter| StoredAt::from(dead_letter.dead_at) < before);
        let old = old.last().map(|dead_letter| dead_letter.id);
        next = page.next.filter(|_| old == page.dead_letters.last().map(|dead_letter| dead_letter.id));
        end = old.or(end);
    }
    match end {
        Some(last) => purge(broker, DEAD_LETTER_STREAM, None, Some(last + 1)).await,
        None => Ok(0),
    }
}
