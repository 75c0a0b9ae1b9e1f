//! What is stored at the broker: whether the objects are as configured, how full they are, how many copies there are, and
//! whether the log has its end.

use super::Finding;
use crate::broker::lost_end::lost_end;
use crate::broker::objects::{Inspected, Object, Problem, inspect_once};
use crate::broker::topology::Topology;
use crate::broker::usage::{Usage, usage};
use crate::broker::{Broker, BrokerError};
use crate::text::bytes;

/// A stream that is so full, in hundredths, needs somebody soon.
const FILLED_WARN: u64 = 80;
/// One that is so full needs somebody now.
const FILLED_BAD: u64 = 95;
/// One that is full in fewer days needs somebody soon.
const DAYS_LEFT_MIN: u64 = 7;

/// More days than this are not said: nobody knows what comes then.
const DAYS_SAID_MAX: u64 = 1_000;

/// How full everything is.
pub(super) async fn usages(broker: &Broker, topology: &Topology) -> Result<Vec<Usage>, BrokerError> {
    usage(broker, topology).await
}

/// All findings about what is stored.
pub(super) async fn examine(
    broker: &Broker,
    topology: &Topology,
    usages: Result<Vec<Usage>, BrokerError>,
) -> Vec<Finding> {
    let mut findings = objects(&inspect_once(broker, topology).await);
    match usages {
        Err(error) => findings.push(Finding::unanswered("streams", &error)),
        Ok(usages) => {
            findings.extend(usages.iter().map(fill));
            findings.push(replicas(&usages, topology.replicas));
        }
    }
    findings.extend(end(broker).await);
    findings
}

fn objects(inspected: &Inspected) -> Vec<Finding> {
    let Inspected { problems, unanswered } = inspected;
    let mut findings: Vec<_> = problems.iter().map(problem).collect();
    findings.extend(unanswered.iter().map(|what| Finding::unanswered("objects", what)));
    if findings.is_empty() {
        findings.push(Finding::ok("objects", "streams, bucket and durables are there, and set up as configured"));
    }
    findings
}

fn problem(problem: &Problem) -> Finding {
    let remedy = match problem.is_of_room() {
        true => "make room (`rockets trim`, `rockets dlq drop`), or give it more (`nats stream edit --max-bytes`)",
        false if problem.is_of_absence() => "run `rockets init`, or wait for a restore that is under way",
        false => "run `rockets init`",
    };
    Finding::bad("objects", problem.to_string(), remedy)
}

fn fill(usage: &Usage) -> Finding {
    let Usage { object, bytes: has, bytes_max, bytes_a_day, .. } = usage;
    let Some(bytes_max) = *bytes_max else {
        return Finding::warn(
            "room",
            format!("{object} has {} and no bound: it may take the room of all others", bytes(*has)),
            "run `rockets init`, which gives it the configured one (stream.log_max_bytes and so on)",
        );
    };
    let days_left = bytes_a_day.and_then(|a_day| bytes_max.saturating_sub(*has).checked_div(a_day));
    let filled = u64::try_from(u128::from(*has) * 100 / u128::from(bytes_max.max(1))).unwrap_or(u64::MAX);
    let soon = match days_left {
        Some(0) => ", and is full within a day at the rate of the last one".to_owned(),
        Some(days) if days <= DAYS_SAID_MAX => format!(", and is full in {days} days at the rate of the last one"),
        _ => String::new(),
    };
    let detail = format!("{object} has {} of {} ({filled} %){soon}", bytes(*has), bytes(bytes_max));
    match () {
        () if filled >= FILLED_BAD => Finding::bad("room", detail, remedy(*object)),
        () if filled >= FILLED_WARN || days_left.is_some_and(|days| days < DAYS_LEFT_MIN) => {
            Finding::warn("room", detail, remedy(*object))
        }
        () => Finding::ok("room", detail),
    }
}

/// How room is made in a stream.
fn remedy(object: Object) -> &'static str {
    match object {
        Object::Log | Object::Outcomes => "trim what is old (`rockets trim`, retention.keep), or give it more room",
        Object::DeadLetters => {
            "replay or drop dead letters (`rockets dlq`, retention.dead_letters), or give it more room"
        }
        _ => "give it more room (`nats stream edit --max-bytes`)",
    }
}

fn replicas(usages: &[Usage], asked_for: usize) -> Finding {
    let fewer = usages.iter().filter(|usage| usage.replicas < asked_for);
    let fewer: Vec<_> = fewer.map(|usage| format!("{} has {}", usage.object, usage.replicas)).collect();
    let behind = usages.iter().filter(|usage| usage.replicas_behind > 0);
    let behind: Vec<_> =
        behind.map(|usage| format!("{}: {} of {}", usage.object, usage.replicas_behind, usage.replicas)).collect();
    if !fewer.is_empty() {
        let detail = format!("there are to be {asked_for} copies; {}", fewer.join(", "));
        return Finding::warn("replicas", detail, "run `rockets init`, at a cluster of as many brokers");
    }
    if !behind.is_empty() {
        let detail = format!("copies are away or lag behind: {}", behind.join(", "));
        return Finding::warn("replicas", detail, "look at the brokers (`nats server report jetstream`)");
    }
    Finding::ok("replicas", format!("each stream has the number of copies that is asked for ({asked_for})"))
}

async fn end(broker: &Broker) -> Option<Finding> {
    match lost_end(broker).await {
        Ok(None) => None,
        Ok(Some(lost)) => Some(Finding::bad("log", format!("{} {lost}", Object::Log), "run `rockets rebuild --check`")),
        Err(error) => Some(Finding::unanswered("log", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const FULL: Usage = Usage {
        object: Object::Log,
        bytes: 0,
        bytes_max: Some(1_000),
        bytes_a_day: Some(0),
        replicas: 1,
        replicas_behind: 0,
    };

    #[test]
    fn a_stream_that_fills_is_told_in_time() {
        let rows = [
            (0, Some(0), Level::Ok, "0 %)"),
            (790, Some(0), Level::Ok, "79 %)"),
            (800, None, Level::Warn, "80 %)"),
            (950, Some(0), Level::Bad, "95 %)"),
            (100, Some(100), Level::Ok, "full in 9 days"),
            (100, Some(150), Level::Warn, "full in 6 days"),
            (100, Some(901), Level::Warn, "full within a day"),
        ];
        for (bytes, bytes_a_day, level, detail) in rows {
            let finding = fill(&Usage { bytes, bytes_a_day, ..FULL });
            assert!(finding.level == level && finding.detail.contains(detail), "{finding:?}");
        }
        assert_eq!(fill(&Usage { bytes_max: None, ..FULL }).level, Level::Warn);
    }

    #[test]
    fn copies_are_counted() {
        let level = |replicas, behind, asked_for| {
            super::replicas(&[Usage { replicas, replicas_behind: behind, ..FULL }], asked_for).level
        };
        assert_eq!([level(1, 0, 1), level(3, 0, 3), level(3, 0, 1)], [Level::Ok; 3]);
        assert_eq!([level(1, 0, 3), level(3, 1, 3)], [Level::Warn; 2]);
    }
}
