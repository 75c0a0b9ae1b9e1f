//! What became of each message: reported once it is final, and unreported from the moment at which the record is stored.
//!
//! The state is stored first and the outcomes after it. So that a crash in between loses none, a record carries in its
//! header what was decided with it ([`Unreported`]): whoever writes the record next takes that over, unless it knows that
//! it was reported. An outcome that is reported twice is the same both times; a message that is found to be a duplicate
//! because it comes again after it was applied changes nothing. What was decided may change only by overrides: so each
//! outcome says after which override it is so, and that of the later override counts, however late another tracker, which
//! was frozen perhaps, reports what it had decided before.

use ::time::OffsetDateTime;

use super::{Event, MessageNumber, Refusal, Sequence, StoredAt};

/// Why a message has no effect whose number was skipped.
pub const SKIPPED_LATE: &str = "its number was skipped before it arrived";
/// Messages that a record may have unreported in its header. Their text is below the 64 KiB that the server allows of all
/// headers.
pub const UNREPORTED_MAX: usize = 2_048;
/// Longest text of one of them: two distances with their signs, a mark and what lies between. Ten thousand million
/// messages and thirty years have no more digits.
const UNREPORTED_CHARS_MAX: usize = (1 + 11) + (1 + 12) + 3;
const _: () = assert!(UNREPORTED_MAX * UNREPORTED_CHARS_MAX < 60 * 1024);

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied and changed the rocket; or it is an override, and was followed.
    Processed,
    /// It changed nothing, for this reason.
    Failed(String),
    /// Its number was taken already.
    Duplicate,
    /// Its number was taken already, by this event, whose message says something else.
    Conflict(Sequence),
}

/// What became of one event, and when that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeRecord {
    /// The event: the message's sequence and its time.
    pub event: Event,
    /// What became of it.
    pub outcome: Outcome,
    /// When the state was stored in which it is so.
    pub at: OffsetDateTime,
    /// The last override of the channel that was known when it was decided.
    pub after_overrides: Option<Sequence>,
}

impl Outcome {
    /// What becomes of a message that is applied, refused or not.
    pub fn of_applied(refusal: Option<Refusal>) -> Self {
        refusal.map_or(Self::Processed, |refusal| Self::Failed(refusal.to_string()))
    }

    /// Why it has no effect, in words, where there is more to say than the outcome's name.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Processed | Self::Duplicate => None,
            Self::Failed(why) => Some(why.clone()),
            Self::Conflict(event) => Some(format!("event {event} has this message number and says something else")),
        }
    }

    /// Whether another message has the number.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Duplicate | Self::Conflict(_))
    }

    /// How much it counts beside another outcome of the same event.
    fn weight(&self) -> u8 {
        match self {
            Self::Duplicate => 0,
            Self::Conflict(_) => 1,
            Self::Processed | Self::Failed(_) => 2,
        }
    }
}

impl OutcomeRecord {
    /// Which of two outcomes of one event counts, if the other one was reported later: no duplicate beside another one,
    /// no plain one beside a conflict, the one after the later override, else the one that was reported later. One that
    /// is reported again stays the first.
    pub fn or(self, later: Self) -> Self {
        let rank = |outcome: &Self| (outcome.outcome.weight(), outcome.after_overrides);
        if self.outcome == later.outcome {
            return Self { after_overrides: self.after_overrides.max(later.after_overrides), ..self };
        }
        if rank(&later) < rank(&self) { self } else { later }
    }
}

/// What was decided with a record, and may not have been reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unreported {
    /// Messages that took their number, each with why it was refused, if it was.
    pub messages: Vec<(Event, Option<Refusal>)>,
    /// The state since which changes of overrides are unreported: too many to list, a replay finds them.
    pub since: Option<Since>,
    /// What was forgotten of the channel, if something was; whoever writes the record takes it over.
    pub forgotten: Option<Forgotten>,
}

