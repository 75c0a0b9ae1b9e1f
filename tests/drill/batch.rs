//! Several messages of a rocket in one request, as an array or a line each, packed or not; each is answered for itself.

use std::io::Write as _;
use std::sync::atomic::Ordering;

use flate2::Compression;
use flate2::write::GzEncoder;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::time::sleep;

use crate::course::Course;
use crate::harness::Client;
use crate::harness::client::Answer;
use crate::load::{Load, Outcome, RETRY_PAUSE};

/// How a batch is written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    is_lines: bool,
    is_packed: bool,
}

impl Form {
    /// One of them.
    pub fn draw(random: &mut ChaCha8Rng) -> Self {
        Self { is_lines: random.random_bool(0.5), is_packed: random.random_bool(0.5) }
    }

    fn request(self, client: &Client, messages: Vec<Value>) -> RequestBuilder {
        let request = client.request(reqwest::Method::POST, "/messages");
        let (request, body) = match self.is_lines {
            true => {
                let lines = messages.iter().map(|message| format!("{message}\n")).collect::<String>();
                (request.header("content-type", "application/x-ndjson"), lines)
            }
            false => (request, Value::from(messages).to_string()),
        };
        match self.is_packed {
            true => request.header("content-encoding", "gzip").body(packed(&body)),
            false => request.body(body),
        }
    }
}

fn packed(body: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

impl Load {
    /// Sends messages together, and those again that were not answered with 2xx, until none is left.
    pub async fn post_batch_until_stored(&self, course: &Course, mut numbers: Vec<u64>, form: Form) {
        loop {
            let outcomes = self.post_batch(course, &numbers, form).await;
            let left = numbers.iter().zip(outcomes).filter(|(_, outcome)| *outcome != Outcome::Stored);
            numbers = left.map(|(number, _)| *number).collect();
            if numbers.is_empty() {
                return;
            }
            self.tally.batches_hit.fetch_add(1, Ordering::Relaxed);
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Sends messages together once, to whichever process is next, and tells what came of each.
    async fn post_batch(&self, course: &Course, numbers: &[u64], form: Form) -> Vec<Outcome> {
        let what = format!("POST of {} numbers {numbers:?}, {form:?}", course.channel);
        numbers.iter().for_each(|number| course.tries(*number));
        self.tally.batches.fetch_add(1, Ordering::Relaxed);
        let (client, messages) = (self.next_ingest(), numbers.iter().map(|number| course.message(*number)));
        let request = form.request(client, messages.collect());
        let Some(answer) = self.answer_in_time(client, &what, request).await else {
            return numbers.iter().map(|_| self.came_to(Outcome::Unanswered)).collect();
        };
        let outcomes = self.outcomes(course, numbers, &answer);
        outcomes.unwrap_or_else(|| {
            self.lie(format!("{what}: {answer:?}"));
            vec![Outcome::Unanswered; numbers.len()]
        })
    }

    /// What an answer says of each message; none where it makes no sense.
    fn outcomes(&self, course: &Course, numbers: &[u64], answer: &Answer) -> Option<Vec<Outcome>> {
        let Some(results) = answer.body["data"]["results"].as_array() else {
            let is_refused = answer.status == 503 && answer.headers.contains_key("retry-after");
            return is_refused.then(|| numbers.iter().map(|_| self.came_to(Outcome::Refused)).collect());
        };
        let said: Option<Vec<_>> = results.iter().map(said_of_one).collect();
        let said = said.filter(|said| said.len() == numbers.len())?;
        let stored = said.iter().flatten().count();
        let status = if stored == said.len() {
            200
        } else if stored > 0 {
            207
        } else {
            503
        };
        let outcome = |(number, event): (&u64, Option<u64>)| match event {
            Some(event) => {
                course.answered(*number, event);
                self.came_to(Outcome::Stored)
            }
            None => self.came_to(Outcome::Refused),
        };
        (answer.status == status).then(|| numbers.iter().zip(said).map(outcome).collect())
    }
}

/// The event that one message became, or none yet; none at all where that makes no sense.
fn said_of_one(result: &Value) -> Option<Option<u64>> {
    match result["status"].as_str()? {
        "ingested" | "duplicate" => Some(Some(result["event_id"].as_u64()?)),
        "unavailable" => Some(None),
        _ => None,
    }
}
