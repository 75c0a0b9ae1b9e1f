//! The worker against a model of the broker: what becomes of messages, whatever goes wrong.

use std::collections::BTreeMap;

use super::*;
use crate::domain::bounds::{self, Bounds};
use crate::domain::outcome::Since;
use crate::domain::{Channel, Checkpoint, Forgotten, MessageNumber, Record, Sequence, Unreported};
use crate::replay::reading_permits;
use crate::simulation::testing::{ModelBroker, payload};

fn channel(number: u8) -> Channel {
    Channel::parse(&format!("00000000-0000-4000-8000-0000000000{number:02x}")).unwrap()
}

fn worker(broker: &ModelBroker) -> Worker<ModelBroker> {
    Worker::new(broker.clone(), Duration::from_secs(5), Arc::new(Counters::default()), reading_permits())
}

fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
}

/// Turns until nothing is left to do for this worker.
async fn work_until_idle(worker: &mut Worker<ModelBroker>, batch: Vec<Delivery>) {
    worker.cycle(batch).await;
    while worker.has_more_to_do() {
        worker.cycle(Vec::new()).await;
    }
}

/// What a channel's record must be: the fold of its messages in order, read from the stream by other means.
fn expected(numbers: u64, of: Channel) -> Record {
    let mut record = Record::default();
    for number in 1..=numbers {
        let _ = record.place(&crate::domain::wire::read(payload(of, number).as_bytes()).unwrap());
    }
    record
}

#[test]
fn a_batch_is_one_write_a_channel() {
    run(async {
        let broker = ModelBroker::default();
        let sequences: Vec<_> = (1..=40u64).map(|at| broker.publish(channel((at % 2) as u8), at.div_ceil(2))).collect();
        work_until_idle(&mut worker(&broker), broker.deliver(sequences.into_iter().rev())).await;
        assert_eq!(broker.record(channel(0)), expected(20, channel(0)));
        assert_eq!(broker.revision(channel(0)) + broker.revision(channel(1)), 1 + 2);
        assert_eq!(broker.unacknowledged().len(), 0);
        assert_eq!(broker.dead_letters().len(), 8, "every fifth is a second launch");
    });
}

#[test]
fn what_waits_is_read_back_when_it_left_memory() {
    run(async {
        let broker = ModelBroker::default();
        let waiting: Vec<_> = (2..=100).rev().map(|number| broker.publish(channel(0), number)).collect();
        work_until_idle(&mut worker(&broker), broker.deliver(waiting)).await;
        assert_eq!((broker.record(channel(0)).pending.count(), broker.unacknowledged().len()), (99, 0));

        let first = broker.publish(channel(0), 1);
        work_until_idle(&mut worker(&broker), broker.deliver([first])).await;
        assert_eq!(broker.record(channel(0)), expected(100, channel(0)));
        assert_eq!((broker.unacknowledged().len(), broker.dead_letters().len()), (0, 20));
    });
}

#[test]
fn what_waits_in_memory_is_not_read_back() {
    run(async {
        let broker = ModelBroker::default();
        let mut worker = worker(&broker);
        for number in (1..=50).rev() {
            let sequence = broker.publish(channel(0), number);
            worker.cycle(broker.deliver([sequence])).await;
        }
        assert_eq!(broker.record(channel(0)), expected(50, channel(0)));
        assert_eq!(broker.state().pages_read, 0);
    });
}

#[test]
fn a_message_that_another_tracker_was_served_costs_no_whole_page() {
    run(async {
        let broker = ModelBroker::with_pages_of(1_000);
        let sequences: Vec<_> = (1..=7).map(|number| broker.publish(channel(0), number)).collect();
        work_until_idle(&mut worker(&broker), broker.deliver([sequences[3]])).await;
        let mut first = worker(&broker);
        work_until_idle(&mut first, broker.deliver(sequences[..3].iter().copied())).await;
        assert_eq!((broker.record(channel(0)), broker.state().messages_read), (expected(4, channel(0)), 1));
        work_until_idle(&mut first, broker.deliver(sequences[4..].iter().copied())).await;
        assert_eq!((broker.record(channel(0)), broker.state().messages_read), (expected(7, channel(0)), 1));
    });
}

#[test]
fn what_is_reported_while_the_next_batch_is_settled_is_not_unreported() {
    run(async {
        let broker = ModelBroker::default();
        let sequences: Vec<_> = (1..=30).map(|number| broker.publish(channel(0), number)).collect();
        let mut worker = worker(&broker);
        for (batch, reported_before) in sequences.chunks(10).zip([0, 10, 20]) {
            worker.cycle(broker.deliver(batch.iter().copied())).await;
            assert_eq!(broker.state().model.outcomes.len(), reported_before);
            assert_eq!(broker.acknowledged(), reported_before, "what is not reported is not acknowledged");
        }
        work_until_idle(&mut worker, Vec::new()).await;
        let last = broker.publish(channel(0), 31);
        work_until_idle(&mut worker, broker.deliver([last])).await;
        let event = broker.state().model.deliver(last).stored.event();
        let unreported = broker.load_latest(&channel(0)).await.unwrap().unreported.messages;
        assert_eq!((unreported, broker.unacknowledged().len()), (vec![(event, None)], 0));
    });
}

