//! The bound of bytes that a stream gets which is there already.
//!
//! One that was set by hand stays unless it is asked for; a stream of a program that knew no bounds gets the configured
//! one. None is ever set that what is stored comes near to: the stream would be full at once.

use async_nats::jetstream::{ErrorCode, stream};

use super::differences::Difference;
use super::provision::{Means, Outcome, ProvisionError};
use super::refusal::{cannot_change, refusal_of_stream};
use crate::broker::Broker;

/// A bound has to leave so much of it free, in hundredths.
const LEFT_FREE_MIN: i64 = 20;

/// The bound that a stream is to get, if it is to get another one.
pub(super) fn bound(
    object: &str,
    desired: &stream::Config,
    found: &stream::Config,
    stored: u64,
    means: Means,
) -> Option<i64> {
    let Means::Change { set_bounds, .. } = means else { return None };
    let (bound, is_bounded) = (desired.max_bytes, found.max_bytes > 0);
    if bound.max(0) == found.max_bytes.max(0) || is_bounded && !set_bounds {
        return None;
    }
    let has_room = bound <= 0 || i64::try_from(stored).is_ok_and(|stored| stored < bound / 100 * (100 - LEFT_FREE_MIN));
    if !has_room {
        tracing::warn!(
            object,
            stored,
            bound,
            "a stream keeps its bound: the configured one has no room for what is stored"
        );
    }
    has_room.then_some(bound)
}

/// Gives a stream its bound. Where the broker gives less room than that, the stream stays as it is: it works.
pub(super) async fn set_bound(
    broker: &Broker,
    object: &str,
    found: stream::Config,
    bound: Option<i64>,
    outcome: Outcome,
) -> Result<Outcome, ProvisionError> {
    let Some(bound) = bound else { return Ok(outcome) };
    let difference = Difference::of_bound(found.max_bytes, bound);
    // Whatever else was changed just now is to stay.
    let current = super::provision::stream_info(broker, &found.name).await?.map_or(found, |info| info.config);
    let update = stream::Config { max_bytes: bound, ..current };
    match broker.changing().update_stream(update).await.map_err(|error| refusal_of_stream(&error)) {
        Ok(_) => Ok(outcome.and_changed(difference)),
        Err(Ok(answer)) if answer.error_code() == ErrorCode::STORAGE_RESOURCES_EXCEEDED => {
            tracing::warn!(object, bound, "a stream keeps its bound: the broker gives less room (max_file_store)");
            Ok(outcome)
        }
        Err(refusal) => Err(cannot_change(object, &[difference], refusal)),
    }
}

impl Outcome {
    /// The same, with one more field that was set.
    fn and_changed(self, difference: Difference) -> Self {
        match self {
            Self::Changed(fields) => Self::Changed(fields.into_iter().chain([difference]).collect()),
            _ => Self::Changed(vec![difference]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_set_where_there_is_none_or_it_is_asked_for() {
        const ASKED: Means = Means::Change { lower_replicas: false, set_bounds: true };
        const NOT_ASKED: Means = Means::Change { lower_replicas: false, set_bounds: false };
        let rows = [
            (1_000, -1, 0, NOT_ASKED, Some(1_000)),
            (1_000, -1, 799, NOT_ASKED, Some(1_000)),
            (1_000, -1, 800, NOT_ASKED, None),
            (1_000, 500, 0, NOT_ASKED, None),
            (1_000, 500, 0, ASKED, Some(1_000)),
            (-1, 500, 400, ASKED, Some(-1)),
            (1_000, 1_000, 0, ASKED, None),
            (-1, -1, 0, ASKED, None),
            (-1, 0, 0, ASKED, None),
            (1_000, -1, 0, Means::MakeMissing, None),
        ];
        for (desired, found, stored, means, expected) in rows {
            let [desired, found] = [desired, found].map(|max_bytes| stream::Config { max_bytes, ..Default::default() });
            assert_eq!(bound("x", &desired, &found, stored, means), expected, "{desired:?} {found:?} {stored}");
        }
    }
}
