//! The rockets: they send all the time, out of order, some messages twice, each until it was answered with 2xx.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::batch::Form;
use crate::course::Course;
use crate::harness::client::Answer;
use crate::harness::{Client, Flight};
use crate::report::say;

/// Rockets that send at once.
pub const SENDERS: u64 = 10;
/// Pause of a rocket between two messages.
const PAUSE: Duration = Duration::from_millis(150);
/// How long an answer may take, whatever becomes of the broker: at 10 s a rocket sends again. (A process says 503 after
/// 5 s; the rest is for a machine that does much else.)
const ANSWERS_WITHIN: Duration = Duration::from_secs(9);
/// Pause before a message is sent again.
pub const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How often a rocket sends several messages at once, and how many at most.
const BATCHES: f64 = 0.2;
const BATCH_MAX: usize = 8;
/// How far out of order a rocket sends.
const SHUFFLE: usize = 6;
/// Partitions of the stream; a probe in each.
const PARTITIONS: u32 = 16;
/// Lies that are kept word for word.
const LIES_MAX: usize = 40;

/// What all rockets share.
pub struct Load {
    ingests: Vec<Client>,
    turn: AtomicUsize,
    /// One rocket in each partition, which sends only after a fault.
    pub probes: Vec<Arc<Course>>,
    /// Whose large messages fill the store.
    pub filler: Arc<Course>,
    /// How many processes of roles are frozen, and how many ever were: nobody expects an answer of those.
    pub frozen: AtomicU64,
    pub freezes: AtomicU64,
    /// How many times the log was trimmed.
    pub trims: AtomicU64,
    /// Odd while something is gone that is made again from the log.
    pub begins_again: AtomicU64,
    /// Whether dead letters were deleted: nothing makes them again, since each may have been dropped before.
    pub dead_letters_lost: AtomicBool,
    courses: Mutex<Vec<Arc<Course>>>,
    finished: Mutex<Option<mpsc::UnboundedSender<Arc<Course>>>>,
    /// Ends the load; rockets that are on their way come to their end.
    pub stop: CancellationToken,
    pub tally: Tally,
    lies: Mutex<Vec<String>>,
}

/// What happened, in numbers.
#[derive(Debug, Default)]
pub struct Tally {
    pub stored: AtomicU64,
    pub refused: AtomicU64,
    pub unanswered: AtomicU64,
    /// Batches that were sent, and those of which not every message was answered with 2xx.
    pub batches: AtomicU64,
    pub batches_hit: AtomicU64,
    pub answers_judged: AtomicU64,
    pub events_judged: AtomicU64,
    pub lies: AtomicU64,
    /// Rockets that were forgotten and began again.
    pub forgotten: AtomicU64,
    /// Events that were reported to be trimmed.
    pub trimmed: AtomicU64,
}

/// What came of one attempt to send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with 2xx.
    Stored,
    /// Answered with 503 and told to come again.
    Refused,
    /// No answer, or one that no rocket can do with, which was noted.
    Unanswered,
}

impl Load {
    /// A load on these; rockets that have sent everything are handed on.
    pub fn new(ingests: Vec<Client>, finished: mpsc::UnboundedSender<Arc<Course>>) -> Self {
        let probes: Vec<_> =
            (0..PARTITIONS).map(|partition| Arc::new(Course::of_probe(flight_in(partition)))).collect();
        let filler = Arc::new(Course::of_probe(Flight::new()));
        let courses = Mutex::new(probes.iter().chain([&filler]).cloned().collect());
        let (turn, frozen, freezes, stop, tally, lies) = Default::default();
        let (trims, begins_again, dead_letters_lost) = Default::default();
        let finished = Mutex::new(Some(finished));
        Self {
            ingests,
            turn,
            probes,
            filler,
            frozen,
            freezes,
            trims,
            begins_again,
            dead_letters_lost,
            courses,
            finished,
            stop,
            tally,
            lies,
        }
    }

    /// Whether events may be trimmed.
    pub fn is_trimmed(&self) -> bool {
        self.trims.load(Ordering::SeqCst) > 0
    }

    /// All courses that were begun, oldest first.
    pub fn courses(&self) -> Vec<Arc<Course>> {
        self.courses.lock().unwrap().clone()
    }

    /// One of the courses, mostly one of the latest.
    pub fn any_course(&self, random: &mut ChaCha8Rng) -> Arc<Course> {
        let courses = self.courses.lock().unwrap();
        let latest = if random.random_bool(0.8) { courses.len().saturating_sub(2 * SENDERS as usize) } else { 0 };
        courses[random.random_range(latest..courses.len())].clone()
    }

    /// Notes an answer that must not be.
    pub fn lie(&self, what: String) {
        self.tally.lies.fetch_add(1, Ordering::Relaxed);
        let mut lies = self.lies.lock().unwrap();
        if lies.len() < LIES_MAX {
            say(&format!("    LIE {what}"));
            lies.push(what);
        }
    }

