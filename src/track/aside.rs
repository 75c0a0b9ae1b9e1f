//! Channels that take a newer program: their record, or a message of theirs, has a format that this one does not know.
//! Nothing of them is judged, and they hold up nobody. The record says, in a header, which messages are set aside; the
//! first of them is never acknowledged and comes again after a pause, until a program knows the format. That one replays
//! the channel.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::batch::Group;
use super::disposition::Answers;
use super::settle::Settled;
use crate::broker::{AckHandle, BrokerError, TrackBroker};
use crate::domain::{Aside, Channel, Sequence};

/// How long until the first message of such a channel comes again.
pub const ASIDE_PAUSE: Duration = Duration::from_secs(if cfg!(feature = "fail-points") { 2 } else { 30 });
/// Channels that are remembered, so that each is logged once; of further ones nothing is said.
const REMEMBERED_MAX: usize = 1_024;

/// Channels that are named to whoever asks how a tracker is.
const NAMED_MAX: usize = 16;

/// The channels that this process has set aside, and the format that each takes; clones share them.
#[derive(Clone, Debug, Default)]
pub struct SetAside(Arc<Mutex<BTreeMap<Channel, u32>>>);

impl SetAside {
    /// What is to be known of them: a sentence for each of some channels, and one for the rest.
    pub fn sentences(&self) -> Vec<String> {
        let known = self.lock();
        let of_channel = |(channel, format): (&Channel, &u32)| {
            format!("channel {channel} waits for a program that knows format {format}: update the trackers")
        };
        let mut sentences: Vec<_> = known.iter().take(NAMED_MAX).map(of_channel).collect();
        let more = known.len().saturating_sub(NAMED_MAX);
        sentences.extend((more > 0).then(|| format!("{more} more channels wait for a newer program")));
        sentences
    }

    fn note(&self, channel: Channel, format: u32) {
        let mut known = self.lock();
        if known.len() < REMEMBERED_MAX && known.insert(channel, format) != Some(format) {
            tracing::warn!(%channel, format, "the channel waits for a program that knows its format: update the trackers");
        }
    }

    /// Notes that a channel is judged again.
    pub fn remove(&self, channel: &Channel) {
        self.lock().remove(channel);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Channel, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets aside what has come of channels that take a newer program; the others stay.
pub async fn set_aside(
    broker: &impl TrackBroker,
    settled: &mut Vec<(Group, Result<Settled, BrokerError>)>,
    set: &SetAside,
    answers: &mut Answers,
) {
    let newer = settled.extract_if(.., |(_, settled)| matches!(settled, Err(BrokerError::Newer(_))));
    for (group, _) in newer.collect::<Vec<_>>() {
        let channel = group.state.channel;
        let (format, deliveries) = group.into_deliveries();
        match note(broker, &channel, format, &deliveries).await {
            Ok(aside) => {
                set.note(channel, aside.format);
                let (held, covered) = deliveries.into_iter().partition(|(sequence, _)| *sequence == aside.first);
                answers.ack.extend(handles(covered));
                answers.nak(handles(held), &BrokerError::Newer(aside.format));
            }
            Err(error) => answers.nak(handles(deliveries), &error),
        }
    }
}

fn handles(deliveries: Vec<(Sequence, AckHandle)>) -> impl Iterator<Item = AckHandle> {
    deliveries.into_iter().map(|(_, handle)| handle)
}

/// Notes with the record which messages are set aside.
async fn note(
    broker: &impl TrackBroker,
    channel: &Channel,
    of_messages: Option<u32>,
    deliveries: &[(Sequence, AckHandle)],
) -> Result<Aside, BrokerError> {
    let read = broker.load_latest(channel).await?;
    // Where nothing is newer any more, they are judged when they come again.
    let format = read.newer_format().max(of_messages).ok_or(BrokerError::Conflict)?;
    let sequences = deliveries.iter().map(|(sequence, _)| *sequence);
    let aside = sequences.fold(read.aside, |aside, sequence| {
        let alone = Aside { format, first: sequence, last: sequence };
        Some(aside.map_or(alone, |aside| aside.with(format, sequence)))
    });
    let aside = aside.ok_or(BrokerError::Conflict)?;
    if Some(aside) != read.aside {
        broker.set_aside(channel, &read, aside).await?;
    }
    Ok(aside)
}
