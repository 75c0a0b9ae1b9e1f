//! What became of each message: told once it is final, and owed from the moment at which the record is stored.
//!
//! The state is stored first and the outcomes after it. So that a crash in between loses none, a record carries in its
//! header what was decided with it ([`Owed`]): whoever writes the record next takes that over, unless it knows that it
//! was told. An outcome that is told twice is the same both times; a message that is found to be a duplicate because it
//! comes again after it was applied changes nothing. What was decided may change only by an operator's acts: so each
//! outcome says after which act it is so, and that of the later act counts, however late another tracker, which was
//! frozen perhaps, tells what it had decided before.

use ::time::OffsetDateTime;

use super::{Event, Refusal, Sequence, StoredAt};

/// Why a message has no effect whose number was skipped.
pub const LATE: &str = "its number was skipped before it arrived";
/// Messages that a record may owe in its header. Their text is below the 64 KiB that the server allows of all headers.
pub const OWED_MAX: usize = 2_048;
/// Longest text of one of them: two distances with their signs, a letter and what lies between. Ten thousand million
/// messages and thirty years have no more digits.
const OWED_CHARS_MAX: usize = (1 + 11) + (1 + 12) + 3;
const _: () = assert!(OWED_MAX * OWED_CHARS_MAX < 60 * 1024);

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    /// It took its place and changed the rocket; or it is an operator's word, and was followed.
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
pub struct Outcome {
    /// The event: the message's place in the stream and its time.
    pub event: Event,
    /// What became of it.
    pub became: Became,
    /// When the state was stored in which it is so.
    pub at: OffsetDateTime,
    /// The last act of the channel that was known when it was decided; 0 before the first.
    pub after_acts: Sequence,
}

impl Became {
    /// What becomes of a message that takes its place, refused or not.
    pub fn placed(refusal: Option<Refusal>) -> Self {
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

impl Outcome {
    /// Which of two outcomes of one event counts, if the other one was told later: no duplicate beside another one, no
    /// plain one beside a conflict, the one after the later act, else the one that was told later. One that is told again
    /// stays the first.
    pub fn or(self, later: Self) -> Self {
        let rank = |outcome: &Self| (outcome.became.weight(), outcome.after_acts);
        if self.became == later.became {
            return Self { after_acts: self.after_acts.max(later.after_acts), ..self };
        }
        if rank(&later) < rank(&self) { self } else { later }
    }
}

/// What was decided with a record, and may not have been told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// Messages that took their place, each with why it was refused, if it was.
    pub placed: Vec<(Event, Option<Refusal>)>,
    /// Everything that acts have changed since this state: too much to list, found out by folding again.
    pub since: Option<Since>,
    /// What was forgotten of the channel, if something was; whoever writes the record takes it over.
    pub forgotten: Option<Forgotten>,
}

/// What was forgotten of a channel. It has begun again; what somebody still holds in memory of its first life must not be
/// taken up in its second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// It is being forgotten: nothing of it can be taken up now.
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

/// A state before acts were folded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// The last act that was folded in.
    pub acts: Sequence,
    /// The last number that had been passed; 0 before the first.
    pub passed: u64,
}

impl Owed {
    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.placed.is_empty() && self.since.is_none() && self.forgotten.is_none()
    }

    /// The text of it in a record's header: each event as its distance from the one before, that of its time in
    /// milliseconds behind a `:` unless it is 0, and the letter of a refusal; behind a `|` the state before acts, and behind
    /// another one what was forgotten.
    pub fn to_text(&self) -> String {
        use std::fmt::Write as _;
        let (mut text, mut before) = (String::new(), (0, 0));
        for (event, refusal) in &self.placed {
            let now = (i128::from(event.sequence.0), i128::from(event.stored_at.0));
            let (places, milliseconds) = (now.0 - before.0, now.1 - before.1);
            before = now;
            let letter = refusal.map_or("", |refusal| LETTERS[refusal as usize].1);
            let space = if text.is_empty() { "" } else { " " };
            let _ = match milliseconds {
                0 => write!(text, "{space}{places}{letter}"),
                _ => write!(text, "{space}{places}:{milliseconds}{letter}"),
            };
        }
        if let Some(Since { acts, passed }) = self.since {
            let _ = write!(text, "|{acts} {passed}");
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
        let (placed, since, forgotten) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        // Where something was forgotten, the part before it may be empty.
        let since = since.filter(|since| forgotten.is_none() || !since.is_empty());
        let since = since.map_or(Some(None), |since| since_of(since).map(Some))?;
        let forgotten = forgotten.map_or(Some(None), |text| Forgotten::from_text(text).map(Some))?;
        let mut before = (0_i128, 0_i128);
        let event = |text: &str| {
            let (letter, refusal) =
                LETTERS.iter().find(|(_, letter)| text.ends_with(letter)).map_or(("", None), |it| (it.1, Some(it.0)));
            let distances = text.strip_suffix(letter)?;
            let (places, milliseconds) = distances.split_once(':').unwrap_or((distances, "0"));
            let distance = |text: &str| text.parse::<i64>().ok().map(i128::from);
            before = (before.0 + distance(places)?, before.1 + distance(milliseconds)?);
            let (sequence, stored_at) = (u64::try_from(before.0).ok()?, i64::try_from(before.1).ok()?);
            Some((Event { sequence: Sequence(sequence), stored_at: StoredAt(stored_at) }, refusal))
        };
        let placed = placed.split(' ').filter(|text| !text.is_empty()).map(event).collect::<Option<_>>()?;
        Some(Self { placed, since, forgotten })
    }
}

