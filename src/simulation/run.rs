//! One schedule from its seed: the workers' own code, a step at a time, whoever's turn it is.
//!
//! A worker is a future that waits at each call of the broker. In each step chance gives one of the waiting calls its turn
//! and polls its worker, or something else happens: messages arrive, an acknowledgement that was under way comes, a worker
//! dies (its future is dropped where it stands) and another one begins with nothing in memory. When everything has
//! arrived, the fault profile clears, and the workers must come to rest.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use super::asked;
use super::environment::{Environment, KNOWN};
use super::faulty_broker::{FaultyBroker, Shared};
use super::final_checks;
use super::messages::{CHANNELS, channel_of};
use super::random::Random;
use crate::domain::bounds;
use crate::replay::reading_permits;
use crate::retention::plan::plan;
use crate::track::Counters;
use crate::track::worker::Worker;

/// How long a message may be held; only compared with the seconds that pass in a schedule.
const ACK_WAIT: Duration = Duration::from_secs(5);
/// Steps after which a schedule should long have come to rest.
const STEPS_MAX: u64 = 200_000;
/// Things that arrive in one step at most.
const ARRIVALS_MAX: u64 = 8;
/// Days of a schedule at most: with each, everything is delivered once more.
const DAYS_MAX: u32 = 2;
/// Steps for which a frozen worker stands still at most.
const FREEZE_STEPS_MAX: u64 = 400;

/// One schedule.
pub struct Run {
    shared: Shared,
    workers: Vec<One>,
    steps: u64,
}

/// What a worker does, and whoever trims, for as long as it lives.
type Life = Pin<Box<dyn Future<Output = ()>>>;

fn works(faulty_broker: FaultyBroker) -> Life {
    Box::pin(async move {
        let mut worker = Worker::new(faulty_broker.clone(), ACK_WAIT, Arc::new(Counters::default()), reading_permits());
        loop {
            let batch = faulty_broker.next_batch(!worker.has_more_to_do()).await;
            worker.cycle(batch).await;
        }
    })
}

fn trims(faulty_broker: FaultyBroker) -> Life {
    Box::pin(async move {
        loop {
            let (cut, mut plans) = (faulty_broker.next_trim().await, HashMap::new());
            for channel in (0..CHANNELS).map(channel_of) {
                // Whose plan fails is left alone.
                let plan = plan(&faulty_broker, &channel, cut, false).await.ok().flatten();
                plans.extend(plan.map(|plan| (channel, plan)));
            }
            faulty_broker.trim(&plans, cut).await;
        }
    })
}

/// One worker, or whoever trims.
struct One {
    life: Life,
    /// It does not move before this step.
    frozen_until: u64,
}

/// What has become of a schedule.
pub struct Ended {
    pub broken: Option<String>,
    pub story: Vec<String>,
    pub steps: u64,
    /// Messages that were delivered or read back.
    pub handed_out: u64,
    /// What happened in it beyond a bound.
    pub beyond: BTreeSet<&'static str>,
}

/// Runs a schedule with so many places in its stream; keeps its story if asked to.
pub fn run(seed: u64, length: usize, keeps_story: bool) -> Ended {
    let mut environment = Environment::new(Random::new(seed), length);
    bounds::set(environment.profile.bounds);
    bounds::take_reached();
    environment.story = keeps_story.then(Vec::new);
    environment.report_profile();
    let (shared, workers) = (Shared::new(environment), Vec::new());
    let mut run = Run { shared, workers, steps: 0 };
    let caught = catch_unwind(AssertUnwindSafe(|| run.play()));
    if let Err(panicked) = caught {
        run.shared.environment().judge(Err(format!("panicked: {}", text_of(&*panicked))));
    }
    bounds::set(bounds::FULL);
    let mut environment = run.shared.environment();
    let (broken, story) = (environment.broken.take(), environment.story.take().unwrap_or_default());
    Ended { broken, story, steps: run.steps, handed_out: environment.handed_out, beyond: bounds::take_reached() }
}

/// What a panic said.
fn text_of(panicked: &(dyn Any + Send)) -> &str {
    let text = panicked.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panicked.downcast_ref::<&str>().copied()).unwrap_or_default()
}

impl Run {
    fn play(&mut self) {
        let workers = self.shared.environment().profile.workers;
        (0..workers).for_each(|at| self.begin(at));
        if self.shared.environment().profile.trims > 0 {
            self.begin(workers);
        }
        while !self.is_over() && self.shared.environment().more_is_to_come() {
            self.step();
        }
        self.calm_down();
        while !self.is_over() && !self.rests() {
            self.grant(true);
            self.steps += 1;
        }
        let mut environment = self.shared.environment();
        let environment = &mut *environment;
        if environment.broken.is_none() {
            let lawful = final_checks::judge(&environment.model, &mut environment.invariants);
            environment.judge(lawful);
        }
        if environment.broken.is_none() {
            let model = std::mem::take(&mut environment.model);
            let lawful = asked::judge(model, &environment.invariants);
            environment.judge(lawful);
        }
    }

