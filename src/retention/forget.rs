//! Removes everything that is stored of one channel, which can then begin again with number 1, also while messages of it
//! come in and trackers run.
//!
//! First the record goes, and what stands in its place says that the channel is being forgotten: from then on no tracker
//! applies a message of it. What is stored by then is removed, and what stands in the record's place says up to which
//! message: whatever a tracker still holds of those is acknowledged ([`crate::domain::Forgotten`]), and what comes behind
//! begins the channel's second life. Done halfway it is done again, and the channel waits until then.

use tokio::time::sleep;

use crate::broker::checkpoints::remove_checkpoints;
use crate::broker::dead_letters::list::{DeadLetterFilter, count, dead_letters_from};
use crate::broker::dead_letters::reader::remove_dead_letter;
use crate::broker::inspect::{last_of, messages_of};
use crate::broker::log_reader::read_page;
use crate::broker::store::Store;
use crate::broker::topology::partition_of;
use crate::broker::trim::forgotten::note_forgotten;
use crate::broker::trim::remove_head_of;
use crate::broker::{Broker, BrokerError, LAG_PAUSE};
use crate::domain::{Channel, Event, Forgotten, Sequence};
use crate::fail_point;

/// How often a channel is read on of which a replica has not got everything: for some seconds.
const LAGS_MAX: u32 = 250;

/// What there was of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgot {
    /// Messages of the log.
    pub messages: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// What there is of a channel at this moment.
pub async fn stored(broker: &Broker, partitions: u16, channel: &Channel) -> Result<Forgot, BrokerError> {
    let messages = messages_of(broker, partition_of(channel, partitions), channel).await?;
    let dead_letters = count(broker, &dead_letters_of(channel)).await?;
    Ok(Forgot { messages, dead_letters })
}

/// Forgets a channel of a stream of so many partitions.
pub async fn forget(broker: &Broker, partitions: u16, channel: &Channel) -> Result<Forgot, BrokerError> {
    let (store, partition) = (Store::new(broker).await?, partition_of(channel, partitions));
    let before = store.load_latest(channel).await?.unreported.forgotten;
    store.forget(channel, Forgotten::UnderWay).await?;
    fail_point::reached("forget.begun");
    // From here on nothing is applied into the first life. What is read now is all that it had.
    let (messages, last) = note_messages(broker, partition, channel).await?;
    remove_head_of(broker, partition, channel, Sequence(last.map_or(0, |last| last.sequence.0) + 1)).await?;
    remove_checkpoints(broker, channel).await?;
    let through = match (last, before) {
        (Some(last), _) => Forgotten::Through(last),
        (None, Some(before @ Forgotten::Through(_))) => before,
        (None, _) => Forgotten::Through(Event::default()),
    };
    fail_point::reached("forget.messages-removed");
    store.forget(channel, through).await?;
    // What was on its way when the record went.
    remove_checkpoints(broker, channel).await?;
    let dead_letters = remove_dead_letters(broker, channel, through).await?;
    Ok(Forgot { messages, dead_letters })
}

/// Notes which messages there are, returns how many, and the last one.
async fn note_messages(
    broker: &Broker,
    partition: u16,
    channel: &Channel,
) -> Result<(u64, Option<Event>), BrokerError> {
    let end = last_of(broker, partition, channel).await?.unwrap_or_default();
    let (mut messages, mut last, mut next) = (0, None, Some(Sequence(1)));
    let mut lags = 0;
    while let Some(from) = next {
        let page = read_page(broker, partition, channel, from).await?;
        let places: Vec<_> = page.messages.iter().map(|stored| stored.sequence).collect();
        note_forgotten(broker, &places).await?;
        messages += places.len() as u64;
        last = page.messages.last().map(|stored| stored.event()).or(last);
        let seen = last.map_or(Sequence(0), |last: Event| last.sequence);
        next = page.next;
        if next.is_none() && seen < end {
            // A replica that lags behind has answered.
            lags += 1;
            if lags > LAGS_MAX {
                return Err(BrokerError::timed_out("reading all of the channel"));
            }
            sleep(LAG_PAUSE).await;
            next = Some(Sequence(seen.0 + 1));
        }
    }
    Ok((messages, last))
}

/// Removes the dead letters of what was forgotten.
async fn remove_dead_letters(broker: &Broker, channel: &Channel, forgotten: Forgotten) -> Result<u64, BrokerError> {
    let filter = dead_letters_of(channel);
    let (mut removed, mut next) = (0, Some(1));
    while let Some(from) = next {
        let page = dead_letters_from(broker, &filter, from).await?;
        for dead_letter in page.dead_letters {
            if dead_letter.event().is_none_or(|event| forgotten.has(event))
                && remove_dead_letter(broker, dead_letter.id).await?
            {
                removed += 1;
            }
        }
        next = page.next;
    }
    Ok(removed)
}

fn dead_letters_of(channel: &Channel) -> DeadLetterFilter {
    DeadLetterFilter::new(None, Some(&channel.to_string()))
}
