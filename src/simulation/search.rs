//! Looks through many schedules for one that breaks an invariant, on all cores, and tells how to run it again.

use std::cell::OnceCell;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::{Builder, Runtime};

use super::run::{Ended, run};
use super::shares::Shares;

/// Sequences of one schedule.
const LENGTH: usize = 200;
/// Schedules where nothing else is asked for.
const SCHEDULES: u64 = 2_000;
/// Lines of a story that are shown, the last ones.
const STORY_LINES_MAX: usize = 4_000;

/// What to look through.
pub struct Search {
    first_seed: u64,
    schedules: u64,
    time: Option<Duration>,
    length: usize,
}

/// What was seen so far.
#[derive(Default)]
struct Reached {
    schedules: AtomicU64,
    steps: AtomicU64,
    handed_out: AtomicU64,
    shares: Mutex<Shares>,
    /// The first schedule that broke an invariant, and which.
    found: Mutex<Option<(u64, String)>>,
}

fn of_variable<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().ok().unwrap_or_else(|| panic!("{name}={text} is no number")))
}

impl Search {
    /// What the variables ask for; else a number of schedules with the seeds of the day.
    pub fn of_environment() -> Self {
        let day = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs() / 86_400);
        let seed = of_variable("SIMULATION_SEED");
        let time = of_variable("SIMULATION_SECONDS").map(Duration::from_secs);
        let unbounded = if time.is_some() { u64::MAX } else { SCHEDULES };
        Self {
            first_seed: seed.or_else(|| of_variable("SIMULATION_FIRST_SEED")).unwrap_or(day * 1_000_000_000),
            schedules: if seed.is_some() { 1 } else { of_variable("SIMULATION_SCHEDULES").unwrap_or(unbounded) },
            time,
            length: of_variable("SIMULATION_LENGTH").unwrap_or(LENGTH),
        }
    }

    /// Looks, and panics with the story of what it finds.
    pub fn run(&self) {
        let (begun, seen) = (Instant::now(), Reached::default());
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get()) as u64;
        std::thread::scope(|scope| {
            for _ in 0..cores.min(self.schedules) {
                scope.spawn(|| self.look(begun, &seen));
            }
        });
        let (count, time) = (seen.schedules.into_inner(), begun.elapsed());
        let (steps, handed_out) = (seen.steps.into_inner(), seen.handed_out.into_inner());
        println!(
            "{count} schedules of {} messages from seed {} on in {time:.1?}: {:.0} a second; {} steps each, in which {} \
             messages were delivered or read back",
            self.length,
            self.first_seed,
            count as f64 / time.as_secs_f64(),
            steps / count.max(1),
            handed_out / count.max(1),
        );
        let shares = seen.shares.into_inner().unwrap();
        shares.print(count);
        if let Some((seed, why)) = seen.found.into_inner().unwrap() {
            self.report(seed, &why, count, time);
        }
        if self.length == LENGTH {
            shares.judge(count).unwrap();
        }
    }

    fn look(&self, begun: Instant, seen: &Reached) {
        while seen.found.lock().unwrap().is_none() && self.time.is_none_or(|time| begun.elapsed() < time) {
            let at = seen.schedules.fetch_add(1, Ordering::Relaxed);
            if at >= self.schedules {
                seen.schedules.fetch_sub(1, Ordering::Relaxed);
                break;
            }
            let seed = self.first_seed + at;
            let ended = run_here(seed, self.length, false);
            seen.steps.fetch_add(ended.steps, Ordering::Relaxed);
            seen.handed_out.fetch_add(ended.handed_out, Ordering::Relaxed);
            seen.shares.lock().unwrap().count(ended.beyond);
            if let Some(why) = ended.broken {
                seen.found.lock().unwrap().get_or_insert((seed, why));
            }
        }
    }

    /// Tells the story of a schedule that broke an invariant.
    fn report(&self, seed: u64, why: &str, count: u64, time: Duration) {
        let again = run_here(seed, self.length, true);
        let first = again.story.len().saturating_sub(STORY_LINES_MAX);
        again.story.iter().take(1).chain(&again.story[first..]).for_each(|line| println!("{line}"));
        let length = if self.length == LENGTH { String::new() } else { format!("SIMULATION_LENGTH={} ", self.length) };
        let same = again.broken.as_deref() == Some(why);
        panic!(
            "after {count} schedules and {time:.1?}, seed {seed}: {why}{}\n\
             run it again: {length}SIMULATION_SEED={seed} cargo test --locked --lib simulation -- --nocapture",
            if same { "" } else { "\nNOT THE SAME when it was run again: chance has another source than the seed" }
        );
    }
}

/// Runs a schedule on this thread.
fn run_here(seed: u64, length: usize, keeps_story: bool) -> Ended {
    with_timers(|runtime| {
        let _guard = runtime.enter();
        run(seed, length, keeps_story)
    })
}

/// Something with this thread's runtime, which only has timers, and whose time stands still.
fn with_timers<T>(with: impl FnOnce(&Runtime) -> T) -> T {
    thread_local! {
        static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    }
    RUNTIME.with(|runtime| {
        with(runtime.get_or_init(|| Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()))
    })
}

/// Lets time pass for the timers of this thread.
pub fn pass(time: Duration) {
    with_timers(|runtime| runtime.block_on(tokio::time::advance(time)));
}
