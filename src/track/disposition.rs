//! What becomes of deliveries: the table by which they are acknowledged, kept unacknowledged or come again, and after
//! which pause.
//!
//! A delivery that a store holds up comes again ever more rarely, and all of a partition that are held up together come at
//! a bounded rate. The broker serves what comes again before what is new, so this bounds what they take of each batch.

use std::time::Duration;

use tokio::time::Instant;

use super::aside::ASIDE_PAUSE;
use crate::broker::{AckHandle, BrokerError};
use crate::domain::{Channel, Sequence};
use crate::logging::limited;

/// The longest pause before a delivery that is held up comes again, unless many others are held up too.
const HELD_UP_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Deliveries of one partition that are held up come again so long after each other, or longer.
const HELD_UP_EVERY: Duration = Duration::from_millis(10);

/// What becomes of one delivery.
#[derive(Debug, PartialEq, Eq)]
pub enum Disposition<'a> {
    /// Its effect is stored and reported, and nobody needs it any more.
    Ack,
    /// Its channel goes on from the log: it stays unacknowledged until that is done.
    Keep,
    /// It comes again after the pause of this error.
    Nak(&'a BrokerError),
    /// The same, but a store holds it up, which may take hours: at the partition's pace.
    NakPaced(&'a BrokerError),
}

/// Which deliveries of a channel stay unacknowledged while its record is drainable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Each: another tracker may have acknowledged the others.
    All,
    /// One of which nothing was stored before: no other tracker can have acknowledged it, and it is enough.
    One(Sequence),
    /// All but these, of which nothing was stored before: another delivery of the channel is unacknowledged already.
    AllBut(Vec<Sequence>),
}

impl Kept {
    fn has(&self, sequence: Sequence) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => *one == sequence,
            Self::AllBut(others) => !others.contains(&sequence),
        }
    }
}

/// Decides on a delivery by whether its effect is reported, which deliveries of its channel are kept, and what blocks the
/// channel.
pub fn disposition<'a>(
    reported: &'a Result<(), BrokerError>,
    kept: Option<&Kept>,
    blocked: Option<&'a BrokerError>,
    delivery: Sequence,
) -> Disposition<'a> {
    match (reported, kept.filter(|kept| kept.has(delivery)), blocked) {
        (Err(error), ..) => Disposition::Nak(error),
        (Ok(()), None, _) => Disposition::Ack,
        (Ok(()), Some(_), None) => Disposition::Keep,
        (Ok(()), Some(_), Some(error)) => Disposition::NakPaced(error),
    }
}

/// How long until a message comes again that was delivered so many times. What a store holds up comes ever more rarely.
fn pause_after(error: &BrokerError, deliveries: u64) -> Duration {
    match error {
        BrokerError::Conflict | BrokerError::InFlight => Duration::from_millis(50),
        BrokerError::Unavailable(_) => Duration::from_millis(200),
        BrokerError::Full(_) => growing(Duration::from_secs(2), deliveries),
        BrokerError::TooLarge(_) | BrokerError::Misconfigured(_) | BrokerError::NotThere => {
            growing(Duration::from_secs(5), deliveries)
        }
        BrokerError::Newer(_) => ASIDE_PAUSE,
    }
}

/// A pause that doubles with each delivery, up to a bound.
fn growing(first: Duration, deliveries: u64) -> Duration {
    let doublings = deliveries.saturating_sub(1).min(8) as u32;
    HELD_UP_PAUSE_MAX.min(first * 2_u32.pow(doublings))
}

/// How long the whole partition pauses after an error: not at all, where it may be one channel's trouble.
pub fn partition_pause(error: &BrokerError) -> Duration {
    match error {
        BrokerError::Unavailable(_) => Duration::from_millis(200),
        _ => Duration::ZERO,
    }
}

/// Answers for the deliveries of a partition, collected until the end of a turn.
pub struct Answers {
    /// Those that are acknowledged.
    pub ack: Vec<AckHandle>,
    /// Those that come again, each after a pause.
    pub nak: Vec<(AckHandle, Duration)>,
    /// When the next one that is held up may come again.
    held_up_next: Instant,
}

