//! The worker of one partition: takes a batch, sorts it by channel, settles all channels at once, acknowledges; and goes
//! on with channels that drain, a step each, in between.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::Counters;
use super::cache::Cache;
use super::decide::{Disposal, Malformed, VAIN_PAUSE, bury_malformed, disposal, partition_pause, pause_after, read};
use super::drain::{Drain, Step};
use super::settle::{Desk, settle};
use crate::broker::{AckHandle, BrokerError, Deliveries, Delivery, Stored, TrackBroker};
use crate::domain::{Arrival, Channel, Sequence};
use crate::fail_point;
use crate::logging::Limit;

/// Drains that take a step in one round, so that many short ones do not wait for each other.
const DRAINS_AT_ONCE: usize = 4;
/// The worker of one partition.
pub struct Worker<B> {
    broker: Arc<B>,
    ack_wait: Duration,
    counters: Arc<Counters>,
    cache: Cache,
    drains: VecDeque<Drain>,
}

/// The messages of one channel in a batch.
struct Group {
    desk: Desk,
    arrivals: Vec<Arc<Arrival<Stored>>>,
    handles: Vec<AckHandle>,
}

/// Answers for deliveries, collected until the end of a turn.
#[derive(Default)]
struct Answers {
    acknowledge: Vec<AckHandle>,
    give_back: Vec<(AckHandle, Duration)>,
}

impl<B: TrackBroker> Worker<B> {
    /// A worker that remembers nothing.
    pub fn new(broker: B, ack_wait: Duration, counters: Arc<Counters>) -> Self {
        Self { broker: Arc::new(broker), ack_wait, counters, cache: Cache::new(), drains: VecDeque::new() }
    }

