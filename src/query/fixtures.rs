//! Rockets for the tests of this module.

use std::sync::Arc;

use super::view::{Entry, View};
use crate::domain::record::Last;
use crate::domain::{Channel, MessageNumber, MessageTime, Record, Rocket, Status};

/// Times whose texts order otherwise than their instants; the first two are the same instant.
pub(super) const TIMES: [&str; 5] = [
    "2022-02-02T19:39:05.5+01:00",
    "2022-02-02T18:39:05.500Z",
    "2022-02-02T18:39:06Z",
    "2022-02-02T20:00:00+09:00",
    "2021-12-31T23:59:60Z",
];

/// A rocket in few words: small numbers stand for its strings and times, so that many are equal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) id: u32,
    pub(super) rocket_type: usize,
    pub(super) mission: usize,
    pub(super) speed: i64,
    pub(super) exploded: bool,
    /// Indices of [`TIMES`]: launch, last update, last message.
    pub(super) times: [usize; 3],
}

pub(super) const TYPES: [&str; 4] = ["Falcon-9", "Falcon Heavy", "falcon-9", "Äpfel & Birnen=1"];
pub(super) const MISSIONS: [&str; 3] = ["ARTEMIS", "ART", "\u{1F680} 50% + \"1\""];

pub(super) fn channel(id: u32) -> Channel {
    Channel::parse(&format!("193270a9-c9cf-404a-8f83-{id:012x}")).unwrap()
}

fn time(at: usize) -> MessageTime {
    MessageTime::parse(TIMES[at]).unwrap()
}

impl Sample {
    pub(super) fn new(id: u32) -> Self {
        Self { id, rocket_type: 0, mission: 0, speed: 500, exploded: false, times: [0, 0, 0] }
    }

    pub(super) fn record(self) -> Record {
        let [launch_time, last_updated, last] = self.times.map(time);
        let status = if self.exploded { Status::Exploded { reason: "FUEL".into() } } else { Status::Active };
        let rocket = Rocket {
            rocket_type: TYPES[self.rocket_type].into(),
            mission: MISSIONS[self.mission].into(),
            speed: self.speed,
            status,
            launch_time,
            last_updated,
        };
        let last = Last { number: MessageNumber::FIRST, time: last };
        Record { rocket: Some(rocket), last: Some(last), ..Record::default() }
    }

    pub(super) fn entry(self) -> Arc<Entry> {
        view_of(&[self]).get(&channel(self.id)).unwrap()
    }
}

impl View {
    /// One rocket; none if its launch has not been applied.
    pub(super) fn get(&self, channel: &Channel) -> Option<Arc<Entry>> {
        self.get_at(channel)?.1
    }
}

/// A view that holds these.
pub(super) fn view_of(samples: &[Sample]) -> View {
    let view = View::default();
    samples.iter().for_each(|sample| view.apply(Some(channel(sample.id)), Some(sample.record()), 1));
    view
}
