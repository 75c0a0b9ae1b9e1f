//! A standing pull of one partition's durable: requests for messages, each asked again before it runs out, so that the
//! broker always has one to serve.
//!
//! The client library's own pull is not used: its requests have one priority for good, and what is on its way when it is
//! dropped is lost until `ack_wait`. Here each request has its own priority, and [`Pull::close`] loses nothing.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::broker::topology::{PRIORITY_GROUP, pull_subject};
use crate::broker::{Broker, BrokerError};
use crate::memory;

/// How long a request waits at the broker: a tracker that froze is still served for so long, and one that is not first any
/// more shares the work for so long.
const REQUEST_EXPIRES: Duration = Duration::from_secs(2);
/// After this time the next request is made, so that there is always one.
const REQUEST_RENEWED: Duration = Duration::from_millis(1_500);
/// How often the broker says that a waiting request still stands.
const REQUEST_HEARTBEAT: Duration = Duration::from_secs(1);
/// A broker that says nothing for so long does not have the request.
const SILENCE_MAX: Duration = Duration::from_millis(2_500);
/// Longest time for what the broker has sent already to arrive, when a pull is closed.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// Statuses that may arrive for the requests that stand, beside messages.
const STATUSES_MAX: usize = 16;

const _: () = assert!(REQUEST_RENEWED.as_millis() < REQUEST_EXPIRES.as_millis());
// The server refuses anything longer.
const _: () = assert!(REQUEST_HEARTBEAT.as_millis() * 2 <= REQUEST_EXPIRES.as_millis());
const _: () = assert!(SILENCE_MAX.as_millis() > REQUEST_EXPIRES.as_millis());

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Ask {
    /// At most so many messages.
    pub(in crate::broker) messages: usize,
    /// Place in the line of those who ask, 0 first.
    pub(in crate::broker) priority: usize,
}

/// Requests of one tracker to one durable, and what they bring.
pub(in crate::broker) struct Pull {
    broker: Broker,
    subject: String,
    inbox: Subject,
    answers: Subscriber,
    /// Everything that was taken from this subscription, statuses too.
    taken: usize,
    /// Whether the broker has answered as it should.
    answered: bool,
    /// Messages that the requests made so far may still bring.
    outstanding: usize,
    renew_at: Instant,
    /// Until when a request stands at the broker: after that nothing is to be expected.
    stands_until: Instant,
    /// Since when nothing has come while something was waited for.
    silent_since: Option<Instant>,
    /// Which connection the requests were made on.
    connection: u64,
    connections: watch::Receiver<()>,
}

impl Pull {
    /// A pull that has asked for nothing yet.
    pub(in crate::broker) async fn open(broker: &Broker, partition: u16) -> Result<Self, BrokerError> {
        let inbox = Subject::from(broker.client().new_inbox());
        let (connection, connections) = (broker.times_connected(), broker.connections());
        let answers = broker.client().subscribe(inbox.clone()).await.map_err(BrokerError::unavailable)?;
        Ok(Self {
            broker: broker.clone(),
            subject: pull_subject(partition),
            inbox,
            answers,
            taken: 0,
            answered: false,
            outstanding: 0,
            renew_at: Instant::now(),
            stands_until: Instant::now(),
            silent_since: None,
            connection,
            connections,
        })
    }

    /// Makes a request.
    async fn ask(&mut self, ask: Ask) -> Result<(), BrokerError> {
        let request = serde_json::json!({
            "batch": ask.messages,
            "max_bytes": memory::of_a_pull(),
            "expires": nanoseconds(REQUEST_EXPIRES),
            "idle_heartbeat": nanoseconds(REQUEST_HEARTBEAT),
            "group": PRIORITY_GROUP,
            "priority": ask.priority,
        });
        let (subject, inbox) = (self.subject.clone(), self.inbox.clone());
        let asked = self.broker.client().publish_with_reply(subject, inbox, request.to_string().into());
        asked.await.map_err(BrokerError::unavailable)?;
        let now = Instant::now();
        if self.stands_until <= now {
            // A rest is over, which was no silence of the broker's.
            self.silent_since = None;
        }
        self.outstanding += ask.messages;
        self.renew_at = now + REQUEST_RENEWED;
        self.stands_until = now + REQUEST_EXPIRES;
        Ok(())
    }

    /// Whether the broker has answered as it should, since it was opened.
    pub(in crate::broker) fn was_answered(&self) -> bool {
        self.answered
    }

    /// Has the next request made at once, whatever is outstanding: it asks for something else.
    pub(in crate::broker) fn renew(&mut self) {
        self.renew_at = Instant::now();
    }

