//! What is said when the broker's objects cannot be made, or be made what they should be, and what to do about it.

use std::fmt;

use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use async_nats::jetstream::{self, ErrorCode};

use crate::broker::BrokerError;
use crate::broker::objects::differences::Difference;
use crate::broker::topology::{BUCKET_STREAM, STREAM};

/// Why the objects cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Some differ; a line each.
    #[error("the broker is not set up for this configuration (`rockets init` does it):\n  {}", .0.join("\n  "))]
    Differs(Vec<String>),
    /// The stream was made with another number of partitions, which cannot be changed.
    #[error(
        "stream.partitions: the stream ROCKETS has {stream} partitions for all its life, the configuration says \
         {configured}; set stream.partitions = {stream} (ROCKETS_STREAM__PARTITIONS={stream})"
    )]
    Partitions {
        /// The stream's, as its metadata says it.
        stream: String,
        /// The configuration's.
        configured: u16,
    },
    /// A restore that was not finished left it behind.
    #[error(
        "the stream {0} is what a restore that was not finished left behind; run `rockets restore` again, with --yes, which \
         removes it, or remove it yourself (`nats stream rm {0}`)"
    )]
    HalfRestored(String),
    /// The stream was made by a program with another format.
    #[error("the stream ROCKETS has format {0}, which this program does not know")]
    Format(String),
    /// There would be fewer copies than there are, and nobody asked for that.
    #[error(
        "{object} has {is} replicas, the configuration says {should_be}: fewer copies are made only when asked for; set \
         stream.replicas = {is} (ROCKETS_STREAM__REPLICAS={is}), or run `rockets init --lower-replicas`"
    )]
    FewerReplicas {
        /// The object, such as `stream ROCKETS`.
        object: String,
        /// How many it has.
        is: u64,
        /// How many the configuration says.
        should_be: u64,
    },
    /// What is there cannot become what is needed.
    #[error(
        "{object}: it cannot be changed into what is needed, the broker says: {why}\n  {}\n{}",
        .differences.join("\n  "),
        remedy(.object)
    )]
    Unchangeable {
        /// The object, such as `stream KV_rockets`.
        object: String,
        /// What the broker says.
        why: String,
        /// The fields that differ, a line each.
        differences: Vec<String>,
    },
    /// The broker could not be asked.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// What to do about an object that is in the place of ours and cannot become it.
fn remedy(object: &str) -> String {
    let (name, is_durable) = (object.rsplit(' ').next().unwrap_or(object), object.starts_with("durable "));
    match name {
        _ if is_durable => format!(
            "It only says how far messages have been applied: remove it (`nats consumer rm {STREAM} {name}`), then run \
             `rockets init`; what has been applied comes again, and changes nothing."
        ),
        BUCKET_STREAM => format!(
            "The bucket is made from the log: remove it (`nats stream rm {name}`), then run `rockets init`, and `rockets \
             rebuild --apply` if there were rockets in it."
        ),
        STREAM => format!(
            "If nothing in it is needed, remove it (`nats stream rm {name}`), then run `rockets init`. It is the log of all \
             messages: what is in it is lost then, unless it was backed up (docs/operations.md, \"Back up, and come back\")."
        ),
        _ => format!(
            "If nothing in it is needed, remove it (`nats stream rm {name}`), then run `rockets init`; what is to be kept \
             of it has to be backed up before."
        ),
    }
}

/// What the broker says against something, where it does not only ask for time.
fn refusal(answer: Option<jetstream::Error>, error: &dyn fmt::Display) -> Result<jetstream::Error, BrokerError> {
    const NOT_NOW: usize = 503;
    match answer {
        Some(answer) if answer.code() != NOT_NOW => Ok(answer),
        Some(answer) => Err(BrokerError::from_server(&answer)),
        None => Err(BrokerError::unavailable(error)),
    }
}

/// The same, of a stream.
pub(in crate::broker) fn refusal_of_stream(error: &CreateStreamError) -> Result<jetstream::Error, BrokerError> {
    let answer = match error.kind() {
        CreateStreamErrorKind::JetStream(answer) => Some(answer),
        _ => None,
    };
    refusal(answer, error)
}

/// The same, of a durable.
pub(in crate::broker) fn refusal_of_durable(error: &ConsumerError) -> Result<jetstream::Error, BrokerError> {
    let answer = match error.kind() {
        ConsumerErrorKind::JetStream(answer) => Some(answer),
        _ => None,
    };
    refusal(answer, error)
}

pub(in crate::broker) fn cannot_make(object: &str, refusal: Result<jetstream::Error, BrokerError>) -> BrokerError {
    let answer = match refusal {
        Ok(answer) => answer,
        Err(error) => return error,
    };
    let advice = match answer.error_code() {
        ErrorCode::STREAM_SUBJECT_OVERLAP => {
            "; another stream takes these subjects (`nats stream ls` shows all): remove it or give it others"
        }
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => "; a broker that is alone keeps one copy: set stream.replicas = 1",
        ErrorCode::STORAGE_RESOURCES_EXCEEDED => {
            "; the broker gives less room than all streams may take: give it more (`max_file_store`), or the streams less \
             (stream.log_max_bytes and so on)"
        }
        _ => "",
    };
    BrokerError::Misconfigured(format!("{object}: {answer}{advice}"))
}

pub(in crate::broker) fn cannot_change(
    object: &str,
    differences: &[Difference],
    refusal: Result<jetstream::Error, BrokerError>,
) -> ProvisionError {
    match refusal {
        Ok(answer) => ProvisionError::Unchangeable {
            object: object.to_owned(),
            why: answer.to_string(),
            differences: differences.iter().map(Difference::to_string).collect(),
        },
        Err(error) => error.into(),
    }
}
