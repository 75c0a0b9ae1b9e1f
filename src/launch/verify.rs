//! `--verify`: does what an operator has to do, waits until the service has caught up, and compares each rocket with
//! what it must be.

use std::time::Duration;

use tokio::time::Instant;

use super::comparison::{Patience, compare};
use super::corrections::{Corrected, correct};
use super::differences::Difference;
use super::operator::Operator;
use super::oracle::Oracle;
use super::skips::{Skipped, close_gaps};

/// How long the one look may take that is left when time is up, so that an operator who was stuck still says what
/// differs.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// What became of a verification.
#[derive(Debug)]
pub(super) struct Verdict {
    /// How many rockets were expected.
    pub(super) rockets: usize,
    /// How many channels were expected to be unknown, because no launch was sent on them.
    pub(super) unknown: usize,
    /// What was done before rockets could be compared.
    pub(super) repairs: Repairs,
    /// Everything that is not as it must be.
    pub(super) differences: Vec<Difference>,
}

/// What the operator did.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Repairs {
    /// How many skips were made.
    pub(super) skips: u64,
    /// How many numbers they covered.
    pub(super) skipped_numbers: u64,
    /// How many corrections were made.
    pub(super) corrections: u64,
}

/// Closes the gaps, then compares the service with the oracle, and gives it until the operator's deadline to catch up.
/// When all is right, and corrections are wanted, makes them and compares again.
pub(super) async fn verify(operator: Operator, mut oracle: Oracle, corrections_wanted: u64) -> Verdict {
    let Skipped { skips, numbers, mut differences } = close_gaps(&operator, &oracle).await;
    differences.extend(compare_all(&operator, &oracle, Patience::UntilApplied).await);
    let mut repairs = Repairs { skips, skipped_numbers: numbers, corrections: 0 };
    if corrections_wanted > 0 && differences.is_empty() {
        let Corrected { corrections, difference } = correct(&operator, &mut oracle, corrections_wanted).await;
        repairs.corrections = corrections;
        differences.extend(difference);
        differences.extend(compare_all(&operator, &oracle, Patience::UntilRight).await);
    }
    operator.progress.finish();
    let (rockets, unknown) = oracle.channels().partition::<Vec<_>, _>(|(_, expected)| expected.is_launched());
    Verdict { rockets: rockets.len(), unknown: unknown.len(), repairs, differences }
}

async fn compare_all(operator: &Operator, oracle: &Oracle, patience: Patience) -> Vec<Difference> {
    let now = Instant::now();
    let (until, patience) = match now < operator.deadline {
        true => (operator.deadline, patience),
        false => (now + LAST_LOOK, Patience::OneLook),
    };
    compare(operator, until, patience, oracle.channels()).await
}
