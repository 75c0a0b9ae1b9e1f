//! Those who ask all the time, whatever goes on, and catch answers that lie: a rocket that goes back or is what its
//! messages do not make, one that is gone, an event that is something else than it was.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::course::{Course, Told};
use crate::harness::Client;
use crate::harness::client::Answer;
use crate::load::Load;

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a rocket that has sent everything may take to be what it must be, faults included.
const SETTLES_WITHIN: Duration = Duration::from_secs(90);

/// Rockets that have sent everything and are judged at once.
const COURSES_AT_ONCE: usize = 4;
/// Events of one of them that are asked for at once.
const EVENTS_AT_ONCE: usize = 4;

/// Whoever asks one process.
pub struct Reader {
    pub load: Arc<Load>,
    pub client: Client,
    pub life: Arc<AtomicU64>,
    pub random: ChaCha8Rng,
}

/// What one process has shown.
#[derive(Default)]
struct Shown {
    /// Which process it was, and how many times something was made again from the log.
    life: (u64, u64),
    rockets: HashMap<String, u64>,
    finals: HashMap<u64, &'static str>,
}

impl Reader {
    /// Asks until it is dropped.
    pub async fn read(mut self) {
        let mut shown = Shown::default();
        loop {
            sleep(PAUSE).await;
            let course = self.load.any_course(&mut self.random);
            let life = self.lives();
            let path = match self.random.random_range(0..100) {
                0 => "/rockets".to_owned(),
                1..40 if let Some((_, event)) = course.any_event(&mut self.random) => format!("/events/{event}"),
                _ => format!("/rockets/{}", course.channel),
            };
            let Some(answer) = self.client.try_get(&path).await else { continue };
            if life != self.lives() || life.1 % 2 == 1 {
                // Nobody knows whose answer it was, or whether what was stored is there.
                continue;
            }
            if shown.life != life {
                shown = Shown { life, ..Shown::default() };
            }
            self.load.tally.answers_judged.fetch_add(1, Ordering::Relaxed);
            if let Err(lie) = self.judge(&path, &course, &answer, &mut shown) {
                self.load.lie(format!("{path}: {lie}"));
            }
        }
    }

    fn lives(&self) -> (u64, u64) {
        (self.life.load(Ordering::SeqCst), self.load.begins_again.load(Ordering::SeqCst))
    }

    fn judge(&self, path: &str, course: &Course, answer: &Answer, shown: &mut Shown) -> Result<(), String> {
        match answer.status {
            // Rockets are read from the view, whatever the broker does; a process that has just started has none.
            503 if path.starts_with("/rockets") && !shown.rockets.is_empty() => Err(format!("{answer:?}")),
            503 if answer.headers.contains_key("retry-after") => Ok(()),
            200 if path == "/rockets" => self.judge_list(answer, shown),
            200 if path.starts_with("/rockets/") => judge_rocket(course, Some(&answer.body["data"]), shown),
            404 if path.starts_with("/rockets/") => judge_rocket(course, None, shown),
            200 => judge_event(course, &answer.body["data"], shown),
            410 if path.starts_with("/events/") && self.load.is_trimmed() => Ok(()),
            _ => Err(format!("{answer:?}")),
        }
    }

    fn judge_list(&self, answer: &Answer, shown: &mut Shown) -> Result<(), String> {
        let rockets = answer.body["data"].as_array().ok_or("no list")?;
        let by_channel: HashMap<_, _> = rockets.iter().map(|rocket| (rocket["id"].as_str(), rocket)).collect();
        let mut courses = self.load.courses().into_iter();
        courses.try_for_each(|course| {
            judge_rocket(&course, by_channel.get(&Some(course.channel.as_str())).copied(), shown)
        })
    }
}

fn judge_rocket(course: &Course, rocket: Option<&Value>, shown: &mut Shown) -> Result<(), String> {
    let number = course.judge(rocket)?;
    let before = shown.rockets.insert(course.channel.clone(), number).unwrap_or_default();
    if number < before { Err(format!("was at {before}, and is at {number}")) } else { Ok(()) }
}

