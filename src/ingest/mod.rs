//! The role that takes messages in: `POST /messages`, checked, stored by the broker, and only then answered.
//!
//! `HTTP ▸ http/body ▸ domain/wire ▸` [`bounds`] `▸ broker/publisher ▸ [stream]`
//!
//! What it does not do: look at the order or at any rocket. A message that makes no sense is stored like any other; the
//! tracker finds out.

pub mod bounds;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use crate::broker::objects::{Object, Problem};
use crate::broker::publisher::Identity;
use crate::broker::storing::Storing;
use crate::broker::{Broker, BrokerError, GroupCommit, Objects, Origin, Outgoing, Publisher, Receipt};
use crate::domain::wire::NotAMessage;
use crate::domain::{Message, wire};
use crate::fail_point;
use crate::http::health::{Check, Condition, NO_BROKER};
use crate::http::route::{Request, Routes, route};
use crate::http::{Access, Answer, RequestId};
use crate::logging::limited;
use crate::metrics::IngestMetrics;
use crate::traces::Trace;
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

/// A message is stored.
#[derive(Serialize, ToSchema)]
pub struct Ingested {
    /// `duplicate` if the same message had been stored before.
    #[schema(pattern = "^(ingested|duplicate)$")]
    status: &'static str,
    /// Its place in the log; of a duplicate, that of the first one.
    event_id: u64,
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
        route("POST", "messages", Access::Messages, self, Self::answer)
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

    async fn answer(self, mut request: Request) -> Result<Answer, Answer> {
        let stored = async {
            let payload = request.body(BODY_BYTES_MAX).await.inspect_err(|_| self.metrics.reject("body"))?;
            let message = wire::read(&payload).map_err(|error| self.rejected(&error))?;
            may_write(&request, &message)?;
            let admitted = self.bounds.admit(&message, request.caller()).await;
            admitted.inspect_err(|_| self.metrics.reject("metadata.channel"))?;
            self.store(&message, payload, origin_of(&request)).await
        };
        stored.await.inspect_err(|answer| log_rejected(answer, &request.id, &request.trace))
    }

    async fn store(&self, message: &Message, payload: Bytes, origin: Origin) -> Result<Answer, Answer> {
        let (channel, number) = (message.channel, message.number);
        let Origin { request_id, trace, .. } = origin.clone();
        let outgoing = Outgoing { channel, identity: Identity::Message(number), origin, payload };
        let begun = Instant::now();
        let published = self.publisher.publish(outgoing).await;
        self.count(&published, begun.elapsed());
        match published {
            Ok(Receipt { sequence, duplicate }) => {
                fail_point::reached("ingest.stored");
                let status = if duplicate { "duplicate" } else { "ingested" };
                let (trace_id, number, event_id) = (trace.id(), number.get(), sequence.0);
                tracing::debug!(%request_id, trace_id, %channel, number, event_id, status, "stored");
                Ok(Answer::ok(&Ingested { status, event_id }))
            }
            Err(error) => {
                log_unstored(&error, &request_id, &trace);
                Err(Answer::unavailable("the message cannot be stored now, send it again"))
            }
        }
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

fn origin_of(request: &Request) -> Origin {
    let key = request.caller().key_id().map(ToOwned::to_owned);
    Origin { request_id: request.id.to_string(), trace: request.trace.clone(), key }
}

/// Refuses a message of a channel that its sender's key does not name.
fn may_write(request: &Request, message: &Message) -> Result<(), Answer> {
    match request.caller().may_write(&message.channel) {
        true => Ok(()),
        false => Err(Answer::forbidden("metadata.channel: this key may not write it")),
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

fn log_rejected(answer: &Answer, request_id: &RequestId, trace: &Trace) {
    if answer.status().is_client_error() {
        limited!(info, %request_id, trace_id = trace.id(), problem = ?answer.problem().unwrap_or_default(), "message rejected");
    }
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
