//! How full each stream is, how fast it fills, and how many copies of it there are.

use async_nats::jetstream::stream;
use futures_util::future::try_join_all;
use time::{Duration, OffsetDateTime};

use super::log_reader::direct::get_since;
use super::objects::Object;
use super::objects::provision::stream_info;
use super::topology::Topology;
use super::{Broker, BrokerError};

/// What was stored in this time says how fast a stream fills.
const RATE_WINDOW: Duration = Duration::DAY;
/// A stream that is younger is taken to be so old: what came in its first minutes says nothing about a day.
const RATE_WINDOW_MIN: Duration = Duration::HOUR;

/// A stream's use of its room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The stream.
    pub object: Object,
    /// Bytes that it has.
    pub bytes: u64,
    /// Bytes that it may have; none where it has no bound.
    pub bytes_max: Option<u64>,
    /// Bytes that came in a day, by those of the last; none where new messages take the place of old ones.
    pub bytes_a_day: Option<u64>,
    /// Copies that it is to have.
    pub replicas: usize,
    /// Of these, copies that are away or lag behind.
    pub replicas_behind: usize,
}

/// Looks at every stream that is there.
pub async fn usage(broker: &Broker, topology: &Topology) -> Result<Vec<Usage>, BrokerError> {
    let streams = Object::STREAMS.into_iter().zip(topology.streams());
    let usages = streams.map(async |(object, stream::Config { name, .. })| {
        let Some(info) = stream_info(broker, &name).await? else { return Ok::<_, BrokerError>(None) };
        Ok(Some(Usage { bytes_a_day: bytes_a_day(broker, object, &info).await?, ..of(object, &info) }))
    });
    Ok(try_join_all(usages).await?.into_iter().flatten().collect())
}

fn of(object: Object, info: &stream::Info) -> Usage {
    let others = info.cluster.as_ref().map_or(&[][..], |cluster| &cluster.replicas);
    Usage {
        object,
        bytes: info.state.bytes,
        bytes_max: u64::try_from(info.config.max_bytes).ok().filter(|bytes| *bytes > 0),
        bytes_a_day: None,
        replicas: info.config.num_replicas,
        replicas_behind: others.iter().filter(|peer| peer.offline || !peer.current).count(),
    }
}

async fn bytes_a_day(broker: &Broker, object: Object, info: &stream::Info) -> Result<Option<u64>, BrokerError> {
    let stream::Info { state, config, .. } = info;
    if !matches!(object, Object::Log | Object::Outcomes | Object::DeadLetters) || state.messages == 0 {
        return Ok(None);
    }
    let now = OffsetDateTime::now_utc();
    let Some(first) = get_since(broker, &config.name, now - RATE_WINDOW).await? else { return Ok(Some(0)) };
    let messages = (state.last_sequence + 1).saturating_sub(first.sequence);
    Ok(Some(a_day(state.bytes / state.messages, messages, now - first.time)))
}

/// Bytes of a day, where so many messages of this size came within this time.
fn a_day(message_bytes: u64, messages: u64, within: Duration) -> u64 {
    let days = within.clamp(RATE_WINDOW_MIN, RATE_WINDOW) / RATE_WINDOW;
    (message_bytes.saturating_mul(messages) as f64 / days) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_as_the_last_one_was() {
        let rows = [
            (Duration::DAY, 1_000),
            (2 * Duration::DAY, 1_000),
            (Duration::hours(12), 2_000),
            (Duration::HOUR, 24_000),
            (Duration::SECOND, 24_000),
            (-Duration::SECOND, 24_000),
        ];
        for (within, expected) in rows {
            assert_eq!(a_day(100, 10, within), expected, "{within}");
        }
    }
}