    /// Works until the shutdown, then gives back what it holds.
    pub async fn run(mut self, mut deliveries: Deliveries, shutdown: CancellationToken) {
        loop {
            let batch = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                batch = deliveries.next_batch() => batch,
                () = std::future::ready(()), if self.has_drains() => Vec::new(),
            };
            let pause = self.turn(batch).await;
            // Time for the broker to come back; a shutdown does not wait for it.
            let _ = timeout(pause, shutdown.cancelled()).await;
        }
        let mut held: Vec<_> = self.drains.drain(..).map(|drain| drain.token).collect();
        held.extend(deliveries.close());
        self.broker.give_back(&held, Duration::ZERO).await;
    }

    /// Whether a channel goes on from the stream, so that a turn is worth it without any delivery.
    pub fn has_drains(&self) -> bool {
        !self.drains.is_empty()
    }

    /// One batch, then one step of the drains; while it lasts, everything that is held is kept from coming again.
    /// Tells for how long to leave the broker alone.
    pub async fn turn(&mut self, batch: Vec<Delivery>) -> Duration {
        let tokens = self.drains.iter().map(|drain| drain.token.clone());
        let held: Vec<_> = batch.iter().map(|delivery| delivery.handle.clone()).chain(tokens).collect();
        let (broker, half) = (self.broker.clone(), self.ack_wait / 2);
        let work = self.work(batch);
        tokio::pin!(work);
        let mut ticks = interval_at(Instant::now() + half, half);
        loop {
            tokio::select! {
                pause = &mut work => return pause,
                _ = ticks.tick() => broker.extend(&held).await,
            }
        }
    }

    async fn work(&mut self, batch: Vec<Delivery>) -> Duration {
        let mut answers = Answers::default();
        let pause = self.settle_batch(batch, &mut answers).await.max(self.step_drains(&mut answers).await);
        fail_point::reached("track.before-acknowledging");
        self.broker.acknowledge(&answers.acknowledge).await;
        for (handle, pause) in answers.give_back {
            self.broker.give_back(&[handle], pause).await;
        }
        pause
    }

    async fn settle_batch(&mut self, batch: Vec<Delivery>, answers: &mut Answers) -> Duration {
        let (groups, malformed) = self.sort(batch);
        let (broker, counters) = (&*self.broker, &*self.counters);
        let settle_all = groups.into_iter().map(|mut group| async move {
            let settled = settle(broker, &mut group.desk, &group.arrivals, counters).await;
            (group, settled)
        });
        let bury_all = malformed
            .into_iter()
            .map(|(malformed, handle)| async move { (handle, bury_malformed(broker, &malformed, counters).await) });
        let (settled, buried) = tokio::join!(join_all(settle_all), join_all(bury_all));
        let results = settled.iter().map(|(_, settled)| settled).chain(buried.iter().map(|(_, buried)| buried));
        let pause = results.filter_map(|result| result.as_ref().err().map(partition_pause)).max();
        settled.into_iter().for_each(|(group, settled)| self.finish(group, settled, answers));
        buried.into_iter().for_each(|(handle, buried)| answers.dispose(vec![handle], disposal(&buried, false)));
        pause.unwrap_or_default()
    }

    /// Sorts a batch by channel, the messages of each in the order of the stream.
    fn sort(&mut self, batch: Vec<Delivery>) -> (Vec<Group>, Vec<(Box<Malformed>, AckHandle)>) {
        let (mut groups, mut malformed) = (HashMap::new(), Vec::new());
        for Delivery { stored, handle } in batch {
            match read(stored) {
                Err(error) => malformed.push((error, handle)),
                Ok(arrival) => {
                    let channel = arrival.message.channel;
                    let group = groups.entry(channel).or_insert_with(|| Group::new(self.cache.take(channel)));
                    group.arrivals.push(Arc::new(arrival));
                    group.handles.push(handle);
                }
            }
        }
        (groups.into_values().collect(), malformed)
    }

    /// Decides on the deliveries of one channel, and remembers the channel if it was settled.
    fn finish(&mut self, group: Group, settled: Result<(), BrokerError>, answers: &mut Answers) {
        let Group { desk, arrivals, mut handles } = group;
        let could_move = desk.known.as_ref().is_some_and(|known| known.record.could_move());
        let disposal = disposal(&settled, could_move);
        match &settled {
            Ok(()) => {
                let last = arrivals.last().map(|arrival| arrival.sequence);
                if disposal == Disposal::HoldOneAndDrain
                    && let (Some(sequence), Some(handle)) = (last, handles.pop())
                {
                    handles.extend(self.hold(desk.channel, sequence, handle));
                }
                self.cache.put(desk);
            }
            Err(error) => log_failure(desk.channel, error),
        }
        answers.dispose(handles, disposal);
    }

    /// Holds one delivery of a channel that could move, and tells which one can be let go for it, if another one was
    /// held already. A delivery that comes again takes the place of itself.
    fn hold(&mut self, channel: Channel, sequence: Sequence, handle: AckHandle) -> Option<AckHandle> {
        match self.drains.iter_mut().find(|drain| drain.channel == channel) {
            None => {
                self.drains.push_back(Drain::new(channel, sequence, handle));
                None
            }
            Some(drain) => {
                let held = std::mem::replace(&mut drain.token, handle);
                (std::mem::replace(&mut drain.token_sequence, sequence) != sequence).then_some(held)
            }
        }
    }

    async fn step_drains(&mut self, answers: &mut Answers) -> Duration {
        let count = self.drains.len().min(DRAINS_AT_ONCE);
        let round: Vec<_> = self.drains.drain(..count).collect();
        let (broker, counters, cache) = (&*self.broker, &*self.counters, &mut self.cache);
        let steps = round.into_iter().map(|mut drain| {
            let mut desk = cache.take(drain.channel);
            async move {
                let step = drain.step(broker, &mut desk, counters).await;
                (drain, desk, step)
            }
        });
        let stepped = join_all(steps).await;
        stepped
            .into_iter()
            .map(|(drain, desk, step)| self.after_step(drain, desk, step, answers))
            .max()
            .unwrap_or_default()
    }

    fn after_step(
        &mut self,
        drain: Drain,
        desk: Desk,
        step: Result<Step, BrokerError>,
        answers: &mut Answers,
    ) -> Duration {
        let channel = drain.channel;
        match step {
            Ok(Step::GoOn) => self.drains.push_back(drain),
            Ok(Step::Done) => answers.acknowledge.push(drain.token),
            Ok(Step::Vain) => {
                tracing::error!(%channel, "messages that are said to wait are not in the stream, looking again later");
                answers.give_back.push((drain.token, VAIN_PAUSE));
            }
            Err(error) => {
                log_failure(channel, &error);
                answers.give_back.push((drain.token, pause_after(&error)));
                // What is remembered may be wrong now: forget it.
                return partition_pause(&error);
            }
        }
        self.cache.put(desk);
        Duration::ZERO
    }
}

