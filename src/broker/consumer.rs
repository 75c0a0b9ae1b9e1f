//! Deliveries of one partition, pulled from its durable; the pull is opened again whenever it ends, for whatever reason.
//!
//! Every tracker asks for the messages of every partition. The first in the partition's line asks for many at once, and the
//! broker serves it before all others. The others ask for one message at a time: they get one when the first does not ask,
//! because it is gone or because it has its hands full. Which of the two it is they find out at once ([`Peers`]); if it is
//! there, they give the message back and rest a while, so that one partition is worked on by one tracker, and otherwise
//! they move up. Without this a long queue would be spread over all trackers, each in the other's way.
//!
//! What is delivered stays the broker's until it is acknowledged ([`super::partition`]).

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::{Message, Subject, jetstream};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::connection::PUBLISH_TIMEOUT;
use super::membership::Peers;
use super::pull::{Ask, Pull, REQUEST_EXPIRES};
use super::{Broker, BrokerError, Stored};
use crate::domain::Sequence;

/// Messages that the first in line asks for at once. It asks again at half of it, and before a request runs out, so at
/// most twice as many wait in memory.
pub const PULL_MESSAGES_MAX: usize = 500;
/// Messages that one batch takes up at most.
pub const BATCH_MESSAGES_MAX: usize = 1_000;
/// A batch is taken up no sooner than so long after the one before. Of a long queue the messages arrive one by one, and
/// each batch costs a write for every rocket in it; a message that comes alone waits for nothing.
const BATCH_EVERY: Duration = Duration::from_millis(1);
/// Longest pause before a pull that ended is opened again.
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long one who is not first asks for nothing after it has given a message back. A message that comes back is out of its
/// order, so that this is done rarely; if the first goes meanwhile, the places change, which ends the rest.
const REST: Duration = Duration::from_secs(4);
/// Whoever is not first and is served in spite of it for so long, with hardly anybody else being served, works itself: the
/// first is there and does not ask.
const STUCK_MAX: Duration = Duration::from_secs(3);
/// So many deliveries meanwhile are more than all who are not first can have given back.
const SERVED_MIN: u64 = 200;
/// How long to wait for a new place when the first is gone.
const MOVE_UP_MAX: Duration = Duration::from_millis(250);

/// A stored message that was handed to us, to be acknowledged.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub stored: Stored,
    /// What it is acknowledged by.
    pub handle: AckHandle,
}

/// What one delivery is acknowledged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckHandle {
    /// Where the acknowledgement goes.
    pub(crate) reply: Subject,
    /// How many times the message was delivered, this time included.
    pub deliveries: u64,
}

/// Where a tracker stands in the line of those who work on one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its place, 0 first.
    pub number: usize,
    /// Who is first, where that is another one.
    pub first: Option<Arc<str>>,
}

/// The deliveries of one partition.
pub struct Deliveries {
    broker: Broker,
    partition: u16,
    places: watch::Receiver<Arc<[Place]>>,
    peers: Peers,
    /// What the requests are made as.
    place: Place,
    pull: Option<Pull>,
    /// Pulls in a row that were never answered as they should be.
    failures: u32,
    /// What came and was not handed on yet, and the number of its delivery among all of the durable.
    next: Option<(Delivery, u64)>,
    /// As long as requests may stand that were made as the first, what they bring is ours.
    first_until: Instant,
    /// Nothing is asked for before.
    rests_until: Instant,
    given_back: Option<GivenBack>,
    /// No batch is taken up before.
    batch_after: Instant,
    /// The question whether the first is still there. It goes on while nothing is waited for.
    doubt: Option<BoxFuture<'static, bool>>,
}

/// Messages that were given back one after the other, because another tracker is first.
#[derive(Clone, Copy, Debug)]
struct GivenBack {
    /// Since when, and the number of that delivery.
    since: (Instant, u64),
    /// When it was last done.
    last: Instant,
}

