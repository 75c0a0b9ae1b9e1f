//! `GET /rockets/{channel}/history`, answered from the stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::super::public::PublicRocket;
use super::super::routes::channel_of;
use super::{Histories, HistoryRequest, Moment, Then};
use crate::broker::{Broker, BrokerError};
use crate::domain::{Channel, MessageNumber};
use crate::http::route::{Request, Routes, get};
use crate::http::{Access, Answer};
use crate::logging::limited;

/// How long a request waits for its turn. Together with one question to the broker that is not answered it is less than 5 s.
const TURN_MAX: Duration = Duration::from_secs(2);
/// Requests that wait for their turn; a further one is answered at once that there are too many.
const WAITING_MAX: usize = 64;
/// How long one history may be read.
const READ_MAX: Duration = Duration::from_secs(60);

/// What the route needs.
struct Reader {
    broker: Broker,
    histories: Histories,
    turns: Arc<Semaphore>,
    /// Places of those who wait for a turn.
    waiting: Semaphore,
}

/// `/rockets/{channel}/history`; each reads a whole channel, when it is its turn.
pub fn routes(broker: &Broker, partitions: u16, turns: Arc<Semaphore>) -> Routes {
    let histories = Histories::new(broker.clone(), partitions);
    let waiting = Semaphore::new(WAITING_MAX);
    let reader = Arc::new(Reader { broker: broker.clone(), histories, turns, waiting });
    get("rockets/:/history", Access::Knowledge, &reader, |reader: Arc<Reader>, request| async move {
        reader.answer(request).await
    })
}

impl Reader {
    async fn answer(&self, request: Request) -> Result<Answer, Answer> {
        let channel = channel_of(&request)?;
        let asked = HistoryRequest::parse(request.query())?;
        if !self.broker.is_connected() {
            return Err(Answer::unavailable("the broker is not available, ask again"));
        }
        let Some(_turn) = self.turn().await else {
            return Err(Answer::unavailable("too many histories are being read, ask again"));
        };
        match timeout(READ_MAX, self.read(&channel, asked)).await {
            Ok(read) => read.map_err(|error| unavailable(&channel, &error)),
            Err(_) => Err(Answer::unavailable("the history takes too long to read")),
        }
    }

    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let _place = self.waiting.try_acquire().ok()?;
        timeout(TURN_MAX, self.turns.acquire()).await.ok()?.ok()
    }

    async fn read(&self, channel: &Channel, request: HistoryRequest) -> Result<Answer, BrokerError> {
        let answer = match request {
            HistoryRequest::Page(request) => {
                let page = self.histories.page(channel, &request).await?;
                page.map(|page| {
                    let trimmed_through = page.trimmed_through.map(MessageNumber::get);
                    Answer::page(&page.rows, page.next_cursor).trimmed_through(trimmed_through)
                })
            }
            HistoryRequest::At(moment) => match self.histories.rocket_at(channel, moment).await? {
                Then::Rocket(entry) => Some(Answer::ok(&PublicRocket::from(&*entry))),
                Then::NotLaunched => None,
                Then::Trimmed => Some(Answer::gone(match moment {
                    Moment::Number(number) => format!("number {number} was trimmed"),
                    Moment::Time(_) => "at: what the rocket was then was trimmed".to_owned(),
                })),
            },
        };
        Ok(answer.unwrap_or_else(|| Answer::not_found("rocket")))
    }
}

fn unavailable(channel: &Channel, error: &BrokerError) -> Answer {
    limited!(warn, %channel, %error, "a history cannot be read");
    Answer::unavailable("the broker is not available, ask again")
}
