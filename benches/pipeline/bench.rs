//! How much is measured, and in which order: ours and the partner take turns, so that whatever else the machine does meets both.

use std::time::Duration;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Bench {
    /// What every number is divided by.
    divisor: u32,
    /// How many times ours and the partner are measured.
    pub repetitions: usize,
}

impl Bench {
    /// What counts.
    pub const FULL: Self = Self { divisor: 1, repetitions: 5 };
    /// A try, which shows that everything works; its figures say little.
    pub const QUICK: Self = Self { divisor: 20, repetitions: 2 };

    /// A number of messages or rockets.
    pub fn count(self, full: u64) -> u64 {
        (full / u64::from(self.divisor)).max(1)
    }

    /// How long something is loaded.
    pub fn time(self, full: Duration) -> Duration {
        full / self.divisor.min(3)
    }

    /// Measures ours and the partner as often as there are repetitions. Whoever is first in one is second in the next.
    pub async fn in_turn<T>(
        self,
        mut ours: impl AsyncFnMut() -> anyhow::Result<T>,
        mut partner: impl AsyncFnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<Vec<[T; 2]>> {
        let mut pairs = Vec::new();
        for repetition in 0..self.repetitions {
            pairs.push(match repetition % 2 {
                0 => {
                    let partners = partner().await?;
                    [ours().await?, partners]
                }
                _ => [ours().await?, partner().await?],
            });
        }
        Ok(pairs)
    }
}
