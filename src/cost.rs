//! What a message costs at the places that each one passes: allocations, and instructions as callgrind counts them. Both are held
//! to bounds a little above what they are now, so that whoever makes a message dearer notices, and says why by raising one.
//!
//! What is not here: times. They are the machine's; `make bench` compares them.

use std::hint::black_box;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::broker::publisher::Identity;
use crate::broker::{Origin, Outgoing};
use crate::domain::sequencer::apply_batch;
use crate::domain::{Arrival, Message, Record, Sequence, wire};
use crate::http::{Answer, RequestId};
use crate::ingest::Ingested;

const LAUNCH: &[u8] = br#"{"metadata":{"channel":"193270a9-c9cf-404a-8f83-838e71d9ae67","messageNumber":1,"messageTime":"2022-02-02T19:39:05.86337+01:00","messageType":"RocketLaunched"},"message":{"type":"Falcon-9","launchSpeed":500,"mission":"ARTEMIS"}}"#;
const SPEED: &[u8] = br#"{"metadata":{"channel":"193270a9-c9cf-404a-8f83-838e71d9ae67","messageNumber":2,"messageTime":"2022-02-02T19:39:05.86337+01:00","messageType":"RocketSpeedIncreased"},"message":{"by":3000}}"#;
/// How often each is done, so that what is done once does not count.
const TIMES: u64 = 200;
/// A build in which it costs more to add a number is not optimised, and nothing is there as it is said here.
const OF_AN_ADDITION_MAX: u64 = 12;

const ADDITION: &str = "work_addition";

/// One thing that is done for a message.
#[derive(Clone, Copy)]
struct Work {
    name: &'static str,
    function: &'static str,
    done: fn(&Sample),
    allocations_max: u64,
    instructions_max: u64,
}

const WORK: [Work; 6] = [
    Work {
        name: "reading it",
        function: "work_reading",
        done: work_reading,
        allocations_max: 1,
        instructions_max: 10_700,
    },
    Work {
        name: "what is published",
        function: "work_publishing",
        done: work_publishing,
        allocations_max: 12,
        instructions_max: 31_500,
    },
    Work {
        name: "applying it",
        function: "work_applying",
        done: work_applying,
        allocations_max: 15,
        instructions_max: 9_500,
    },
    Work {
        name: "writing a record",
        function: "work_writing",
        done: work_writing,
        allocations_max: 3,
        instructions_max: 11_600,
    },
    Work {
        name: "reading a record",
        function: "work_knowing",
        done: work_knowing,
        allocations_max: 8,
        instructions_max: 18_400,
    },
    Work {
        name: "answering",
        function: "work_answering",
        done: work_answering,
        allocations_max: 8,
        instructions_max: 9_800,
    },
];

/// What the work is done with.
struct Sample {
    record: Record,
    bytes: Vec<u8>,
    arrival: Arc<Arrival<()>>,
    outgoing: Outgoing,
    id: RequestId,
}

fn message(body: &[u8]) -> Message {
    wire::read(body).unwrap()
}

impl Sample {
    fn new() -> Self {
        let mut record = Record::default();
        record.place(&message(LAUNCH)).unwrap();
        let (bytes, message) = (record.to_bytes(), message(SPEED));
        let identity = Identity::Message(message.number);
        let origin = Origin { request_id: "9b2c7a52-0d6c-4b43-8a53-36e4b4f3e9a1".into(), ..Origin::default() };
        let outgoing = Outgoing { channel: message.channel, identity, origin, payload: SPEED.into() };
        let (sequence, stored_at) = (Sequence(2), crate::domain::StoredAt(0));
        let arrival = Arc::new(Arrival { sequence, stored_at, message, corrects: false, stored: () });
        Self { record, bytes, arrival, outgoing, id: RequestId::of(&Default::default()) }
    }
}

/// Does it again and again.
fn again<T>(mut work: impl FnMut() -> T) {
    for _ in 0..TIMES {
        black_box(work());
    }
}

#[inline(never)]
fn work_addition(sample: &Sample) {
    let mut sum = 0;
    again(|| {
        sum += black_box(sample.arrival.sequence.0);
        sum
    });
}

#[inline(never)]
fn work_reading(_: &Sample) {
    again(|| wire::read(black_box(SPEED)));
}

#[inline(never)]
fn work_publishing(Sample { outgoing, .. }: &Sample) {
    again(|| {
        let id = outgoing.message_id();
        (outgoing.message(&id), id)
    });
}

#[inline(never)]
fn work_applying(Sample { record, arrival, .. }: &Sample) {
    again(|| {
        let mut record = record.clone();
        let verdicts = apply_batch(&mut record, &mut Default::default(), std::slice::from_ref(arrival), None);
        (record, verdicts)
    });
}

#[inline(never)]
fn work_writing(Sample { record, .. }: &Sample) {
    again(|| black_box(record).to_bytes());
}

#[inline(never)]
fn work_knowing(Sample { bytes, .. }: &Sample) {
    again(|| Record::from_bytes(black_box(bytes)));
}

#[inline(never)]
fn work_answering(Sample { id, .. }: &Sample) {
    again(|| Answer::ok(&Ingested { status: "ingested", event_id: 123_456 }).into_response(id));
}

#[test]
fn no_work_allocates_more_than_it_may() {
    let sample = Sample::new();
    let allocated = WORK.map(|work| (work, allocation_counter::measure(|| (work.done)(&sample)).count_total / TIMES));
    let over = allocated.iter().filter(|(work, allocations)| *allocations > work.allocations_max);
    let over: Vec<_> = over.map(|(work, allocations)| (work.name, allocations, work.allocations_max)).collect();
    assert!(over.is_empty(), "allocations, and how many there may be: {over:?}");
}

/// What callgrind looks into.
#[test]
#[ignore = "it is run by the test below, under callgrind"]
fn all_of_it() {
    let sample = Sample::new();
    work_addition(&sample);
    WORK.iter().for_each(|work| (work.done)(&sample));
}

#[test]
fn no_work_takes_more_instructions_than_it_may() {
    let Some(valgrind) = valgrind() else { return skipped("there is no valgrind") };
    if counted(&valgrind, ADDITION) / TIMES > OF_AN_ADDITION_MAX {
        return skipped("this build is not optimised");
    }
    let counted = WORK.map(|work| (work, counted(&valgrind, work.function) / TIMES));
    let over = counted.iter().filter(|(work, instructions)| *instructions > work.instructions_max);
    let over: Vec<_> = over.map(|(work, instructions)| (work.name, instructions, work.instructions_max)).collect();
    assert!(over.is_empty(), "instructions, and how many there may be: {over:?}");
}

/// Instructions between the function's beginning and its end.
fn counted(valgrind: &Path, function: &str) -> u64 {
    let counting = Command::new(valgrind)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", &format!("--toggle-collect=*cost*{function}*")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "cost::all_of_it", "--ignored", "--test-threads=1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&counting.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    let collected = collected.and_then(|(_, count)| count.trim().parse().ok()).filter(|count| *count > 0);
    collected.unwrap_or_else(|| panic!("callgrind has counted nothing of {function}: {said}"))
}

/// On the PATH, or where `tests/get-valgrind` has put it.
fn valgrind() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.bin");
    let folders = std::env::split_paths(&path).chain([unpacked]);
    folders.map(|folder| folder.join("valgrind")).find(|program| program.is_file())
}

fn skipped(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "in continuous integration nothing is skipped: {why}");
    // Past the test runner, which shows nothing of a test that passes.
    writeln!(std::io::stderr(), "SKIPPED what a message costs in instructions: {why}").unwrap();
}
