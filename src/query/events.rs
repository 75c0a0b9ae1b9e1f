//! `GET /events/{event_id}`: what became of one message, and on request not before that is known; and the wait of one who
//! wants to see a rocket only once an event of it is in there (`?after=`).
//!
//! What is stored about it is read afresh for each answer; what is to be said of it is [`super::status`]'s to decide.
//! Whoever waits has subscribed before the first reading, and reads again at each word ([`crate::broker::notifications`]). A
//! status that is final is reported once this process's own view shows it, so that what is asked next is not older.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::feed::{Freshness, LiveView};
use super::params::{BadParameter, Params};
use super::status::{Asked, Snapshot, Status};
use crate::broker::inspect::progress;
use crate::broker::log_reader::locate;
use crate::broker::notifications::Signals;
use crate::broker::outcomes::outcome_of;
use crate::broker::store::{Store, Versioned};
use crate::broker::trim::was_trimmed;
use crate::broker::{Broker, BrokerError, LogReader as _, NatsLog, Stored};
use crate::domain::checkpoint::trimmed_through;
use crate::domain::{self, Channel, Entry, MessageNumber, Outcome, Record, Sequence, Skip};
use crate::http::{Answer, Request, RequestId};
use crate::logging::limited;

/// How long one waits for an event to be in a rocket who does not say how long.
const AFTER_WAIT: Duration = Duration::from_millis(4_500);
/// Longest time that a client may ask to wait.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How long the broker may take to say where an event is, and again for what became of it: together less than 5 s.
const READ_DEADLINE: Duration = Duration::from_millis(2_200);
/// How long a final status is kept back at least, for the view to show it.
const SHOW_WAIT_MIN: Duration = Duration::from_secs(1);
/// Pause between a word, which is heard before anything is stored, and a second look; then it grows fourfold each time.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(4);
/// Longest pause between two looks, where no word comes.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Readings for one look, where an outcome was reported while the record was read.
const READINGS_MAX: usize = 3;

/// Answers for events, on one connection.
#[derive(Clone)]
pub struct Events {
    broker: Broker,
    store: Store,
    live: Arc<LiveView>,
    shutdown: CancellationToken,
}

/// What never changes of an event.
struct Event {
    id: Sequence,
    partition: u16,
    channel: Option<Channel>,
    number: Option<MessageNumber>,
    message_type: Option<&'static str>,
    asked: Asked,
    received_at: OffsetDateTime,
}

/// What became of it as far as is known, and the revision of the record that shows it.
struct StatusAt {
    status: Status,
    revision: u64,
}

/// What there is of an event.
enum Found {
    Event(Event, StatusAt),
    /// It was there, and is no more.
    Trimmed,
    Nothing,
}

/// What became of a message that was stored. What cannot be read of it is null.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub struct PublicEvent {
    /// Its place in the log.
    id: u64,
    /// Its rocket.
    #[schema(format = Uuid)]
    channel: Option<String>,
    /// Its number; of a skip, the last number that is skipped.
    message_number: Option<u64>,
    /// Its type; `MessagesSkipped` of a skip.
    message_type: Option<&'static str>,
    /// `pending` also while it waits behind a gap; `failed` where it was refused; `duplicate` where its number was applied before.
    #[schema(pattern = "^(pending|processing|processed|failed|duplicate)$")]
    status: &'static str,
    /// When it was stored.
    #[schema(format = DateTime)]
    received_at: Option<String>,
    /// When it was applied, refused or found to be a duplicate.
    #[schema(format = DateTime)]
    processed_at: Option<String>,
    /// Why it failed, or what it is a duplicate of.
    error_message: Option<String>,
    /// The missing number, while it waits behind a gap.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    waiting_for: Option<u64>,
}

impl Events {
    /// Answers on this connection; at the shutdown nobody waits any longer.
    pub async fn new(broker: &Broker, live: &Arc<LiveView>, shutdown: CancellationToken) -> Result<Self, BrokerError> {
        Ok(Self { broker: broker.clone(), store: Store::new(broker).await?, live: live.clone(), shutdown })
    }

    /// Answers `GET /events/{event_id}`.
    pub(super) async fn answer(self, request: Request) -> Result<Answer, Answer> {
        let invalid = || Answer::bad_request(format!("invalid event ID: {}", request.parameter));
        let id = event_id(&request.parameter).ok_or_else(invalid)?;
        let wait = wait_of(&Params::parse(request.query(), &["wait"])?)?.unwrap_or_default();
        match self.find(id, wait).await {
            Ok(Found::Event(event, status_at)) => Ok(Answer::ok(&public(&event, &status_at.status))),
            Ok(Found::Trimmed) => Err(Answer::gone(format!("event {id} was trimmed"))),
            Ok(Found::Nothing) => Err(Answer::not_found("event")),
            Err(error) => Err(unavailable(&error, &request.head.id)),
        }
    }

