//! `--verify`: does what an operator has to do, waits until the service has caught up, and compares each rocket with what it
//! must be, field by field.
//!
//! Rockets are read one by one, as anyone could read them. Those which are settled are compared and forgotten; the
//! others are read again until patience ends, and then compared as they are. What cannot be read counts as not there
//! yet: the service may just be restarting.
//!
//! `--corrections` replays dead letters of this run with a body that makes more sense. Which ones is decided by the oracle,
//! and so always the same: in turns, of each channel the lowest number that is refused and has not been corrected yet.
//! Whether there is a dead letter for it is for the service to show. In one turn a channel is corrected once, and the next
//! turn waits until the service has replayed it: then a dead letter that is still expected does not go away by itself, and
//! one that is gone was replayed by us.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use reqwest::StatusCode;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::message::Message;
use super::operator::{DeadLetter, Operator, Skipped, close_gaps};
use super::oracle::{Expected, Oracle};
use super::send::Outcome;
use crate::client::REQUESTS_MAX;
use crate::text::printable;

/// How long the one look may take that is left when time is up, so that an operator who was stuck still says what
/// differs.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// What became of a verification.
#[derive(Debug)]
pub(super) struct Verdict {
    /// How many rockets were expected.
    pub(super) rockets: usize,
    /// How many channels were expected to be unknown, because no launch was sent on them.
    pub(super) unknown: usize,
    /// What was done before rockets could be compared.
    pub(super) repairs: Repairs,
    /// Everything that is not as it must be.
    pub(super) differences: Vec<Difference>,
}

impl Verdict {
    /// As a program reads it.
    pub(super) fn to_json(&self) -> Value {
        let Self { rockets, unknown, repairs, differences } = self;
        json!({
            "rockets": rockets,
            "unknown": unknown,
            "skips": repairs.skips,
            "skipped_numbers": repairs.skipped_numbers,
            "corrections": repairs.corrections,
            "differences": differences.iter().map(Difference::to_string).collect::<Vec<_>>(),
        })
    }
}

/// What the operator did.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Repairs {
    /// How many skips were made.
    pub(super) skips: u64,
    /// How many numbers they covered.
    pub(super) skipped_numbers: u64,
    /// How many corrections were made.
    pub(super) corrections: u64,
}

/// Closes the gaps, then compares the service with the oracle, and gives it until the operator's deadline to catch up.
/// When all is right, and corrections are wanted, makes them and compares again.
pub(super) async fn verify(operator: Operator, mut oracle: Oracle, corrections_wanted: u64) -> Verdict {
    let Skipped { skips, numbers, mut differences } = close_gaps(&operator, &oracle).await;
    differences.extend(compare_all(&operator, &oracle, Patience::UntilApplied).await);
    let mut repairs = Repairs { skips, skipped_numbers: numbers, corrections: 0 };
    if corrections_wanted > 0 && differences.is_empty() {
        let Corrected { corrections, difference } = correct(&operator, &mut oracle, corrections_wanted).await;
        repairs.corrections = corrections;
        differences.extend(difference);
        differences.extend(compare_all(&operator, &oracle, Patience::UntilRight).await);
    }
    operator.progress.finish();
    let (rockets, unknown) = oracle.channels().partition::<Vec<_>, _>(|(_, expected)| expected.is_launched());
    Verdict { rockets: rockets.len(), unknown: unknown.len(), repairs, differences }
}

async fn compare_all(operator: &Operator, oracle: &Oracle, patience: Patience) -> Vec<Difference> {
    let now = Instant::now();
    let (until, patience) = match now < operator.deadline {
        true => (operator.deadline, patience),
        false => (now + LAST_LOOK, Patience::OneLook),
    };
    compare(operator, until, patience, oracle.channels()).await
}

/// When a rocket need not be read again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Patience {
    /// When everything has been applied: what is wrong then stays wrong.
    UntilApplied,
    /// When it is right: a correction changes what had been applied already, and from outside nothing else tells when.
    UntilRight,
    /// When it has been read once: there is no time left to wait for anything.
    OneLook,
}

/// One look at many rockets, again and again.
struct Comparison<'a> {
    operator: &'a Operator,
    until: Instant,
    patience: Patience,
}

/// One channel that is not known to be settled.
struct Watched {
    channel: Uuid,
    expected: Expected,
    seen: Seen,
}

/// Compares these channels, and gives the service this long to come to what is expected.
pub(super) async fn compare(
    operator: &Operator,
    until: Instant,
    patience: Patience,
    channels: impl Iterator<Item = (Uuid, Expected)>,
) -> Vec<Difference> {
    let comparison = Comparison { operator, until, patience };
    let (launched, unknown): (Vec<Watched>, Vec<Watched>) =
        channels.map(Watched::new).partition(|watched| watched.expected.is_launched());
    let mut differences = comparison.watch(launched).await;
    // Only now: while the service was still behind, an unknown channel said nothing.
    differences.extend(comparison.watch(unknown).await);
    differences
}

