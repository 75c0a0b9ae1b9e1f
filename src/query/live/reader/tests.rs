//! What readers are sent, and that it comes to the same as the view, however they stop and begin again.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use proptest::prelude::*;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::sleep;
use warp::http::HeaderMap;

use super::super::super::fixtures::{Sample, channel};
use super::super::super::view::{Order, View};
use super::super::places::Places;
use super::super::pulse::Pulses;
use super::*;
use crate::domain::Record;

/// Longer than any pause of a reader that has something to say.
const QUIET: Duration = Duration::from_secs(1);

/// An event as a client has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    name: String,
    id: Position,
    data: Value,
}

fn events(bytes: &[u8]) -> Vec<Event> {
    let text = std::str::from_utf8(bytes).unwrap();
    let blocks = text.strip_suffix("\n\n").unwrap().split("\n\n").map(|block| {
        let [name, id, data] = ["event: ", "id: ", "data: "].map(|field| {
            let mut values = block.lines().filter_map(|line| line.strip_prefix(field));
            let value = values.next().unwrap();
            assert_eq!((values.next(), block.lines().count()), (None, 3), "{block}");
            value
        });
        Event { name: name.into(), id: Position::parse(id).unwrap(), data: serde_json::from_str(data).unwrap() }
    });
    blocks.collect()
}

/// Events in short: `rocket 3 @7`.
fn short(events: &[Event]) -> Vec<String> {
    let id_of = |event: &Event| match event.data["id"].as_str() {
        Some(text) => format!(" {}", u64::from_str_radix(&text[24..], 16).unwrap()),
        None => String::new(),
    };
    events.iter().map(|event| format!("{}{} @{}", event.name, id_of(event), event.id.revision)).collect()
}

fn live() -> Arc<LiveView> {
    let live = Arc::new(LiveView::default());
    live.view.replace_with(View::default(), OffsetDateTime::UNIX_EPOCH);
    live
}

fn offer(live: &LiveView, id: u32, record: Option<Record>) {
    live.view.apply(Some(channel(id)), record, live.view.last_revision() + 1);
    live.tell();
}

fn flies(live: &LiveView, id: u32) {
    offer(live, id, Some(Sample::new(id).record()));
}

fn explodes(live: &LiveView, id: u32) {
    offer(live, id, Some(Sample { exploded: true, ..Sample::new(id) }.record()));
}

async fn reader(live: &Arc<LiveView>, query: &str) -> Reader {
    let asked = LiveRequest::parse(query, &HeaderMap::new()).unwrap();
    Reader::new(live.clone(), asked, Pulses::default().follow(), Places::default().take().unwrap()).await
}

/// Everything that a reader is sent before it is quiet.
async fn all(reader: &mut Reader) -> Vec<Event> {
    let mut all = Vec::new();
    while let Ok(piece) = timeout(QUIET, reader.next()).await {
        all.extend(events(&piece));
    }
    all
}

async fn said(reader: &mut Reader) -> Vec<String> {
    short(&all(reader).await)
}

#[tokio::test(start_paused = true)]
async fn the_rockets_come_first_and_then_what_changes() {
    let live = live();
    [1, 2, 3, 1].iter().for_each(|id| flies(&live, *id));
    offer(&live, 3, None);
    let mut reader = reader(&live, "").await;
    let snapshot = all(&mut reader).await;
    assert_eq!(short(&snapshot), ["rocket 2 @2", "rocket 1 @4", "synced @5"]);
    assert_eq!(snapshot[2].data, serde_json::json!({ "revision": "0.5" }));
    let entry = live.view.get(&channel(2)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(entry.public_json()).unwrap(), snapshot[0].data);
    flies(&live, 4);
    explodes(&live, 2);
    explodes(&live, 2);
    offer(&live, 1, None);
    offer(&live, 9, Some(Record::default()));
    live.view.apply(None, None, 11);
    live.tell();
    assert_eq!(said(&mut reader).await, ["rocket 4 @6", "rocket 2 @8", "gone 1 @9"]);
    assert_eq!(reader.position.revision, 11);
}

