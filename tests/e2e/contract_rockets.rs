//! The contract of `GET /rockets` and `GET /rockets/{channel}`, over real connections.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::contract_service::Service;
use super::raw_http::{get, ingest, launch, message, message_at, new_channel, request};

const SORT_BY: [&str; 8] =
    ["channel", "type", "mission", "speed", "status", "launchTime", "lastUpdated", "lastMessageTime"];

fn channel(number: u32) -> String {
    format!("193270a9-c9cf-404a-8f83-{number:012x}")
}

async fn rocket(addr: SocketAddr, channel: &str) -> Value {
    get(addr, &format!("/rockets/{channel}")).await.data()
}

async fn ids(addr: SocketAddr, query: &str) -> Vec<String> {
    ids_of(&get(addr, &format!("/rockets?{query}")).await.data())
}

fn ids_of(rockets: &Value) -> Vec<String> {
    rockets.as_array().unwrap().iter().map(|rocket| rocket["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_rocket_has_the_fields_of_the_contract() {
    let service = Service::start().await;
    let (addr, channel) = (service.addr(), new_channel());
    ingest(addr, launch(&channel.to_uppercase())).await;
    service.until_at(&channel, 1).await;
    let launched = json!({
        "id": channel, "type": "Falcon-9", "currentSpeed": 500, "mission": "ARTEMIS", "status": "active",
        "launchTime": "2022-02-02T19:01:05.86337+01:00", "lastUpdated": "2022-02-02T19:01:05.86337+01:00",
        "lastMessageNumber": 1, "lastMessageTime": "2022-02-02T19:01:05.86337+01:00", "pendingMessages": 0,
    });
    assert_eq!(rocket(addr, &channel).await, launched);
    assert_eq!(rocket(addr, &channel.to_uppercase()).await, launched, "either case names it");

    // Three numbers wait behind 2; a copy of one, stored past the ingress and its dedup, is no fourth.
    for number in [4, 5, 7] {
        ingest(addr, message(&channel, number, "RocketSpeedIncreased", &json!({"by": 10}))).await;
    }
    service.publish(&channel, &message(&channel, 5, "RocketSpeedIncreased", &json!({"by": 10}))).await;
    service.until(&channel, |rocket| rocket["pendingMessages"] == 3).await;
    assert_eq!(rocket(addr, &channel).await["lastMessageNumber"], 1);

    // A refused message is applied: the number and the message time go on, the rest stays.
    ingest(addr, message(&channel, 2, "RocketSpeedDecreased", &json!({"by": 9_000}))).await;
    ingest(addr, message_at(&channel, 3, "2030-01-01T00:00:00Z", "RocketLaunched", &launch_payload())).await;
    service.until_at(&channel, 5).await;
    let mut expected = launched.clone();
    expected["currentSpeed"] = 20.into();
    expected["lastMessageNumber"] = 5.into();
    expected["pendingMessages"] = 1.into();
    for field in ["lastUpdated", "lastMessageTime"] {
        expected[field] = "2022-02-02T19:05:05.86337+01:00".into();
    }
    assert_eq!(rocket(addr, &channel).await, expected);

    ingest(addr, message(&channel, 6, "RocketMissionChanged", &json!({"newMission": "SHUTTLE_MIR"}))).await;
    ingest(addr, message(&channel, 8, "RocketExploded", &json!({"reason": "PRESSURE_VESSEL_FAILURE"}))).await;
    ingest(addr, message_at(&channel, 9, "2031-01-01T00:00:00Z", "RocketSpeedIncreased", &json!({"by": 1}))).await;
    service.until_at(&channel, 9).await;
    let exploded = json!({
        "id": channel, "type": "Falcon-9", "currentSpeed": 0, "mission": "SHUTTLE_MIR", "status": "exploded",
        "explosionReason": "PRESSURE_VESSEL_FAILURE",
        "launchTime": "2022-02-02T19:01:05.86337+01:00", "lastUpdated": "2022-02-02T19:08:05.86337+01:00",
        "lastMessageNumber": 9, "lastMessageTime": "2031-01-01T00:00:00Z", "pendingMessages": 0,
    });
    assert_eq!(rocket(addr, &channel).await, exploded);
    assert_eq!(get(addr, "/rockets").await.data(), json!([exploded]), "the list shows the same");
}

fn launch_payload() -> Value {
    json!({"type": "Starship", "launchSpeed": 1, "mission": "OTHER"})
}

#[tokio::test]
async fn what_makes_no_sense_changes_nothing_and_blocks_nobody() {
    let service = Service::start().await;
    let (addr, channel) = (service.addr(), new_channel());
    let max = i64::MAX;
    let launched_late = [
        ("RocketSpeedIncreased", json!({"by": 5})),
        ("RocketLaunched", json!({"type": "Falcon-9", "launchSpeed": max - 1, "mission": "A"})),
        ("RocketSpeedIncreased", json!({"by": 2})),
        ("RocketSpeedIncreased", json!({"by": 1})),
        ("RocketLaunched", launch_payload()),
        ("RocketExploded", json!({"reason": "FIRST"})),
        ("RocketMissionChanged", json!({"newMission": "B"})),
        ("RocketExploded", json!({"reason": "SECOND"})),
        ("RocketLaunched", launch_payload()),
    ];
    let expected = [
        Value::Null,
        json!([max - 1, "A", "active", null]),
        json!([max - 1, "A", "active", null]),
        json!([max, "A", "active", null]),
        json!([max, "A", "active", null]),
        json!([0, "A", "exploded", "FIRST"]),
        json!([0, "A", "exploded", "FIRST"]),
        json!([0, "A", "exploded", "FIRST"]),
        json!([0, "A", "exploded", "FIRST"]),
    ];
    for (number, ((message_type, payload), expected)) in (1..).zip(launched_late.iter().zip(expected)) {
        ingest(addr, message(&channel, number, message_type, payload)).await;
        if expected.is_null() {
            continue;
        }
        service.until_at(&channel, number).await;
        let is = rocket(addr, &channel).await;
        let is = json!([is["currentSpeed"], is["mission"], is["status"], is["explosionReason"]]);
        assert_eq!(is, expected, "after {number}");
    }
}

#[tokio::test]
async fn a_rocket_that_is_not_there_is_a_404() {
    let service = Service::start().await;
    let addr = service.addr();
    // One whose launch is missing, one whose first message was no launch, and one that shows when both are through.
    let (gap, refused, later) = (new_channel(), new_channel(), new_channel());
    // What is shown of a later record tells that the earlier ones have been seen too.
    for number in [2, 3] {
        ingest(addr, message(&gap, number, "RocketSpeedIncreased", &json!({"by": 1}))).await;
    }
    ingest(addr, message(&refused, 1, "RocketSpeedIncreased", &json!({"by": 1}))).await;
    for channel in [&gap, &refused] {
        service.until_recorded(channel).await;
    }
    ingest(addr, launch(&later)).await;
    service.until_at(&later, 1).await;
    for channel in [&gap, &refused, &new_channel()] {
        assert_eq!(get(addr, &format!("/rockets/{channel}")).await.error(404), "rocket not found");
    }
    let escaped = rocket(addr, &later.replace('-', "%2D")).await;
    assert_eq!((ids(addr, "").await, &escaped["id"]), (vec![later.clone()], &json!(later)));

    let no_uuid = "channel: must be a UUID such as 193270a9-c9cf-404a-8f83-838e71d9ae67";
    for wrong in ["7", "rockets", "193270a9c9cf404a8f83838e71d9ae67", "193270a9-c9cf-404a-8f83-838e71d9ae6", "%00", "*"]
    {
        assert_eq!(get(addr, &format!("/rockets/{wrong}")).await.error(400), no_uuid, "{wrong}");
    }
    let launch = json!({"type": "Falcon-9", "launchSpeed": 500, "mission": "ARTEMIS"});
    ingest(addr, message(&gap, 1, "RocketLaunched", &launch)).await;
    service.until_at(&gap, 3).await;
    assert_eq!(rocket(addr, &gap).await["currentSpeed"], 502);
}

/// One rocket of the sorted lists: type, mission, speed, explodes, time of the launch, time of the last message.
type Sample = (&'static str, &'static str, u64, bool, &'static str, &'static str);

/// Values come in pairs, so that ids decide; times are the same instant written otherwise; text is by code point.
const SAMPLES: [Sample; 8] = [
    ("Falcon-9", "ARTEMIS", 500, false, "2022-02-02T12:00:00Z", "2022-02-03T00:00:00+02:00"),
    ("falcon-9", "A&B C+D", 9_000, true, "2022-02-02T13:00:00+01:00", "2022-02-02T23:59:59Z"),
    ("Falcon-9", "\u{1F680}", 1_000, false, "2022-02-02T11:59:59.9Z", "2022-02-02T22:00:00Z"),
    ("Électron", "\u{FF21}", 1_000, false, "2022-02-02T20:00:00+09:00", "2024-01-01T00:00:00Z"),
    ("", "ARTEMIS", 0, true, "2022-02-02T12:00:00.000000000001Z", "2022-02-04T00:00:00Z"),
    ("Falcon-10", "", 10, false, "1970-01-01T00:00:00Z", "2023-12-31T23:00:00-01:00"),
    ("Falcon-9", "ARTEMIS", 500, false, "2022-02-02T12:00:00.5Z", "2022-02-03T00:00:00Z"),
    ("Zenit", "zenith", 20, false, "1969-12-31T23:59:59Z", "2022-02-04T00:00:00Z"),
];

/// The instants of the samples' times, worked out by hand: seconds since the first day's noon, in tenths.
const LAUNCHED: [i64; 8] = [0, 0, -1, -36_000, 0, i64::MIN + 1, 5, i64::MIN];
const LAST: [i64; 8] = [100, 119, 100, 400, 240, 400, 120, 240];

async fn sampled() -> Service {
    let service = Service::start().await;
    for (number, (rocket_type, mission, speed, explodes, launched, last)) in (1..).zip(SAMPLES) {
        let or_blank = |text: &'static str| if text.is_empty() { " " } else { text };
        let payload = json!({"type": or_blank(rocket_type), "launchSpeed": speed.max(1), "mission": or_blank(mission)});
        let id = channel(number);
        ingest(service.addr(), message_at(&id, 1, launched, "RocketLaunched", &payload)).await;
        let (message_type, payload) = if explodes {
            ("RocketExploded", json!({"reason": "FUEL"}))
        } else {
            ("RocketSpeedIncreased", json!({"by": 0}))
        };
        ingest(service.addr(), message_at(&id, 2, last, message_type, &payload)).await;
    }
    for number in (1..).take(SAMPLES.len()) {
        service.until_at(&channel(number), 2).await;
    }
    service
}

/// The ids in the order of a sort key, equal ones by id: what the contract says, worked out without the service.
fn sorted_by(sort_by: &str, descending: bool) -> Vec<String> {
    let text = |at: usize, text: &str| (if text.is_empty() { " " } else { text }.to_owned(), at);
    let keyed: Vec<((String, i64), usize)> = (0..SAMPLES.len())
        .map(|at| {
            let (rocket_type, mission, speed, exploded, ..) = SAMPLES[at];
            let speed = if exploded { 0 } else { speed.max(1) as i64 };
            let key = match sort_by {
                "channel" => (String::new(), at as i64),
                "type" => (text(at, rocket_type).0, 0),
                "mission" => (text(at, mission).0, 0),
                "speed" => (String::new(), speed),
                "status" => (if exploded { "exploded" } else { "active" }.to_owned(), 0),
                "launchTime" => (String::new(), LAUNCHED[at]),
                _ => (String::new(), LAST[at]),
            };
            (key, at)
        })
        .collect();
    let mut keyed = keyed;
    keyed.sort_by(|(a, at_a), (b, at_b)| {
        let by_key = if descending { b.cmp(a) } else { a.cmp(b) };
        by_key.then(at_a.cmp(at_b))
    });
    keyed.into_iter().map(|(_, at)| channel(at as u32 + 1)).collect()
}

#[tokio::test]
async fn every_sort_key_in_either_order_whole_and_in_pages() {
    let service = sampled().await;
    let addr = service.addr();
    for sort_by in SORT_BY {
        assert_eq!(ids(addr, &format!("sortBy={sort_by}")).await, sorted_by(sort_by, false), "{sort_by}");
        for (order, descending) in [("asc", false), ("desc", true)] {
            let query = format!("sortBy={sort_by}&order={order}");
            let expected = sorted_by(sort_by, descending);
            assert_eq!(ids(addr, &query).await, expected, "{query}");
            for limit in [1, 3, 8, 1_000] {
                assert_eq!(paged(addr, &query, limit).await, expected, "{query} by {limit}");
            }
        }
    }
    assert_eq!(ids(addr, "").await, sorted_by("channel", false));
    assert_eq!(ids(addr, "order=desc").await, sorted_by("channel", true));
    let all = get(addr, "/rockets").await;
    assert_eq!(all.envelope().get("next_cursor"), None, "without a limit it is all");
}

/// Every page of a list; each but the last is full and has a cursor.
async fn paged(addr: SocketAddr, query: &str, limit: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut target = format!("/rockets?{query}&limit={limit}");
    loop {
        let envelope = get(addr, &target).await.envelope();
        let page = ids_of(&envelope["data"]);
        let Some(cursor) = envelope.get("next_cursor") else {
            assert!(page.len() <= limit && (!page.is_empty() || ids.is_empty()));
            return [ids, page].concat();
        };
        assert_eq!(page.len(), limit, "{target}");
        ids.extend(page);
        // A cursor brings its list along; it may be named again.
        let cursor = cursor.as_str().unwrap();
        let again = if ids.len() % 2 == 0 { query } else { "" };
        target = format!("/rockets?cursor={cursor}&limit={limit}&{again}");
    }
}

#[tokio::test]
async fn filters_choose_and_are_decoded() {
    let service = sampled().await;
    let addr = service.addr();
    let rows: [(&str, &[u32]); 14] = [
        ("status=active", &[1, 3, 4, 6, 7, 8]),
        ("status=exploded", &[2, 5]),
        ("type=Falcon-9", &[1, 3, 7]),
        ("type=Falcon%2D9&mission=ARTEMIS", &[1, 7]),
        ("type=%C3%89lectron", &[4]),
        ("mission=A%26B%20C%2BD", &[2]),
        ("mission=A%26B+C%2BD&status=exploded", &[2]),
        ("mission=A%26B+C%2BD&status=active", &[]),
        ("mission=%F0%9F%9A%80", &[3]),
        ("mission=%20", &[6]),
        ("type=", &[]),
        ("type=Falcon", &[]),
        ("status=active&sortBy=speed&order=desc", &[3, 4, 1, 7, 8, 6]),
        ("%74ype=Falcon-9&&order=desc&", &[7, 3, 1]),
    ];
    for (query, expected) in rows {
        let expected: Vec<_> = expected.iter().map(|number| channel(*number)).collect();
        assert_eq!(ids(addr, query).await, expected, "{query}");
        assert_eq!(paged(addr, query, 2).await, expected, "{query}");
    }
}

#[tokio::test]
async fn a_wrong_query_is_a_400_that_names_the_valid_values() {
    let service = Service::start().await;
    let addr = service.addr();
    let sort_by = format!("sortBy: must be one of {}", SORT_BY.join(", "));
    let limit = "limit: must be an integer from 1 to 1000".to_owned();
    let rows = [
        ("sortBy=id", sort_by.clone()),
        ("sortBy=", sort_by.clone()),
        ("sortBy=Speed", sort_by),
        ("order=up", "order: must be one of asc, desc".into()),
        ("order=DESC", "order: must be one of asc, desc".into()),
        ("status=lost", "status: must be one of active, exploded".into()),
        ("limit=0", limit.clone()),
        ("limit=1001", limit.clone()),
        ("limit=-1", limit.clone()),
        ("limit=1.0", limit.clone()),
        ("limit=", limit.clone()),
        ("limit=ten", limit),
        ("cursor=", "cursor: is not a cursor of this list".into()),
        ("cursor=AAAA", "cursor: is not a cursor of this list".into()),
        ("type=a&type=b", "type: is given twice".into()),
        (
            "sort=speed",
            "sort: is not a parameter of this route, which has sortBy, order, limit, cursor, status, type, mission, minSpeed, maxSpeed, launchedAfter, launchedBefore"
                .into(),
        ),
    ];
    for (query, expected) in rows {
        assert_eq!(get(addr, &format!("/rockets?{query}")).await.error(400), expected, "{query}");
    }
    // Bytes that are no text are taken as well as they can be, and nobody falls over them.
    for query in ["type=%FF", "%", "type=%zz", "&=&", "?"] {
        let status = get(addr, &format!("/rockets?{query}")).await.status;
        assert!([200, 400].contains(&status), "{query}: {status}");
    }
}

#[tokio::test]
async fn a_cursor_of_another_list_is_told_so() {
    let service = sampled().await;
    let addr = service.addr();
    let cursor =
        get(addr, "/rockets?sortBy=speed&order=desc&status=active&limit=1").await.envelope()["next_cursor"].clone();
    let cursor = cursor.as_str().unwrap();
    for other in ["sortBy=channel", "order=asc", "status=exploded", "type=Falcon-9"] {
        let error = get(addr, &format!("/rockets?cursor={cursor}&{other}")).await.error(400);
        assert!(error.starts_with("cursor: was made for another list"), "{other}: {error}");
    }
    let mut damaged = cursor.to_owned();
    damaged.truncate(cursor.len() - 4);
    assert_eq!(
        get(addr, &format!("/rockets?cursor={damaged}")).await.error(400),
        "cursor: is not a cursor of this list"
    );
    // Without a limit a cursor gives the whole rest.
    let rest = get(addr, &format!("/rockets?cursor={cursor}")).await;
    assert_eq!((ids_of(&rest.data()).len(), rest.envelope().get("next_cursor")), (5, None));
}

#[tokio::test]
async fn pages_stand_whatever_changes_between_them() {
    let service = sampled().await;
    let addr = service.addr();
    let unchanged: BTreeSet<String> = [1, 3, 4, 7].map(channel).into();
    let mut seen = Vec::new();
    // By falling speed: 3, 4 | (explodes: 3's neighbour stays) 1, 7 | ...
    let mut envelope = get(addr, "/rockets?sortBy=speed&order=desc&limit=2").await.envelope();
    for number in [8, 6] {
        seen.extend(ids_of(&envelope["data"]));
        let cursor = envelope["next_cursor"].as_str().unwrap().to_owned();
        // What is still to come goes away to the end, and new ones come in at both ends.
        ingest(addr, message(&channel(number), 3, "RocketExploded", &json!({"reason": "FUEL"}))).await;
        service.until_at(&channel(number), 3).await;
        for speed in [1, 100_000] {
            let id = new_channel();
            let payload = json!({"type": "New", "launchSpeed": speed, "mission": "NEW"});
            ingest(addr, message(&id, 1, "RocketLaunched", &payload)).await;
            service.until_at(&id, 1).await;
        }
        envelope = get(addr, &format!("/rockets?limit=2&cursor={cursor}")).await.envelope();
    }
    let cursor = envelope["next_cursor"].as_str().unwrap().to_owned();
    seen.extend(ids_of(&envelope["data"]));
    seen.extend(ids(addr, &format!("cursor={cursor}")).await);
    let distinct: BTreeSet<String> = seen.iter().cloned().collect();
    assert_eq!(distinct.len(), seen.len(), "nothing is shown twice: {seen:?}");
    assert!(unchanged.is_subset(&distinct), "{seen:?}");
    assert!([2, 5, 6, 8].map(channel).iter().all(|id| distinct.contains(id)), "nor lost: {seen:?}");
    assert_eq!(ids(addr, "type=New").await.len(), 4);

    // The very rocket that a page ended with goes elsewhere.
    let envelope = get(addr, "/rockets?sortBy=speed&order=desc&type=Falcon-9&limit=1").await.envelope();
    assert_eq!(ids_of(&envelope["data"]), [channel(3)]);
    ingest(addr, message(&channel(3), 3, "RocketExploded", &json!({"reason": "FUEL"}))).await;
    service.until_at(&channel(3), 3).await;
    let cursor = envelope["next_cursor"].as_str().unwrap();
    assert_eq!(ids(addr, &format!("cursor={cursor}")).await, [1, 7, 3].map(channel), "where it stands now");
}

#[tokio::test]
async fn a_head_is_a_get_without_the_body() {
    let service = Service::start().await;
    let addr = service.addr();
    ingest(addr, launch(&channel(1))).await;
    service.until_at(&channel(1), 1).await;
    let (one, missing) = (format!("/rockets/{}", channel(1)), format!("/rockets/{}", channel(2)));
    for target in ["/rockets", "/rockets?limit=1", "/rockets?limit=0", &one, &missing, "/health", "/readyz", "/livez"] {
        let id = "Request-Id: same\r\n";
        let (get, head) = (request(addr, "GET", target, id, "").await, request(addr, "HEAD", target, id, "").await);
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{target}");
        for header in ["content-type", "request-id", "content-length"] {
            assert_eq!(head.header(header), get.header(header), "{target} {header}");
        }
    }
}

/// Elsewhere the system does not offer to notice it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_reader_that_stalls_is_cut() {
    use super::harness::eventually;
    use super::raw_http::{Connection, request_bytes};

    let service = Service::start().await;
    let (addr, wide) = (service.addr(), "x".repeat(255));
    let payload = json!({"type": wide, "launchSpeed": 1, "mission": wide});
    for number in 1..=200 {
        ingest(addr, message(&channel(number), 1, "RocketLaunched", &payload)).await;
    }
    service.until_at(&channel(200), 1).await;
    // Far more than all buffers on the way hold, and nobody reads it.
    let mut connection = Connection::open(addr).await;
    connection.send(request_bytes("GET", "/rockets", "", "").repeat(500)).await;
    // Whether the other side is still there shows only when something is sent to it.
    eventually("the service hangs up", async || connection.try_send("x").await.err()).await;
    assert_eq!(get(addr, "/health").await.status, 200);
}
