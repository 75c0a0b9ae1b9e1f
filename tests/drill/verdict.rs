//! One drill from its beginning to its verdict: nothing lost, nothing doubled, nothing out of order, no answer that lied.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull;
use futures_util::StreamExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::course::{Course, Told};
use crate::faults::{heal, inflict};
use crate::groups::Groups;
use crate::harness::Client;
use crate::harness::stream::{all_is_applied, dead_letters};
use crate::load::{Load, SENDERS, Tally};
use crate::plan::{Plan, Role, Step};
use crate::probe::{Recovery, recovery};
use crate::readers::{Reader, judge_finished, settles};
use crate::report::{Report, say};
use crate::site::Site;

/// How long everything that was begun may take to come to its end, once no more faults come.
const ENDS_WITHIN: Duration = Duration::from_secs(600);

/// Who stores what waits together.
const GROUPING: [Role; 2] = [Role::Ingest, Role::Track];

/// How long a rocket may take to be shown as it must be at the end.
const SHOWN_WITHIN: Duration = Duration::from_secs(20);

/// Does everything that is planned, and fails unless the verdict is good.
pub async fn drill(plan: Plan) {
    let started = Instant::now();
    let mut site = Site::start(plan.brokers).await;
    let (finished, to_judge) = mpsc::unbounded_channel();
    let load = Arc::new(Load::new(site.clients(Role::Ingest), finished));
    load.begin_filler().await;
    let (mut senders, mut judges, mut readers) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    for sender in 0..SENDERS {
        let load = load.clone();
        senders.spawn(async move { load.send(ChaCha8Rng::seed_from_u64(plan.seed ^ (1 + sender))).await });
    }
    judges.spawn(judge_finished(load.clone(), site.clients(Role::Query), to_judge));
    for slot in site.slots.iter().filter(|slot| slot.role == Role::Query) {
        let random = ChaCha8Rng::seed_from_u64(plan.seed ^ 1_000);
        let reader = Reader { load: load.clone(), client: slot.client.clone(), life: slot.life.clone(), random };
        readers.spawn(reader.read());
    }

    say(&format!("drill: {} faults, seed {}", plan.steps.len(), plan.seed));
    let mut report = Report::default();
    for (at, step) in plan.steps.iter().enumerate() {
        let took = run(&mut site, &load, step).await;
        report.recovered(at + 1, step, took);
        assert!(took.is_some(), "the service did not recover");
    }

    say("the faults are over, everything comes to its end");
    load.stop.cancel();
    assert!(timeout(ENDS_WITHIN, senders.join_all()).await.is_ok(), "messages are not taken");
    assert!(timeout(ENDS_WITHIN, load.send_the_rest()).await.is_ok(), "messages are not taken");
    load.close();
    assert!(timeout(ENDS_WITHIN, judges.join_all()).await.is_ok(), "rockets are not what they must be");
    drop(readers);
    let verdict = Verdict::of(&site, &load).await;
    verdict.tell(&load.tally, &mut report, &site, started.elapsed());
    assert!(verdict.is_good(&load.tally, &report), "the verdict is not good, see above");
    assert!(
        GROUPING.iter().all(|role| site.groups(*role).stored > 0),
        "a role has stored no group: the drill is too kind"
    );
}

/// One step, and how long it took to recover from it.
async fn run(site: &mut Site, load: &Load, step: &Step) -> Option<Recovery> {
    for fault in &step.faults {
        inflict(site, load, *fault).await;
    }
    if step.is_for_good() {
        let took = recovery(site, load).await?;
        for fault in &step.faults {
            heal(site, load, *fault).await;
        }
        // Whoever comes back is part of it again, which is not what is measured here.
        return recovery(site, load).await.map(|_| took);
    }
    sleep(step.lasting).await;
    let over = Instant::now();
    for fault in &step.faults {
        heal(site, load, *fault).await;
    }
    let until_healed = over.elapsed();
    let took = recovery(site, load).await?;
    Some(Recovery { answered: until_healed + took.answered, shown: until_healed + took.shown })
}

/// What is found at the end.
#[derive(Debug, Default)]
struct Verdict {
    /// Messages that were answered with 2xx and are not where they should be.
    lost: u64,
    /// Numbers that have an effect twice: two dead letters of one message.
    doubled: u64,
    /// Messages stored more than once, which is no fault: their copies say that they are duplicates.
    stored_twice: u64,
    /// What `rockets rebuild --check` said, if it found anything.
    rebuild: String,
}