    /// Sends a message once, to whichever process is next.
    pub async fn post(&self, course: &Course, number: u64, message: &Value) -> Outcome {
        self.post_to(self.next_ingest(), course, number, message).await
    }

    /// Each process in turn.
    pub fn next_ingest(&self) -> &Client {
        &self.ingests[self.turn.fetch_add(1, Ordering::Relaxed) % self.ingests.len()]
    }

    /// Sends a message once.
    pub async fn post_to(&self, client: &Client, course: &Course, number: u64, message: &Value) -> Outcome {
        course.tries(number);
        let what = format!("POST of {} number {number}", course.channel);
        let request = client.request(reqwest::Method::POST, "/messages").json(message);
        let Some(answer) = self.answer_in_time(client, &what, request).await else {
            return self.came_to(Outcome::Unanswered);
        };
        let (status, event_id) = (answer.body["data"]["status"].as_str(), answer.body["data"]["event_id"].as_u64());
        match (answer.status, status, event_id) {
            (200, Some("ingested" | "duplicate"), Some(event_id)) => {
                course.answered(number, event_id);
                self.came_to(Outcome::Stored)
            }
            (503, ..) if answer.headers.contains_key("retry-after") => self.came_to(Outcome::Refused),
            _ => {
                self.lie(format!("{what}: {answer:?}"));
                Outcome::Unanswered
            }
        }
    }

    /// The answer to a request, if there is one; notes one that took too long.
    pub async fn answer_in_time(&self, client: &Client, what: &str, request: RequestBuilder) -> Option<Answer> {
        let (sent, freezes) = (Instant::now(), self.freezes.load(Ordering::SeqCst));
        let none_frozen = self.frozen.load(Ordering::SeqCst) == 0;
        let answer = client.try_answer(request).await;
        let undisturbed = none_frozen && freezes == self.freezes.load(Ordering::SeqCst);
        if sent.elapsed() > ANSWERS_WITHIN && undisturbed {
            self.lie(format!("{what} took {:?}", sent.elapsed()));
        }
        answer.ok()
    }

    /// Counts what came of a message.
    pub fn came_to(&self, outcome: Outcome) -> Outcome {
        let count = match outcome {
            Outcome::Stored => &self.tally.stored,
            Outcome::Refused => &self.tally.refused,
            Outcome::Unanswered => &self.tally.unanswered,
        };
        count.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    /// Sends a message until it was answered with 2xx.
    pub async fn post_until_stored(&self, course: &Course, number: u64) {
        let message = course.message(number);
        while self.post(course, number, &message).await != Outcome::Stored {
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Sends one rocket after the other until the load is to end.
    pub async fn send(&self, mut random: ChaCha8Rng) {
        while !self.stop.is_cancelled() {
            let messages = random.random_range(20..=60);
            let course = Arc::new(Course::draw(&mut random, messages));
            self.courses.lock().unwrap().push(course.clone());
            let mut numbers = shuffled(course.numbers(), &mut random);
            while !numbers.is_empty() {
                let count = if random.random_bool(BATCHES) { random.random_range(2..=BATCH_MAX) } else { 1 };
                let now: Vec<_> = numbers.drain(..count.min(numbers.len())).collect();
                match *now {
                    [number] => self.post_until_stored(&course, number).await,
                    _ => self.post_batch_until_stored(&course, now, Form::draw(&mut random)).await,
                }
                let pause = PAUSE.mul_f64(random.random_range(0.0..2.0));
                let _ = tokio::time::timeout(pause, self.stop.cancelled()).await;
            }
            let finished = self.finished.lock().unwrap();
            finished.as_ref().expect("the load goes on").send(course).expect("somebody judges");
        }
    }

    /// Hands on no more rockets.
    pub fn close(&self) {
        self.finished.lock().unwrap().take();
    }

    /// Sends the first message of what is to fill the store. Where it were refused for good, a rebuild from a trimmed log
    /// would rightly name its rocket: nobody could tell whether that message was never sent or is lost.
    pub async fn begin_filler(&self) {
        let (number, _) = self.filler.next();
        self.post_until_stored(&self.filler, number).await;
    }

    /// Sends again what filled the store and was refused.
    pub async fn send_the_rest(&self) {
        for number in self.filler.numbers_not_stored() {
            self.post_until_stored(&self.filler, number).await;
        }
    }
}

/// Some way out of order, some twice.
fn shuffled(numbers: Vec<u64>, random: &mut ChaCha8Rng) -> Vec<u64> {
    let mut order = Vec::new();
    for number in numbers {
        order.push(number);
        if random.random_bool(0.1) {
            order.push(number);
        }
    }
    order.chunks_mut(SHUFFLE).for_each(|chunk| chunk.shuffle(random));
    order
}

/// A rocket whose channel falls into this partition: FNV-1a of 32 bits, as the server has it.
fn flight_in(partition: u32) -> Flight {
    let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    let in_partition = |flight: &Flight| flight.channel.bytes().fold(2_166_136_261, hash) % PARTITIONS == partition;
    std::iter::repeat_with(Flight::new).find(in_partition).expect("there is one")
}
