//! `GET /rockets/live`: the rockets as they are, and then each change, as server-sent events.
//!
//! On the way of the data: [`super::view::changes`] (which rocket changed when) `▸` [`reader`] (what one reader has, and what
//! comes next) `▸` [`frame`] (as events on the wire). [`request`] is what a reader asks for, [`pulse`] what all of them are
//! told every few seconds, and [`places`] how many of them there may be.
//!
//! There is no queue for a reader: it is a number, the revision up to which it has everything, and it is woken when the view
//! has moved on. Whoever reads slowly finds the newest state of each rocket and none of those in between, and costs less
//! than one who keeps up.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::feed::{Freshness, LiveView};
use super::routes::loading;
use crate::broker::Broker;
use crate::http::events::Events;
use crate::http::route::{Request, Routes, get};
use crate::http::{Access, Answer};
pub use frame::{Gone, Reset, Synced};
use places::Places;
pub use pulse::Pulse;
use pulse::Pulses;
use reader::Reader;
use request::LiveRequest;

pub mod frame;
pub mod places;
pub mod pulse;
pub mod reader;
pub mod request;

/// What all readers share.
#[derive(Clone)]
pub struct Live {
    view: Arc<LiveView>,
    places: Places,
    pulses: Pulses,
    /// When streams are to end, because the process does.
    closing: CancellationToken,
}

impl Live {
    /// Readers of this view, until the process closes.
    pub fn new(view: &Arc<LiveView>, closing: CancellationToken) -> Self {
        Self { view: view.clone(), places: Places::default(), pulses: Pulses::default(), closing }
    }

    /// The route.
    pub fn routes(&self) -> Routes {
        get("rockets/live", Access::Knowledge, self, Self::answer)
    }

    /// How many readers there are.
    pub fn readers(&self) -> u64 {
        self.places.count() as u64
    }

    /// Makes the pulse while there are readers, until the shutdown.
    pub async fn run(self, broker: Broker, shutdown: CancellationToken) {
        let pulsing = pulse::run(&broker, &self.view, &self.places, &self.pulses);
        shutdown.run_until_cancelled(pulsing).await;
    }

    async fn answer(self, request: Request) -> Result<Answer, Answer> {
        let asked = LiveRequest::parse(request.query(), &request.head.headers)?;
        if self.view.freshness() == Freshness::Loading {
            return Err(loading());
        }
        let place = self.places.take().ok_or_else(|| Answer::unavailable("too many follow the rockets, ask again"))?;
        let reader = Reader::new(self.view, asked, self.pulses.follow(), place).await;
        Ok(Answer::events(Events::new(reader.into_stream(self.closing))))
    }
}
