//! The histogram of times: one set of bounds for all, from 100 µs to 10 s.
//!
//! The library's own takes a lock for each sample. Here a batch is counted in a [`Tally`] on the stack, and added to what is
//! shared once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The upper bounds of the buckets, in microseconds; what takes longer has a bucket of its own.
const BOUNDS_MICROS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];
const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// Times that were counted, all of them since the process began. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Durations(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    buckets: [AtomicU64; BUCKETS],
    sum_micros: AtomicU64,
}

/// Times of one batch.
#[derive(Debug, Default)]
pub struct Tally {
    buckets: [u32; BUCKETS],
    sum_micros: u64,
}

impl Tally {
    /// Counts one time.
    pub fn count(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)] += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }
}

/// The bucket of a time: the first whose bound it does not exceed.
fn bucket(micros: u64) -> usize {
    BOUNDS_MICROS.partition_point(|bound| *bound < micros)
}

impl Durations {
    /// Adds a batch.
    pub fn add(&self, tally: &Tally) {
        for (bucket, count) in self.0.buckets.iter().zip(tally.buckets).filter(|(_, count)| *count > 0) {
            bucket.fetch_add(count.into(), Ordering::Relaxed);
        }
        if tally.sum_micros > 0 {
            self.0.sum_micros.fetch_add(tally.sum_micros, Ordering::Relaxed);
        }
    }

    /// Adds one time.
    pub fn observe(&self, duration: Duration) {
        let mut tally = Tally::default();
        tally.count(duration);
        self.add(&tally);
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let sum = self.0.sum_micros.load(Ordering::Relaxed) as f64 / 1e6;
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_that_has_room_for_it() {
        let rows = [(0, 0), (100, 0), (101, 1), (250, 1), (1_000_000, 12), (10_000_000, 15), (10_000_001, 16)];
        for (micros, expected) in rows {
            assert_eq!(bucket(micros), expected, "{micros}");
        }
    }

    #[test]
    fn a_batch_is_added_to_what_is_shared() {
        let (durations, mut tally) = (Durations::default(), Tally::default());
        [1, 1, 300, 20_000].into_iter().for_each(|millis| tally.count(Duration::from_millis(millis)));
        durations.add(&tally);
        durations.clone().observe(Duration::from_millis(1));
        let counts = durations.0.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        assert_eq!((counts[3], counts[11], counts[16], counts.iter().sum()), (3, 1, 1, 5_u64));
        assert_eq!(durations.0.sum_micros.load(Ordering::Relaxed), 20_303_000);
    }
}