    /// Waits, where a query asks for it (`after`, `wait`), until this process shows a rocket with that event in it: applied,
    /// refused, skipped or known to wait.
    pub(super) async fn awaited(&self, channel: &Channel, query: &str, id: &RequestId) -> Result<(), Answer> {
        let params = Params::parse(query, &["after", "wait"])?;
        let (after, wait) = (params.text("after"), wait_of(&params)?);
        let Some(after) = after else {
            return match wait {
                Some(_) => Err(BadParameter::new("wait", "needs after, the event to wait for").into()),
                None => Ok(()),
            };
        };
        let invalid = || BadParameter::new("after", "must be an event id: digits that fit 63 bits");
        let (event, wait) = (event_id(after).ok_or_else(invalid)?, wait.unwrap_or(AFTER_WAIT));
        let deadline = Instant::now() + wait;
        match self.find(event, wait).await.map_err(|error| unavailable(&error, id))? {
            Found::Nothing => Err(Answer::not_found("event")),
            Found::Trimmed => Ok(()),
            Found::Event(found, _) if found.channel != Some(*channel) => {
                Err(Answer::conflict(format!("after: event {event} is not of this rocket")))
            }
            Found::Event(_, status_at) if self.shows(&status_at, deadline).await => Ok(()),
            Found::Event(..) => Err(Answer::unavailable(format!("event {event} is not applied yet, ask again"))),
        }
    }

    /// Whether this process's view has what is known of an event, by then. A view that lost its feed may be another bucket's.
    async fn shows(&self, status_at: &StatusAt, deadline: Instant) -> bool {
        let is_reached =
            status_at.status.is_known() && timeout_at(deadline, self.live.reached(status_at.revision)).await.is_ok();
        is_reached && self.live.freshness() != Freshness::Stale
    }

    async fn find(&self, id: Sequence, wait: Duration) -> Result<Found, BrokerError> {
        if !self.broker.is_connected() {
            return Err(BrokerError::Unavailable("not connected".into()));
        }
        let deadline = Instant::now() + wait;
        let Some((partition, stored)) = in_time(locate(&self.broker, id)).await? else {
            let was_there = in_time(was_trimmed(&self.broker, id)).await?;
            return Ok(if was_there { Found::Trimmed } else { Found::Nothing });
        };
        let event = Event::of(partition, stored);
        let status_at = match wait {
            Duration::ZERO => self.status_at(&event).await?,
            _ => self.look_until_known(&event, deadline).await?,
        };
        if matches!(status_at.status, Status::Final(Outcome::Duplicate, None))
            && in_time(self.is_trimmed(&event)).await?
        {
            return Ok(Found::Trimmed);
        }
        if matches!(status_at.status, Status::Final(..)) {
            // A view that lags further behind says so itself.
            let shown_by = deadline.max(Instant::now() + SHOW_WAIT_MIN);
            let _ = timeout_at(shown_by, self.live.reached(status_at.revision)).await;
        }
        Ok(Found::Event(event, status_at))
    }

    /// Whether its number was trimmed. Its own message may be there until the next trim; where what was reported of it is lost
    /// (the outcomes were purged), nobody can tell it from a copy any more.
    async fn is_trimmed(&self, event: &Event) -> Result<bool, BrokerError> {
        let (Some(channel), Some(number)) = (event.channel, event.number) else { return Ok(false) };
        let log = NatsLog { broker: &self.broker, partition: event.partition };
        Ok(Some(number) <= trimmed_through(&log.checkpoints(&channel).await?))
    }

    async fn look_until_known(&self, event: &Event, deadline: Instant) -> Result<StatusAt, BrokerError> {
        let mut signals = Signals::subscribe(&self.broker, event.identity(), event.in_sequence_of()).await?;
        let mut pause = LOOK_PAUSE_MIN;
        loop {
            let over = self.shutdown.is_cancelled() || Instant::now() >= deadline;
            let status_at = self.status_at(event).await?;
            if over || status_at.status.is_known() {
                return Ok(status_at);
            }
            tokio::select! {
                () = signals.next() => pause = LOOK_PAUSE_MIN,
                () = sleep_until(deadline.min(Instant::now() + pause)) => pause = LOOK_PAUSE_MAX.min(4 * pause),
                () = self.shutdown.cancelled() => {}
            }
        }
    }