/// What is done with a message.
enum Verdict {
    TakeUp,
    GiveBack,
    LookAgain,
}

impl Deliveries {
    /// Deliveries of this partition, by our place in its line; the pull is opened with the first batch.
    pub fn new(broker: Broker, partition: u16, places: watch::Receiver<Arc<[Place]>>, peers: Peers) -> Self {
        let (now, place) = (Instant::now(), Place { number: 0, first: None });
        Self {
            broker,
            partition,
            places,
            peers,
            place,
            pull: None,
            failures: 0,
            next: None,
            first_until: now,
            rests_until: now,
            given_back: None,
            batch_after: now,
            doubt: None,
        }
    }

    /// Waits until there is something, and takes what is there, at most [`BATCH_MESSAGES_MAX`]. Nothing is lost when
    /// the wait is given up.
    pub async fn next_batch(&mut self) -> Vec<Delivery> {
        loop {
            self.look_at_place();
            let Some((delivery, number)) = &self.next else {
                match self.wait().await {
                    Ok(next) => self.next = next,
                    Err(error) => self.failed(&error).await,
                }
                continue;
            };
            let (handle, number) = (delivery.handle.clone(), *number);
            match self.verdict(number).await {
                Verdict::TakeUp => {
                    sleep_until(self.batch_after).await;
                    return self.batch();
                }
                Verdict::GiveBack => {
                    answer(&self.broker, &[handle], AckKind::Nak(None)).await;
                    self.has_given_back(number);
                }
                Verdict::LookAgain => {}
            }
        }
    }

    /// Takes what has been delivered and not been looked at, for giving it back.
    pub async fn close(self) -> Vec<AckHandle> {
        let left = match self.pull {
            Some(pull) => pull.close().await,
            None => Vec::new(),
        };
        let left = left.into_iter().filter_map(|message| delivery(&self.broker, message));
        self.next.into_iter().chain(left).map(|(delivery, _)| delivery.handle).collect()
    }

    /// Takes over a new place, and has it asked for at once.
    fn look_at_place(&mut self) {
        let now = Instant::now();
        let place = match self.places.borrow_and_update().get(usize::from(self.partition)) {
            Some(place) if *place != self.place => place.clone(),
            _ => return,
        };
        if self.place.number == 0 {
            self.first_until = now + REQUEST_EXPIRES;
        }
        (self.place, self.rests_until, self.given_back, self.doubt) = (place, now, None, None);
        if let Some(pull) = &mut self.pull {
            pull.renew();
        }
    }

    /// Waits until a message comes, or the places in line have changed.
    async fn wait(&mut self) -> Result<Option<(Delivery, u64)>, BrokerError> {
        let pull = match &mut self.pull {
            Some(pull) => pull,
            None => self.pull.insert(Pull::open(&self.broker, self.partition).await?),
        };
        let Place { number: priority, ref first } = self.place;
        let messages = if first.is_none() { PULL_MESSAGES_MAX } else { 1 };
        tokio::select! {
            biased;
            message = pull.next(Ask { messages, priority }, self.rests_until) => Ok(delivery(&self.broker, message?)),
            Ok(()) = self.places.changed() => Ok(None),
        }
    }

    /// Decides on a message, by the number of its delivery.
    async fn verdict(&mut self, number: u64) -> Verdict {
        let Some(first) = &self.place.first else { return Verdict::TakeUp };
        if Instant::now() < self.first_until {
            return Verdict::TakeUp;
        }
        if let Some(given_back) = self.given_back.as_mut().filter(|given_back| given_back.is_stuck(number)) {
            // One more that was served to us and to nobody else.
            given_back.since.1 += 1;
            return Verdict::TakeUp;
        }
        let (peers, name) = (self.peers.clone(), first.clone());
        let doubt = self.doubt.get_or_insert_with(|| async move { peers.is_there(&name).await }.boxed());
        let is_there = doubt.await;
        self.doubt = None;
        if is_there {
            return Verdict::GiveBack;
        }
        self.peers.is_gone(first.clone());
        let _ = timeout(MOVE_UP_MAX, self.places.changed()).await;
        Verdict::LookAgain
    }