#[test]
fn a_channel_that_drains_lets_others_have_their_turn() {
    run(async {
        let broker = ModelBroker::default();
        let waiting: Vec<_> = (2..=100).map(|number| broker.publish(channel(0), number)).collect();
        work_until_idle(&mut worker(&broker), broker.deliver(waiting)).await;

        let (closes, other) = (broker.publish(channel(0), 1), broker.publish(channel(1), 1));
        let mut worker = worker(&broker);
        worker.cycle(broker.deliver([closes])).await;
        worker.cycle(broker.deliver([other])).await;
        assert_eq!(broker.record(channel(1)), expected(1, channel(1)));
        worker.cycle(Vec::new()).await;
        assert_eq!(broker.unacknowledged(), [closes], "held until everything behind it is applied");
    });
}

#[test]
fn what_a_long_drain_holds_is_kept_from_coming_again() {
    run(async {
        let broker = ModelBroker::default();
        let waiting: Vec<_> = (2..=200).map(|number| broker.publish(channel(0), number)).collect();
        work_until_idle(&mut worker(&broker), broker.deliver(waiting)).await;

        let closes = broker.publish(channel(0), 1);
        let mut worker = worker(&broker);
        worker.cycle(broker.deliver([closes])).await;
        // Each turn is short; together they take several times as long as a message may be held.
        while worker.has_more_to_do() {
            tokio::time::advance(Duration::from_secs(1)).await;
            worker.cycle(Vec::new()).await;
        }
        let extended = broker.state().extended.clone();
        assert!(extended.len() >= 5 && extended.iter().all(|sequence| *sequence == closes), "{extended:?}");
    });
}

#[test]
fn messages_that_arrive_while_a_channel_drains_are_not_held() {
    run(async {
        let broker = ModelBroker::default();
        let waiting: Vec<_> = (2..=50).map(|number| broker.publish(channel(0), number)).collect();
        work_until_idle(&mut worker(&broker), broker.deliver(waiting)).await;

        let closes = broker.publish(channel(0), 1);
        let mut worker = worker(&broker);
        worker.cycle(broker.deliver([closes])).await;
        let later: Vec<_> = (51..=60).map(|number| broker.publish(channel(0), number)).collect();
        worker.cycle(broker.deliver(later)).await;
        worker.cycle(Vec::new()).await;
        assert_eq!(broker.unacknowledged().len(), 1);
        worker.cycle(broker.deliver(broker.unacknowledged())).await;
        worker.cycle(Vec::new()).await;
        assert_eq!(broker.unacknowledged().len(), 1, "a delivery that comes again is held, not acknowledged");
        work_until_idle(&mut worker, Vec::new()).await;
        assert_eq!((broker.record(channel(0)), broker.unacknowledged().len()), (expected(60, channel(0)), 0));
    });
}

#[test]
fn more_gaps_than_a_record_holds_are_found_again() {
    run(async {
        let broker = ModelBroker::default();
        let last = 3_000;
        let evens: Vec<_> = (1..=last / 2).map(|half| broker.publish(channel(0), 2 * half)).collect();
        work_until_idle(&mut worker(&broker), broker.deliver(evens)).await;
        assert!(broker.record(channel(0)).pending.overflow().is_some());
        let odds: Vec<_> = (0..last / 2).map(|half| broker.publish(channel(0), 2 * half + 1)).collect();
        for chunk in odds.chunks(100).rev() {
            work_until_idle(&mut worker(&broker), broker.deliver(chunk.iter().copied())).await;
        }
        assert_eq!((broker.record(channel(0)), broker.unacknowledged().len()), (expected(last, channel(0)), 0));
    });
}

#[test]
fn a_record_that_nobody_wrote_is_replayed() {
    run(async {
        let broker = ModelBroker::default();
        let sequences: Vec<_> = (1..=20).map(|number| broker.publish(channel(0), number)).collect();
        work_until_idle(&mut worker(&broker), broker.deliver(sequences)).await;
        broker
            .write(&channel(0), b"garbage".to_vec(), &Unreported::default(), broker.revision(channel(0)))
            .await
            .unwrap();
        let next = broker.publish(channel(0), 21);
        work_until_idle(&mut worker(&broker), broker.deliver([next])).await;
        assert_eq!((broker.record(channel(0)), broker.unacknowledged().len()), (expected(21, channel(0)), 0));
    });
}

#[test]
fn a_record_of_a_newer_program_is_left_alone() {
    run(async {
        let broker = ModelBroker::default();
        let newer = br#"{"format":99}"#.to_vec();
        broker.write(&channel(0), newer.clone(), &Unreported::default(), 0).await.unwrap();
        let (blocked, other) = (broker.publish(channel(0), 1), broker.publish(channel(1), 1));
        let mut worker = worker(&broker);
        let pause = worker.cycle(broker.deliver([blocked, other])).await;
        work_until_idle(&mut worker, Vec::new()).await;
        assert_eq!((broker.unacknowledged(), pause), (vec![blocked], Duration::ZERO));
        assert_eq!(broker.load_latest(&channel(0)).await.unwrap().record.unwrap(), newer);
    });
}

