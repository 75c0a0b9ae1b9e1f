//! Which events were forgotten with their channel: a note for each segment of places, kept for as long as the stream. So an
//! event that is no more is told apart from one that was trimmed, at some bytes for each.

use async_nats::jetstream::message::PublishMessage;

use crate::broker::connection::PUBLISH_TIMEOUT;
use crate::broker::log_reader::direct::{Query, ask};
use crate::broker::topology::{OUTCOME_STREAM, WIDE_SEGMENT_EVENTS, forgotten_subject};
use crate::broker::{Broker, BrokerError};
use crate::domain::Sequence;

/// Notes under way at once; further ones wait for their turn.
const WRITES_IN_FLIGHT_MAX: usize = 64;
/// Notes of one page of a segment.
const PAGE_NOTES_MAX: usize = 1_000;

/// A note, as it is stored: first and last place of each range.
type Note = Vec<(u64, u64)>;

/// Notes that the events at these sequences, which rise, were forgotten.
pub async fn note_forgotten(broker: &Broker, places: &[Sequence]) -> Result<(), BrokerError> {
    let context = broker.publishing(WRITES_IN_FLIGHT_MAX);
    for segment in places.chunk_by(|one, other| one.0 / WIDE_SEGMENT_EVENTS == other.0 / WIDE_SEGMENT_EVENTS) {
        let note = serde_json::to_vec(&ranges(segment)).unwrap_or_default();
        let message = PublishMessage::build().payload(note.into()).expected_stream(OUTCOME_STREAM);
        let subject = forgotten_subject(segment[0].0);
        let write = async { Ok::<_, BrokerError>(context.send_publish(subject, message).await?.await?) };
        match tokio::time::timeout(2 * PUBLISH_TIMEOUT, write).await {
            Ok(result) => drop(result?),
            Err(_) => return Err(BrokerError::timed_out("noting what is forgotten")),
        }
    }
    Ok(())
}

/// Whether the event at a sequence was forgotten.
pub(in crate::broker) async fn was_forgotten(broker: &Broker, place: Sequence) -> Result<bool, BrokerError> {
    let (subject, mut next) = (forgotten_subject(place.0), Some(1));
    while let Some(from) = next {
        let query = Query { stream: OUTCOME_STREAM, subjects: &subject, from, messages_max: PAGE_NOTES_MAX };
        let page = ask(broker, query).await?;
        let mut notes =
            page.found.iter().filter_map(|found| serde_json::from_slice::<Note>(&found.message.payload).ok());
        if notes.any(|note| note.iter().any(|(first, last)| (*first..=*last).contains(&place.0))) {
            return Ok(true);
        }
        next = page.next;
    }
    Ok(false)
}

fn ranges(places: &[Sequence]) -> Note {
    let follows = |one: &Sequence, other: &Sequence| one.0 + 1 == other.0;
    places.chunk_by(follows).map(|range| (range[0].0, range[range.len() - 1].0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_a_row_are_one_range() {
        let ranges = |places: &[u64]| ranges(&places.iter().copied().map(Sequence).collect::<Vec<_>>());
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), [(1, 3), (7, 7), (9, 10)]);
        assert_eq!(ranges(&[]), []);
    }
}
