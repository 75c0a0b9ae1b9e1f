//! What only a leader knows whom the others follow: that something is not in the log. One that was cut off answers for some
//! seconds more, and does not have what was stored since.

use std::time::Duration;

use async_nats::jetstream::stream::{ClusterInfo, State};

use crate::broker::connection::{PUBLISH_TIMEOUT, within};
use crate::broker::objects::provision::stream_info;
use crate::broker::topology::STREAM;
use crate::broker::{Broker, BrokerError};

/// How long ago a replica was heard of that follows a leader: it says so every second, and none is elected in its place
/// before 4 seconds are over.
const HEARD_WITHIN: Duration = Duration::from_secs(3);

/// What the log's leader has, while the others follow it; else nobody can tell at the moment.
pub async fn log_of_followed_leader(broker: &Broker) -> Result<State, BrokerError> {
    let info = within(PUBLISH_TIMEOUT, "asking the stream's leader", stream_info(broker, STREAM)).await?;
    let info = info.ok_or(BrokerError::NotThere)?;
    match is_followed(info.cluster.as_ref()) {
        true => Ok(info.state),
        false => Err(BrokerError::Unavailable("the stream's leader has not heard of the others for some time".into())),
    }
}

/// Whether most of a stream's replicas, the leader among them, are known to have followed it just now.
fn is_followed(cluster: Option<&ClusterInfo>) -> bool {
    let others = cluster.map_or(&[][..], |cluster| &cluster.replicas);
    let heard = others.iter().filter(|peer| peer.active <= HEARD_WITHIN && !peer.offline).count();
    1 + heard > others.len().div_ceil(2)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_leader_is_followed_while_most_were_heard_of() {
        let peer = |&(seconds, offline): &(u64, bool)| {
            let active = seconds * 1_000_000_000;
            json!({ "name": "peer", "current": true, "active": active, "offline": offline })
        };
        let cluster = |peers: &[(u64, bool)]| -> ClusterInfo {
            let peers: Vec<Value> = peers.iter().map(peer).collect();
            serde_json::from_value(json!({ "replicas": peers })).unwrap()
        };
        let (here, gone, offline) = ((1, false), (4, false), (1, true));
        let rows: [(&[_], bool); 7] = [
            (&[], true),
            (&[here, here], true),
            (&[here, gone], true),
            (&[here, offline], true),
            (&[gone, gone], false),
            (&[gone, offline], false),
            (&[here, gone, gone, gone], false),
        ];
        for (peers, followed) in rows {
            assert_eq!(is_followed(Some(&cluster(peers))), followed, "{peers:?}");
        }
        assert!(is_followed(None), "one that is alone");
    }
}
