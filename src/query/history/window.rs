//! The part of a channel's sequence that a page shows, cut out while the sequence goes by, however long it is.
//!
//! Before the window everything is folded into one record; inside, what was applied as each number is kept, in whole
//! ranges where numbers were skipped (a range may be of 10^18 numbers); rows are made of it at the end. So a page costs
//! what it shows.

use std::collections::VecDeque;

use crate::domain::{Advance, Arrival, Checkpoint, Message, MessageNumber, MessageTime, Overrides, Record, Sequence};

/// Which numbers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The lowest.
    pub from: u64,
    /// The highest.
    pub until: u64,
    /// Of those that are there, the highest so many.
    pub limit: usize,
}

/// What took one place of the sequence, or several in a row.
#[derive(Clone, Debug)]
pub enum Step {
    /// A message.
    Message {
        /// The message.
        message: Message,
        /// Its sequence.
        event: Sequence,
        /// Whether it takes the place of another one.
        corrects: bool,
    },
    /// Numbers that an operator has skipped.
    Skipped {
        /// The lowest.
        first: u64,
        /// The highest.
        last: MessageNumber,
        /// Where the skip lies in the stream.
        event: Sequence,
        /// When it was said.
        time: MessageTime,
        /// Why.
        reason: String,
    },
}

/// The window, as far as the sequence has gone by.
#[derive(Debug)]
pub struct Window {
    wanted: Wanted,
    /// The state before the first step.
    before: Record,
    steps: VecDeque<Step>,
    /// How many numbers the steps have.
    count: u64,
    /// How many numbers went by: all up to this one.
    passed: u64,
}

impl Step {
    /// What was applied, without the bytes.
    pub fn of<S>(advance: Advance<S>, overrides: &Overrides) -> Option<Self> {
        match advance {
            Advance::Message(arrival, _) => Some(Self::of_message(&arrival)),
            Advance::Skipped { first, last, by } => {
                let skip = overrides.skip_at(by)?;
                let (first, time, reason) = (first.get(), skip.time.clone(), skip.reason.clone());
                Some(Self::Skipped { first, last, event: by, time, reason })
            }
        }
    }

    fn of_message<S>(arrival: &Arrival<S>) -> Self {
        let Arrival { sequence: event, message, corrects, .. } = arrival;
        Self::Message { message: message.clone(), event: *event, corrects: *corrects }
    }

    /// The last number whose place it took.
    pub fn last(&self) -> MessageNumber {
        match self {
            Self::Message { message, .. } => message.number,
            Self::Skipped { last, .. } => *last,
        }
    }

    /// The time of its numbers.
    pub fn time(&self) -> &MessageTime {
        match self {
            Self::Message { message, .. } => &message.time,
            Self::Skipped { time, .. } => time,
        }
    }

    fn first(&self) -> u64 {
        match self {
            Self::Message { message, .. } => message.number.get(),
            Self::Skipped { first, .. } => *first,
        }
    }

    fn count(&self) -> u64 {
        self.last().get() - self.first() + 1
    }

    /// Puts it in its place.
    pub fn apply(&self, record: &mut Record) {
        match self {
            // Refused or not: what it was is found again when its row is made.
            Self::Message { message, .. } => {
                let _ = record.place(message);
            }
            Self::Skipped { last, time, .. } => record.skip(*last, time),
        }
    }

    /// The part up to a number, and the part behind it.
    fn split(self, at: u64) -> (Option<Self>, Option<Self>) {
        match (self, MessageNumber::new(at)) {
            (step, _) if step.last().get() <= at => (Some(step), None),
            (Self::Skipped { first, last, event, time, reason }, Some(middle)) if first <= at => {
                let before = Self::Skipped { first, last: middle, event, time: time.clone(), reason: reason.clone() };
                (Some(before), Some(Self::Skipped { first: at + 1, last, event, time, reason }))
            }
            (step, _) => (None, Some(step)),
        }
    }
}