    async fn status_at(&self, event: &Event) -> Result<StatusAt, BrokerError> {
        let (mut seen, mut revision) = in_time(self.read(event)).await?;
        for _ in 1..READINGS_MAX {
            if seen.outcome_record.is_none() || seen.has_effect(event.identity(), event.asked) {
                break;
            }
            (seen, revision) = in_time(self.read(event)).await?;
        }
        Ok(StatusAt { status: seen.status(event.identity(), event.asked), revision })
    }

    /// Reads what is stored, in the order on which a status relies.
    async fn read(&self, event: &Event) -> Result<(Snapshot, u64), BrokerError> {
        let load = async {
            match event.in_sequence_of() {
                Some(channel) => self.store.load_latest(&channel).await,
                None => Ok(Versioned::NONE),
            }
        };
        let (found, progress) = tokio::try_join!(load, progress(&self.broker, event.partition))?;
        let record = match found.record.as_deref().map(Record::from_bytes) {
            None => Record::default(),
            Some(Ok(record)) => record,
            // A tracker will replay it, or a newer program knows.
            Some(Err(_)) => Record::to_be_replayed(),
        };
        let mut seen = Snapshot { record, unreported: found.unreported, at: found.at, progress, outcome_record: None };
        if seen.may_be_reported(event.identity(), event.asked) {
            seen.outcome_record = outcome_of(&self.broker, event.identity()).await?;
        }
        Ok((seen, found.revision))
    }
}

impl Event {
    fn of(partition: u16, stored: Stored) -> Self {
        let (id, received_at) = (stored.sequence, stored.time);
        let of_subject = Channel::parse(&stored.channel_token);
        let entry = stored.read().ok();
        let (number, message_type) = match &entry {
            Some(Entry::Message(arrival)) => (Some(arrival.message.number), Some(arrival.message.kind.name())),
            Some(Entry::Skip(arrived)) => (Some(arrived.skip.up_to), Some(Skip::NAME)),
            None => (None, None),
        };
        let asked = entry.as_ref().map_or(Asked::Unreadable, Asked::of);
        Self { id, partition, channel: of_subject, number, message_type, asked, received_at }
    }

    /// What tells it from a message that lay at its sequence before, or will.
    fn identity(&self) -> domain::Event {
        domain::Event::new(self.id, self.received_at)
    }

    /// The channel whose record tells of it; none where it cannot be read.
    fn in_sequence_of(&self) -> Option<Channel> {
        self.channel.filter(|_| self.asked != Asked::Unreadable)
    }
}

fn public(event: &Event, status: &Status) -> PublicEvent {
    let time = |time: OffsetDateTime| time.format(&Rfc3339).ok();
    let (processed_at, error_message) = match status {
        Status::Final(outcome, at) => (*at, outcome.reason()),
        Status::Pending | Status::Waiting(_) | Status::Processing => (None, None),
    };
    PublicEvent {
        id: event.id.0,
        channel: event.channel.map(|channel| channel.to_string()),
        message_number: event.number.map(MessageNumber::get),
        message_type: event.message_type,
        status: status.name(),
        received_at: time(event.received_at),
        processed_at: processed_at.and_then(time),
        error_message,
        waiting_for: if let Status::Waiting(missing) = status { Some(missing.get()) } else { None },
    }
}

/// Digits that fit 63 bits.
fn event_id(text: &str) -> Option<Sequence> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id <= i64::MAX as u64).map(Sequence)
}

/// How long the client wants to wait, if it says so.
fn wait_of(params: &Params) -> Result<Option<Duration>, BadParameter> {
    let Some(text) = params.text("wait") else { return Ok(None) };
    let (digits, in_unit): (_, fn(u64) -> Duration) = match text.strip_suffix("ms") {
        Some(digits) => (digits, Duration::from_millis),
        None => (text.strip_suffix('s').unwrap_or_default(), Duration::from_secs),
    };
    let count = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let wait = count.map(in_unit).filter(|wait| *wait <= WAIT_MAX);
    wait.map(Some).ok_or_else(|| BadParameter::new("wait", "must be a time such as 5s or 500ms, at most 10s"))
}

async fn in_time<T>(read: impl Future<Output = Result<T, BrokerError>>) -> Result<T, BrokerError> {
    timeout(READ_DEADLINE, read).await.unwrap_or_else(|_| Err(BrokerError::timed_out("reading an event")))
}

