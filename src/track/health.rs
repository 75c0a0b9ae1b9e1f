//! Whether a tracker can do its work: what it needs of the broker, and what became of what it has stored.

use std::sync::Arc;
use std::time::Duration;

use super::aside::SetAside;
use crate::broker::objects::{Object, Problem};
use crate::broker::{Broker, Objects, TrackStores};
use crate::http::health::{Check, Condition, NO_BROKER};
use crate::metrics::TrackMetrics;
use crate::traces::Traces;

/// A tracker that has stored no record for so long, and has tried, cannot do its work.
const NOTHING_STORED_MAX: Duration = Duration::from_secs(10);

/// What a tracker tells of itself, its check, Prometheus and a collector of traces; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Signs {
    /// What became of what it has stored.
    pub stores: TrackStores,
    /// The channels that take a newer program.
    pub aside: SetAside,
    /// What it counts.
    pub metrics: TrackMetrics,
    /// Where its spans begin.
    pub traces: Traces,
}

/// Whether messages can be applied.
pub fn check(broker: &Broker, objects: &Objects, signs: &Signs) -> Check {
    let (broker, objects, signs) = (broker.clone(), objects.clone(), signs.clone());
    Arc::new(move || match broker.is_connected() {
        true => {
            let mut condition = condition(&objects.problems(), &signs.stores);
            condition.notes.extend(signs.aside.sentences());
            condition
        }
        false => Condition::unable(NO_BROKER),
    })
}

fn condition(problems: &[Problem], stores: &TrackStores) -> Condition {
    let mut condition = Condition::of(problems, |problem| match problem.object {
        // What has no room is only known to be refused when it is tried: a record that exists may take less than
        // before.
        Object::Log | Object::Bucket => !problem.is_of_room() && !problem.is_of_loss(),
        Object::Durable(_) => true,
        Object::DeadLetters | Object::Outcomes => problem.is_of_absence() || problem.is_of_room(),
        // Without a place for new ones, more of a channel is read, and that is all.
        Object::Checkpoints => problem.is_of_absence(),
    });
    let failures = [
        (Object::Bucket, "records", stores.records.has_failed_for(NOTHING_STORED_MAX)),
        (Object::DeadLetters, "dead letters", stores.dead_letters.fails()),
        (Object::Outcomes, "outcomes", stores.outcomes.fails()),
    ];
    for (object, what, why) in failures {
        if let Some(why) = why {
            condition.stops.push(format!("{what} cannot be stored in {object}: {why}"));
        }
    }
    condition
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::BrokerError;
    use crate::broker::objects::Wrong;
    use crate::domain::lost_end::{Known, LostEnd, Witness};
    use crate::domain::{Event, Sequence, StoredAt};

    #[test]
    fn what_keeps_a_tracker_from_its_work_is_one_table() {
        let (full, differs) = (|| Wrong::Full(5, 5, "messages"), || Wrong::Differs(Vec::new()));
        let known = Known::of(Event { sequence: Sequence(9), stored_at: StoredAt(1) }, Witness::Outcomes);
        let lost = || Wrong::LostEnd(LostEnd::judge(Sequence(7), known, None).unwrap());
        let rows = [
            (Object::Log, Wrong::Missing, true),
            (Object::Log, differs(), true),
            (Object::Log, full(), false),
            (Object::Log, lost(), false),
            (Object::Durable(3), Wrong::Missing, true),
            (Object::Durable(3), differs(), true),
            (Object::Bucket, Wrong::Missing, true),
            (Object::Bucket, differs(), true),
            (Object::Bucket, full(), false),
            (Object::DeadLetters, Wrong::Missing, true),
            (Object::DeadLetters, full(), true),
            (Object::DeadLetters, differs(), false),
            (Object::Outcomes, Wrong::Restoring, true),
            (Object::Outcomes, full(), true),
            (Object::Outcomes, differs(), false),
            (Object::Checkpoints, Wrong::Missing, true),
            (Object::Checkpoints, full(), false),
        ];
        for (object, wrong, stops) in rows {
            let problem = Problem { object, wrong };
            let condition = condition(std::slice::from_ref(&problem), &TrackStores::default());
            let reported = if stops { condition.stops } else { condition.notes };
            assert_eq!(reported, [problem.to_string()], "{object}");
        }
    }

    #[test]
    fn what_could_not_be_stored_last_keeps_it_from_its_work_too() {
        let stores = TrackStores::default();
        let full = Err::<(), _>(BrokerError::Full(String::new()));
        for storing in [&stores.records, &stores.dead_letters, &stores.outcomes] {
            storing.note(1, &full);
        }
        let reported = [
            "dead letters cannot be stored in stream ROCKETS_DLQ: the store is full",
            "outcomes cannot be stored in stream ROCKETS_OUTCOMES: the store is full",
        ];
        assert_eq!(
            condition(&[], &stores),
            Condition { stops: reported.map(str::to_owned).to_vec(), notes: Vec::new() }
        );
    }
}