/// What was forgotten of a channel. It has begun again; what a tracker still holds in memory of its first life must not be
/// applied in its second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// It is being forgotten: nothing of it can be applied now.
    UnderWay,
    /// Every message up to this one.
    Through(Event),
}

impl Forgotten {
    /// Whether a message is among what was forgotten.
    pub fn has(self, event: Event) -> bool {
        match self {
            Self::UnderWay => false,
            Self::Through(last) => event.sequence <= last.sequence && event.stored_at <= last.stored_at,
        }
    }

    fn to_text(self) -> String {
        match self {
            Self::UnderWay => "now".into(),
            Self::Through(Event { sequence, stored_at }) => format!("{} {}", sequence.0, stored_at.0),
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        if text == "now" {
            return Some(Self::UnderWay);
        }
        let (sequence, stored_at) = text.split_once(' ')?;
        let (sequence, stored_at) = (Sequence(sequence.parse().ok()?), StoredAt(stored_at.parse().ok()?));
        Some(Self::Through(Event { sequence, stored_at }))
    }
}

/// A state before overrides were folded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// The last override that was folded in.
    pub last_override: Option<Sequence>,
    /// The last number that had been applied or skipped.
    pub applied_through: Option<MessageNumber>,
}

impl Unreported {
    /// Whether nothing is unreported.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.since.is_none() && self.forgotten.is_none()
    }

    /// The text of it in a record's header: each event as its distance from the one before, that of its time in
    /// milliseconds behind a `:` unless it is 0, and the mark of a refusal; behind a `|` the state before overrides, and
    /// behind another one what was forgotten.
    pub fn to_text(&self) -> String {
        use std::fmt::Write as _;
        let (mut text, mut before) = (String::new(), (0, 0));
        for (event, refusal) in &self.messages {
            let now = (i128::from(event.sequence.0), i128::from(event.stored_at.0));
            let (places, milliseconds) = (now.0 - before.0, now.1 - before.1);
            before = now;
            let mark = refusal.map_or("", |refusal| MARKS[refusal as usize].1);
            let space = if text.is_empty() { "" } else { " " };
            let _ = match milliseconds {
                0 => write!(text, "{space}{places}{mark}"),
                _ => write!(text, "{space}{places}:{milliseconds}{mark}"),
            };
        }
        if let Some(Since { last_override, applied_through }) = self.since {
            let (overrides, number) =
                (last_override.map_or(0, |last| last.0), MessageNumber::count_through(applied_through));
            let _ = write!(text, "|{overrides} {number}");
        }
        if let Some(forgotten) = self.forgotten {
            let separator = if self.since.is_some() { "|" } else { "||" };
            let _ = write!(text, "{separator}{}", forgotten.to_text());
        }
        text
    }

    /// Reads the text; none if nobody here wrote it.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '|');
        let (messages, since, forgotten) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        // Where something was forgotten, the part before it may be empty.
        let since = since.filter(|since| forgotten.is_none() || !since.is_empty());
        let since = since.map_or(Some(None), |since| since_of(since).map(Some))?;
        let forgotten = forgotten.map_or(Some(None), |text| Forgotten::from_text(text).map(Some))?;
        let mut before = (0_i128, 0_i128);
        let event = |text: &str| {
            let (mark, refusal) =
                MARKS.iter().find(|(_, mark)| text.ends_with(mark)).map_or(("", None), |it| (it.1, Some(it.0)));
            let distances = text.strip_suffix(mark)?;
            let (places, milliseconds) = distances.split_once(':').unwrap_or((distances, "0"));
            let distance = |text: &str| text.parse::<i64>().ok().map(i128::from);
            before = (before.0 + distance(places)?, before.1 + distance(milliseconds)?);
            let (sequence, stored_at) = (u64::try_from(before.0).ok()?, i64::try_from(before.1).ok()?);
            Some((Event { sequence: Sequence(sequence), stored_at: StoredAt(stored_at) }, refusal))
        };
        let messages = messages.split(' ').filter(|text| !text.is_empty()).map(event).collect::<Option<_>>()?;
        Some(Self { messages, since, forgotten })
    }
}

