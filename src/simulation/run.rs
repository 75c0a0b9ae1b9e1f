//! One schedule from its seed: the workers' own code, a step at a time, whoever's turn it is.
//!
//! A worker is a future that waits at each call of the broker. In each step chance gives one of the waiting calls its turn
//! and polls its worker, or something else happens: messages arrive, an acknowledgement that was under way comes, a worker
//! dies (its future is dropped where it stands) and another one begins with nothing in memory. When everything has
//! arrived, the weather clears, and the workers must come to rest.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use super::asked;
use super::messages::{CHANNELS, channel_of};
use super::random::Random;
use super::tap::{Shared, Tap};
use super::verdict;
use super::world::{KNOWN, World};
use crate::domain::bounds;
use crate::replay::readings;
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

fn works(tap: Tap) -> Life {
    Box::pin(async move {
        let mut worker = Worker::new(tap.clone(), ACK_WAIT, Arc::new(Counters::default()), readings());
        loop {
            let batch = tap.next_batch(!worker.has_more_to_do()).await;
            worker.turn(batch).await;
        }
    })
}

fn trims(tap: Tap) -> Life {
    Box::pin(async move {
        loop {
            let (cut, mut plans) = (tap.next_trim().await, HashMap::new());
            for channel in (0..CHANNELS).map(channel_of) {
                // Whose plan fails is left alone.
                let plan = plan(&tap, &channel, cut, false).await.ok().flatten();
                plans.extend(plan.map(|plan| (channel, plan)));
            }
            tap.trim(&plans, cut).await;
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
    let mut world = World::new(Random::new(seed), length);
    bounds::set(world.weather.bounds);
    bounds::take_beyond();
    world.story = keeps_story.then(Vec::new);
    world.tell_weather();
    let (shared, workers) = (Shared::new(world), Vec::new());
    let mut run = Run { shared, workers, steps: 0 };
    let caught = catch_unwind(AssertUnwindSafe(|| run.play()));
    if let Err(panicked) = caught {
        run.shared.world().judge(Err(format!("panicked: {}", text_of(&*panicked))));
    }
    bounds::set(bounds::FULL);
    let mut world = run.shared.world();
    let (broken, story) = (world.broken.take(), world.story.take().unwrap_or_default());
    Ended { broken, story, steps: run.steps, handed_out: world.handed_out, beyond: bounds::take_beyond() }
}

/// What a panic said.
fn text_of(panicked: &(dyn Any + Send)) -> &str {
    let text = panicked.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panicked.downcast_ref::<&str>().copied()).unwrap_or_default()
}

impl Run {
    fn play(&mut self) {
        let workers = self.shared.world().weather.workers;
        (0..workers).for_each(|at| self.begin(at));
        if self.shared.world().weather.trims > 0 {
            self.begin(workers);
        }
        while !self.is_over() && self.shared.world().more_is_to_come() {
            self.step();
        }
        self.calm_down();
        while !self.is_over() && !self.rests() {
            self.grant(true);
            self.steps += 1;
        }
        let mut world = self.shared.world();
        let world = &mut *world;
        if world.broken.is_none() {
            let lawful = verdict::judge(&world.model, &mut world.laws);
            world.judge(lawful);
        }
        if world.broken.is_none() {
            let model = std::mem::take(&mut world.model);
            let lawful = asked::judge(model, &world.laws);
            world.judge(lawful);
        }
    }

    fn is_over(&self) -> bool {
        let mut world = self.shared.world();
        if self.steps > STEPS_MAX {
            world.judge(Err(format!("no rest after {STEPS_MAX} steps")));
        }
        world.broken.is_some()
    }

    /// A worker begins, or whoever trims, in the place of one that dies if there is one.
    fn begin(&mut self, at: usize) {
        let tap = Tap::new(self.shared.clone(), at);
        let is_worker = at < self.shared.world().weather.workers;
        let one = One { life: if is_worker { works(tap) } else { trims(tap) }, frozen_until: 0 };
        if at < self.workers.len() {
            self.shared.world().tell(|| format!("worker {at} dies"));
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
        let mut world = self.shared.world();
        world.acting = None;
        let (chance, one) = (world.random.below(4_096), world.random.place(self.workers.len()));
        let (crashes, freezes, seconds) = (world.weather.crashes, world.weather.freezes, world.weather.seconds);
        if chance < crashes {
            drop(world);
            return self.begin(one);
        }
        if chance < crashes + freezes {
            world.tell(|| format!("worker {one} is frozen"));
            self.workers[one].frozen_until = self.steps + world.random.below(FREEZE_STEPS_MAX);
            return;
        }
        if chance < crashes + freezes + seconds {
            world.pass_a_second();
            drop(world);
            return self.pass_a_second();
        }
        if world.random.below(65_536) < world.weather.days && world.days_passed < DAYS_MAX {
            world.pass_a_day();
            drop(world);
            return self.begin_all();
        }
        if world.random.below(65_536) < world.weather.damages {
            world.damage_a_record();
        }
        if world.random.below(65_536) < world.weather.losses {
            world.lose_one();
        }
        if world.random.below(65_536) < world.weather.lost_ends && !world.has_lost_end {
            world.lose_end();
            drop(world);
            return self.begin_all();
        }
        if world.random.below(64) < world.weather.arrivals {
            for _ in 0..=world.random.below(ARRIVALS_MAX) {
                if world.more_arrives() {
                    world.arrive();
                }
            }
        }
        if !world.under_way.is_empty() && world.random.happens(24) {
            world.come_one();
        }
        drop(world);
        self.grant(false);
    }

    /// Gives one of the calls that wait its turn.
    fn grant(&mut self, calm: bool) {
        let mut guard = self.shared.world();
        let world = &mut *guard;
        if world.calls.is_empty() {
            return;
        }
        let at = world.random.place(world.calls.len());
        let worker = world.calls[at].worker;
        let rests = world.calls[at].idle && !world.has_a_batch();
        if rests || (!calm && self.workers[worker].frozen_until > self.steps) {
            return;
        }
        let call = world.calls.swap_remove(at);
        world.granted = Some(call.id);
        drop(guard);
        call.waker.wake_by_ref();
        self.poll(worker);
        let mut world = self.shared.world();
        // It looks after something else just now.
        if world.granted.take().is_some() {
            world.calls.push(call);
        }
    }

    /// Time that holds tokio's timers up passes too.
    fn pass_a_second(&mut self) {
        super::search::pass(Duration::from_secs(1));
        (0..self.workers.len()).for_each(|at| self.poll(at));
    }

    /// From now on nothing goes wrong; half of the time, all workers die before. Where records were damaged or channels set aside everything is
    /// delivered once more: of some channels all was acknowledged, and nobody would look at them. What takes a newer program gets it.
    fn calm_down(&mut self) {
        let mut world = self.shared.world();
        world.calm = true;
        while !world.under_way.is_empty() {
            world.come_one();
        }
        let is_anew = world.weather.damages > 0 || world.weather.newer > 0;
        if is_anew {
            world.model.set_format(None, KNOWN);
            world.pass_a_day();
        }
        let all_die = world.random.happens(128) || is_anew;
        drop(world);
        if all_die {
            self.begin_all();
        }
    }

    /// All workers die, and others begin.
    fn begin_all(&mut self) {
        (0..self.workers.len()).for_each(|at| self.begin(at));
    }

    /// Whether everything is let go and all workers wait for more.
    fn rests(&self) -> bool {
        let world = self.shared.world();
        world.model.unacknowledged.is_empty()
            && world.calls.len() == self.workers.len()
            && world.calls.iter().all(|call| call.idle)
    }
}