impl Wanted {
    /// The lowest number that is shown if this is the highest.
    pub fn lowest_below(self, highest: u64) -> u64 {
        let shown = u64::try_from(self.limit).unwrap_or(u64::MAX);
        self.from.max(highest.min(self.until).saturating_sub(shown).saturating_add(1))
    }
}

impl Window {
    /// A window before which nothing has gone by yet, but for what a checkpoint has applied.
    pub fn behind(base: Option<&Checkpoint>, wanted: Wanted) -> Self {
        let (before, passed) =
            (base.map(|base| base.record.clone()), MessageNumber::count_through(base.and_then(Checkpoint::through)));
        Self { wanted, before: before.unwrap_or_default(), steps: VecDeque::new(), count: 0, passed }
    }

    /// Lets the next step go by.
    pub fn pass(&mut self, step: Step) {
        self.passed = step.last().get();
        let (before, rest) = step.split(self.wanted.from - 1);
        if let Some(before) = before {
            before.apply(&mut self.before);
        }
        let Some((Some(shown), _)) = rest.map(|rest| rest.split(self.wanted.until)) else { return };
        self.count += shown.count();
        self.steps.push_back(shown);
        self.keep_within_limit();
    }

    fn keep_within_limit(&mut self) {
        while let Some(surplus) = self.count.checked_sub(self.wanted.limit as u64).filter(|surplus| *surplus > 0)
            && let Some(first) = self.steps.pop_front()
        {
            let last = first.first() + surplus - 1;
            let (gone, rest) = first.split(last);
            if let Some(gone) = gone {
                self.count -= gone.count();
                gone.apply(&mut self.before);
            }
            if let Some(rest) = rest {
                self.steps.push_front(rest);
            }
        }
    }

    /// How many numbers went by: all up to this one.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// The state before the first step, and the steps, rising.
    pub fn into_steps(self) -> (Record, VecDeque<Step>) {
        (self.before, self.steps)
    }