    fn has_given_back(&mut self, number: u64) {
        let now = Instant::now();
        let goes_on = self.given_back.filter(|given_back| given_back.goes_on(now, number));
        let since = goes_on.map_or((now, number), |given_back| given_back.since);
        self.given_back = Some(GivenBack { since, last: now });
        (self.next, self.rests_until) = (None, now + REST);
    }

    /// What was being decided on, and all that has come meanwhile.
    fn batch(&mut self) -> Vec<Delivery> {
        self.batch_after = Instant::now() + BATCH_EVERY;
        let mut batch: Vec<_> = self.next.take().map(|(delivery, _)| delivery).into_iter().collect();
        while batch.len() < BATCH_MESSAGES_MAX
            && let Some(message) = self.pull.as_mut().and_then(Pull::try_next)
        {
            batch.extend(delivery(&self.broker, message).map(|(delivery, _)| delivery));
        }
        batch
    }

    /// Lets the pull go, and waits the longer the more of them came to nothing.
    async fn failed(&mut self, error: &BrokerError) {
        if self.pull.take().is_some_and(|pull| pull.was_answered()) {
            self.failures = 0;
        }
        self.failures += 1;
        tracing::debug!(partition = self.partition, %error, "a pull ended, opening another");
        if self.failures == 2 && self.broker.is_connected() {
            tracing::warn!(partition = self.partition, %error, "cannot pull, trying again");
        }
        sleep(REOPEN_PAUSE_MAX.min(Duration::from_millis(20) * self.failures)).await;
    }
}

impl GivenBack {
    /// Whether somebody should have taken messages up for long, and nobody does.
    fn is_stuck(&self, number: u64) -> bool {
        self.since.0.elapsed() >= STUCK_MAX && !self.others_are_served(number)
    }

    /// Whether one more is in a row with those before, and nobody else was served meanwhile.
    fn goes_on(&self, now: Instant, number: u64) -> bool {
        now - self.last < 2 * REST && !self.others_are_served(number)
    }

    fn others_are_served(&self, number: u64) -> bool {
        number.saturating_sub(self.since.1) >= SERVED_MIN
    }
}

/// Sends one kind of answer for each delivery. If the broker is away they are lost, and the messages come again.
pub(super) async fn answer(broker: &Broker, handles: &[AckHandle], kind: AckKind) {
    let payload: bytes::Bytes = kind.into();
    let all = async {
        for AckHandle { reply, .. } in handles {
            if broker.client().publish(reply.clone(), payload.clone()).await.is_err() {
                return;
            }
        }
    };
    if broker.is_connected() {
        // Without a deadline this would wait for as long as the broker is away.
        let _ = timeout(PUBLISH_TIMEOUT, all).await;
    }
}

/// A delivery and its number among all of the durable, unless it is not one: without a reply there is nothing to
/// acknowledge.
fn delivery(broker: &Broker, message: Message) -> Option<(Delivery, u64)> {
    let message = jetstream::Message { message, context: broker.jetstream().clone() };
    let info = message.info().ok()?;
    let (sequence, time, number) = (Sequence(info.stream_sequence), info.published, info.consumer_sequence);
    let deliveries = u64::try_from(info.delivered).unwrap_or(1);
    let message = message.message;
    // The last one of its name, as when the message is read back: an outsider may have written several.
    let header = |name| message.headers.as_ref()?.get_last(name).map(|value| value.as_str());
    let stored = Stored::of(sequence, time, &message.subject, header, &message.payload);
    Some((Delivery { stored, handle: AckHandle { reply: message.reply?, deliveries } }, number))
}
