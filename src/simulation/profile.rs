//! What kind of life a schedule is: how much of what goes wrong. Drawn again for each seed, most of it off in most of them,
//! so that each kind of trouble also comes alone and in each company.

use super::messages::CHANNELS;
use super::random::Random;
use crate::domain::bounds::{Bounds, FULL};

/// How often what happens, in 256 times where nothing else is said.
#[derive(Clone, Debug)]
pub struct FaultProfile {
    pub workers: usize,
    pub channels: u64,
    /// How far a message may come after one that was sent later.
    pub shuffle: usize,
    pub lost: u8,
    pub copies: u8,
    pub malformed: u8,
    pub skips: u8,
    pub corrections: u8,
    /// Messages of a batch at most.
    pub batch: u64,
    /// Messages of a page.
    pub page: usize,
    /// Of a batch, how often it has messages that were delivered before.
    pub redelivered: u8,
    pub refused: u8,
    pub answers_lost: u8,
    /// Calls that are done long after they were given up.
    pub done_late: u8,
    /// Answers that come some time after the call was done.
    pub answered_late: u8,
    pub conflicts: u8,
    /// Records that a worker writes at the same time, which are then one group.
    pub groups: u8,
    pub stale: u8,
    /// In 4,096 answers of the leader, how often it is cut off, and goes on answering without what is stored from then on.
    pub cut_off: u64,
    pub acknowledgements_lost: u8,
    pub acknowledgements_late: u8,
    /// In 4,096 steps.
    pub crashes: u64,
    /// In 4,096 steps.
    pub freezes: u64,
    /// In 4,096 steps; each time, a second passes.
    pub seconds: u64,
    /// In 65,536 steps, how often a day passes: the durable is made again, and dead letters that were reported of are
    /// recognised no more.
    pub days: u64,
    /// Of an idle turn of whoever trims, how often it does. Then nothing is corrected, and a record lists all that is
    /// skipped: an override of what is gone fails, or not, as checkpoints have it and the record remembers.
    pub trims: u64,
    /// In 65,536 steps, how often somebody writes something else in the place of a record, while messages of its channel are
    /// held. Without overrides: which of them the new record has followed is found out when the next one comes.
    pub damages: u64,
    /// In 65,536 steps, how often a message that was applied is lost from the log, or deleted by hand. Without overrides: one
    /// that needs it fails.
    pub losses: u64,
    /// In 65,536 steps, how often the log loses its end, once at most. Without overrides, and nothing else is lost.
    pub lost_ends: u64,
    /// Messages that take a newer program, which comes when the fault profile clears.
    pub newer: u8,
    /// By how many messages a replica may lag behind.
    pub lag: u64,
    /// What a record lists, and what is applied in one go.
    pub bounds: Bounds,
    /// In 64 steps, how often something arrives.
    pub arrivals: u64,
}

impl FaultProfile {
    /// The fault profile of a schedule.
    pub fn draw(random: &mut Random) -> Self {
        let often = |random: &mut Random| if random.happens(128) { 0 } else { random.pick(&[2, 6, 16, 40]) };
        let rarely = |random: &mut Random| if random.happens(160) { 0 } else { random.pick(&[1, 2, 4, 8]) };
        let trims = random.pick(&[0, 0, 0, 0, 40]);
        let damages = random.pick(&[0, 0, 0, 0, 0, 0, 120]);
        // A damaged record of which messages are lost cannot be replayed.
        let losses = if damages > 0 { 0 } else { random.pick(&[0, 0, 0, 0, 0, 0, 900]) };
        let lost_ends = if trims + damages + losses > 0 { 0 } else { random.pick(&[0, 0, 0, 0, 0, 0, 120]) };
        let has_overrides = damages + losses + lost_ends == 0;
        let newer = if has_overrides { random.pick(&[0, 0, 0, 0, 0, 0, 0, 2, 12]) } else { 0 };
        Self {
            workers: random.pick(&[1, 2, 2, 3, 3, 4]),
            channels: random.within(2, CHANNELS as u64),
            shuffle: random.pick(&[1, 4, 12, 40, 120, 120]),
            lost: often(random),
            copies: often(random),
            malformed: often(random),
            skips: if has_overrides { often(random) } else { 0 },
            corrections: if has_overrides && trims == 0 { rarely(random) } else { 0 },
            batch: random.pick(&[1, 4, 12, 12, 40, 40]),
            page: random.pick(&[3, 10, 30, 1_000]),
            redelivered: random.pick(&[0, 16, 60, 120]),
            refused: often(random),
            answers_lost: often(random),
            done_late: rarely(random),
            answered_late: random.pick(&[0, 20, 80]),
            conflicts: rarely(random),
            groups: random.pick(&[0, 60, 255]),
            stale: random.pick(&[0, 0, 0, 2, 16, 60, 120]),
            cut_off: random.pick(&[0, 0, 400, 2_000]),
            acknowledgements_lost: often(random),
            acknowledgements_late: often(random),
            crashes: random.pick(&[0, 0, 8, 30, 90]),
            freezes: random.pick(&[0, 0, 8, 30]),
            seconds: random.pick(&[0, 0, 0, 60]),
            days: random.pick(&[0, 0, 40, 120, 120]),
            trims,
            damages,
            losses,
            lost_ends,
            newer,
            lag: random.pick(&[8, 32, 200]),
            bounds: Bounds {
                pending_text: random.pick(&[FULL.pending_text, 60, 30, 30]),
                skipped_text: if trims > 0 { FULL.skipped_text } else { random.pick(&[FULL.skipped_text, 12, 6, 6]) },
                applied_at_once: random.pick(&[FULL.applied_at_once, 10, 3]),
            },
            arrivals: random.pick(&[2, 8, 24, 48]),
        }
    }
}
