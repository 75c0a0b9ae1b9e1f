//! The role that takes messages in: `POST /messages`, checked, stored by the broker, and only then answered.
//!
//! `HTTP ▸ http/body ▸` ([`mod@batch`] `▸`) `domain/wire ▸` [`bounds`] `▸ broker/publisher ▸ [stream]`
//!
//! What it does not do: look at the order or at any rocket. A message that makes no sense is stored like any other; the
//! tracker finds out.

pub mod batch;
pub mod bounds;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::broker::objects::{Object, Problem};
use crate::broker::publisher::Identity;
use crate::broker::storing::Storing;
use crate::broker::{Broker, BrokerError, GroupCommit, Objects, Origin, Outgoing, Publisher, Receipt};
use crate::domain::wire::NotAMessage;
use crate::domain::{Channel, Message, MessageNumber, wire};
use crate::fail_point;
use crate::http::body::{BodyBounds, Form, Received};
use crate::http::door::take_turn;
use crate::http::health::{Check, Condition, NO_BROKER};
use crate::http::route::{Request, Routes, route};
use crate::http::{Access, Answer};
use crate::logging::limited;
use crate::metrics::IngestMetrics;
use crate::traces::Trace;
use batch::{BATCH_BYTES_MAX, Batch, OfMessage};
use bounds::{Bounds, BoundsSettings};

/// Largest body of a message, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// How messages are taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngestSettings {
    /// How much may come in.
    pub bounds: BoundsSettings,
    /// Whether messages that wait are stored as one batch.
    pub group_commit: GroupCommit,
}

/// The ingress on one connection to the broker.
#[derive(Clone)]
pub struct Ingest {
    broker: Broker,
    publisher: Publisher,
    metrics: IngestMetrics,
    bounds: Bounds,
}

/// Who sends, in one request.
struct Sender {
    origin: Origin,
    caller: Caller,
}

/// What a message is called in the log.
type Name = (Channel, MessageNumber);

/// A message is stored.
#[derive(Serialize, ToSchema)]
pub struct Ingested {
    /// `duplicate` if the same message had been stored before.
    #[schema(pattern = "^(ingested|duplicate)$")]
    pub status: &'static str,
    /// Its place in the log; of a duplicate, that of the first one.
    pub event_id: u64,
}

impl Ingest {
    /// An ingress that publishes on this connection, within these bounds.
    pub fn new(broker: Broker, settings: IngestSettings, metrics: IngestMetrics) -> Self {
        metrics.know_fields(&NotAMessage::PATHS);
        let bounds = Bounds::new(broker.clone(), settings.bounds);
        Self { publisher: Publisher::new(broker.clone(), settings.group_commit), broker, metrics, bounds }
    }

    /// `/messages`.
    pub fn routes(&self) -> Routes {
        route("POST", "messages", Access::Messages, &Arc::new(self.clone()), Self::answer)
    }

    /// Whether messages can be taken in.
    pub fn check(&self, objects: &Objects) -> Check {
        let (ingest, objects) = (self.clone(), objects.clone());
        Arc::new(move || match ingest.broker.is_connected() {
            true => condition(&objects.problems(), ingest.publisher.storing()),
            false => Condition::unable(NO_BROKER),
        })
    }

    /// What bounds how much comes in.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// What stores the messages.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Waits for messages that are on their way to the broker.
    pub async fn drain(&self) {
        self.publisher.drain().await;
    }

    async fn answer(self: Arc<Self>, mut request: Request) -> Result<Answer, Answer> {
        let bounds = BodyBounds { one: BODY_BYTES_MAX, list: BATCH_BYTES_MAX };
        let received = request.one_or_list(bounds).await.inspect_err(|_| self.metrics.reject("body"));
        let sender = Sender::of(&request);
        let answered = match received {
            Ok(Received { form: Form::One, bytes, .. }) => self.answer_one(&sender, bytes).await,
            // On the heap: a single message has nothing of its size.
            Ok(received) => Box::pin(self.answer_batch(&sender, &received)).await,
            Err(answer) => Err(answer),
        };
        answered.inspect_err(|answer| sender.log_rejected(answer))
    }

    async fn answer_one(&self, sender: &Sender, payload: Bytes) -> Result<Answer, Answer> {
        let (name, outgoing) = self.read(sender, payload).await?;
        let begun = Instant::now();
        let published = self.publisher.publish(outgoing).await;
        let Receipt { sequence, duplicate } = self.stored(sender, name, published, begun)?;
        let status = if duplicate { "duplicate" } else { "ingested" };
        Ok(Answer::ok(&Ingested { status, event_id: sequence.0 }))
    }

    /// Each for itself: what is wrong with one is nothing to the others.
    async fn answer_batch(&self, sender: &Sender, Received { form, bytes, .. }: &Received) -> Result<Answer, Answer> {
        let bodies = batch::split(*form, bytes).map_err(Answer::bad_request);
        let bodies = bodies.inspect_err(|_| self.metrics.reject("body"))?;
        let checked = join_all(bodies.into_iter().enumerate().map(async |(at, body)| {
            // The first one's turn was taken when the request was let in.
            if at > 0 {
                take_turn(&sender.caller)?;
            }
            self.read(sender, body).await
        }));
        let mut outgoing = Vec::new();
        let named = checked.await.into_iter().map(|checked| {
            let (name, message) = checked?;
            outgoing.push(message);
            Ok(name)
        });
        let (named, begun): (Vec<Result<Name, Answer>>, _) = (named.collect(), Instant::now());
        let mut published = self.publisher.publish_all(outgoing).await.into_iter();
        let became = named.into_iter().map(|named| {
            // There is one for each that was handed over.
            let published = named.map(|name| (name, published.next()))?;
            let (name, Some(published)) = published else { return Err(Answer::internal_error()) };
            self.stored(sender, name, published, begun)
        });
        Ok(Batch::of(became.map(|became| became.map_or_else(OfMessage::from, OfMessage::from)).collect()).into_answer())
    }

