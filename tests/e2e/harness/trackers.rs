//! Several trackers at one broker, beside one ingest and one query, and what the trackers say of themselves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_nats::StatusCode;
use async_nats::client::RequestErrorKind;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::timeout;

use super::{Broker, Client, Flight, POLL, Program};

/// Partitions of the stream, where nothing else is said.
pub const PARTITIONS: u32 = 16;
/// How long trackers may answer.
const ANSWERS_MAX: Duration = Duration::from_millis(300);

/// A service with several trackers. Its programs end before its broker.
pub struct Trackers {
    /// The trackers, in the order in which they were started.
    pub trackers: Vec<Program>,
    /// Where messages are posted.
    pub ingest: Client,
    /// Where rockets are read.
    pub query: Client,
    _others: [Program; 2],
    ack_wait: String,
    /// The broker.
    pub broker: Broker,
}

impl Trackers {
    /// So many trackers at a broker of the test's.
    pub async fn start(count: usize, ack_wait: &str) -> Self {
        Self::start_at(Broker::start().await, count, ack_wait).await
    }

    /// The same at this broker.
    pub async fn start_at(broker: Broker, count: usize, ack_wait: &str) -> Self {
        let made = Program::of(&["init"]).broker(&broker).env("ROCKETS_TRACK__ACK_WAIT", ack_wait).ends().await;
        made.says(0);
        let start = |role| Program::of(&[role]).broker(&broker).env("ROCKETS_TRACK__ACK_WAIT", ack_wait).start();
        let mut others = ["ingest", "query"].map(start);
        let (ingest, query) = (others[0].ready().await, others[1].ready().await);
        let ack_wait = ack_wait.to_owned();
        let mut trackers = Self { trackers: Vec::new(), ingest, query, _others: others, ack_wait, broker };
        for _ in 0..count {
            trackers.join().await;
        }
        trackers
    }

    /// Starts one more, and waits until it is ready.
    pub async fn join(&mut self) {
        let start = Program::of(&["track"]).broker(&self.broker).env("ROCKETS_TRACK__ACK_WAIT", &self.ack_wait);
        let mut tracker = start.start();
        tracker.ready().await;
        self.trackers.push(tracker);
    }

    /// Waits until so many trackers share the partitions, each for its part, and tells how long that took.
    pub async fn share(&self, count: usize) -> Duration {
        let (client, begin) = (self.broker.client().await, Instant::now());
        loop {
            let leads = leads(&client).await;
            if leads.len() == count && is_shared(&leads) {
                return begin.elapsed();
            }
            assert!(begin.elapsed() < super::PATIENCE, "{count} trackers do not share: {leads:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Kills one, and waits until the broker knows: what it sends before that is lost on the way, like what was held.
    pub async fn kill(&mut self, tracker: usize) {
        let (name, client) = (self.name(tracker), self.broker.client().await);
        self.trackers[tracker].kill();
        let subject = format!("rockets_trackers.ask.{name}");
        super::eventually("the broker knows", async || {
            // A question that still reached it is never answered.
            let asked = timeout(ANSWERS_MAX, client.request(subject.clone(), "".into())).await.ok()?;
            asked.is_err_and(|error| error.kind() == RequestErrorKind::NoResponders).then_some(())
        })
        .await;
    }

    /// The name of one of them, by its log.
    fn name(&self, tracker: usize) -> String {
        let pid = format!("-{}-", self.trackers[tracker].pid().as_raw_nonzero());
        let lines = self.trackers[tracker].log_lines();
        let mut names = lines.iter().filter_map(|line| line["name"].as_str());
        names.rfind(|name| name.contains(&pid)).expect("it has said its name").to_owned()
    }

    /// The partitions that one of them is first for, by what it says.
    pub async fn led_by(&self, tracker: usize) -> Vec<u32> {
        leads(&self.broker.client().await).await.remove(&self.name(tracker)).unwrap_or_default()
    }

    /// Sends the first message of a new rocket to each of these partitions.
    pub async fn launch_in(&self, partitions: impl IntoIterator<Item = u32>) -> Vec<u64> {
        let flights = partitions.into_iter().map(Flight::of_partition);
        join_all(flights.map(async |flight| self.ingest.ingest(&flight.launched(1)).await)).await
    }

    /// Waits until all these events are processed.
    pub async fn are_processed(&self, events: &[u64]) {
        for event in join_all(events.iter().map(|event| self.query.settled(*event))).await {
            assert_eq!(event["status"], "processed", "{event}");
        }
    }

    /// What one that has ended has counted, such as `applied`.
    pub fn counted(&self, tracker: usize, what: &str) -> u64 {
        let lines = self.trackers[tracker].log_lines();
        let counters = lines.iter().find(|line| line["message"] == "tracking has ended").expect("it has ended well");
        let counters = counters["counters"].as_str().unwrap();
        let (_, count) = counters.split_once(&format!("{what}: ")).unwrap();
        count.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    }
}

/// What each tracker that answers says that it is first for, by its name.
pub async fn leads(client: &async_nats::Client) -> BTreeMap<String, Vec<u32>> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    client.publish_with_reply("rockets_trackers.ask", inbox, "".into()).await.unwrap();
    let mut leads = BTreeMap::new();
    while let Ok(Some(answer)) = timeout(ANSWERS_MAX, answers.next()).await {
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            break;
        }
        let word: Value = serde_json::from_slice(&answer.payload).unwrap();
        leads.insert(word["name"].as_str().unwrap().to_owned(), serde_json::from_value(word["leads"].clone()).unwrap());
    }
    leads
}

/// Whether each partition is led by one tracker, and each tracker leads the whole part of its share or one more.
fn is_shared(leads: &BTreeMap<String, Vec<u32>>) -> bool {
    let mut all: Vec<_> = leads.values().flatten().copied().collect();
    all.sort_unstable();
    let share = PARTITIONS as usize / leads.len();
    all == Vec::from_iter(0..PARTITIONS) && leads.values().all(|leads| [share, share + 1].contains(&leads.len()))
}