    fn is_over(&self) -> bool {
        let mut environment = self.shared.environment();
        if self.steps > STEPS_MAX {
            environment.judge(Err(format!("no rest after {STEPS_MAX} steps")));
        }
        environment.broken.is_some()
    }

    /// A worker begins, or whoever trims, in the place of one that dies if there is one.
    fn begin(&mut self, at: usize) {
        let faulty_broker = FaultyBroker::new(self.shared.clone(), at);
        let is_worker = at < self.shared.environment().profile.workers;
        let one = One { life: if is_worker { works(faulty_broker) } else { trims(faulty_broker) }, frozen_until: 0 };
        if at < self.workers.len() {
            self.shared.environment().report(|| format!("worker {at} dies"));
            self.workers[at] = one;
        } else {
            self.workers.push(one);
        }
        self.poll(at);
    }

    fn poll(&mut self, at: usize) {
        let _ = self.workers[at].life.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Whatever chance brings.
    fn step(&mut self) {
        self.steps += 1;
        let mut environment = self.shared.environment();
        environment.acting = None;
        let (chance, one) = (environment.random.below(4_096), environment.random.place(self.workers.len()));
        let (crashes, freezes, seconds) =
            (environment.profile.crashes, environment.profile.freezes, environment.profile.seconds);
        if chance < crashes {
            drop(environment);
            return self.begin(one);
        }
        if chance < crashes + freezes {
            environment.report(|| format!("worker {one} is frozen"));
            self.workers[one].frozen_until = self.steps + environment.random.below(FREEZE_STEPS_MAX);
            return;
        }
        if chance < crashes + freezes + seconds {
            environment.pass_a_second();
            drop(environment);
            return self.pass_a_second();
        }
        if environment.random.below(65_536) < environment.profile.days && environment.days_passed < DAYS_MAX {
            environment.pass_a_day();
            drop(environment);
            return self.begin_all();
        }
        if environment.random.below(65_536) < environment.profile.damages {
            environment.damage_a_record();
        }
        if environment.random.below(65_536) < environment.profile.losses {
            environment.lose_one();
        }
        if environment.random.below(65_536) < environment.profile.lost_ends && !environment.has_lost_end {
            environment.lose_end();
            drop(environment);
            return self.begin_all();
        }
        if environment.random.below(64) < environment.profile.arrivals {
            for _ in 0..=environment.random.below(ARRIVALS_MAX) {
                if environment.more_arrives() {
                    environment.arrive();
                }
            }
        }
        if !environment.under_way.is_empty() && environment.random.happens(24) {
            environment.come_one();
        }
        drop(environment);
        self.grant(false);
    }

    /// Gives one of the calls that wait its turn.
    fn grant(&mut self, calm: bool) {
        let mut guard = self.shared.environment();
        let environment = &mut *guard;
        if environment.calls.is_empty() {
            return;
        }
        let at = environment.random.place(environment.calls.len());
        let worker = environment.calls[at].worker;
        let rests = environment.calls[at].idle && !environment.has_a_batch();
        if rests || (!calm && self.workers[worker].frozen_until > self.steps) {
            return;
        }
        let call = environment.calls.swap_remove(at);
        environment.granted = Some(call.id);
        drop(guard);
        call.waker.wake_by_ref();
        self.poll(worker);
        let mut environment = self.shared.environment();
        // It looks after something else just now.
        if environment.granted.take().is_some() {
            environment.calls.push(call);
        }
    }

    /// Time that holds tokio's timers up passes too.
    fn pass_a_second(&mut self) {
        super::search::pass(Duration::from_secs(1));
        (0..self.workers.len()).for_each(|at| self.poll(at));
    }

    /// From now on nothing goes wrong; half of the time, all workers die before. Where records were damaged or channels
    /// set aside everything is delivered once more: of some channels all was acknowledged, and nobody would look at them.
    /// What takes a newer program gets it.
    fn calm_down(&mut self) {
        let mut environment = self.shared.environment();
        environment.calm = true;
        while !environment.under_way.is_empty() {
            environment.come_one();
        }
        let is_replayed = environment.profile.damages > 0 || environment.profile.newer > 0;
        if is_replayed {
            environment.model.set_format(None, KNOWN);
            environment.pass_a_day();
        }
        let all_die = environment.random.happens(128) || is_replayed;
        drop(environment);
        if all_die {
            self.begin_all();
        }
    }

    /// All workers die, and others begin.
    fn begin_all(&mut self) {
        (0..self.workers.len()).for_each(|at| self.begin(at));
    }

    /// Whether everything is acknowledged and all workers wait for more.
    fn rests(&self) -> bool {
        let environment = self.shared.environment();
        environment.model.unacknowledged.is_empty()
            && environment.calls.len() == self.workers.len()
            && environment.calls.iter().all(|call| call.idle)
    }
}
