//! Many messages in one request: a JSON array, or one on each line. Each is checked, stored and answered for itself.
//!
//! What a message is, and how it is stored, is the same as of one that comes alone ([`super::Ingest`]).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::broker::Receipt;
use crate::http::Answer;
use crate::http::body::Form;

/// Most messages of a batch.
pub const MESSAGES_MAX: usize = 1_000;
/// Largest body of a batch, in bytes.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a sender that sends too much is asked to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What became of the messages of a batch.
#[derive(Serialize, ToSchema)]
pub struct Batch {
    /// How many are stored.
    ingested: usize,
    /// How many had been stored before.
    duplicate: usize,
    /// How many are wrong in themselves.
    rejected: usize,
    /// How many could not be stored now: these are to be sent again.
    unavailable: usize,
    /// What became of each, in their order.
    results: Vec<OfMessage>,
}

/// What became of one message.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum OfMessage {
    /// It is stored.
    Ingested {
        /// Its place in the log.
        event_id: u64,
    },
    /// It had been stored before.
    Duplicate {
        /// The place in the log of the first one.
        event_id: u64,
    },
    /// It is wrong in itself.
    Rejected {
        /// What is wrong; the text names the field.
        error: String,
    },
    /// It could not be stored now.
    Unavailable {
        /// Why.
        error: String,
        /// Whether there would be too many.
        #[serde(skip)]
        is_too_many: bool,
    },
}

impl From<Receipt> for OfMessage {
    fn from(Receipt { sequence, duplicate }: Receipt) -> Self {
        match duplicate {
            true => Self::Duplicate { event_id: sequence.0 },
            false => Self::Ingested { event_id: sequence.0 },
        }
    }
}

/// What would have been answered to it alone.
impl From<Answer> for OfMessage {
    fn from(answer: Answer) -> Self {
        let error = answer.problem().unwrap_or_default().to_owned();
        match answer.status().as_u16() {
            status @ (429 | 500..) => Self::Unavailable { error, is_too_many: status == 429 },
            _ => Self::Rejected { error },
        }
    }
}

impl Batch {
    /// Of messages of which this became.
    pub fn of(results: Vec<OfMessage>) -> Self {
        let mut batch = Self { ingested: 0, duplicate: 0, rejected: 0, unavailable: 0, results: Vec::new() };
        for result in &results {
            *match result {
                OfMessage::Ingested { .. } => &mut batch.ingested,
                OfMessage::Duplicate { .. } => &mut batch.duplicate,
                OfMessage::Rejected { .. } => &mut batch.rejected,
                OfMessage::Unavailable { .. } => &mut batch.unavailable,
            } += 1;
        }
        Self { results, ..batch }
    }

    /// Its answer.
    pub fn into_answer(self) -> Answer {
        let stored = self.ingested + self.duplicate;
        let first = self.results.iter().find_map(OfMessage::error).unwrap_or_default();
        match (stored, self.unavailable) {
            _ if stored == self.results.len() => Answer::ok(&self),
            (1.., _) => Answer::multi_status(&self),
            (0, 0) => Answer::bad_request(format!("no message of the batch is one: {first}")).with_data(&self),
            (0, _) => self.refusal().with_data(&self),
        }
    }

    /// None is stored, of some that could be.
    fn refusal(&self) -> Answer {
        let unavailable = self.results.iter().filter_map(|result| match result {
            OfMessage::Unavailable { error, is_too_many } => Some((error, *is_too_many)),
            _ => None,
        });
        let (errors, are_too_many): (Vec<_>, Vec<_>) = unavailable.unzip();
        match are_too_many.contains(&false) {
            true => Answer::unavailable("no message of the batch can be stored now, send it again"),
            false => Answer::too_many(errors.first().map_or("", |error| error.as_str()), RETRY_AFTER),
        }
    }
}

impl OfMessage {
    fn error(&self) -> Option<&str> {
        match self {
            Self::Rejected { error } | Self::Unavailable { error, .. } => Some(error),
            Self::Ingested { .. } | Self::Duplicate { .. } => None,
        }
    }
}