#[tokio::test(start_paused = true)]
async fn a_filter_tells_what_comes_and_what_goes() {
    let live = live();
    [1, 2, 3].iter().for_each(|id| flies(&live, *id));
    explodes(&live, 3);
    let mut active = reader(&live, "status=active").await;
    let mut exploded = reader(&live, "status=exploded").await;
    let mut one = reader(&live, &format!("status=active&channel={}", channel(2))).await;
    assert_eq!(said(&mut active).await, ["rocket 1 @1", "rocket 2 @2", "synced @4"]);
    assert_eq!(said(&mut exploded).await, ["rocket 3 @4", "synced @4"]);
    assert_eq!(said(&mut one).await, ["rocket 2 @2", "synced @4"]);
    explodes(&live, 2);
    explodes(&live, 3);
    explodes(&live, 4);
    assert_eq!(said(&mut active).await, ["gone 2 @5"], "it was never sent the others");
    assert_eq!(said(&mut exploded).await, ["rocket 2 @5", "rocket 3 @6", "rocket 4 @7"]);
    assert_eq!(said(&mut one).await, ["gone 2 @5"]);
    explodes(&live, 2);
    flies(&live, 3);
    assert_eq!(said(&mut active).await, ["rocket 3 @9"]);
    assert_eq!(said(&mut exploded).await, ["rocket 2 @8", "gone 3 @9"]);
    assert_eq!(said(&mut one).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_goes_on_from_there() {
    let live = live();
    [1, 2, 3, 4].iter().for_each(|id| flies(&live, *id));
    explodes(&live, 4);
    offer(&live, 2, None);
    let reset = ["reset @0", "rocket 1 @1", "rocket 3 @3", "rocket 4 @5", "synced @6"];
    for (since, expected) in [
        ("0.6", &["synced @6"][..]),
        ("0.5", &["gone 2 @6", "synced @6"]),
        ("0.2", &["rocket 3 @3", "rocket 4 @5", "gone 2 @6", "synced @6"]),
        ("0.0", &["rocket 1 @1", "rocket 3 @3", "rocket 4 @5", "gone 2 @6", "synced @6"]),
        ("0x1.6", &reset),
        ("1f.6", &reset),
        ("0.7", &reset),
    ] {
        assert_eq!(said(&mut reader(&live, &format!("since={since}")).await).await, expected, "{since}");
    }
    let mut filtered = reader(&live, "since=0.2&status=active").await;
    assert_eq!(said(&mut filtered).await, ["rocket 3 @3", "gone 4 @5", "gone 2 @6", "synced @6"]);
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_is_on_its_way_is_waited_for() {
    let live = live();
    flies(&live, 1);
    let (mut reader, ()) = tokio::join!(reader(&live, "since=0.2"), async {
        sleep(AHEAD_MAX / 2).await;
        flies(&live, 2);
        flies(&live, 3);
    });
    assert_eq!(said(&mut reader).await, ["rocket 3 @3", "synced @3"]);
}

#[tokio::test(start_paused = true)]
async fn a_view_in_the_place_of_another_begins_again() {
    let live = live();
    [1, 2].iter().for_each(|id| flies(&live, *id));
    let mut reader = reader(&live, "").await;
    assert_eq!(all(&mut reader).await.len(), 3);
    let loaded = View::default();
    loaded.apply(Some(channel(2)), Some(Sample::new(2).record()), 1);
    live.view.replace_with(loaded, OffsetDateTime::UNIX_EPOCH);
    live.tell();
    let again = all(&mut reader).await;
    assert_eq!(short(&again), ["reset @0", "rocket 2 @1", "synced @1"]);
    assert!(again.iter().all(|event| &*event.id.epoch == "0x1"));
}

#[tokio::test(start_paused = true)]
async fn the_first_change_comes_at_once_and_further_ones_at_a_pace() {
    let live = live();
    let mut reader = reader(&live, "").await;
    assert_eq!(said(&mut reader).await, ["synced @0"]);
    let start = Instant::now();
    let changing = async {
        for _ in 0..1_000 {
            flies(&live, 1);
            sleep(Duration::from_millis(1)).await;
        }
    };
    let mut at = Vec::new();
    let reading = async {
        loop {
            reader.next().await;
            at.push(start.elapsed());
        }
    };
    tokio::select! {
        () = changing => {}
        () = reading => {}
    }
    assert!(at[0] < Duration::from_millis(2), "{at:?}");
    assert!((15..=21).contains(&at.len()), "{at:?}");
    all(&mut reader).await;
    assert_eq!(reader.position.revision, 1_000);
}

#[test]
fn many_readers_look_less_often() {
    let looks = [1, 250, 1_000, 2_000].map(|readers| pace(readers).as_millis());
    assert_eq!(looks, [50, 50, 200, 400]);
}

#[tokio::test(start_paused = true)]
async fn a_pulse_comes_to_those_who_wait_and_to_those_who_are_behind() {
    let (live, pulses) = (live(), watch::Sender::new(None));
    (0..1_000).for_each(|id| flies(&live, id));
    let asked = LiveRequest::parse("", &HeaderMap::new()).unwrap();
    let mut reader = Reader::new(live.clone(), asked, pulses.subscribe(), Places::default().take().unwrap()).await;
    let names = |piece: &[u8]| {
        let names = events(piece).into_iter().map(|event| (event.name, event.id.revision));
        names.filter(|(name, _)| name != "rocket").collect::<Vec<_>>()
    };
    let first = reader.next().await;
    assert_eq!((names(&first), first.len() < 2 * PIECE_BYTES), (vec![], true));
    let there = reader.position.revision;
    pulses.send_replace(Some(Arc::from("{}")));
    let second = reader.next().await;
    // It says what the reader has, and not what the view has.
    assert_eq!((names(&second), there < 1_000), (vec![("pulse".into(), there)], true));
    all(&mut reader).await;
    pulses.send_replace(None);
    assert!(timeout(QUIET, reader.next()).await.is_err());
    pulses.send_replace(Some(Arc::from("{}")));
    assert_eq!(said(&mut reader).await, ["pulse @1000"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_at_once_and_ends_with_the_process() {
    let (live, places, closing) = (live(), Places::default(), CancellationToken::new());
    let asked = LiveRequest::parse("", &HeaderMap::new()).unwrap();
    let reader = Reader::new(live, asked, Pulses::default().follow(), places.take().unwrap()).await;
    let stream = reader.into_stream(closing.clone());
    let mut stream = Box::pin(stream);
    assert_eq!(stream.next().await.unwrap(), opening());
    assert_eq!(short(&events(&stream.next().await.unwrap())), ["synced @0"]);
    assert_eq!(places.count(), 1);
    let (ended, ()) = tokio::join!(stream.next(), async { closing.cancel() });
    drop(stream);
    assert_eq!((ended, places.count()), (None, 0));
}

/// What a client makes of events, and the reader that sends them.
struct Client {
    query: &'static str,
    rockets: BTreeMap<String, Value>,
    last: Option<Position>,
    reader: Reader,
}

impl Client {
    async fn new(live: &Arc<LiveView>, query: &'static str) -> Self {
        Self { query, rockets: BTreeMap::new(), last: None, reader: reader(live, query).await }
    }

    async fn comes_back(&mut self, live: &Arc<LiveView>) {
        let since = self.last.as_ref().map_or(String::new(), |last| format!("&since={last}"));
        self.reader = reader(live, &format!("{}{since}", self.query)).await;
        if self.last.is_none() {
            self.rockets.clear();
        }
    }

    fn take(&mut self, events: Vec<Event>) {
        for event in events {
            let id = || event.data["id"].as_str().unwrap().to_owned();
            match &*event.name {
                "rocket" => drop(self.rockets.insert(id(), event.data.clone())),
                "gone" => drop(self.rockets.remove(&id())),
                "reset" => self.rockets.clear(),
                _ => assert_eq!(event.name, "synced"),
            }
            let rises = self.last.as_ref().is_none_or(|last| event.id.revision >= last.revision);
            assert!(event.name == "reset" || rises, "{event:?} after {:?}", self.last);
            self.last = Some(event.id);
        }
    }

    /// Takes one piece, if there is one.
    async fn reads(&mut self) -> bool {
        let piece = timeout(QUIET, self.reader.next()).await;
        piece.inspect(|piece| self.take(events(piece))).is_ok()
    }

    fn has_what_is_in(&self, view: &View) {
        let filter = LiveRequest::parse(self.query, &HeaderMap::new()).unwrap().filter;
        let listed = view.scan(Order::Asc, None).filter(|entry| filter.matches(entry));
        let expected =
            listed.map(|entry| (entry.channel.to_string(), serde_json::from_str(entry.public_json()).unwrap()));
        assert_eq!(self.rockets, expected.collect(), "{}", self.query);
    }
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// So many rockets from this one on become this; each `stride`-th.
    Change {
        first: u32,
        count: u32,
        stride: u32,
        to: Option<(usize, bool, i64)>,
        launched: bool,
    },
    Reads(usize),
    ComesBack(usize),
    IsReplaced {
        made: i64,
    },
}

const QUERIES: [&str; 6] = [
    "",
    "status=active",
    "mission=ART",
    "type=Falcon-9&status=exploded",
    "minSpeed=300&maxSpeed=700",
    "launchedAfter=2022-02-02T18:39:05.7Z",
];
const ROCKETS: u32 = 400;

fn step() -> impl Strategy<Value = Step> {
    let to = prop::option::weighted(0.85, (0..2_usize, any::<bool>(), 0..1_000_i64));
    let change = (0..ROCKETS, 1..ROCKETS, 1..5_u32, to, prop::bool::weighted(0.9));
    prop_oneof![
        6 => change.prop_map(|(first, count, stride, to, launched)| Step::Change { first, count, stride, to, launched }),
        8 => (0..QUERIES.len()).prop_map(Step::Reads),
        2 => (0..QUERIES.len()).prop_map(Step::ComesBack),
        1 => (0..2_i64).prop_map(|made| Step::IsReplaced { made }),
    ]
}

fn changed(live: &LiveView, step: &Step) {
    let Step::Change { first, count, stride, to, launched } = step else { return };
    for id in (*first..first + count).step_by(*stride as usize).map(|id| id % ROCKETS) {
        let record = to.map(|(mission, exploded, speed)| match launched {
            true => {
                // A correction of the launch changes its time.
                let (rocket_type, times) = (id as usize % 2, [if speed % 3 == 0 { 2 } else { 0 }, 0, 0]);
                Sample { mission, exploded, speed, rocket_type, times, ..Sample::new(id) }.record()
            }
            false => Record::default(),
        });
        live.view.apply(Some(channel(id)), record, live.view.last_revision() + 1);
    }
    live.tell();
}

async fn run(steps: Vec<Step>) {
    let live = live();
    let mut clients = Vec::new();
    for query in QUERIES {
        clients.push(Client::new(&live, query).await);
    }
    for step in steps {
        changed(&live, &step);
        match step {
            Step::Change { .. } => {}
            Step::Reads(client) => drop(clients[client].reads().await),
            Step::ComesBack(client) => clients[client].comes_back(&live).await,
            Step::IsReplaced { made } => {
                let created = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(made);
                live.view.replace_with(View::default(), created);
                live.tell();
            }
        }
    }
    for client in &mut clients {
        while client.reads().await {}
        client.has_what_is_in(&live.view);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn readers_that_stop_and_come_back_have_in_the_end_what_the_view_has(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(steps));
    }
}