fn judge_event(course: &Course, event: &Value, shown: &mut Shown) -> Result<(), String> {
    let (Some(id), Some(number)) = (event["id"].as_u64(), event["message_number"].as_u64()) else {
        return Err(format!("no event: {event}"));
    };
    if event["channel"] != course.channel || !course.has_event(number, id) {
        return Err(format!("another event: {event}"));
    }
    let status = ["pending", "processing", "processed", "failed", "duplicate"];
    let status = status.into_iter().find(|status| event["status"] == *status).ok_or(format!("no status: {event}"))?;
    let is_final = !["pending", "processing"].contains(&status);
    if is_final && status != course.status_of(number) && !(status == "duplicate" && course.has_copies(number)) {
        return Err(format!("must be {}: {event}", course.status_of(number)));
    }
    match shown.finals.get(&id) {
        Some(before) if *before != status => return Err(format!("was {before} before, is {status}: {event}")),
        None if is_final => shown.finals.insert(id, status),
        _ => None,
    };
    Ok(())
}

/// Judges each rocket that has sent everything, as soon as it must be what it must be, and each of its events.
pub async fn judge_finished(load: Arc<Load>, queries: Vec<Client>, mut finished: mpsc::UnboundedReceiver<Arc<Course>>) {
    let courses = stream::poll_fn(|context| finished.poll_recv(context)).enumerate();
    let judge_all = courses.for_each_concurrent(COURSES_AT_ONCE, async |(turn, course)| {
        settles(&load, &queries, turn, &course).await;
    });
    judge_all.await;
}

/// Waits until a rocket is what it must be at the end, and each of its events says so.
pub async fn settles(load: &Load, queries: &[Client], turn: usize, course: &Course) {
    let query = |at: usize| &queries[(turn + at) % queries.len()];
    let rocket = async {
        let path = format!("/rockets/{}", course.channel);
        for at in 0.. {
            if query(at).try_get(&path).await.is_some_and(|answer| course.ends_as(&answer)) {
                return;
            }
            sleep(PAUSE).await;
        }
    };
    if tokio::time::timeout(SETTLES_WITHIN, rocket).await.is_err() {
        return load.lie(format!("{} does not become {:?}", course.channel, course.at_the_end()));
    }
    let events = stream::iter(course.told()).for_each_concurrent(EVENTS_AT_ONCE, async |told| {
        if tokio::time::timeout(SETTLES_WITHIN, is_told(load, [query(0), query(1)], &told)).await.is_err() {
            let mut said = Vec::new();
            for event in &told.events {
                let answers = [0, 1].map(async |at| query(at).try_get(&format!("/events/{event}")).await);
                said.extend(join_all(answers).await.into_iter().flatten().map(|answer| answer.body.to_string()));
            }
            load.lie(format!("{}: it is never told of {told:?}, but {said:?}", course.channel));
        }
    });
    events.await;
}

/// Waits until of the events of one number exactly one says what it must, and the others that they are duplicates.
async fn is_told(load: &Load, queries: [&Client; 2], told: &Told) {
    for at in 0.. {
        let (mut statuses, mut trimmed) = (Vec::new(), 0);
        for event in &told.events {
            let answer = queries[at % 2].try_get(&format!("/events/{event}")).await;
            trimmed += usize::from(answer.as_ref().is_some_and(|answer| answer.status == 410));
            let event = answer.filter(|answer| answer.status == 200).map(|answer| answer.body["data"].clone());
            statuses.extend(event.map(|event| (event["status"].clone(), event["waiting_for"].as_u64())));
        }
        let is = |status: &'static str, waiting_for| move |is: &&(Value, _)| is.0 == status && is.1 == waiting_for;
        let right = statuses.iter().filter(is(told.status, told.waiting_for)).count();
        let copies = statuses.iter().filter(is("duplicate", None)).count();
        let waits = told.status == "pending" && right == told.events.len();
        // What is trimmed was applied before, or refused, or a copy.
        let is_trimmed = load.is_trimmed() && told.status != "pending" && trimmed > 0;
        if is_trimmed && trimmed + right + copies == told.events.len() {
            load.tally.trimmed.fetch_add(trimmed as u64, Ordering::Relaxed);
            return;
        }
        if waits || (right == 1 && right + copies == told.events.len()) {
            load.tally.events_judged.fetch_add(told.events.len() as u64, Ordering::Relaxed);
            return;
        }
        sleep(PAUSE).await;
    }
}