/// The bodies of the messages in a body of this form, or why it holds none.
pub fn split(form: Form, body: &Bytes) -> Result<Vec<Bytes>, String> {
    let bodies = match form {
        Form::Lines => lines(body)?,
        Form::One | Form::Array => array(body)?,
    };
    if bodies.is_empty() { Err(number("there is none")) } else { Ok(bodies) }
}

fn number(problem: impl fmt::Display) -> String {
    format!("body: must hold 1 to {MESSAGES_MAX} messages: {problem}")
}

fn lines(body: &Bytes) -> Result<Vec<Bytes>, String> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.take(MESSAGES_MAX + 1).map(|line| body.slice_ref(line)).collect();
    if lines.len() > MESSAGES_MAX { Err(number("there are more")) } else { Ok(lines) }
}

fn array(body: &Bytes) -> Result<Vec<Bytes>, String> {
    let Items(items) = serde_json::from_slice(body).map_err(number)?;
    Ok(items.into_iter().map(|item| body.slice_ref(item.get().as_bytes())).collect())
}

/// The items of an array, as they stand there.
struct Items<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor).map(Items)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = array.next_element()? {
            if items.len() == MESSAGES_MAX {
                return Err(serde::de::Error::custom("there are more"));
            }
            items.push(item);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Sequence;

    fn split_in(form: Form, body: &str) -> Result<Vec<String>, String> {
        let bodies = split(form, &Bytes::copy_from_slice(body.as_bytes()))?;
        Ok(bodies.iter().map(|body| String::from_utf8_lossy(body).into_owned()).collect())
    }

    #[test]
    fn items_are_what_stands_there() {
        assert_eq!(split_in(Form::Array, " [ {\"a\" : 1}, 7,\n[] ] ").unwrap(), ["{\"a\" : 1}", "7", "[]"]);
        assert_eq!(split_in(Form::Lines, "{\"a\" : 1}\r\n\n 7 \n[]").unwrap(), ["{\"a\" : 1}", "7", "[]"]);
        assert_eq!(split_in(Form::Lines, "[1,\n2]").unwrap(), ["[1,", "2]"]);
    }

    #[test]
    fn there_are_some_and_not_too_many() {
        let array = |items: usize| format!("[{}]", vec!["1"; items].join(","));
        let lines = |items: usize| "1\n".repeat(items);
        for (form, body) in [(Form::Array, array(MESSAGES_MAX)), (Form::Lines, lines(MESSAGES_MAX))] {
            assert_eq!(split_in(form, &body).unwrap().len(), MESSAGES_MAX);
        }
        for (form, body, problem) in [
            (Form::Array, "[]".to_owned(), "there is none"),
            (Form::Lines, "\n \r\n".to_owned(), "there is none"),
            (Form::Array, array(MESSAGES_MAX + 1), "there are more at line 1 column 2003"),
            (Form::Lines, lines(MESSAGES_MAX + 1), "there are more"),
            (Form::Array, "[1,".to_owned(), "EOF while parsing a value at line 1 column 3"),
            (Form::Array, "[1] 2".to_owned(), "trailing characters at line 1 column 5"),
            (Form::Array, "[{\"a\"}]".to_owned(), "expected `:` at line 1 column 6"),
        ] {
            assert_eq!(split_in(form, &body), Err(format!("body: must hold 1 to 1000 messages: {problem}")));
        }
    }

    #[test]
    fn the_status_says_whether_to_look_closer() {
        let rejected = || OfMessage::from(Answer::bad_request("metadata: is missing"));
        let unavailable = || OfMessage::from(Answer::unavailable("later"));
        let too_many = || OfMessage::from(Answer::too_many("slower", RETRY_AFTER));
        let [ingested, duplicate] =
            [false, true].map(|duplicate| move || OfMessage::from(Receipt { sequence: Sequence(7), duplicate }));
        for (results, status) in [
            (vec![ingested(), duplicate()], 200),
            (vec![ingested(), rejected()], 207),
            (vec![rejected(), duplicate(), unavailable()], 207),
            (vec![rejected(), rejected()], 400),
            (vec![rejected(), unavailable()], 503),
            (vec![too_many(), unavailable()], 503),
            (vec![too_many(), rejected()], 429),
        ] {
            assert_eq!(Batch::of(results).into_answer().status().as_u16(), status);
        }
    }
}