fn unavailable(error: &BrokerError, request_id: &RequestId) -> Answer {
    limited!(warn, %request_id, %error, "an event could not be read");
    Answer::unavailable("the event cannot be read now, ask again")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const CHANNEL: &str = "193270a9-c9cf-404a-8f83-838e71d9ae67";

    #[test]
    fn an_event_id_is_digits_that_fit_63_bits() {
        let rows = [
            ("0", Some(0)),
            ("12", Some(12)),
            ("007", Some(7)),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("99999999999999999999999", None),
            ("", None),
            ("+1", None),
            ("-1", None),
            ("1.0", None),
            ("0x1", None),
            ("١", None),
            ("%31", None),
        ];
        for (text, expected) in rows {
            assert_eq!(event_id(text), expected.map(Sequence), "{text}");
        }
    }

    #[test]
    fn a_wait_is_a_whole_number_of_a_unit_within_its_bound() {
        let wait_of = |query: &str| Params::parse(query, &["wait"]).and_then(|params| wait_of(&params));
        let wait = |text: &str| wait_of(&format!("wait={text}")).map_err(|error| error.to_string());
        for (text, milliseconds) in [("5s", 5_000), ("500ms", 500), ("10s", 10_000), ("10000ms", 10_000), ("0s", 0)] {
            assert_eq!(wait(text), Ok(Some(Duration::from_millis(milliseconds))), "{text}");
        }
        assert_eq!(wait_of(""), Ok(None));
        for text in ["", "5", "s", "ms", "11s", "10001ms", "1.5s", "-1s", "%2B1s", "5S", "5m", "5 s", "1s1ms", "1sms"] {
            assert_eq!(wait(text), Err("wait: must be a time such as 5s or 500ms, at most 10s".into()), "{text}");
        }
        assert!(wait("18446744073709551615s").is_err() && wait("99999999999999999999999s").is_err());
        assert!(wait_of("wait=1s&wait=1s").is_err() && wait_of("waits=1s").is_err());
    }

    fn json(token: &str, corrects: Option<&str>, payload: &str, status: &Status) -> String {
        let stored = Stored {
            sequence: Sequence(7),
            channel_token: token.into(),
            time: OffsetDateTime::UNIX_EPOCH,
            request_id: None,
            cause: None,
            corrects: corrects.map(str::to_owned),
            attempts_before: 0,
            format: 1,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        };
        serde_json::to_string(&public(&Event::of(3, stored), status)).unwrap()
    }

    fn body(message_type: &str) -> String {
        format!(
            r#"{{"metadata":{{"channel":"{CHANNEL}","messageNumber":9,"messageTime":"2022-02-02T19:39:05Z",
               "messageType":"{message_type}"}},"message":{{"reason":"x"}}}}"#
        )
    }

    #[test]
    fn an_event_says_what_it_has_to_say_and_null_elsewhere() {
        let at = Some(OffsetDateTime::UNIX_EPOCH);
        let failed = Status::Final(Outcome::Failed("why".into()), at);
        let readable = format!(r#"{{"id":7,"channel":"{CHANNEL}","message_number":9,"message_type":"#);
        let stored = r#""received_at":"1970-01-01T00:00:00Z","processed_at":"#;
        let rows = [
            (
                json(CHANNEL, None, &body("RocketExploded"), &Status::Waiting(MessageNumber::FIRST)),
                format!(
                    r#"{readable}"RocketExploded","status":"pending",{stored}null,"error_message":null,"waiting_for":1}}"#
                ),
            ),
            (
                json(CHANNEL, None, &body("MessagesSkipped"), &Status::Final(Outcome::Processed, at)),
                format!(
                    r#"{readable}"MessagesSkipped","status":"processed",{stored}"1970-01-01T00:00:00Z","error_message":null}}"#
                ),
            ),
            (
                json(CHANNEL, Some("8"), &body("RocketExploded"), &failed),
                format!(
                    r#"{{"id":7,"channel":"{CHANNEL}","message_number":null,"message_type":null,"status":"failed",{stored}"1970-01-01T00:00:00Z","error_message":"why"}}"#
                ),
            ),
            (
                json("not-a-uuid", None, "x", &Status::Final(Outcome::Duplicate, None)),
                format!(
                    r#"{{"id":7,"channel":null,"message_number":null,"message_type":null,"status":"duplicate",{stored}null,"error_message":null}}"#
                ),
            ),
        ];
        for (event, expected) in rows {
            assert_eq!(event, expected);
        }
    }
}