impl Watched {
    fn new((channel, expected): (Uuid, Expected)) -> Watched {
        Watched { channel, expected, seen: Seen::Unreadable("not read before the deadline".to_owned()) }
    }

    /// Whether it is not waited for any longer. A rocket that must not be there will not go away.
    fn is_settled(&self, patience: Patience) -> bool {
        let is_excess = matches!(self.seen, Seen::Rocket(_)) && !self.expected.is_launched();
        let is_final = is_excess || self.seen.is_final(&self.expected);
        match patience {
            Patience::UntilApplied => is_final,
            Patience::UntilRight => is_final && self.differences().is_empty(),
            Patience::OneLook => true,
        }
    }

    fn differences(&self) -> Vec<Difference> {
        self.seen.differences(self.channel, &self.expected)
    }
}

impl Comparison<'_> {
    /// Looks at the channels until all are settled or patience ends, and gives what differs.
    async fn watch(&self, mut watched: Vec<Watched>) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut settled_messages = 0;
        loop {
            self.look(&mut watched).await;
            let settled = watched.extract_if(.., |watched| watched.is_settled(self.patience));
            for watched in settled {
                settled_messages += watched.expected.last_number;
                differences.extend(watched.differences());
            }
            self.show(settled_messages, &watched);
            if watched.is_empty() || Instant::now() >= self.until {
                break;
            }
            self.operator.pause(self.until).await;
        }
        differences.extend(watched.iter().flat_map(Watched::differences));
        differences
    }

    /// Reads every channel once, or as many as there is time for.
    async fn look(&self, watched: &mut [Watched]) {
        let channels: Vec<Uuid> = watched.iter().map(|watched| watched.channel).collect();
        let read = |(index, channel)| async move { (index, self.operator.rocket(channel).await) };
        let mut reads = stream::iter(channels.into_iter().enumerate()).map(read).buffer_unordered(REQUESTS_MAX);
        while let Ok(Some((index, seen))) = timeout_at(self.until, reads.next()).await {
            watched[index].seen = seen;
        }
    }

    fn show(&self, settled_messages: u64, watched: &[Watched]) {
        let messages: u64 = watched.iter().map(|watched| watched.seen.last_number()).sum();
        if self.patience == Patience::UntilApplied {
            self.operator.progress.set(settled_messages + messages);
        }
        let trouble = watched.iter().find_map(|watched| match &watched.seen {
            Seen::Unreadable(reason) => Some(reason),
            _ => None,
        });
        if let Some(trouble) = trouble {
            self.operator.progress.say(trouble);
        }
    }
}

/// What was found on the service for a channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    /// Nothing could be read yet, for this reason.
    Unreadable(String),
    /// There is no such rocket.
    Unknown,
    /// The rocket as the service shows it.
    Rocket(Map<String, Value>),
}

/// One thing that is not as it must be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    channel: Uuid,
    text: String,
}

impl Display for Difference {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.channel, printable(&self.text))
    }
}

impl Difference {
    /// Something that is not as it must be on this channel.
    pub(super) fn new(channel: Uuid, text: String) -> Difference {
        Difference { channel, text }
    }
}

impl Seen {
    /// Whether the service has applied everything, so that what was seen is final.
    pub(super) fn is_final(&self, expected: &Expected) -> bool {
        match self {
            Seen::Unreadable(_) => false,
            Seen::Unknown => !expected.is_launched(),
            Seen::Rocket(fields) => {
                self.last_number() >= expected.last_number && fields.get("pendingMessages") == Some(&Value::from(0))
            }
        }
    }

    /// The number up to which the service has applied the channel's messages, as far as it can be seen.
    pub(super) fn last_number(&self) -> u64 {
        match self {
            Seen::Rocket(fields) => fields.get("lastMessageNumber").and_then(Value::as_u64).unwrap_or(0),
            Seen::Unreadable(_) | Seen::Unknown => 0,
        }
    }

    /// Everything in which it differs from what is expected.
    pub(super) fn differences(&self, channel: Uuid, expected: &Expected) -> Vec<Difference> {
        let difference = |text: String| Difference::new(channel, text);
        match self {
            Seen::Unreadable(reason) => vec![difference(format!("cannot be compared: {reason}"))],
            Seen::Unknown if expected.is_launched() => vec![difference("is unknown, should be a rocket".into())],
            Seen::Unknown => Vec::new(),
            Seen::Rocket(_) if !expected.is_launched() => {
                vec![difference("is a rocket, should be unknown (no launch was sent)".into())]
            }
            Seen::Rocket(fields) => {
                let compared = expected.fields(channel).into_iter();
                compared.filter_map(|(name, value)| field_difference(fields, name, value)).map(difference).collect()
            }
        }
    }
}

