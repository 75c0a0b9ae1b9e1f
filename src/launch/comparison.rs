//! The comparison of all rockets with what they must be: waits until they can be compared, and says what differs.
//!
//! Rockets are read one by one, as anyone could read them. Those which are settled are compared and forgotten; the
//! others are read again until patience ends, and then compared as they are. What cannot be read counts as not there
//! yet: the service may just be restarting.

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::differences::{Difference, Seen};
use super::expected::Expected;
use super::operator::{Operator, REQUESTS_MAX};

/// When a rocket need not be read again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Patience {
    /// When everything has been applied: what is wrong then stays wrong.
    UntilApplied,
    /// When it is right: a correction changes what had been applied already, and from outside nothing else tells when.
    UntilRight,
    /// When it has been read once: there is no time left to wait for anything.
    OneLook,
}

/// One look at many rockets, again and again.
struct Comparison<'a> {
    operator: &'a Operator,
    until: Instant,
    patience: Patience,
}

/// One channel that is not known to be settled.
struct Watched {
    channel: Uuid,
    expected: Expected,
    seen: Seen,
}

/// Compares these channels, and gives the service this long to come to what is expected.
pub(super) async fn compare(
    operator: &Operator,
    until: Instant,
    patience: Patience,
    channels: impl Iterator<Item = (Uuid, Expected)>,
) -> Vec<Difference> {
    let comparison = Comparison { operator, until, patience };
    let (launched, unknown): (Vec<Watched>, Vec<Watched>) =
        channels.map(Watched::new).partition(|watched| watched.expected.is_launched());
    let mut differences = comparison.watch(launched).await;
    // Only now: while the service was still behind, an unknown channel said nothing.
    differences.extend(comparison.watch(unknown).await);
    differences
}

impl Watched {
    fn new((channel, expected): (Uuid, Expected)) -> Watched {
        Watched { channel, expected, seen: Seen::Unreadable("not read before the deadline".to_owned()) }
    }

    /// Whether it is not waited for any longer. A rocket that must not be there will not go away.
    fn is_settled(&self, patience: Patience) -> bool {
        let is_excess = matches!(self.seen, Seen::Rocket(_)) && !self.expected.is_launched();
        let is_final = is_excess || self.seen.is_final(&self.expected);
        match patience {
            Patience::UntilApplied => is_final,
            Patience::UntilRight => is_final && self.differences().is_empty(),
            Patience::OneLook => true,
        }
    }

    fn differences(&self) -> Vec<Difference> {
        self.seen.differences(self.channel, &self.expected)
    }
}

impl Comparison<'_> {
    /// Looks at the channels until all are settled or patience ends, and gives what differs.
    async fn watch(&self, mut watched: Vec<Watched>) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut settled_messages = 0;
        loop {
            self.look(&mut watched).await;
            let settled = watched.extract_if(.., |watched| watched.is_settled(self.patience));
            for watched in settled {
                settled_messages += watched.expected.last_number;
                differences.extend(watched.differences());
            }
            self.show(settled_messages, &watched);
            if watched.is_empty() || Instant::now() >= self.until {
                break;
            }
            self.operator.pause(self.until).await;
        }
        differences.extend(watched.iter().flat_map(Watched::differences));
        differences
    }

    /// Reads every channel once, or as many as there is time for.
    async fn look(&self, watched: &mut [Watched]) {
        let channels: Vec<Uuid> = watched.iter().map(|watched| watched.channel).collect();
        let read = |(index, channel)| async move { (index, self.operator.rocket(channel).await) };
        let mut reads = stream::iter(channels.into_iter().enumerate()).map(read).buffer_unordered(REQUESTS_MAX);
        while let Ok(Some((index, seen))) = timeout_at(self.until, reads.next()).await {
            watched[index].seen = seen;
        }
    }

    fn show(&self, settled_messages: u64, watched: &[Watched]) {
        let messages: u64 = watched.iter().map(|watched| watched.seen.last_number()).sum();
        if self.patience == Patience::UntilApplied {
            self.operator.progress.set_applied(settled_messages + messages);
        }
        let trouble = watched.iter().find_map(|watched| match &watched.seen {
            Seen::Unreadable(reason) => Some(reason),
            _ => None,
        });
        if let Some(trouble) = trouble {
            self.operator.progress.say(trouble);
        }
    }
}
