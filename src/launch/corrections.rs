//! `--corrections`: dead letters of this run, replayed with a body that makes more sense.
//!
//! Which ones is decided by the oracle, and so always the same: in turns, of each channel the lowest number that is
//! refused and has not been corrected yet. Whether there is a dead letter for it is for the service to show. In one
//! turn a channel is corrected once, and the next turn waits until the service has folded it anew: then a letter that
//! is still expected does not go away by itself, and one that is gone was replayed by us.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use tokio::time::timeout_at;

use super::client::Outcome;
use super::comparison::{Patience, compare};
use super::differences::Difference;
use super::message::Message;
use super::operator::{DeadLetter, Operator};
use super::oracle::Oracle;

/// What became of the corrections.
#[derive(Debug, Default)]
pub(super) struct Corrected {
    /// How many were made.
    pub(super) corrections: u64,
    /// The one that could not be made, if so.
    pub(super) difference: Option<Difference>,
}

/// One attempt to get one correction through.
struct Correction<'a> {
    operator: &'a Operator,
    message: &'a Message,
    /// Why it is not through.
    trouble: String,
}

/// Makes so many corrections, or as many as there are refusals, and tells the oracle of each one. It ends early when a
/// correction cannot be made before the operator's deadline, or does not have its effect by then.
pub(super) async fn correct(operator: &Operator, oracle: &mut Oracle, wanted: u64) -> Corrected {
    let mut corrected = Corrected::default();
    loop {
        let left = usize::try_from(wanted - corrected.corrections).unwrap_or(usize::MAX);
        let turn: Vec<Message> = oracle.corrections().take(left).collect();
        for message in &turn {
            if let Err(difference) = Correction::new(operator, message).make().await {
                corrected.difference = Some(difference);
                return corrected;
            }
            oracle.correct(message.clone());
            corrected.corrections += 1;
        }
        if turn.is_empty() || !is_folded_anew(operator, oracle, &turn).await {
            return corrected;
        }
    }
}

/// Waits until the channels of these messages are as they must be. What else they are is said by the last comparison.
async fn is_folded_anew(operator: &Operator, oracle: &Oracle, turn: &[Message]) -> bool {
    let corrected: BTreeSet<_> = turn.iter().map(|message| message.channel).collect();
    let channels = oracle.channels().filter(|(channel, _)| corrected.contains(channel));
    compare(operator, operator.deadline, Patience::UntilRight, channels).await.is_empty()
}

impl<'a> Correction<'a> {
    fn new(operator: &'a Operator, message: &'a Message) -> Correction<'a> {
        Correction { operator, message, trouble: "there was no time for it".to_owned() }
    }

    /// Replays the dead letter of this message until that is through, or time is up.
    async fn make(mut self) -> Result<(), Difference> {
        let (deadline, Message { channel, number, .. }) = (self.operator.deadline, self.message);
        let is_made = timeout_at(deadline, self.go_on()).await.is_ok();
        let text = || format!("the correction of number {number} was not made: {}", self.trouble);
        if is_made { Ok(()) } else { Err(Difference::new(*channel, text())) }
    }

    async fn go_on(&mut self) {
        loop {
            match self.dead_letter().await {
                Ok(dead_letter) if self.replay(&dead_letter).await => return,
                Ok(_) => {}
                Err(trouble) => self.trouble = trouble,
            }
            self.pause().await;
        }
    }

    async fn dead_letter(&self) -> Result<DeadLetter, String> {
        let Message { channel, number, .. } = self.message;
        let dead_letters = self.operator.refused(*channel).await?;
        let dead_letter = dead_letters.into_iter().find(|dead_letter| dead_letter.number == *number);
        dead_letter.ok_or_else(|| "there is no dead letter for it, though it was refused".to_owned())
    }

    /// Whether this letter has been replayed; if not, it is gone, and another one must be looked for. After an attempt
    /// that may have been through without our knowing it, that the letter is gone means that it was.
    async fn replay(&mut self, dead_letter: &DeadLetter) -> bool {
        let mut may_be_through = false;
        loop {
            let outcome = self.operator.replay(dead_letter, self.message.to_body()).await;
            if outcome.is_through() {
                return true;
            }
            if outcome == (Outcome::Refused { status: StatusCode::NOT_FOUND.as_u16() }) {
                self.trouble = "its dead letter was listed, and is not found".to_owned();
                return may_be_through;
            }
            may_be_through |= outcome.may_be_through();
            self.trouble = outcome.to_string();
            self.pause().await;
        }
    }

    async fn pause(&self) {
        self.operator.progress.say(&self.trouble);
        self.operator.pause(self.operator.deadline).await;
    }
}
