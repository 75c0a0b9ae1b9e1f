//! A dead letter tried again, as it is or corrected.
//!
//! First the message is stored, then it is noted where it went, then the dead letter is removed: whatever is interrupted, the
//! message is not lost, and who asks again is told `duplicate`, by the broker's memory of message ids or by the note.

use bytes::Bytes;

use super::preview::{Preview, ReplayEffect};
use super::{Accepted, AdminError, NO_DEAD_LETTER, Operations};
use crate::audit::{self, Deed};
use crate::broker::checkpoints::checkpoints;
use crate::broker::dead_letters::reader::{StoredDeadLetter, read_dead_letter, remove_dead_letter};
use crate::broker::publisher::Identity;
use crate::broker::{BrokerError, Origin, Outgoing, Reason, Receipt};
use crate::domain::checkpoint::trimmed_through;
use crate::domain::{Channel, Message, MessageNumber, Record, Sequence, wire};

/// Largest body of a corrected message, in bytes, as at the ingress.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// What a replay is to do.
enum Plan {
    /// It was done before, as this event. Whoever did it may have been interrupted before the dead letter went.
    Done { event: Sequence, dead_letter_is_left: bool },
    /// The message is stored.
    Store(Box<Replay>),
}

/// A message that is stored again.
struct Replay {
    message: Message,
    payload: Bytes,
    attempts: u32,
    /// The number whose place it takes.
    corrects: Option<MessageNumber>,
}

impl Operations {
    /// Stores the message of a dead letter again, or a corrected one in its place, and removes the dead letter. What was begun to be
    /// stored is stored, noted and removed although nobody waits for it any more.
    pub async fn replay(&self, id: u64, corrected: Option<Bytes>, origin: Origin) -> Result<Accepted, AdminError> {
        let corrected = corrected.map(read_corrected).transpose()?;
        let plan = self.in_time(self.plan_replay(id, corrected)).await?;
        let operations = self.clone();
        self.to_the_end(async move { operations.carry_out(id, plan, origin).await }).await
    }

    /// What that would do, without doing it.
    pub async fn preview_replay(&self, id: u64, corrected: Option<Bytes>) -> Result<Preview<ReplayEffect>, AdminError> {
        let corrected = corrected.map(read_corrected).transpose()?;
        let plan = self.in_time(self.plan_replay(id, corrected)).await?;
        Ok(Preview::of(plan.effect()))
    }

    async fn carry_out(&self, id: u64, plan: Plan, origin: Origin) -> Result<Accepted, AdminError> {
        let Replay { message, payload, attempts, corrects } = match plan {
            Plan::Store(replay) => *replay,
            Plan::Done { event, dead_letter_is_left } => {
                if dead_letter_is_left {
                    remove_dead_letter(&self.broker, id).await?;
                }
                return Ok(Accepted::new(event.0, true));
            }
        };
        let identity = Identity::Replay { dead_letter: id, attempts, corrects };
        let outgoing = Outgoing { channel: message.channel, identity, origin: origin.clone(), payload };
        let Receipt { sequence, duplicate } = self.publisher.publish(outgoing).await.map_err(unstored)?;
        self.notes.note(id, sequence).await?;
        remove_dead_letter(&self.broker, id).await?;
        let before = format!("number {} of {}, tried {attempts} times", message.number, message.channel);
        let place = if corrects.is_some() { ", a correction" } else { "" };
        let after = format!("stored as event {}{place}", sequence.0);
        audit::note(&origin, Deed::Replay, format!("dead letter {id}"), before, after);
        Ok(Accepted::new(sequence.0, duplicate))
    }

    async fn plan_replay(&self, id: u64, corrected: Option<(Message, Bytes)>) -> Result<Plan, AdminError> {
        let Some(dead_letter) = read_dead_letter(&self.broker, id).await? else {
            let event = self.notes.find(id, None).await?.ok_or(NO_DEAD_LETTER)?.event;
            return Ok(Plan::Done { event, dead_letter_is_left: false });
        };
        if let Some(first) = self.notes.find(id, Some(dead_letter.dead_at)).await? {
            return Ok(Plan::Done { event: first.event, dead_letter_is_left: true });
        }
        let (message, payload) = to_replay(&dead_letter, corrected)?;
        let corrects = self.takes_a_place(&dead_letter, &message).await?.then_some(message.number);
        let trimmed_through = trimmed_through(&checkpoints(&self.broker, &message.channel).await?);
        if let Some(number) = corrects.filter(|number| Some(*number) <= trimmed_through) {
            return Err(AdminError::Conflict(format!("number {number} was trimmed, and cannot be corrected")));
        }
        Ok(Plan::Store(Box::new(Replay { message, payload, attempts: dead_letter.attempts, corrects })))
    }

    /// Whether another message, or a skip, has the place of this one.
    async fn takes_a_place(&self, dead_letter: &StoredDeadLetter, message: &Message) -> Result<bool, AdminError> {
        // These are stored shortly before the record that passes their number, or while another message has it.
        let is_taken = matches!(dead_letter.reason.parse(), Ok(Reason::Refused | Reason::Skipped | Reason::Conflict));
        if is_taken && wire::peek(&dead_letter.payload).0 == Some(message.number) {
            return Ok(true);
        }
        Ok(self.record(&message.channel).await?.is_some_and(|record| record.is_through(message.number)))
    }

