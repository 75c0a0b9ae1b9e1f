//! Whether the service has recovered: a message to each partition is answered, and shown by every process that answers
//! for rockets, in order.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use crate::course::Course;
use crate::harness::Client;
use crate::load::{Load, Outcome};
use crate::plan::Role;
use crate::report::say;
use crate::site::Site;

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(10);
/// How often it is looked whether processes have ended by themselves.
const SUPERVISION: Duration = Duration::from_millis(200);
/// How often it is asked whether what is not shown is final.
const LAG_ASKED_EVERY: Duration = Duration::from_millis(500);
/// How long a view may be behind without a word.
const FRESH_WITHIN: Duration = Duration::from_secs(10);
/// When it is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(90);

/// How long it took until all probes had come so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recovery {
    /// Answered with 2xx.
    pub answered: Duration,
    /// Shown by every process that answers for rockets.
    pub shown: Duration,
}

/// Sends the probes, and tells how long it took; none if they were never shown.
pub async fn recovery(site: &mut Site, load: &Load) -> Option<Recovery> {
    let (ingests, queries) = (site.clients(Role::Ingest), site.clients(Role::Query));
    let started = Instant::now();
    let probes = load.probes.iter().enumerate().map(|(at, probe)| {
        let (ingest, queries) = (&ingests[at % ingests.len()], &queries);
        async move {
            let number = goes_in(load, ingest, probe).await;
            let answered = started.elapsed();
            join_all(queries.iter().map(|query| comes_out(load, query, probe, number))).await;
            answered
        }
    });
    let mut all = std::pin::pin!(join_all(probes));
    while started.elapsed() < GIVEN_UP_AFTER {
        if let Ok(answered) = timeout(SUPERVISION, &mut all).await {
            let answered = answered.into_iter().max().unwrap_or_default();
            return Some(Recovery { answered, shown: started.elapsed() });
        }
        site.supervise();
    }
    for line in what_is_missing(site, load).await {
        say(&line);
    }
    None
}

/// What everybody says when the probes do not come through: each process of itself, and those that answer for rockets of
/// each probe.
async fn what_is_missing(site: &Site, load: &Load) -> Vec<String> {
    let mut lines = Vec::new();
    for slot in &site.slots {
        let ready = slot.client.try_get("/readyz").await.map(|answer| answer.body.to_string());
        lines.push(format!("{:?}: {}", slot.role, ready.unwrap_or_else(|| "no answer".to_owned())));
    }
    for query in site.clients(Role::Query) {
        for probe in &load.probes {
            let shown = query.try_get(&format!("/rockets/{}", probe.channel)).await;
            let shown = shown.map(|answer| answer.body["data"]["lastMessageNumber"].to_string());
            let event = match probe.first_event_of(probe.sent()) {
                Some(event) => query.try_get(&format!("/events/{event}")).await.map(|answer| answer.body.to_string()),
                None => Some("not answered".to_owned()),
            };
            lines.push(format!("{}: sent {}, shown {shown:?}, event {event:?}", probe.channel, probe.sent()));
        }
    }
    lines
}

async fn goes_in(load: &Load, ingest: &Client, probe: &Course) -> u64 {
    let (number, message) = probe.next();
    while load.post_to(ingest, probe, number, &message).await != Outcome::Stored {
        sleep(POLL).await;
    }
    number
}

async fn comes_out(load: &Load, query: &Client, probe: &Course, number: u64) {
    let mut lag = Lag::default();
    loop {
        let answer = query.try_get(&format!("/rockets/{}", probe.channel)).await;
        if let Some(answer) = answer.filter(|answer| answer.status == 200) {
            match probe.judge(Some(&answer.body["data"])) {
                Ok(shown) if shown >= number => return,
                Ok(_) => {}
                Err(lie) => load.lie(lie),
            }
        }
        lag.must_be_told(load, query, probe, number).await;
        sleep(POLL).await;
    }
}

/// How long a view has been behind what is known of an event to be final.
#[derive(Default)]
struct Lag {
    asked: Option<Instant>,
    known: Option<Instant>,
}

impl Lag {
    /// A view that has been behind for longer than it may must not say that it is fresh.
    async fn must_be_told(&mut self, load: &Load, query: &Client, probe: &Course, number: u64) {
        if self.asked.is_some_and(|asked| asked.elapsed() < LAG_ASKED_EVERY) {
            return;
        }
        self.asked = Some(Instant::now());
        let told = query.try_get(&format!("/events/{}", probe.event_of(number))).await;
        let is_final = told.is_some_and(|answer| answer.body["data"]["status"] == probe.status_of(number));
        let known = *self.known.get_or_insert_with(Instant::now);
        if !is_final {
            self.known = None;
        } else if known.elapsed() > FRESH_WITHIN
            && let Some(ready) = query.try_get("/readyz").await
            && (ready.status, &ready.body["data"]["status"]) == (200, &"ready".into())
        {
            load.lie(format!("{} number {number} is not shown, and the view says that it is fresh", probe.channel));
            self.known = None;
        }
    }
}