#[test]
fn what_is_no_message_becomes_a_dead_letter_and_stops_nobody() {
    run(async {
        let broker = ModelBroker::default();
        let of_another = broker.publish_bytes(&channel(0).to_string(), payload(channel(1), 1));
        let garbage = broker.publish_bytes(&channel(0).to_string(), "garbage".into());
        let no_channel = broker.publish_bytes("not-a-uuid", payload(channel(0), 1));
        let good = broker.publish(channel(0), 1);
        work_until_idle(&mut worker(&broker), broker.deliver([of_another, garbage, no_channel, good])).await;
        assert_eq!((broker.record(channel(0)), broker.unacknowledged().len()), (expected(1, channel(0)), 0));
        assert!(broker.dead_letters().keys().eq(&[of_another, garbage, no_channel]));
    });
}

#[test]
fn a_skip_opens_the_way_to_what_waits() {
    run(async {
        let broker = ModelBroker::default();
        let waiting = [3, 4, 7].map(|number| broker.publish(channel(0), number));
        let launch = broker.publish(channel(0), 1);
        work_until_idle(&mut worker(&broker), broker.deliver([launch].into_iter().chain(waiting))).await;
        let not_taken_up = broker.publish(channel(0), 6);
        let skip = broker.skip(channel(0), 6);
        work_until_idle(&mut worker(&broker), broker.deliver([skip])).await;
        let record = broker.record(channel(0));
        assert_eq!((record.next_number(), record.pending.count()), (MessageNumber::new(8), 0));
        assert_eq!(record.skipped.ranges().len(), 2, "2 and 5; 6 had arrived");

        let late = broker.publish(channel(0), 5);
        let copy = broker.publish(channel(0), 4);
        work_until_idle(&mut worker(&broker), broker.deliver([not_taken_up, late, copy])).await;
        let (dead_letters, state) = (broker.dead_letters(), broker.state());
        assert_eq!((dead_letters.get(&late), dead_letters.len()), (Some(&"skipped"), 1));
        let reported = [skip, not_taken_up, copy].map(|event| state.outcome(event).cloned().unwrap());
        assert_eq!(reported, [Outcome::Processed, Outcome::Processed, Outcome::Duplicate]);
        assert!(matches!(state.outcome(late), Some(Outcome::Failed(_))));
    });
}

