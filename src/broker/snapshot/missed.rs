//! What a snapshot has missed.
//!
//! A stream that keeps only the last messages of each subject may have a subject of which a snapshot has nothing: the
//! message that was there at the beginning has been overwritten before it was read, by one behind the end. So whoever takes
//! such a stream asks its leader, afterwards, which subjects there are, and for the last message of each one that he has
//! not seen.

use std::collections::HashMap;

use async_nats::jetstream::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::archive::Entry;
use super::objects::{ask, there};
use crate::broker::{Broker, BrokerError};

/// The answer to a question for a stream with its subjects, of which the server names 100,000 at most.
#[derive(Deserialize)]
struct Info {
    state: State,
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    subjects: HashMap<String, u64>,
}

/// The answer to a question for one message.
#[derive(Deserialize)]
struct Answer {
    message: Raw,
}

#[derive(Deserialize)]
struct Raw {
    subject: String,
    seq: u64,
    time: String,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

/// A page of the subjects of a stream, behind so many; empty behind the last.
pub async fn subjects(broker: &Broker, stream: &str, offset: usize) -> Result<Vec<String>, BrokerError> {
    let query = json!({ "subjects_filter": ">", "offset": offset });
    let answer = ask(&broker.changing(), &format!("STREAM.INFO.{stream}"), &query).await?;
    let info: Info = there(answer)?.ok_or(BrokerError::NotThere)?;
    Ok(info.state.subjects.into_keys().collect())
}

/// The last message of a subject, if there is one.
pub async fn last_of(broker: &Broker, stream: &str, subject: &str) -> Result<Option<Entry>, BrokerError> {
    let query = json!({ "last_by_subj": subject });
    match ask::<Answer>(broker.jetstream(), &format!("STREAM.MSG.GET.{stream}"), &query).await? {
        Response::Ok(answer) => entry(answer.message).map(Some),
        Response::Err { error } => match BrokerError::from_server(&error) {
            BrokerError::NotThere => Ok(None),
            error => Err(error),
        },
    }
}

fn entry(raw: Raw) -> Result<Entry, BrokerError> {
    let decoded = |text: &str| STANDARD.decode(text).map_err(BrokerError::unavailable);
    let (mut content, payload) = (decoded(&raw.hdrs)?, decoded(&raw.data)?);
    let header_bytes = content.len();
    content.extend(payload);
    let time = OffsetDateTime::parse(&raw.time, &Rfc3339).map_err(BrokerError::unavailable)?;
    let time = i64::try_from(time.unix_timestamp_nanos()).map_err(BrokerError::unavailable)?;
    Ok(Entry { name: raw.subject.into_bytes(), time, sequence: raw.seq, header_bytes, content })
}