/// The letter of each refusal, in the order of the variants.
const LETTERS: [(Refusal, &str); 4] = [
    (Refusal::NotLaunched, "n"),
    (Refusal::LaunchedBefore, "l"),
    (Refusal::Exploded, "e"),
    (Refusal::SpeedOverflow, "o"),
];

fn since_of(text: &str) -> Option<Since> {
    let (acts, passed) = text.split_once(' ')?;
    Some(Since { acts: Sequence(acts.parse().ok()?), passed: passed.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_written_and_read() {
        let all = LETTERS.map(|(refusal, _)| Some(refusal)).into_iter().chain([None, None]);
        let event = |(sequence, at)| Event { sequence: Sequence(sequence), stored_at: StoredAt(at) };
        let events = [(90, 5), (17, 1), (18, 1), (4_000, 9), (3, -4), (i64::MAX as u64, 1 << 40)].map(event);
        let placed: Vec<_> = events.into_iter().zip(all).collect();
        let since = Some(Since { acts: Sequence(7), passed: 12 });
        let forgotten = Some(Forgotten::Through(event((17, -3))));
        for owed in [
            Owed::default(),
            Owed { placed: placed.clone(), ..Owed::default() },
            Owed { placed: placed[..1].to_vec(), since, forgotten: None },
            Owed { since, ..Owed::default() },
            Owed { placed: placed[..1].to_vec(), since: None, forgotten },
            Owed { placed: Vec::new(), since, forgotten: Some(Forgotten::UnderWay) },
        ] {
            assert_eq!(Owed::from_text(&owed.to_text()), Some(owed.clone()), "{}", owed.to_text());
        }
        let owed = Owed { placed, ..Owed::default() };
        assert!(owed.to_text().starts_with("90:5n -73:-4l 1e 3982:8o -3997:-13 "), "{}", owed.to_text());
    }

    #[test]
    fn what_nobody_wrote_is_refused() {
        for text in [
            "x", "1 x", "-1", "1|", "1|2", "1|2 x", "1n n", "|1 2|", "1:", ":1", "1:n", "1:1:1", "||", "||x", "||1 x",
            "||1 2|",
        ] {
            assert_eq!(Owed::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn each_refusal_has_the_letter_at_its_place() {
        assert!(LETTERS.iter().enumerate().all(|(at, (refusal, _))| *refusal as usize == at));
    }

    #[test]
    fn of_two_outcomes_one_counts() {
        let outcome = |became: &Became, acts| {
            let (event, at) = (Event::default(), OffsetDateTime::UNIX_EPOCH);
            Outcome { event, became: became.clone(), at, after_acts: Sequence(acts) }
        };
        let (processed, failed, duplicate) = (Became::Processed, Became::Failed("why".into()), Became::Duplicate);
        let rows = [
            ((&processed, 0), (&duplicate, 9), (&processed, 0)),
            ((&duplicate, 9), (&failed, 0), (&failed, 0)),
            ((&processed, 0), (&failed, 0), (&failed, 0)),
            ((&processed, 0), (&failed, 5), (&failed, 5)),
            ((&failed, 5), (&processed, 0), (&failed, 5)),
            ((&failed, 0), (&failed, 5), (&failed, 5)),
        ];
        for ((first, first_acts), (later, later_acts), (expected, acts)) in rows {
            let counts = outcome(first, first_acts).or(outcome(later, later_acts));
            assert_eq!(counts, outcome(expected, acts), "{first:?} {first_acts}, then {later:?} {later_acts}");
        }
    }
}
