//! `--verify`: waits until the service has caught up, and compares each rocket with what it must be.

use super::comparison::compare;
use super::differences::Difference;
use super::operator::Operator;
use super::oracle::Oracle;

/// What became of a verification.
#[derive(Debug)]
pub(super) struct Verdict {
    /// How many rockets were expected.
    pub(super) rockets: usize,
    /// How many channels were expected to be unknown, because no launch was sent on them.
    pub(super) unknown: usize,
    /// Everything that is not as it must be.
    pub(super) differences: Vec<Difference>,
}

/// Compares the service with the oracle, and gives it until the operator's deadline to catch up.
pub(super) async fn verify(operator: Operator, oracle: Oracle) -> Verdict {
    let differences = compare(&operator, operator.deadline, oracle.channels()).await;
    operator.progress.finish();
    let (rockets, unknown) = oracle.channels().partition::<Vec<_>, _>(|(_, expected)| expected.is_launched());
    Verdict { rockets: rockets.len(), unknown: unknown.len(), differences }
}