    /// What is to be stored, if it is a message that may come in.
    async fn read(&self, sender: &Sender, payload: Bytes) -> Result<(Name, Outgoing), Answer> {
        if payload.len() > BODY_BYTES_MAX {
            self.metrics.reject("body");
            return Err(Answer::too_large(BODY_BYTES_MAX));
        }
        let message = wire::read(&payload).map_err(|error| self.rejected(&error))?;
        sender.may_write(&message)?;
        let admitted = self.bounds.admit(&message, &sender.caller).await;
        admitted.inspect_err(|_| self.metrics.reject("metadata.channel"))?;
        let (channel, number) = (message.channel, message.number);
        let outgoing =
            Outgoing { channel, identity: Identity::Message(number), origin: sender.origin.clone(), payload };
        Ok(((channel, number), outgoing))
    }

    /// Counts and notes what became of a message.
    fn stored(
        &self,
        Sender { origin: Origin { request_id, trace, .. }, .. }: &Sender,
        (channel, number): Name,
        published: Result<Receipt, BrokerError>,
        begun: Instant,
    ) -> Result<Receipt, Answer> {
        self.count(&published, begun.elapsed());
        match &published {
            Ok(Receipt { sequence, duplicate }) => {
                fail_point::reached("ingest.stored");
                let (trace_id, event_id) = (trace.id(), sequence.0);
                tracing::debug!(%request_id, trace_id, %channel, %number, event_id, duplicate, "stored");
            }
            Err(error) => log_unstored(error, request_id, trace),
        }
        published.map_err(|_| Answer::unavailable("the message cannot be stored now, send it again"))
    }
}

impl Ingest {
    fn rejected(&self, error: &NotAMessage) -> Answer {
        self.metrics.reject(error.path());
        Answer::bad_request(error.to_string())
    }

    fn count(&self, published: &Result<Receipt, BrokerError>, took: Duration) {
        self.metrics.publishing.observe(took);
        let counter = match published {
            Ok(Receipt { duplicate: false, .. }) => &self.metrics.ingested,
            Ok(Receipt { duplicate: true, .. }) => &self.metrics.duplicate,
            Err(_) => &self.metrics.unavailable,
        };
        counter.inc();
    }
}

impl Sender {
    fn of(request: &Request) -> Self {
        let caller = request.caller().clone();
        let key = caller.key_id().map(ToOwned::to_owned);
        Self {
            origin: Origin { request_id: request.head.id.to_string(), trace: request.head.trace.clone(), key },
            caller,
        }
    }

    /// Refuses a message of a channel that the sender's key does not name.
    fn may_write(&self, message: &Message) -> Result<(), Answer> {
        match self.caller.may_write(&message.channel) {
            true => Ok(()),
            false => Err(Answer::forbidden("metadata.channel: this key may not write it")),
        }
    }

    fn log_rejected(&self, answer: &Answer) {
        let Origin { request_id, trace, .. } = &self.origin;
        if answer.status().is_client_error() {
            limited!(info, %request_id, trace_id = trace.id(), problem = ?answer.problem().unwrap_or_default(), "message rejected");
        }
    }
}

/// A stream that is set up otherwise may still take messages.
fn condition(problems: &[Problem], storing: &Storing) -> Condition {
    let of_log: Vec<_> = problems.iter().filter(|problem| problem.object == Object::Log).collect();
    let mut condition = Condition::of(&of_log, |problem| problem.is_of_absence() || problem.is_of_room());
    if condition.stops.is_empty()
        && let Some(why) = storing.fails()
    {
        condition.stops.push(format!("messages cannot be stored in {}: {why}", Object::Log));
    }
    condition
}

fn log_unstored(error: &BrokerError, request_id: &str, trace: &Trace) {
    limited!(warn, %request_id, trace_id = trace.id(), %error, "a message could not be stored");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::objects::Wrong;

    #[test]
    fn what_keeps_the_ingress_from_its_work_is_one_table() {
        let rows = [
            (Object::Log, Wrong::Missing, Some(true)),
            (Object::Log, Wrong::Restoring, Some(true)),
            (Object::Log, Wrong::Full(5, 5, "messages"), Some(true)),
            (Object::Log, Wrong::Differs(Vec::new()), Some(false)),
            (Object::Bucket, Wrong::Missing, None),
            (Object::Durable(3), Wrong::Missing, None),
        ];
        for (object, wrong, stops) in rows {
            let problem = Problem { object, wrong };
            let Condition { stops: stopping, notes } = condition(std::slice::from_ref(&problem), &Storing::default());
            assert_eq!(
                (stopping.len(), notes.len()),
                match stops {
                    Some(true) => (1, 0),
                    Some(false) => (0, 1),
                    None => (0, 0),
                }
            );
        }
        let storing = Storing::default();
        storing.note(1, &Err::<(), _>(BrokerError::Unavailable(String::new())));
        let why = "messages cannot be stored in stream ROCKETS: the broker did not take it";
        assert_eq!(condition(&[], &storing), Condition::unable(why));
    }
}
