//! Decisions of a tracker that need nothing but what they decide on: what becomes of a delivery, and of bytes that are no
//! message.

use std::time::Duration;

use super::Counters;
use super::aside::ASIDE_PAUSE;
use crate::broker::{AckHandle, BrokerError, DeadLetter, Malformed, Reason, TrackBroker};
use crate::domain::Sequence;
use crate::logging::Limit;

/// How long messages are given back for when their channel's waiting messages are not to be found.
pub const VAIN_PAUSE: Duration = Duration::from_secs(5);

/// What to do with the deliveries of one channel, once it is settled or could not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposal {
    /// Their effect is stored and nothing could move: let them go.
    Acknowledge,
    /// The record could move: hold one and go on, let the others go.
    HoldOneAndDrain,
    /// Nothing is stored: have them come again after this pause.
    GiveBack(Duration),
}

/// Answers for deliveries, collected until the end of a turn.
#[derive(Default)]
pub struct Answers {
    /// Those to let go.
    pub acknowledge: Vec<AckHandle>,
    /// Those to have again, each after a pause.
    pub give_back: Vec<(AckHandle, Duration)>,
}

impl Answers {
    /// Adds deliveries.
    pub fn dispose(&mut self, handles: Vec<AckHandle>, disposal: Disposal) {
        match disposal {
            Disposal::Acknowledge | Disposal::HoldOneAndDrain => self.acknowledge.extend(handles),
            Disposal::GiveBack(pause) => self.give_back.extend(handles.into_iter().map(|handle| (handle, pause))),
        }
    }
}

/// Decides on deliveries by whether their channel was settled, and whether its record could move then.
pub fn disposal(settled: &Result<(), BrokerError>, could_move: bool) -> Disposal {
    match settled {
        Ok(()) if could_move => Disposal::HoldOneAndDrain,
        Ok(()) => Disposal::Acknowledge,
        Err(error) => Disposal::GiveBack(pause_after(error)),
    }
}

/// How long messages are given back for after an error.
pub fn pause_after(error: &BrokerError) -> Duration {
    match error {
        BrokerError::Conflict | BrokerError::InFlight => Duration::from_millis(50),
        BrokerError::Unavailable(_) => Duration::from_millis(200),
        BrokerError::Full(_) => Duration::from_secs(2),
        BrokerError::TooLarge(_) | BrokerError::Misconfigured(_) | BrokerError::NotThere => Duration::from_secs(5),
        BrokerError::Newer(_) => ASIDE_PAUSE,
    }
}

/// How long the whole partition pauses after an error: not at all, where it may be one channel's trouble.
pub fn partition_pause(error: &BrokerError) -> Duration {
    match error {
        BrokerError::Unavailable(_) | BrokerError::Full(_) => Duration::from_millis(200),
        _ => Duration::ZERO,
    }
}

/// Keeps what is no message as a dead letter.
pub async fn bury_malformed(
    broker: &impl TrackBroker,
    malformed: &Malformed,
    counters: &Counters,
) -> Result<(), BrokerError> {
    static MALFORMED: Limit = Limit::new();
    static UNBURIED: Limit = Limit::new();
    let Malformed { stored, error } = malformed;
    let letter = DeadLetter { stored, reason: Reason::Malformed, error: error.clone(), after_acts: Sequence(0) };
    let buried = broker.bury(&letter).await;
    buried.inspect_err(|error| {
        if let Some(unlogged) = UNBURIED.admits() {
            let event_id = stored.sequence.0;
            tracing::warn!(event_id, %error, unlogged, "a dead letter could not be stored, its message comes again");
        }
    })?;
    Counters::count(&counters.malformed);
    if let Some(unlogged) = MALFORMED.admits() {
        let (channel, event_id) = (&stored.channel_token, stored.sequence.0);
        let request_id = stored.request_id.as_deref();
        tracing::warn!(request_id, ?channel, event_id, ?error, unlogged, "not a message, kept as a dead letter");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_deliveries_is_one_table() {
        let unavailable = || Err(BrokerError::Unavailable(String::new()));
        let rows = [
            (Ok(()), false, Disposal::Acknowledge),
            (Ok(()), true, Disposal::HoldOneAndDrain),
            (Err(BrokerError::Conflict), false, Disposal::GiveBack(Duration::from_millis(50))),
            (unavailable(), false, Disposal::GiveBack(Duration::from_millis(200))),
            (unavailable(), true, Disposal::GiveBack(Duration::from_millis(200))),
            (Err(BrokerError::Full(String::new())), false, Disposal::GiveBack(Duration::from_secs(2))),
            (Err(BrokerError::Misconfigured(String::new())), false, Disposal::GiveBack(Duration::from_secs(5))),
        ];
        for (settled, could_move, expected) in rows {
            assert_eq!(disposal(&settled, could_move), expected, "{settled:?} {could_move}");
        }
    }
}