#[test]
fn a_correction_changes_what_comes_after_it() {
    run(async {
        let broker = ModelBroker::default();
        let first = broker
            .publish_bytes(&channel(0).to_string(), payload(channel(0), 2).replace(r#"Number":2"#, r#"Number":1"#));
        let rest: Vec<_> = (2..=12).map(|number| broker.publish(channel(0), number)).collect();
        work_until_idle(&mut worker(&broker), broker.deliver([first].into_iter().chain(rest))).await;
        assert_eq!(broker.dead_letters().len(), 5, "all before the launch that number 5 is, and number 10");
        let correction = broker.correct(channel(0), 1);
        work_until_idle(&mut worker(&broker), broker.deliver([correction])).await;
        let (dead_letters, state) = (broker.dead_letters(), broker.state());
        assert!(dead_letters.keys().eq(&[first, 5, 10]), "{dead_letters:?}");
        assert!(matches!(state.outcome(first), Some(Outcome::Failed(_))), "the corrected one keeps its own");
        assert!([correction, 2, 3, 4].iter().all(|event| state.outcome(*event) == Some(&Outcome::Processed)));
        assert!(matches!(state.outcome(5), Some(Outcome::Failed(_))));
        assert_eq!(
            state.record(channel(0)).rocket.unwrap().speed,
            1_000 + (2..=12).filter(|n| n % 5 != 0).sum::<i64>()
        );
    });
}

const OUT_OF_REACH: &str = "the log does not reach back far enough: message number";

/// A channel with the numbers 1 to 4 applied, of which these are gone from the log, and 6 and 7 waiting behind 5.
async fn trimmed(gone: &[u64]) -> (ModelBroker, Worker<ModelBroker>) {
    let broker = ModelBroker::default();
    let sent: Vec<_> = [1, 2, 3, 4, 6, 7].map(|number| broker.publish(channel(0), number)).into();
    work_until_idle(&mut worker(&broker), broker.deliver(sent)).await;
    gone.iter().for_each(|sequence| broker.state().model.remove(Sequence(*sequence)));
    // One that remembers nothing.
    let worker = worker(&broker);
    (broker, worker)
}

#[test]
fn a_skip_goes_on_from_the_record_where_the_log_was_trimmed() {
    for gone in [&[1, 2, 3, 4][..], &[1], &[3]] {
        run(async {
            let (broker, mut worker) = trimmed(gone).await;
            let skip = broker.skip(channel(0), 5);
            work_until_idle(&mut worker, broker.deliver([skip])).await;
            let record = broker.record(channel(0));
            let mut expected = expected(4, channel(0));
            expected.skip(MessageNumber::new(5).unwrap(), &record.last.clone().unwrap().time);
            assert_eq!(record.rocket.clone().unwrap().speed, 500 + 2 + 3 + 4 + 6 + 7, "{gone:?}");
            assert_eq!((record.next_number(), record.pending.count()), (MessageNumber::new(8), 0));
            assert_eq!(
                (record.skipped, record.last_override),
                (expected.skipped, Some(Sequence(skip))),
                "only 5 is skipped"
            );
            let state = broker.state();
            assert!([skip, 5, 6].iter().all(|event| state.outcome(*event) == Some(&Outcome::Processed)), "{gone:?}");
            assert_eq!(state.model.unacknowledged.len(), 0);
        });
    }
}

#[test]
fn a_damaged_record_is_replayed_from_where_the_log_was_trimmed() {
    run(async {
        let (broker, mut worker) = trimmed(&[3]).await;
        let (of, seen) = (channel(0), broker.state().model.deliver(6).stored.event());
        // 1 and 2 lie behind a message that must stay; they were applied all the same, and need not be read.
        let base = Checkpoint { record: expected(4, of), from: Sequence(5), seen, is_trimmed: true, place: None };
        broker.state().model.store_checkpoint(&of, &base);
        broker.write(&of, b"garbage".to_vec(), &Unreported::default(), broker.revision(of)).await.unwrap();
        let fifth = broker.publish(of, 5);
        work_until_idle(&mut worker, broker.deliver([fifth])).await;
        assert_eq!((broker.record(of), broker.unacknowledged()), (expected(7, of), vec![]));
    });
}

#[test]
fn a_correction_of_what_the_log_does_not_have_fails_and_changes_nothing() {
    for (gone, corrected) in [(&[1, 2, 3, 4][..], 2), (&[1], 3), (&[3], 2), (&[4], 4)] {
        run(async {
            let (broker, mut worker) = trimmed(gone).await;
            let (before, revision) = (broker.record(channel(0)), broker.revision(channel(0)));
            let correction = broker.correct(channel(0), corrected);
            work_until_idle(&mut worker, broker.deliver([correction])).await;
            let whole = gone == [4] && corrected == 4;
            let outcome = broker.state().outcome(correction).cloned();
            if whole {
                assert_eq!(outcome, Some(Outcome::Processed), "it stands in for what is gone");
                return;
            }
            let Some(Outcome::Failed(why)) = outcome else { panic!("{gone:?} {corrected}: {outcome:?}") };
            assert!(why.starts_with(OUT_OF_REACH), "{why}");
            assert_eq!((broker.record(channel(0)), broker.revision(channel(0))), (before, revision));
            assert_eq!(broker.unacknowledged(), [] as [u64; 0]);

            // A skip that comes later is not held up by it.
            let skip = broker.skip(channel(0), 5);
            work_until_idle(&mut worker, broker.deliver([skip])).await;
            assert_eq!(broker.record(channel(0)).next_number(), MessageNumber::new(8));
            assert_eq!(broker.state().outcome(skip), Some(&Outcome::Processed));
        });
    }
}

#[test]
fn a_skip_fails_where_what_waits_is_gone() {
    run(async {
        let (broker, mut worker) = trimmed(&[6]).await;
        let before = broker.record(channel(0));
        let skip = broker.skip(channel(0), 5);
        work_until_idle(&mut worker, broker.deliver([skip])).await;
        assert_eq!(broker.record(channel(0)), before);
        let outcome = broker.state().outcome(skip).cloned();
        let Some(Outcome::Failed(why)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(why, format!("{OUT_OF_REACH} 7 is pending and is not there any more"));
    });
}

/// A channel to which this was sent in this order, an override being a skip up to a number that is not in the order, all
/// of it applied; then the log loses its end behind a sequence.
async fn cut_off(sent: &[Sent], behind: u64) -> (ModelBroker, Worker<ModelBroker>) {
    let broker = ModelBroker::default();
    for sent in sent {
        let event = sent.store(&broker);
        work_until_idle(&mut worker(&broker), broker.deliver([event])).await;
    }
    broker.state().model.lose_end(behind);
    let worker = worker(&broker);
    (broker, worker)
}

#[derive(Clone, Copy, Debug)]
enum Sent {
    Message(u64),
    Correction(u64),
    Skip(u64),
}

impl Sent {
    fn store(self, broker: &ModelBroker) -> u64 {
        match self {
            Self::Message(number) => broker.publish(channel(0), number),
            Self::Correction(number) => broker.correct(channel(0), number),
            Self::Skip(up_to) => broker.skip(channel(0), up_to),
        }
    }
}

/// Delivers an override until it is acknowledged, as often as a broker would in some time.
async fn deliver_for_a_while(broker: &ModelBroker, worker: &mut Worker<ModelBroker>, event: u64) -> Option<Outcome> {
    for _ in 0..10 {
        work_until_idle(worker, broker.deliver([event])).await;
        if !broker.unacknowledged().contains(&event) {
            break;
        }
    }
    broker.state().outcome(event).cloned()
}

/// Of two copies of a message that waits only the second was delivered, and its place is in the record. Then the log loses its
/// end, and the message comes again before that place.
#[test]
fn what_comes_again_before_the_place_that_its_record_has_is_applied() {
    for order in [[1, 2], [2, 1]] {
        run(async {
            let broker = ModelBroker::default();
            let copies = [2, 2].map(|number| broker.publish(channel(0), number));
            work_until_idle(&mut worker(&broker), broker.deliver([copies[1]])).await;
            assert_eq!(broker.record(channel(0)).pending.lowest(), Some(Sequence(2)));
            broker.state().model.lose_end(0);
            assert_eq!([2, 1].map(|number| broker.publish(channel(0), number)), [1, 2]);
            let mut worker = worker(&broker);
            for event in order.into_iter().chain(order) {
                deliver_for_a_while(&broker, &mut worker, event).await;
            }
            assert_eq!(broker.record(channel(0)), expected(2, channel(0)), "{order:?}");
            assert_eq!(broker.unacknowledged(), [] as [u64; 0], "{order:?}");
        });
    }
}

#[test]
fn an_override_at_the_place_of_a_lost_one_is_new() {
    use Sent::{Correction, Message, Skip};
    let numbers = [1, 2, 3, 4, 6, 7].map(Message);
    for (lost, new) in [(Correction(2), Skip(5)), (Correction(3), Correction(2)), (Correction(2), Correction(2))] {
        run(async {
            let (broker, mut worker) = cut_off(&[&numbers[..], &[lost]].concat(), 6).await;
            let before = broker.record(channel(0));
            assert_eq!(before.last_override, Some(Sequence(7)));
            let event = new.store(&broker);
            assert_eq!(event, 7);
            let outcome = deliver_for_a_while(&broker, &mut worker, event).await;
            assert_eq!(outcome, Some(Outcome::Processed), "{lost:?} {new:?}");
            let after = broker.record(channel(0));
            assert!(
                after.last_override == Some(Sequence(7)) && after.last_override_at > before.last_override_at,
                "{after:?}"
            );
            assert!(after.has_come_as_far_as(&before));
            if matches!(new, Skip(_)) {
                assert_eq!(after.next_number(), MessageNumber::new(8));
            }
            // It is followed now: nothing is read for it once more.
            let revision = broker.revision(channel(0));
            work_until_idle(&mut self::worker(&broker), broker.deliver([event])).await;
            assert_eq!((broker.revision(channel(0)), broker.unacknowledged()), (revision, vec![]));
        });
    }
}

#[test]
fn a_skip_goes_on_from_the_record_where_the_log_lost_what_was_applied() {
    use Sent::{Message, Skip};
    // 3 and 4 are lost, with or without a skip of which the record knows.
    for (sent, behind) in
        [([1, 2, 6, 7, 3, 4].map(Message).to_vec(), 4), ([&[1, 2, 6, 7, 4].map(Message)[..], &[Skip(3)]].concat(), 4)]
    {
        run(async {
            let (broker, mut worker) = cut_off(&sent, behind).await;
            let before = broker.record(channel(0));
            assert_eq!((before.next_number(), before.pending.count()), (MessageNumber::new(5), 2));
            let skip = broker.skip(channel(0), 5);
            assert_eq!(deliver_for_a_while(&broker, &mut worker, skip).await, Some(Outcome::Processed));
            let after = broker.record(channel(0));
            assert_eq!((after.next_number(), after.pending.count()), (MessageNumber::new(8), 0));
            let gained = |record: &Record| record.rocket.as_ref().unwrap().speed;
            assert_eq!(gained(&after) - gained(&before), 6 + 7, "what was applied stays");
            let state = broker.state();
            assert!(
                [3, 4].iter().all(|event| state.outcome(*event) == Some(&Outcome::Processed)),
                "6 and 7 are reported"
            );
        });
    }
}

#[test]
fn an_override_fails_where_the_log_lost_what_it_needs() {
    use Sent::{Correction, Message, Skip};
    let rows = [
        ([1, 2, 3, 4, 6, 7].map(Message).to_vec(), 5, Skip(5), "7 is pending"),
        ([1, 2, 6, 7, 3, 4].map(Message).to_vec(), 4, Correction(2), "3 was applied"),
        ([&[1, 2, 3, 4, 6, 7].map(Message)[..], &[Correction(2)]].concat(), 3, Correction(2), "6 is pending"),
        ([&[1, 2, 3, 4, 6, 7].map(Message)[..], &[Skip(5)]].concat(), 6, Correction(2), "5 was applied"),
    ];
    for (sent, behind, new, why) in rows {
        run(async {
            let (broker, mut worker) = cut_off(&sent, behind).await;
            let before = broker.record(channel(0));
            let event = new.store(&broker);
            let outcome = deliver_for_a_while(&broker, &mut worker, event).await;
            let Some(Outcome::Failed(reported)) = outcome else { panic!("{why}: {outcome:?}") };
            assert_eq!(reported, format!("{OUT_OF_REACH} {why} and is not there any more"));
            assert_eq!((broker.record(channel(0)), broker.unacknowledged()), (before, vec![]));
        });
    }
}

#[test]
fn an_override_that_comes_while_another_one_fails_has_its_turn() {
    for turns in 1..=12 {
        run(async {
            let (broker, mut worker) = trimmed(&[1, 2, 3, 4, 6]).await;
            let before = broker.record(channel(0));
            let first = broker.skip(channel(0), 5);
            worker.cycle(broker.deliver([first])).await;
            for _ in 1..turns {
                worker.cycle(Vec::new()).await;
            }
            let second = broker.skip(channel(0), 6);
            work_until_idle(&mut worker, broker.deliver([second])).await;
            assert_eq!(broker.record(channel(0)), before);
            for event in [first, second] {
                let outcome = broker.state().outcome(event).cloned();
                assert!(matches!(outcome, Some(Outcome::Failed(_))), "{event} after {turns} turns: {outcome:?}");
            }
            assert_eq!(broker.unacknowledged(), [] as [u64; 0], "after {turns} turns");
        });
    }
}

#[test]
fn another_body_with_a_taken_number_is_a_dead_letter_that_names_the_first() {
    run(async {
        let broker = ModelBroker::default();
        let mut worker = worker(&broker);
        let other = |number| payload(channel(0), number).replace("\"by\"", "\"by\":1,\"was\"");
        let sequences: Vec<_> = [1, 2, 8].iter().map(|number| broker.publish(channel(0), *number)).collect();
        work_until_idle(&mut worker, broker.deliver(sequences.clone())).await;
        let others: Vec<_> = [2, 8].map(|number| broker.publish_bytes(&channel(0).to_string(), other(number))).into();
        let same = broker.publish(channel(0), 2);
        // Delivered twice, also to one who remembers nothing.
        for _ in 0..2 {
            let batch = broker.deliver(others.iter().copied().chain([same, sequences[1], sequences[2]]));
            work_until_idle(&mut self::worker(&broker), batch).await;
        }
        let conflict = |of| Some(Outcome::Conflict(Sequence(of)));
        let reported = [others[0], others[1], same, sequences[1]].map(|event| broker.state().outcome(event).cloned());
        let expected =
            [conflict(sequences[1]), conflict(sequences[2]), Some(Outcome::Duplicate), Some(Outcome::Processed)];
        assert_eq!(reported, expected);
        assert_eq!(broker.dead_letters(), others.iter().map(|event| (*event, "conflict")).collect());
        assert_eq!(broker.unacknowledged(), Vec::<u64>::new());
    });
}

#[test]
fn what_was_dropped_does_not_die_again() {
    run(async {
        let broker = ModelBroker::default();
        let mut worker = worker(&broker);
        let [first, third] = [1, 3].map(|number| broker.publish(channel(0), number));
        let skip = broker.skip(channel(0), 2);
        let late = broker.publish(channel(0), 2);
        let malformed = broker.publish_bytes(&channel(0).to_string(), "garbage".into());
        let all = [first, third, skip, late, malformed];
        work_until_idle(&mut worker, broker.deliver(all)).await;
        assert_eq!(broker.dead_letters(), [(late, "skipped"), (malformed, "malformed")].into());
        broker.state().model.forget_dead_letters();
        work_until_idle(&mut self::worker(&broker), broker.deliver(all)).await;
        assert_eq!(broker.dead_letters(), BTreeMap::new());
    });
}

#[test]
fn a_channel_that_takes_a_newer_program_waits_for_it_and_holds_up_nobody() {
    run(async {
        let broker = ModelBroker::default();
        let mut worker = worker(&broker);
        let first = broker.publish(channel(0), 1);
        work_until_idle(&mut worker, broker.deliver([first])).await;
        let newer: Vec<_> = (2..=40).map(|number| broker.publish(channel(0), number)).collect();
        let other = broker.publish(channel(1), 1);
        broker.state().model.set_format(Some(newer[5]), 2);
        for batch in newer[5..].chunks(10).chain([&newer[..5], &[other]]) {
            work_until_idle(&mut worker, broker.deliver(batch.iter().copied())).await;
        }
        assert_eq!(
            (broker.record(channel(0)), broker.record(channel(1))),
            (expected(1, channel(0)), expected(1, channel(1)))
        );
        // One that was the first of them before may come once more.
        work_until_idle(&mut worker, broker.deliver(broker.unacknowledged())).await;
        assert_eq!((broker.unacknowledged(), broker.dead_letters().len()), (vec![newer[0]], 0));
        assert!(newer.iter().all(|event| broker.state().outcome(*event).is_none()), "nothing is judged");

        broker.state().model.set_format(None, 1);
        work_until_idle(&mut self::worker(&broker), broker.deliver([newer[0]])).await;
        assert_eq!(broker.record(channel(0)), expected(40, channel(0)));
        assert_eq!((broker.unacknowledged(), broker.dead_letters().len()), (Vec::new(), 8));
        assert!(newer.iter().all(|event| broker.state().outcome(*event).is_some()));
    });
}

#[test]
fn a_correction_is_followed_from_the_last_checkpoint_before_it() {
    run(async {
        let (broker, of) = (ModelBroker::default(), channel(0));
        let mut one = worker(&broker);
        for tens in 0..10 {
            let messages: Vec<_> = (1..=10).map(|number| broker.publish(of, 10 * tens + number)).collect();
            work_until_idle(&mut one, broker.deliver(messages)).await;
        }
        let number = |base: &Checkpoint| MessageNumber::count_through(base.through());
        let through = || broker.state().model.checkpoints(&of).iter().map(number).collect::<Vec<_>>();
        // Each a page of a history before the end of what was read.
        assert_eq!(through(), [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]);
        let speed = || broker.record(of).rocket.unwrap().speed;
        let before = speed();
        let pages_of = async |number: u64| {
            let (correction, read) = (broker.correct(of, number), broker.state().pages_read);
            work_until_idle(&mut worker(&broker), broker.deliver([correction])).await;
            assert_eq!(broker.state().outcome(correction), Some(&Outcome::Processed), "{number}");
            broker.state().pages_read - read
        };
        let (late, early) = (pages_of(95).await, pages_of(5).await);
        assert_eq!(speed(), before + 2 * 1_000);
        assert!(late < 12 && early > 30, "pages read: {late} and {early}");
        assert!(through().iter().all(|through| *through >= 100), "wrong ones are removed: {:?}", through());
        // Other numbers give another one; what it says is what the log says.
        let messages: Vec<_> = (101..=120).map(|number| broker.publish(of, number)).collect();
        work_until_idle(&mut one, broker.deliver(messages)).await;
        let last = broker.state().model.checkpoints(&of).pop().unwrap();
        let (overrides, last_override_at) = (last.record.last_override, last.record.last_override_at);
        // From 5 on everything waited for the correction that lies at the end: it is the end itself.
        assert_eq!(Record { last_override: overrides, last_override_at, ..broker.record(of) }, last.record);
        assert_eq!((last.through(), last.from), (MessageNumber::new(120), Sequence(123)));
    });
}

#[test]
fn what_is_held_of_a_forgotten_channel_is_not_taken_up() {
    run(async {
        let (broker, of) = (ModelBroker::default(), channel(0));
        let mut one = worker(&broker);
        let publish = |numbers: &[u64]| numbers.iter().map(|at| broker.publish(of, *at)).collect::<Vec<_>>();
        let first = publish(&[1, 2, 3, 4, 5, 7, 8]);
        work_until_idle(&mut one, broker.deliver(first)).await;
        let on_their_way = publish(&[9, 10]);
        let skip = broker.skip(of, 8);
        let last = Forgotten::Through(broker.state().model.deliver(skip).stored.event());

        broker.state().model.forget(&of, Forgotten::UnderWay);
        work_until_idle(&mut one, broker.deliver(on_their_way.iter().copied().chain([skip]))).await;
        assert_eq!(broker.unacknowledged(), [on_their_way[0], on_their_way[1], skip], "they come again");
        assert_eq!(broker.record(of), Record::default());

        broker.state().model.forget(&of, last);
        for delivery in on_their_way.into_iter().chain([skip]) {
            work_until_idle(&mut one, broker.deliver([delivery])).await;
        }
        assert_eq!((broker.unacknowledged(), broker.record(of)), (vec![], Record::default()));

        let second = publish(&[2, 1, 3, 4, 5, 6]);
        work_until_idle(&mut one, broker.deliver(second)).await;
        assert_eq!(broker.record(of), expected(6, of), "7 and 8 were of the first life");
        let correction = broker.correct(of, 5);
        work_until_idle(&mut one, broker.deliver([correction])).await;
        assert_eq!(broker.state().outcome(correction), Some(&Outcome::Processed));
        let held = broker.load_latest(&of).await.unwrap();
        assert_eq!(
            held.unreported,
            Unreported { forgotten: Some(last), ..Unreported::default() },
            "it is taken over by every record"
        );
    });
}

#[test]
fn what_is_unreported_is_found_out_before_later_overrides() {
    run(async {
        let (broker, of) = (ModelBroker::default(), channel(0));
        let correct_first = |number: u64| {
            let text = payload(of, number).replace(&format!("\"messageNumber\":{number}"), "\"messageNumber\":1");
            broker.state().model.publish(&of.to_string(), text.into(), Some("1".into())).0
        };
        let messages: Vec<_> = (1..=5).map(|number| broker.publish(of, number)).collect();
        work_until_idle(&mut worker(&broker), broker.deliver(messages.clone())).await;
        let second_launch = messages[4];
        assert_eq!(broker.dead_letters(), [(second_launch, "refused")].into());

        // Without the first launch the second one applies, and is a dead letter no more.
        let no_launch = correct_first(2);
        work_until_idle(&mut worker(&broker), broker.deliver([no_launch])).await;
        assert!(!broker.dead_letters().contains_key(&second_launch), "{:?}", broker.dead_letters());
        // As if the tracker had ended before it wrote that everything is reported.
        let held = broker.load_latest(&of).await.unwrap();
        let since = Some(Since { last_override: None, applied_through: MessageNumber::new(5) });
        let unreported = Unreported { since, ..held.unreported };
        broker.write(&of, held.record.unwrap().to_vec(), &unreported, held.revision).await.unwrap();

        let launch_again = correct_first(1);
        work_until_idle(&mut worker(&broker), broker.deliver([launch_again])).await;
        assert_eq!(broker.dead_letters().get(&second_launch), Some(&"refused"));
        assert!(matches!(broker.state().outcome(second_launch), Some(Outcome::Failed(_))));
    });
}

#[test]
fn a_rocket_whose_dead_letter_cannot_be_stored_holds_one_delivery() {
    run(async {
        let (broker, of, other) = (ModelBroker::default(), channel(0), channel(1));
        let mut one = worker(&broker);
        broker.state().dead_letters_full = true;
        let messages: Vec<_> = (1..=30).map(|number| broker.publish(of, number)).collect();
        for batch in messages.chunks(3) {
            work_until_idle(&mut one, broker.deliver(batch.iter().copied())).await;
        }
        let kept = broker.unacknowledged();
        assert_eq!(kept.len(), 1, "{kept:?}");
        let is_blocked = || (broker.record(of).last.unwrap().number.get(), broker.record(of).pending.count());
        assert_eq!(is_blocked(), (4, 26), "number 5 is refused, and waits with all that comes after it");
        let others: Vec<_> = (1..=4).map(|number| broker.publish(other, number)).collect();
        work_until_idle(&mut one, broker.deliver(others)).await;
        assert_eq!(broker.record(other), expected(4, other));

        // The same for a worker that remembers nothing, and for one whose channel waits in the stream.
        for _ in 0..2 {
            work_until_idle(&mut one, broker.deliver(kept.iter().copied())).await;
            assert_eq!((broker.unacknowledged(), is_blocked()), (kept.clone(), (4, 26)));
            one = worker(&broker);
        }
        broker.state().dead_letters_full = false;
        work_until_idle(&mut one, broker.deliver(kept)).await;
        assert_eq!((broker.record(of), broker.unacknowledged()), (expected(30, of), vec![]));
        assert_eq!(broker.dead_letters().len(), 6);
        assert!(messages.iter().all(|event| broker.state().outcome(*event).is_some()));
    });
}

#[test]
fn a_channel_that_began_again_does_not_rely_on_what_was_held_for_it_before() {
    run(async {
        let (broker, of) = (ModelBroker::default(), channel(0));
        let mut one = worker(&broker);
        broker.state().dead_letters_full = true;
        // Not a launch: the first message is refused.
        let refused =
            |number: u64| payload(of, 2).replace("\"messageNumber\":2", &format!("\"messageNumber\":{number}"));
        let publish = |number| broker.publish_bytes(&of.to_string(), refused(number));
        let first = publish(1);
        work_until_idle(&mut one, broker.deliver([first])).await;
        let last = Forgotten::Through(broker.state().model.deliver(first).stored.event());
        broker.state().model.forget(&of, last);
        let again = publish(1);
        work_until_idle(&mut one, broker.deliver([again])).await;
        work_until_idle(&mut one, broker.deliver([first])).await;
        assert!(broker.unacknowledged().contains(&again), "{:?}", broker.unacknowledged());
    });
}

#[test]
fn of_copies_late_ones_and_malformed_ones_each_waits_for_its_own_dead_letter() {
    run(async {
        let (broker, of) = (ModelBroker::default(), channel(0));
        let mut one = worker(&broker);
        let others = [1, 3, 4].map(|number| broker.publish(of, number));
        work_until_idle(&mut one, broker.deliver(others)).await;
        let skip = broker.skip(of, 2);
        work_until_idle(&mut one, broker.deliver([skip])).await;

        broker.state().dead_letters_full = true;
        let late = broker.publish(of, 2);
        let conflict = broker.publish_bytes(&of.to_string(), payload(of, 3).replace("\"by\":3", "\"by\":7"));
        let garbage = broker.publish_bytes(&of.to_string(), "{".into());
        let plain = [broker.publish(of, 4), broker.publish(of, 6)];
        work_until_idle(&mut one, broker.deliver([late, conflict, garbage].into_iter().chain(plain))).await;
        assert_eq!(broker.unacknowledged(), [late, conflict, garbage]);
        assert!([late, conflict, garbage].iter().all(|event| broker.state().outcome(*event).is_none()));
        let pauses: Vec<_> = broker.state().given_back.iter().map(|(_, pause)| pause.as_secs()).collect();
        assert_eq!(pauses, [2, 2, 2]);

        broker.state().dead_letters_full = false;
        work_until_idle(&mut one, broker.deliver([late, conflict, garbage])).await;
        assert_eq!(broker.unacknowledged(), Vec::<u64>::new());
        assert_eq!(broker.dead_letters(), [(late, "skipped"), (conflict, "conflict"), (garbage, "malformed")].into());
    });
}

#[test]
fn what_a_lagging_replica_leaves_out_of_a_second_reading_is_not_forgotten() {
    run(async {
        // A record lists little of what is pending, and a reading drops what has no room: it is read again.
        bounds::set(Bounds { pending_text: 40, ..bounds::FULL });
        let (broker, of) = (ModelBroker::default(), channel(0));
        let gaps_close = (3..=13).rev().step_by(2);
        let numbers = (2..=12).step_by(2).chain((14..=45).rev()).chain(46..=60).chain(gaps_close);
        let waiting: Vec<_> = numbers.map(|number| broker.publish(of, number)).collect();
        for sequence in waiting {
            work_until_idle(&mut worker(&broker), broker.deliver([sequence])).await;
        }
        assert!(broker.record(of).pending.overflow().is_some());

        let closes = broker.publish(of, 1);
        let mut one = worker(&broker);
        one.cycle(broker.deliver([closes])).await;
        // A checkpoint waits for the replica as long as it lags: not until there is nothing more to do.
        for _ in 0..200 {
            one.cycle(Vec::new()).await;
            if broker.record(of).last.is_some_and(|last| last.number.get() >= 20) {
                broker.state().sight.newest_missing = 16;
            }
        }
        assert_eq!(broker.unacknowledged(), [closes], "not everything was shown");
        broker.state().sight.newest_missing = 0;
        work_until_idle(&mut one, broker.deliver([closes])).await;
        assert_eq!((broker.record(of), broker.unacknowledged()), (expected(60, of), vec![]));
        bounds::set(bounds::FULL);
    });
}

#[test]
fn what_comes_again_before_it_is_reported_costs_no_page() {
    run(async {
        let (broker, of) = (ModelBroker::default(), channel(0));
        let mut one = worker(&broker);
        let messages = [1, 2, 3].map(|number| broker.publish(of, number));
        one.cycle(broker.deliver(messages)).await;
        one.cycle(broker.deliver(messages)).await;
        work_until_idle(&mut one, Vec::new()).await;
        assert_eq!(broker.unacknowledged(), Vec::<u64>::new());
        assert_eq!(broker.state().pages_read, 0);
        assert!(messages.iter().all(|event| broker.state().outcome(*event) == Some(&Outcome::Processed)));

        let copy = broker.publish(of, 3);
        one.cycle(broker.deliver([copy])).await;
        assert_eq!(broker.state().pages_read, 1, "what lies elsewhere may say something else");
    });
}