    /// The corrections in it: number and event.
    pub fn corrections(&self) -> impl Iterator<Item = (MessageNumber, Sequence)> {
        self.steps.iter().filter_map(|step| match step {
            Step::Message { message, event, corrects: true } => Some((message.number, *event)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::{Row, RowStatus, rows_of};
    use super::*;
    use crate::domain::{Channel, Kind};

    const MAX: u64 = MessageNumber::MAX;

    fn channel() -> Channel {
        Channel::parse("193270a9-c9cf-404a-8f83-838e71d9ae67").unwrap()
    }

    fn time(second: u64) -> MessageTime {
        MessageTime::parse(&format!("2022-02-02T19:39:{second:02}Z")).unwrap()
    }

    fn message(number: u64) -> Step {
        let kind = match number {
            1 => Kind::Launched { rocket_type: "T".into(), speed: 500, mission: "M".into() },
            7 => Kind::Launched { rocket_type: "again".into(), speed: 1, mission: "M".into() },
            _ => Kind::SpeedIncreased(1),
        };
        let number = MessageNumber::new(number).unwrap();
        let message = Message { channel: channel(), number, time: time(1), kind };
        Step::Message { message, event: Sequence(number.get() + 100), corrects: false }
    }

    fn skipped(first: u64, last: u64) -> Step {
        let last = MessageNumber::new(last).unwrap();
        Step::Skipped { first, last, event: Sequence(99), time: time(2), reason: "lost".into() }
    }

    fn rows(wanted: (u64, u64, usize), steps: Vec<Step>) -> Vec<Row> {
        let (from, until, limit) = wanted;
        let mut window = Window::behind(None, Wanted { from, until, limit });
        steps.into_iter().for_each(|step| window.pass(step));
        let (mut record, steps) = window.into_steps();
        steps.into_iter().flat_map(|step| rows_of(channel(), &mut record, step, |_, _| None)).collect()
    }

    /// Number and speed of each row.
    fn shown(rows: &[Row]) -> Vec<(u64, i64)> {
        let speed = |row: &Row| row.rocket.as_ref().map_or(0, |entry| entry.rocket.speed);
        rows.iter().map(|row| (row.number.get(), speed(row))).collect()
    }

    #[test]
    fn only_what_is_shown_is_kept_and_the_rest_is_in_the_state() {
        let steps = || (1..=6).map(message).collect::<Vec<_>>();
        assert_eq!(shown(&rows((1, MAX, 2), steps())), [(5, 504), (6, 505)]);
        assert_eq!(shown(&rows((1, 3, 2), steps())), [(2, 501), (3, 502)]);
        assert_eq!(shown(&rows((3, 4, 2), steps())), [(3, 502), (4, 503)]);
        assert_eq!(shown(&rows((7, 9, 3), steps())), []);
        let mut window = Window::behind(None, Wanted { from: 1, until: 4, limit: 0 });
        steps().into_iter().for_each(|step| window.pass(step));
        assert_eq!((window.passed(), window.into_steps().0.next_number()), (6, MessageNumber::new(5)));
    }

    #[test]
    fn a_range_without_end_costs_what_is_shown_of_it() {
        let steps = || vec![message(1), skipped(2, MAX - 2), message(MAX - 1), message(MAX)];
        let newest = rows((1, MAX, 4), steps());
        assert_eq!(shown(&newest), [(MAX - 3, 500), (MAX - 2, 500), (MAX - 1, 501), (MAX, 502)]);
        assert_eq!(shown(&rows((1, MAX - 3, 2), steps())), [(MAX - 4, 500), (MAX - 3, 500)]);
        assert_eq!(shown(&rows((1, 3, 3), steps())), [(1, 500), (2, 500), (3, 500)]);
        assert_eq!(shown(&rows((MAX - 1, MAX, 2), steps())), [(MAX - 1, 501), (MAX, 502)]);
    }

    #[test]
    fn a_row_says_what_became_of_its_number() {
        let rows = rows((1, MAX, 9), vec![skipped(1, 1), message(2), skipped(3, 6), message(7)]);
        let said: Vec<_> = rows.iter().map(|row| (row.number.get(), row.status.name(), row.event.0)).collect();
        let expected = [
            (1, "skipped", 99),
            (2, "failed", 102),
            (3, "skipped", 99),
            (4, "skipped", 99),
            (5, "skipped", 99),
            (6, "skipped", 99),
            (7, "processed", 107),
        ];
        assert_eq!(said, expected);
        assert_eq!(rows[0].status, RowStatus::Skipped("lost".into()));
        assert_eq!((rows[0].rocket.as_ref(), rows[6].message_type), (None, "RocketLaunched"));
    }

    #[test]
    fn the_json_of_a_row_has_every_field() {
        let rows = rows((1, MAX, 9), vec![message(1), skipped(2, 2)]);
        let json = serde_json::to_string(&rows).unwrap();
        let rocket = |number: u64, second: u64| {
            format!(
                r#"{{"id":"{}","type":"T","currentSpeed":500,"mission":"M","status":"active","launchTime":"{1}","lastUpdated":"{1}","lastMessageNumber":{number},"lastMessageTime":"{2}","pendingMessages":0}}"#,
                channel(),
                time(1),
                time(second)
            )
        };
        let first = r#"{"message_number":1,"message_type":"RocketLaunched","event_id":101,"message_time":"2022-02-02T19:39:01Z","status":"processed","error_message":null,"corrects":null,"rocket":"#;
        let second = r#"{"message_number":2,"message_type":"MessagesSkipped","event_id":99,"message_time":"2022-02-02T19:39:02Z","status":"skipped","error_message":"lost","corrects":null,"rocket":"#;
        assert_eq!(json, format!("[{first}{}}},{second}{}}}]", rocket(1, 1), rocket(2, 2)));
    }
}