    /// Waits until a message comes, asking for more whenever it is time to, but not before some time. Nothing is lost when
    /// the wait is given up.
    pub(in crate::broker) async fn next(&mut self, ask: Ask, not_before: Instant) -> Result<Message, BrokerError> {
        loop {
            let now = Instant::now();
            let ask_at = if self.outstanding <= ask.messages / 2 { now } else { self.renew_at }.max(not_before);
            if ask_at <= now {
                self.ask(ask).await?;
                continue;
            }
            let silent_until = *self.silent_since.get_or_insert_with(Instant::now) + SILENCE_MAX;
            tokio::select! {
                biased;
                answer = self.answers.next() => {
                    let answer = answer.ok_or_else(|| BrokerError::unavailable("the subscription has ended"))?;
                    if let Some(message) = self.take(answer)? {
                        return Ok(message);
                    }
                }
                () = sleep_until(silent_until), if silent_until < self.stands_until => {
                    return Err(BrokerError::timed_out("the answer to a pull"));
                }
                () = sleep_until(ask_at) => {}
                Ok(()) = self.connections.changed() => if !self.stands() {
                    return Err(BrokerError::unavailable("the connection is a new one"));
                },
            }
        }
    }

    /// A message that has come already.
    pub(in crate::broker) fn try_next(&mut self) -> Option<Message> {
        while let Some(Some(answer)) = self.answers.next().now_or_never() {
            // An error is one of the requests: without them the pull falls silent, and that ends it.
            if let Ok(Some(message)) = self.take(answer) {
                return Some(message);
            }
        }
        None
    }

    /// Whether the connection is still the one that the requests were made on.
    fn stands(&self) -> bool {
        self.broker.is_connected() && self.broker.times_connected() == self.connection
    }

    /// Notes what came; gives the message, unless it is about the requests themselves.
    fn take(&mut self, answer: Message) -> Result<Option<Message>, BrokerError> {
        self.taken += 1;
        self.silent_since = None;
        let (used_up, is_message) = match (answer.status.unwrap_or(StatusCode::OK), messages_left(&answer)) {
            (StatusCode::OK, _) => (1, true),
            (StatusCode::IDLE_HEARTBEAT, _) => (0, false),
            // A request has run out of time, or of bytes.
            (StatusCode::TIMEOUT | StatusCode::REQUEST_TERMINATED, Some(left)) => (left, false),
            (StatusCode::NO_RESPONDERS, _) => return Err(BrokerError::unavailable("no durable answers")),
            (status, _) => {
                let why = answer.description.unwrap_or_default();
                return Err(BrokerError::Unavailable(format!("{status} {why}")));
            }
        };
        self.answered = true;
        self.outstanding = self.outstanding.saturating_sub(used_up);
        Ok(is_message.then_some(answer))
    }

    /// Ends it, and gives all messages that the broker has sent by then and that were not taken.
    ///
    /// The client forgets a subscription before the broker has heard that it ends, and with it what is on its way. Only a
    /// subscription with a bound ends for both at the same message: so it gets a bound that cannot have been passed yet,
    /// and is filled up to it.
    pub(in crate::broker) async fn close(mut self) -> Vec<Message> {
        let mut left: Vec<_> = std::iter::from_fn(|| self.try_next()).collect();
        if self.stands() {
            let filled =
                timeout(CLOSE_MAX, self.fill()).await.unwrap_or_else(|_| Err(BrokerError::timed_out("filling")));
            let rest = async {
                while let Some(answer) = self.answers.next().await {
                    left.push(answer);
                }
            };
            if filled.is_ok() {
                // What does not come now comes again after `ack_wait`.
                let _ = timeout(CLOSE_MAX, rest).await;
            }
        }
        left
    }

    /// Has the subscription end, for the broker and for the client, behind everything that the requests may bring.
    async fn fill(&mut self) -> Result<(), BrokerError> {
        let fill = self.outstanding + STATUSES_MAX;
        let ended = self.answers.unsubscribe_after((self.taken + fill) as u64).await;
        ended.map_err(BrokerError::unavailable)?;
        for _ in 0..fill {
            let filler = self.broker.client().publish(self.inbox.clone(), Bytes::new());
            filler.await.map_err(BrokerError::unavailable)?;
        }
        Ok(())
    }
}

/// How many messages a request that has ended did not bring.
fn messages_left(status: &Message) -> Option<usize> {
    status.headers.as_ref()?.get("Nats-Pending-Messages")?.as_str().parse().ok()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