impl Answers {
    /// No answers yet.
    pub fn new() -> Self {
        Self { ack: Vec::new(), nak: Vec::new(), held_up_next: Instant::now() }
    }

    /// Has deliveries come again after the pause of an error.
    pub fn nak(&mut self, handles: impl IntoIterator<Item = AckHandle>, error: &BrokerError) {
        if error.is_of_a_store() {
            return self.nak_paced(handles, error);
        }
        let after = |handle: AckHandle| (handle, pause_after(error, 1));
        self.nak.extend(handles.into_iter().map(after));
    }

    /// Has deliveries come again that are held up: after the pause of an error at the earliest, and one after the other.
    pub fn nak_paced(&mut self, handles: impl IntoIterator<Item = AckHandle>, error: &BrokerError) {
        let now = Instant::now();
        for handle in handles {
            self.held_up_next = self.held_up_next.max(now) + HELD_UP_EVERY;
            let pause = pause_after(error, handle.deliveries).max(self.held_up_next - now);
            self.nak.push((handle, pause));
        }
    }
}

/// Says why messages come again.
pub fn log_failure(channel: Channel, error: &BrokerError) {
    limited!(warn, %channel, %error, "messages could not be applied, they come again");
}

/// Says why messages wait for their dead letters.
pub fn log_held_up(channel: Channel, error: &BrokerError) {
    limited!(warn, %channel, %error, "a dead letter could not be stored, its message comes again");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_a_delivery_is_one_table() {
        let (full, away) = (BrokerError::Full(String::new()), Err(BrokerError::Unavailable(String::new())));
        let (all, one, but) = (Kept::All, Kept::One(Sequence(1)), Kept::AllBut(vec![Sequence(1)]));
        let comes_again = || Disposition::Nak(away.as_ref().unwrap_err());
        let rows = [
            (&Ok(()), None, None, 1, Disposition::Ack),
            (&Ok(()), None, Some(&full), 1, Disposition::Ack),
            (&Ok(()), Some(&all), None, 1, Disposition::Keep),
            (&Ok(()), Some(&one), None, 1, Disposition::Keep),
            (&Ok(()), Some(&one), None, 2, Disposition::Ack),
            (&Ok(()), Some(&but), Some(&full), 1, Disposition::Ack),
            (&Ok(()), Some(&but), Some(&full), 2, Disposition::NakPaced(&full)),
            (&Ok(()), Some(&one), Some(&full), 1, Disposition::NakPaced(&full)),
            (&away, None, None, 1, comes_again()),
            (&away, Some(&all), Some(&full), 1, comes_again()),
        ];
        for (reported, kept, blocked, delivery, expected) in rows {
            let decided = disposition(reported, kept, blocked, Sequence(delivery));
            assert_eq!(decided, expected, "{reported:?} {kept:?} {blocked:?} {delivery}");
        }
    }

    #[test]
    fn what_a_store_holds_up_comes_again_ever_more_rarely() {
        let full = BrokerError::Full(String::new());
        let pauses: Vec<_> = [1, 2, 3, 4, 5, 6, 1_000].map(|times| pause_after(&full, times).as_secs()).into();
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30, 30]);
        let away = BrokerError::Unavailable(String::new());
        assert_eq!(pause_after(&away, 1_000), Duration::from_millis(200), "it may be back at any moment");
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_are_held_up_come_again_one_after_the_other() {
        let mut answers = Answers::new();
        let full = BrokerError::Full(String::new());
        let handle = |number: u64| AckHandle { reply: number.to_string().into(), deliveries: 1 };
        answers.nak_paced((0..10_000).map(handle), &full);
        let within = |seconds| answers.nak.iter().filter(|(_, pause)| pause.as_secs() < seconds).count();
        assert_eq!(
            (within(2), within(3), within(4)),
            (0, 299, 399),
            "at most a hundred a second after the first pause"
        );
        tokio::time::advance(Duration::from_secs(200)).await;
        answers.nak.clear();
        answers.nak_paced([handle(0)], &full);
        assert_eq!(answers.nak[0].1, Duration::from_secs(2));
    }
}
