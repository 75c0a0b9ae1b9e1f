//! Streams as wholes: whether one is there, what it is like, changing and removing it; and the mark of one that a restore
//! has not finished.

use async_nats::jetstream::response::Response;
use async_nats::jetstream::{Context, ErrorCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::StreamState;
use crate::broker::topology::{METADATA_RESTORING, restoring_subject};
use crate::broker::{Broker, BrokerError};

/// A stream that is there.
#[derive(Debug, Deserialize)]
pub struct Stream {
    /// Its configuration, as the server says it.
    pub config: Value,
    /// What it holds.
    pub state: StreamState,
    /// In a cluster, who has it.
    #[serde(default)]
    cluster: Cluster,
}

#[derive(Debug, Default, Deserialize)]
struct Cluster {
    /// All but the leader.
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Debug, Deserialize)]
struct Replica {
    current: bool,
    #[serde(default)]
    lag: u64,
}

impl Stream {
    /// Whether as many have all of it as are to.
    pub fn has_all_copies(&self) -> bool {
        let wanted = self.config["num_replicas"].as_u64().unwrap_or(1);
        let replicas = &self.cluster.replicas;
        replicas.len() as u64 + 1 >= wanted && replicas.iter().all(|replica| replica.current && replica.lag == 0)
    }

    /// The restore that has not finished it; none for a whole one.
    pub fn restoring(&self) -> Option<&str> {
        self.config["metadata"][METADATA_RESTORING].as_str()
    }
}

/// Looks at a stream.
pub async fn look(broker: &Broker, stream: &str) -> Result<Option<Stream>, BrokerError> {
    there(ask(broker.jetstream(), &format!("STREAM.INFO.{stream}"), &json!({})).await?)
}

/// Gives a stream this configuration.
pub async fn configure(broker: &Broker, stream: &str, config: &Value) -> Result<(), BrokerError> {
    let answer: Response<Value> = ask(&broker.changing(), &format!("STREAM.UPDATE.{stream}"), config).await?;
    there(answer)?.map(drop).ok_or(BrokerError::NotThere)
}

/// Removes a stream; one that is not there is as good as removed.
pub async fn remove(broker: &Broker, stream: &str) -> Result<(), BrokerError> {
    let answer: Response<Value> = ask(&broker.changing(), &format!("STREAM.DELETE.{stream}"), &json!({})).await?;
    there(answer).map(drop)
}

/// The configuration under which a stream is put back: nobody can write to it, and everybody sees that it is not whole.
/// `by` says who restores it.
pub fn restoring(config: &Value, stream: &str, by: &str) -> Value {
    let mut config = config.clone();
    config["subjects"] = json!([restoring_subject(stream, by)]);
    if !config["metadata"].is_object() {
        config["metadata"] = json!({});
    }
    config["metadata"][METADATA_RESTORING] = by.into();
    config
}

/// Asks the server's API.
pub(super) async fn ask<T: DeserializeOwned>(
    jetstream: &Context,
    query: &str,
    body: &Value,
) -> Result<Response<T>, BrokerError> {
    jetstream.request(query.to_owned(), body).await.map_err(BrokerError::unavailable)
}

/// What was answered; none where there is no such stream.
pub(super) fn there<T>(answer: Response<T>) -> Result<Option<T>, BrokerError> {
    match answer {
        Response::Ok(answer) => Ok(Some(answer)),
        Response::Err { error } if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
        Response::Err { error } => Err(BrokerError::from_server(&error)),
    }
}