fn field_difference(fields: &Map<String, Value>, name: &str, expected: Option<Value>) -> Option<String> {
    let actual = fields.get(name);
    if actual == expected.as_ref() {
        return None;
    }
    Some(format!("{name}: is {}, should be {}", shown(actual), shown(expected.as_ref())))
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "absent".to_owned(), Value::to_string)
}

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
        if turn.is_empty() || !is_replayed_by_the_service(operator, oracle, &turn).await {
            return corrected;
        }
    }
}

/// Waits until the channels of these messages are as they must be. What else they are is said by the last comparison.
async fn is_replayed_by_the_service(operator: &Operator, oracle: &Oracle, turn: &[Message]) -> bool {
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

    /// Whether this dead letter has been replayed; if not, it is gone, and another one must be looked for. After an attempt
    /// that may have been through without our knowing it, that the dead letter is gone means that it was.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::message::{Event, Message};
    use super::*;

    fn expected(events: Vec<Event>) -> Expected {
        let mut oracle = Oracle::default();
        for (number, event) in (1..).zip(events) {
            let time = "2022-02-02T19:39:05Z".to_owned();
            oracle.observe(&Message { channel: Uuid::nil(), upper_case: false, number, time, event });
        }
        oracle.channels().next().unwrap().1
    }

    fn launched() -> Expected {
        expected(vec![Event::Launched { rocket_type: "T".into(), speed: 500, mission: "M".into() }])
    }

    fn rocket(changes: Value) -> Seen {
        let mut fields = json!({
            "id": Uuid::nil().to_string(), "type": "T", "currentSpeed": 500, "mission": "M", "status": "active",
            "launchTime": "2022-02-02T19:39:05Z", "lastUpdated": "2022-02-02T19:39:05Z",
            "lastMessageNumber": 1, "lastMessageTime": "2022-02-02T19:39:05Z", "pendingMessages": 0,
        });
        for (name, value) in changes.as_object().unwrap() {
            fields[name] = value.clone();
        }
        Seen::Rocket(fields.as_object().unwrap().clone())
    }

    fn check(seen: &Seen, expected: &Expected, texts: &[&str]) {
        let found: Vec<String> =
            seen.differences(Uuid::nil(), expected).into_iter().map(|difference| difference.text).collect();
        assert_eq!(found, texts);
    }

    #[test]
    fn every_difference_is_named() {
        check(&rocket(json!({})), &launched(), &[]);
        check(&rocket(json!({ "more": 1 })), &launched(), &[]);
        check(&rocket(json!({ "currentSpeed": 600 })), &launched(), &["currentSpeed: is 600, should be 500"]);
        check(
            &rocket(json!({ "id": "A", "status": null })),
            &launched(),
            &[
                "id: is \"A\", should be \"00000000-0000-0000-0000-000000000000\"",
                "status: is null, should be \"active\"",
            ],
        );
        let reason = rocket(json!({ "explosionReason": "R" }));
        check(&reason, &launched(), &["explosionReason: is \"R\", should be absent"]);
        check(&Seen::Unknown, &launched(), &["is unknown, should be a rocket"]);
        check(&Seen::Unreadable("answer 503".into()), &launched(), &["cannot be compared: answer 503"]);
    }

    #[test]
    fn a_channel_without_a_launch_must_be_unknown() {
        let expected = expected(vec![Event::SpeedIncreased { by: 1 }]);
        check(&Seen::Unknown, &expected, &[]);
        check(&rocket(json!({})), &expected, &["is a rocket, should be unknown (no launch was sent)"]);
        assert!(Seen::Unknown.is_final(&expected));
    }

    #[test]
    fn a_rocket_is_final_once_everything_is_applied() {
        assert!(rocket(json!({})).is_final(&launched()));
        assert!(!rocket(json!({ "lastMessageNumber": 0 })).is_final(&launched()));
        assert!(!rocket(json!({ "pendingMessages": 2 })).is_final(&launched()));
        assert!(!Seen::Unknown.is_final(&launched()));
        assert!(!Seen::Unreadable(String::new()).is_final(&launched()));
    }

    #[test]
    fn a_hostile_value_cannot_reach_the_terminal() {
        let seen = rocket(json!({ "mission": "\u{9b}31m\u{1b}" }));
        let shown = seen.differences(Uuid::nil(), &launched())[0].to_string();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
}
