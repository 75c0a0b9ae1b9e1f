//! Makes what is missing at the broker again while everything runs: somebody has deleted it, or the broker has lost its
//! store.
//!
//! What differs is left as it is, as at the start at a broker of others. A stream that is being restored is left alone,
//! and everything else with it. A bucket that was lost is made empty, and filled again from the log; the trackers go on
//! meanwhile.

use std::future::pending;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::sleep;

use crate::broker::objects::provision::{Means, Outcome, ProvisionError, Step, provision};
use crate::broker::objects::{Object, Problem, Wrong};
use crate::broker::topology::{BUCKET_STREAM, STREAM, Topology};
use crate::broker::{Broker, Objects};
use crate::rebuild::{self, Mode, Remark, Summary};

/// Pause before it is tried again while something is still said to be missing.
const PAUSE: Duration = Duration::from_secs(2);

/// Makes again what is missing, until it is given up; at the start, fills a bucket that was just made.
pub async fn repair(broker: &Broker, topology: &Topology, mut objects: Objects, mut is_to_be_filled: bool) -> ! {
    let mut filling: BoxFuture<'_, ()> = pending().boxed();
    let mut last_error = String::new();
    loop {
        let missing = missing(&objects.problems());
        if !missing.is_empty() {
            is_to_be_filled |= missing.contains(&Object::Bucket);
            match make_missing(broker, topology).await {
                Ok(()) => last_error.clear(),
                Err(error) => log_new(&mut last_error, &error),
            }
        }
        if is_to_be_filled && last_error.is_empty() {
            (filling, is_to_be_filled) = (fill(broker).boxed(), false);
        }
        tokio::select! {
            () = objects.changed() => {}
            () = sleep(PAUSE), if !missing.is_empty() => {}
            () = &mut filling => filling = pending().boxed(),
        }
    }
}

/// Whether the bucket was made, at a log that was there.
pub fn is_bucket_to_be_filled(steps: &[Step]) -> bool {
    let is_made = |stream: &str| {
        let of_stream = |step: &&Step| step.object.strip_prefix("stream ") == Some(stream);
        steps.iter().find(of_stream).is_some_and(|step| step.outcome == Outcome::Made)
    };
    is_made(BUCKET_STREAM) && !is_made(STREAM)
}

fn missing(problems: &[Problem]) -> Vec<Object> {
    let missing = problems.iter().filter(|problem| problem.wrong == Wrong::Missing);
    missing.map(|problem| problem.object).collect()
}

/// Makes what is missing, and says so in one line.
async fn make_missing(broker: &Broker, topology: &Topology) -> Result<(), ProvisionError> {
    let steps = provision(broker, topology, Means::MakeMissing).await?;
    let made = steps.into_iter().filter(|step| step.outcome == Outcome::Made).map(|Step { object, .. }| object);
    let made: Vec<_> = made.collect();
    if !made.is_empty() {
        tracing::warn!(objects = made.join(", "), "made again what was missing at the broker");
    }
    Ok(())
}

/// Says why it cannot be done, once for each reason in a row.
fn log_new(last: &mut String, error: &ProvisionError) {
    let text = error.to_string();
    if text != *last {
        tracing::warn!(%error, "what is missing at the broker cannot be made, trying again");
        *last = text;
    }
}

/// Folds every rocket from the log into the bucket that was made empty.
async fn fill(broker: &Broker) {
    loop {
        let log = |remark: Remark<'_>| tracing::debug!(%remark, "a record is made again");
        match rebuild::run(broker, Mode::Apply, None, log).await {
            Ok(summary) if summary.all_right() => {
                return tracing::info!(records = summary.repaired, "filled the new bucket from the log");
            }
            Ok(Summary { different, repaired, .. }) => {
                let left = different - repaired;
                return tracing::warn!(
                    records = repaired,
                    left,
                    "filled the new bucket from the log, which lacks something: `rockets rebuild --check` says what"
                );
            }
            Err(error) => {
                tracing::warn!(%error, "the new bucket cannot be filled now, trying again");
                sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_bucket_is_filled_where_the_log_is_an_old_one() {
        let is_filled = |made: &[&str]| {
            let step = |name: &str| Step {
                object: format!("stream {name}"),
                outcome: if made.contains(&name) { Outcome::Made } else { Outcome::Found },
            };
            is_bucket_to_be_filled(&[STREAM, "ROCKETS_OTHER", BUCKET_STREAM].map(step))
        };
        assert!(is_filled(&[BUCKET_STREAM]));
        assert!(is_filled(&["ROCKETS_OTHER", BUCKET_STREAM]));
        assert!(!is_filled(&[STREAM, BUCKET_STREAM]));
        assert!(!is_filled(&["ROCKETS_OTHER"]));
        assert!(!is_filled(&[]));
    }
}