/// The mark of each refusal, in the order of the variants.
const MARKS: [(Refusal, &str); 4] = [
    (Refusal::NotLaunched, "n"),
    (Refusal::LaunchedBefore, "l"),
    (Refusal::Exploded, "e"),
    (Refusal::SpeedOverflow, "o"),
];

fn since_of(text: &str) -> Option<Since> {
    let (overrides, applied_through) = text.split_once(' ')?;
    let (overrides, number): (u64, u64) = (overrides.parse().ok()?, applied_through.parse().ok()?);
    let applied_through = MessageNumber::new(number);
    (applied_through.is_some() || number == 0)
        .then_some(Since { last_override: Sequence::new(overrides), applied_through })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unreported_is_written_and_read() {
        let all = MARKS.map(|(refusal, _)| Some(refusal)).into_iter().chain([None, None]);
        let event = |(sequence, at)| Event { sequence: Sequence(sequence), stored_at: StoredAt(at) };
        let events = [(90, 5), (17, 1), (18, 1), (4_000, 9), (3, -4), (i64::MAX as u64, 1 << 40)].map(event);
        let messages: Vec<_> = events.into_iter().zip(all).collect();
        let since = Some(Since { last_override: Some(Sequence(7)), applied_through: MessageNumber::new(12) });
        let forgotten = Some(Forgotten::Through(event((17, -3))));
        for unreported in [
            Unreported::default(),
            Unreported { messages: messages.clone(), ..Unreported::default() },
            Unreported { messages: messages[..1].to_vec(), since, forgotten: None },
            Unreported { since, ..Unreported::default() },
            Unreported { messages: messages[..1].to_vec(), since: None, forgotten },
            Unreported { messages: Vec::new(), since, forgotten: Some(Forgotten::UnderWay) },
        ] {
            assert_eq!(
                Unreported::from_text(&unreported.to_text()),
                Some(unreported.clone()),
                "{}",
                unreported.to_text()
            );
        }
        let unreported = Unreported { messages, ..Unreported::default() };
        assert!(unreported.to_text().starts_with("90:5n -73:-4l 1e 3982:8o -3997:-13 "), "{}", unreported.to_text());
    }

    #[test]
    fn what_nobody_wrote_is_refused() {
        for text in [
            "x", "1 x", "-1", "1|", "1|2", "1|2 x", "1n n", "|1 2|", "1:", ":1", "1:n", "1:1:1", "||", "||x", "||1 x",
            "||1 2|",
        ] {
            assert_eq!(Unreported::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn each_refusal_has_its_mark() {
        assert!(MARKS.iter().enumerate().all(|(at, (refusal, _))| *refusal as usize == at));
    }

    #[test]
    fn of_two_outcomes_one_counts() {
        let outcome = |outcome: &Outcome, overrides| {
            let (event, at) = (Event::default(), OffsetDateTime::UNIX_EPOCH);
            OutcomeRecord { event, outcome: outcome.clone(), at, after_overrides: Some(Sequence(overrides)) }
        };
        let (processed, failed, duplicate) = (Outcome::Processed, Outcome::Failed("why".into()), Outcome::Duplicate);
        let rows = [
            ((&processed, 0), (&duplicate, 9), (&processed, 0)),
            ((&duplicate, 9), (&failed, 0), (&failed, 0)),
            ((&processed, 0), (&failed, 0), (&failed, 0)),
            ((&processed, 0), (&failed, 5), (&failed, 5)),
            ((&failed, 5), (&processed, 0), (&failed, 5)),
            ((&failed, 0), (&failed, 5), (&failed, 5)),
        ];
        for ((first, first_overrides), (later, later_overrides), (expected, overrides)) in rows {
            let counts = outcome(first, first_overrides).or(outcome(later, later_overrides));
            assert_eq!(
                counts,
                outcome(expected, overrides),
                "{first:?} {first_overrides}, then {later:?} {later_overrides}"
            );
        }
    }
}