impl Verdict {
    async fn of(site: &Site, load: &Load) -> Self {
        let jetstream = site.jetstream().await;
        all_is_applied(&jetstream).await;
        let mut verdict = Self::default();
        let stored = stored(&jetstream).await;
        let mut copies: HashMap<&(String, u64), u64> = HashMap::new();
        stored.values().for_each(|message| *copies.entry(message).or_default() += 1);
        verdict.stored_twice = copies.values().filter(|copies| **copies > 1).count() as u64;
        let (queries, dead_letters) = (site.clients(Role::Query), dead_letter_counts(&jetstream).await);
        for (at, course) in load.courses().iter().enumerate() {
            let is_there = |(event, number): &(u64, u64)| {
                stored.get(event).is_some_and(|(channel, stored)| (channel, stored) == (&course.channel, number))
            };
            for missing in course.events().iter().filter(|event| !is_there(event)) {
                verdict.lost += u64::from(!was_trimmed(load, &queries[0], course, missing).await);
            }
            if !load.dead_letters_lost.load(Ordering::SeqCst) {
                verdict.doubled += doubled(&dead_letters, course);
            }
            for query in &queries {
                shows_the_end(load, query, course).await;
            }
            if load.probes.iter().chain([&load.filler]).any(|probe| probe.channel == course.channel) {
                settles(load, &queries, at, course).await;
            }
        }
        let check = site.program(&["rebuild", "--check"]).ends().await;
        if check.code != Some(0) {
            verdict.rebuild = format!("{}{}", check.output, check.errors);
        }
        verdict
    }
}

impl Verdict {
    fn is_good(&self, tally: &Tally, report: &Report) -> bool {
        let lies = tally.lies.load(Ordering::Relaxed);
        (self.lost, self.doubled, lies) == (0, 0, 0) && self.rebuild.is_empty() && report.late.is_empty()
    }

    fn tell(&self, tally: &Tally, report: &mut Report, site: &Site, took: Duration) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        say(&format!("\n{}", report.table()));
        say(&format!(
            "{} POSTs answered with 2xx, {} with 503, {} not at all; {} answers and {} events judged, {} told to be \
             trimmed; {} rockets forgotten; {} processes ended by themselves; {} messages stored twice and told to be \
             duplicates; {} s in all",
            of(&tally.stored),
            of(&tally.refused),
            of(&tally.unanswered),
            of(&tally.answers_judged),
            of(&tally.events_judged),
            of(&tally.trimmed),
            of(&tally.forgotten),
            site.ended,
            self.stored_twice,
            took.as_secs(),
        ));
        say(&format!(
            "{} batches sent, {} of them not answered with 2xx for every message",
            of(&tally.batches),
            of(&tally.batches_hit),
        ));
        for role in GROUPING {
            let Groups { stored, writes, not_stored, deaths } = site.groups(role);
            say(&format!(
                "{}: {stored} groups of {writes} writes stored, {not_stored} not stored as one; {deaths} processes died in \
                 the middle of one",
                role.name()
            ));
        }
        report.late.iter().for_each(|late| say(&format!("LATE {late}")));
        let clean = if self.rebuild.is_empty() { "clean" } else { &self.rebuild };
        let (lost, doubled, lies, late) = (self.lost, self.doubled, of(&tally.lies), report.late.len());
        say(&format!(
            "verdict: {lost} lost, {doubled} doubled, {lies} answers that lied or were out of order, {late} not recovered in \
             time, rebuild --check {clean}"
        ));
    }
}

/// Whether an event is reported to be trimmed, and may be: it was applied long ago.
async fn was_trimmed(load: &Load, query: &Client, course: &Course, (event, number): &(u64, u64)) -> bool {
    let may_be = load.is_trimmed() && *number <= course.last_number();
    may_be && query.get(&format!("/events/{event}")).await.status == 410
}

/// Everything that lies in the stream: of each event the channel and the number.
async fn stored(jetstream: &jetstream::Context) -> HashMap<u64, (String, u64)> {
    let stream = jetstream.get_stream("ROCKETS").await.unwrap();
    let config = pull::OrderedConfig { ..pull::OrderedConfig::default() };
    let count = stream.cached_info().state.messages;
    let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    let mut stored = HashMap::new();
    while (stored.len() as u64) < count {
        let message = messages.next().await.expect("it is there").unwrap();
        let event = message.info().unwrap().stream_sequence;
        let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        let number = body["metadata"]["messageNumber"].as_u64().unwrap();
        stored.insert(event, (body["metadata"]["channel"].as_str().unwrap().to_owned(), number));
    }
    stored
}

/// How many dead letters there are of each event.
async fn dead_letter_counts(jetstream: &jetstream::Context) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for dead_letter in dead_letters(jetstream).await {
        *counts.entry(dead_letter.header("Rockets-Sequence").parse().unwrap()).or_default() += 1;
    }
    counts
}

/// Numbers of a course that have more or fewer dead letters than they should.
fn doubled(dead_letters: &BTreeMap<u64, u64>, course: &Course) -> u64 {
    let differs = |told: &Told| {
        let found: u64 = told.events.iter().filter_map(|event| dead_letters.get(event)).sum();
        found != u64::from(told.status == "failed")
    };
    course.told().iter().filter(|told| differs(told)).count() as u64
}

/// Waits until a process shows a rocket as it must be at the end.
async fn shows_the_end(load: &Load, query: &Client, course: &Course) {
    let path = format!("/rockets/{}", course.channel);
    let shows = async {
        while query.try_get(&path).await.is_none_or(|answer| !course.ends_as(&answer)) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(SHOWN_WITHIN, shows).await.is_err() {
        load.lie(format!("{path}: is not {:?} at the end", course.at_the_end()));
    }
}