    /// The channel's record, through the leader.
    pub(super) async fn record(&self, channel: &Channel) -> Result<Option<Record>, AdminError> {
        let Some(bytes) = self.store.load_latest(channel).await?.record else { return Ok(None) };
        let unreadable = |error| BrokerError::Misconfigured(format!("the record of {channel}: {error}"));
        Ok(Some(Record::from_bytes(&bytes).map_err(unreadable)?))
    }
}

impl Plan {
    fn effect(&self) -> ReplayEffect {
        match self {
            Self::Done { event, .. } => {
                let replayed_as = Some(event.0);
                ReplayEffect { channel: None, message_number: None, correction: false, replayed_as }
            }
            Self::Store(replay) => ReplayEffect {
                channel: Some(replay.message.channel),
                message_number: Some(replay.message.number.get()),
                correction: replay.corrects.is_some(),
                replayed_as: None,
            },
        }
    }
}

fn read_corrected(body: Bytes) -> Result<(Message, Bytes), AdminError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(AdminError::BadRequest(format!("body: must be at most {BODY_BYTES_MAX} bytes")));
    }
    let message = wire::read(&body).map_err(|error| AdminError::BadRequest(error.to_string()))?;
    Ok((message, body))
}

/// The message that a dead letter is replayed as.
fn to_replay(
    dead_letter: &StoredDeadLetter,
    corrected: Option<(Message, Bytes)>,
) -> Result<(Message, Bytes), AdminError> {
    let of = Channel::parse(&dead_letter.channel_token);
    if let Some((message, body)) = corrected {
        if let Some(channel) = of.filter(|channel| *channel != message.channel) {
            return Err(AdminError::BadRequest(format!("metadata.channel: must be the dead letter's, {channel}")));
        }
        return Ok((message, body));
    }
    let impossible = |why: &str| AdminError::Conflict(format!("it cannot be replayed as it is: {why}"));
    let message = wire::read(&dead_letter.payload).map_err(|error| impossible(&error.to_string()))?;
    if of != Some(message.channel) {
        return Err(impossible("metadata.channel: is not the channel of the subject"));
    }
    Ok((message, dead_letter.payload.clone()))
}

fn unstored(error: BrokerError) -> AdminError {
    match error {
        BrokerError::TooLarge(why) => AdminError::Conflict(format!("it cannot be replayed: {why}")),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::dead_letter::tests::{CHANNEL, dead_letter};
    use super::*;

    const OTHER: &str = "00000000-0000-4000-8000-000000000000";

    fn body(channel: &str) -> String {
        format!(
            r#"{{"metadata":{{"channel":"{channel}","messageNumber":7,"messageTime":"2022-02-02T19:39:05Z",
               "messageType":"RocketSpeedIncreased"}},"message":{{"by":1}}}}"#
        )
    }

    fn replayed(token: &str, payload: &str, corrected: Option<&str>) -> Result<String, AdminError> {
        let dead_letter = StoredDeadLetter { channel_token: token.into(), ..dead_letter(payload.as_bytes()) };
        let corrected = corrected.map(|body| read_corrected(Bytes::copy_from_slice(body.as_bytes()))).transpose()?;
        to_replay(&dead_letter, corrected).map(|(message, _)| message.channel.to_string())
    }

    #[test]
    fn as_it_is_only_a_message_of_its_channel_is_replayed() {
        let upper = CHANNEL.to_uppercase();
        assert_eq!(replayed(CHANNEL, &body(CHANNEL), None).as_deref(), Ok(CHANNEL));
        assert_eq!(replayed(&upper, &body(CHANNEL), None).as_deref(), Ok(CHANNEL), "its own subject is in lower case");
        for (token, payload) in [(CHANNEL, body(OTHER)), ("else", body(CHANNEL)), (CHANNEL, "garbage".into())] {
            assert!(matches!(replayed(token, &payload, None), Err(AdminError::Conflict(_))), "{token} {payload}");
        }
        let skip = body(CHANNEL).replace("RocketSpeedIncreased", "MessagesSkipped");
        assert!(matches!(replayed(CHANNEL, &skip, None), Err(AdminError::Conflict(_))));
    }

    #[test]
    fn a_corrected_message_is_of_the_dead_letter_s_channel_unless_that_is_none() {
        assert_eq!(replayed(CHANNEL, "garbage", Some(&body(CHANNEL))).as_deref(), Ok(CHANNEL));
        assert_eq!(replayed("else", "garbage", Some(&body(OTHER))).as_deref(), Ok(OTHER));
        let other = replayed(CHANNEL, "garbage", Some(&body(OTHER))).unwrap_err().to_string();
        assert_eq!(other, format!("metadata.channel: must be the dead letter's, {CHANNEL}"));
        let wrong = replayed(CHANNEL, &body(CHANNEL), Some("{}")).unwrap_err();
        assert_eq!(wrong, AdminError::BadRequest("metadata: is missing".into()));
    }
}