impl Group {
    fn new(desk: Desk) -> Self {
        Self { desk, arrivals: Vec::new(), handles: Vec::new() }
    }
}

impl Answers {
    fn dispose(&mut self, handles: Vec<AckHandle>, disposal: Disposal) {
        match disposal {
            Disposal::Acknowledge | Disposal::HoldOneAndDrain => self.acknowledge.extend(handles),
            Disposal::GiveBack(pause) => self.give_back.extend(handles.into_iter().map(|handle| (handle, pause))),
        }
    }
}

fn log_failure(channel: Channel, error: &BrokerError) {
    static FAILED: Limit = Limit::new();
    if let Some(unlogged) = FAILED.admits() {
        tracing::warn!(%channel, %error, unlogged, "messages could not be taken up, they come again");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Fault, ModelBroker, payload};
    use super::*;
    use crate::domain::{MessageNumber, Record};

    fn channel(number: u8) -> Channel {
        Channel::parse(&format!("00000000-0000-4000-8000-0000000000{number:02x}")).unwrap()
    }

    fn worker(broker: &ModelBroker) -> Worker<ModelBroker> {
        Worker::new(broker.clone(), Duration::from_secs(5), Arc::new(Counters::default()))
    }

    fn run<F: Future>(test: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
    }

    /// Turns until nothing is left to do for this worker.
    async fn work_until_idle(worker: &mut Worker<ModelBroker>, batch: Vec<Delivery>) {
        worker.turn(batch).await;
        while worker.has_drains() {
            worker.turn(Vec::new()).await;
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
            let sequences: Vec<_> =
                (1..=40u64).map(|at| broker.publish(channel((at % 2) as u8), at.div_ceil(2))).collect();
            worker(&broker).turn(broker.deliver(sequences.into_iter().rev())).await;
            assert_eq!(broker.record(channel(0)), expected(20, channel(0)));
            assert_eq!(broker.state().bucket.values().map(|(_, revision)| revision).sum::<u64>(), 1 + 2);
            assert_eq!(broker.unacknowledged().len(), 0);
            assert_eq!(broker.state().letters.len(), 8, "every fifth is a second launch");
        });
    }

    #[test]
    fn what_waits_is_read_back_when_it_left_memory() {
        run(async {
            let broker = ModelBroker::default();
            let waiting: Vec<_> = (2..=100).rev().map(|number| broker.publish(channel(0), number)).collect();
            work_until_idle(&mut worker(&broker), broker.deliver(waiting)).await;
            assert_eq!((broker.record(channel(0)).parked.count(), broker.unacknowledged().len()), (99, 0));

            let first = broker.publish(channel(0), 1);
            work_until_idle(&mut worker(&broker), broker.deliver([first])).await;
            assert_eq!(broker.record(channel(0)), expected(100, channel(0)));
            assert_eq!((broker.unacknowledged().len(), broker.state().letters.len()), (0, 20));
        });
    }

    #[test]
    fn what_waits_in_memory_is_not_read_back() {
        run(async {
            let broker = ModelBroker::default();
            let mut worker = worker(&broker);
            for number in (1..=50).rev() {
                let sequence = broker.publish(channel(0), number);
                worker.turn(broker.deliver([sequence])).await;
            }
            assert_eq!(broker.record(channel(0)), expected(50, channel(0)));
            assert_eq!(broker.state().pages_read, 0);
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
            worker.turn(broker.deliver([closes])).await;
            worker.turn(broker.deliver([other])).await;
            assert_eq!(broker.record(channel(1)), expected(1, channel(1)));
            assert_eq!(broker.unacknowledged(), [closes], "held until everything behind it is applied");
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
            worker.turn(broker.deliver([closes])).await;
            let later: Vec<_> = (51..=60).map(|number| broker.publish(channel(0), number)).collect();
            worker.turn(broker.deliver(later)).await;
            assert_eq!(broker.unacknowledged().len(), 1);
            worker.turn(broker.deliver(broker.unacknowledged())).await;
            assert_eq!(broker.unacknowledged().len(), 1, "a delivery that comes again is held, not let go");
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
            assert!(broker.record(channel(0)).parked.beyond().is_some());
            let odds: Vec<_> = (0..last / 2).map(|half| broker.publish(channel(0), 2 * half + 1)).collect();
            for chunk in odds.chunks(100).rev() {
                work_until_idle(&mut worker(&broker), broker.deliver(chunk.iter().copied())).await;
            }
            assert_eq!((broker.record(channel(0)), broker.unacknowledged().len()), (expected(last, channel(0)), 0));
        });
    }

    #[test]
    fn a_record_that_nobody_wrote_is_folded_anew() {
        run(async {
            let broker = ModelBroker::default();
            let sequences: Vec<_> = (1..=20).map(|number| broker.publish(channel(0), number)).collect();
            work_until_idle(&mut worker(&broker), broker.deliver(sequences)).await;
            broker.state().bucket.get_mut(&channel(0)).unwrap().0 = b"garbage".to_vec();
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
            broker.state().bucket.insert(channel(0), (newer.clone(), 7));
            let (blocked, other) = (broker.publish(channel(0), 1), broker.publish(channel(1), 1));
            let pause = worker(&broker).turn(broker.deliver([blocked, other])).await;
            assert_eq!((broker.unacknowledged(), pause), (vec![blocked], Duration::ZERO));
            assert_eq!(broker.state().bucket[&channel(0)], (newer, 7));
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
            worker(&broker).turn(broker.deliver([of_another, garbage, no_channel, good])).await;
            assert_eq!((broker.record(channel(0)), broker.unacknowledged().len()), (expected(1, channel(0)), 0));
            assert!(broker.state().letters.keys().eq(&[of_another, garbage, no_channel]));
        });
    }

    /// One step of a life with everything going wrong.
    #[derive(Clone, Debug)]
    enum Event {
        /// A message arrives; the number is drawn from those to come.
        Publish(usize),
        /// A worker takes some of what is not acknowledged.
        Work { worker: usize, from: usize, count: usize, faults: Vec<Fault> },
        /// A worker dies, and another one starts with nothing in memory.
        Crash(usize),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let fault = prop_oneof![6 => Just(Fault::None), 1 => Just(Fault::Refused), 1 => Just(Fault::AnswerLost)];
        let work = (0..2usize, any::<usize>(), 1..20usize, proptest::collection::vec(fault, 0..12))
            .prop_map(|(worker, from, count, faults)| Event::Work { worker, from, count, faults });
        let event = prop_oneof![
            6 => any::<usize>().prop_map(Event::Publish),
            4 => work,
            1 => (0..2usize).prop_map(Event::Crash),
        ];
        proptest::collection::vec(event, 1..120)
    }

    /// Two workers with crashes, lost answers, refused calls, copies and any order: at the end every message has been
    /// applied once, in order. The model itself refuses an acknowledgement that comes too early.
    async fn live(events: Vec<Event>, numbers: u64) -> ModelBroker {
        let broker = ModelBroker::default();
        let mut workers = [worker(&broker), worker(&broker)];
        for event in events {
            match event {
                Event::Publish(at) => {
                    let at = at as u64 % (2 * numbers);
                    broker.publish(channel((at % 2) as u8), at / 2 + 1);
                }
                Event::Work { worker, from, count, faults } => {
                    let waiting = broker.unacknowledged();
                    let from = from.checked_rem(waiting.len()).unwrap_or(0);
                    let batch = broker.deliver(waiting.into_iter().skip(from).take(count));
                    broker.state().faults = faults;
                    workers[worker].turn(batch).await;
                    broker.state().faults.clear();
                }
                Event::Crash(at) => workers[at] = worker(&broker),
            }
        }
        (0..2 * numbers).for_each(|at| {
            broker.publish(channel((at % 2) as u8), at / 2 + 1);
        });
        let mut last = worker(&broker);
        while !broker.unacknowledged().is_empty() {
            work_until_idle(&mut last, broker.deliver(broker.unacknowledged().into_iter().take(7))).await;
        }
        broker
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_fault_loses_or_doubles_a_message(events in events()) {
            let numbers = 24;
            let broker = run(live(events, numbers));
            for of in [channel(0), channel(1)] {
                prop_assert_eq!(broker.record(of), expected(numbers, of));
            }
            let refused = broker.state().letters.len() as u64;
            prop_assert!(refused >= 2 * (numbers / 5), "{} dead letters", refused);
            prop_assert_eq!(broker.record(channel(0)).next_number(), MessageNumber::new(numbers + 1));
        }
    }
}
