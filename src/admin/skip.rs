//! A skip: missing numbers of a channel will not come, and what is pending behind them is not to wait any longer.
//!
//! It opens the way to what has arrived, and to nothing else: what counts as arrived is what lies in the stream, applied
//! or not. The record knows what was applied; the rest lies behind what the partition's durable has acknowledged.

use std::fmt;

use rangemap::RangeInclusiveSet;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use super::preview::Preview;
use super::{Accepted, AdminError, Operations};
use crate::audit::{self, Deed};
use crate::broker::inspect::acknowledged_through;
use crate::broker::log_reader::read_page;
use crate::broker::publisher::Identity;
use crate::broker::topology::partition_of;
use crate::broker::{BrokerError, Origin, Outgoing, Receipt, Stored};
use crate::domain::wire::{self, SkipRequest};
use crate::domain::{Channel, MessageNumber, MessageTime, Record, Sequence, Skip};

/// What is to be known before number 1 is skipped.
pub const NO_LAUNCH: &str =
    "number 1 has not arrived and is skipped: everything behind it is refused until a launch comes";

/// What a skip would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipPlan {
    /// The first number that is missing, as far as is known.
    pub first: MessageNumber,
    /// What else is to be known.
    pub warning: Option<&'static str>,
}

/// How far a channel has come, and what of it has arrived.
#[derive(Clone, Debug, Default)]
struct Arrivals {
    has_rocket: bool,
    /// The highest number that has been applied or skipped.
    applied_through: Option<MessageNumber>,
    /// The highest number that is known to have arrived.
    arrived: Option<MessageNumber>,
    first_has_arrived: bool,
    /// The numbers that have arrived and are not applied, as far as is known.
    pending: RangeInclusiveSet<u64>,
}

/// What a skip would do: the numbers that go, and what is applied then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SkipEffect {
    /// Whose numbers they are.
    #[schema(value_type = Uuid)]
    channel: Channel,
    /// The first number that is missing.
    first: u64,
    /// The last number that is skipped, unless it has arrived.
    up_to: u64,
    /// How many numbers go.
    skipped: u64,
    /// How many messages that wait are applied.
    applied: u64,
    /// The last number that is applied or skipped then.
    applied_through: u64,
    /// The number that is missing then, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    waiting_for: Option<u64>,
    /// What else is to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    warning: Option<&'static str>,
}

impl fmt::Display for SkipEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channel, first, up_to, skipped, applied, applied_through, .. } = self;
        match (first == up_to, skipped) {
            (true, _) => write!(f, "Number {first} of rocket {channel} is skipped for good.")?,
            (false, 1) => write!(f, "One number from {first} to {up_to} of rocket {channel} is skipped for good.")?,
            _ => write!(f, "{skipped} numbers from {first} to {up_to} of rocket {channel} are skipped for good.")?,
        }
        match applied {
            0 => f.write_str(" Nothing is applied")?,
            1 => f.write_str(" One message that waits is applied")?,
            _ => write!(f, " {applied} messages that wait are applied")?,
        }
        write!(f, ", and the rocket comes to number {applied_through}")?;
        if let Some(waiting_for) = self.waiting_for {
            write!(f, ", where it waits for {waiting_for}")?;
        }
        f.write_str(".")?;
        self.warning.map_or(Ok(()), |warning| write!(f, " Mind: {warning}."))
    }
}

impl Operations {
    /// Skips the numbers that have not arrived, up to this one. What was begun to be stored is stored although nobody waits
    /// for it any more.
    pub async fn skip(&self, channel: Channel, request: SkipRequest, origin: Origin) -> Result<Accepted, AdminError> {
        let plan = self.plan_skip(&channel, request.up_to).await?;
        let operations = self.clone();
        self.to_the_end(async move { operations.store_skip(channel, plan, request, origin).await }).await
    }

    /// What such a skip would do, without doing it. For this all is read that waits.
    pub async fn preview_skip(
        &self,
        channel: &Channel,
        up_to: MessageNumber,
    ) -> Result<Preview<SkipEffect>, AdminError> {
        let arrivals = self.look(channel, |_| false).await?;
        Ok(Preview::of(arrivals.effect(*channel, up_to, arrivals.plan(up_to)?)))
    }

    async fn plan_skip(&self, channel: &Channel, up_to: MessageNumber) -> Result<SkipPlan, AdminError> {
        self.look(channel, |arrivals| arrivals.suffices(up_to)).await?.plan(up_to)
    }

    /// Looks at what has arrived of a channel, until that is enough.
    async fn look(&self, channel: &Channel, is_enough: impl Fn(&Arrivals) -> bool) -> Result<Arrivals, AdminError> {
        let look = async {
            let _turn = self.looks.acquire().await.map_err(BrokerError::unavailable)?;
            self.arrivals(channel, is_enough).await
        };
        self.in_time(look).await
    }

    async fn store_skip(
        &self,
        channel: Channel,
        plan: SkipPlan,
        request: SkipRequest,
        origin: Origin,
    ) -> Result<Accepted, AdminError> {
        let SkipRequest { up_to, reason } = request;
        let skip = Skip { channel, up_to, time: now()?, reason };
        let payload = wire::write_skip(&skip).into();
        let outgoing = Outgoing { channel, identity: Identity::Skip(up_to), origin: origin.clone(), payload };
        let Receipt { sequence, duplicate } = self.publisher.publish(outgoing).await?;
        let event_id = sequence.0;
        let after = format!("skipped up to {up_to}, as event {event_id}: {}", skip.reason);
        audit::note(&origin, Deed::Skip, channel, format!("waits for {}", plan.first), after);
        Ok(Accepted { warning: plan.warning, ..Accepted::new(event_id, duplicate) })
    }

    async fn arrivals(&self, channel: &Channel, is_enough: impl Fn(&Arrivals) -> bool) -> Result<Arrivals, AdminError> {
        let partition = partition_of(channel, self.partitions);
        // In this order: what is acknowledged when this is asked is in the record that is read then.
        let acknowledged = acknowledged_through(&self.broker, partition).await?;
        let record = self.record(channel).await?.unwrap_or_default();
        let mut arrivals = Arrivals::of(&record);
        let not_listed = record.pending.overflow().map(|overflow| overflow.lowest);
        let mut from = Some(Sequence(acknowledged.0 + 1).min(not_listed.unwrap_or(Sequence(u64::MAX))));
        while let Some(first) = from.filter(|_| !is_enough(&arrivals)) {
            let page = read_page(&self.broker, partition, channel, first).await?;
            page.messages.into_iter().for_each(|stored| arrivals.see(stored));
            from = page.next;
        }
        Ok(arrivals)
    }
}

impl Arrivals {
    fn of(record: &Record) -> Self {
        let applied_through = record.applied_through();
        let waits = record.pending.ranges().last().map(|range| range.last);
        let first_has_arrived = applied_through.is_some() || record.pending.contains(MessageNumber::FIRST);
        Self {
            has_rocket: record.rocket.is_some(),
            applied_through,
            arrived: applied_through.max(waits),
            first_has_arrived,
            pending: record.pending.ranges().iter().map(|range| range.first.get()..=range.last.get()).collect(),
        }
    }

    /// Takes in a message that may not have been applied.
    fn see(&mut self, stored: Stored) {
        if let Ok(entry) = stored.read()
            && let Some(arrival) = entry.message()
        {
            let number = arrival.message.number;
            self.arrived = self.arrived.max(Some(number));
            if Some(number) > self.applied_through {
                self.pending.insert(number.get()..=number.get());
            }
            self.first_has_arrived |= number == MessageNumber::FIRST;
        }
    }

    fn waits(&self) -> bool {
        self.arrived > self.applied_through
    }

    /// Whether further messages would change nothing of what is said about this skip.
    fn suffices(&self, up_to: MessageNumber) -> bool {
        let is_decided = match Some(up_to) {
            passed if passed <= self.applied_through => self.has_rocket || self.waits(),
            up_to => up_to <= self.arrived,
        };
        is_decided && self.first_has_arrived
    }

    fn plan(&self, up_to: MessageNumber) -> Result<SkipPlan, AdminError> {
        let Self { has_rocket, applied_through, arrived, first_has_arrived, .. } = *self;
        if !has_rocket && !self.waits() {
            return Err(AdminError::NotFound("rocket"));
        }
        let conflict = |why: String| Err(AdminError::Conflict(format!("up_to: {why}")));
        let last = MessageNumber::count_through;
        let next = applied_through.map_or(Some(MessageNumber::FIRST), MessageNumber::next);
        let Some(first) = next.filter(|_| Some(up_to) > applied_through) else {
            let passed = last(applied_through);
            return conflict(format!("has been passed already, the rocket's sequence has come to {passed}"));
        };
        if !self.waits() {
            return conflict(format!("nothing waits, {} is the last number that has arrived", last(applied_through)));
        }
        if Some(up_to) > arrived {
            let why = "a skip only opens the way to what waits";
            return conflict(format!("{why}, and {} is the highest number that has arrived", last(arrived)));
        }
        Ok(SkipPlan { first, warning: (!first_has_arrived).then_some(NO_LAUNCH) })
    }

    /// What comes of a skip, if all that waits was looked at.
    fn effect(&self, channel: Channel, up_to: MessageNumber, plan: SkipPlan) -> SkipEffect {
        let (first, up_to, SkipPlan { warning, .. }) = (plan.first.get(), up_to.get(), plan);
        let skipped = self.pending.gaps(&(first..=up_to)).map(|gap| gap.end() - gap.start() + 1).sum();
        let applied_through = self.pending.get(&(up_to + 1)).map_or(up_to, |range| *range.end());
        let applied = applied_through - (first - 1) - skipped;
        let waiting_for = self.arrived.filter(|last| last.get() > applied_through).map(|_| applied_through + 1);
        SkipEffect { channel, first, up_to, skipped, applied, applied_through, waiting_for, warning }
    }
}

fn now() -> Result<MessageTime, AdminError> {
    let text = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    let no_time = || BrokerError::Misconfigured(format!("the clock says {text:?}")).into();
    MessageTime::parse(&text).ok_or_else(no_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::channel;

    fn number(number: u64) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    fn arrivals(has_rocket: bool, applied_through: u64, arrived: u64) -> Arrivals {
        let (applied_through, arrived) = (MessageNumber::new(applied_through), MessageNumber::new(arrived));
        Arrivals {
            has_rocket,
            applied_through,
            arrived,
            first_has_arrived: applied_through.is_some(),
            ..Arrivals::default()
        }
    }

    fn problem(arrivals: &Arrivals, up_to: u64) -> String {
        arrivals.plan(number(up_to)).unwrap_err().to_string()
    }

    #[test]
    fn a_skip_opens_the_way_to_what_waits_and_to_nothing_else() {
        let waiting = arrivals(true, 3, 9);
        for up_to in 4..=9 {
            assert_eq!(waiting.plan(number(up_to)), Ok(SkipPlan { first: number(4), warning: None }));
        }
        assert!(problem(&waiting, 3).contains("has been passed already"));
        assert!(problem(&waiting, 10).contains("9 is the highest number that has arrived"));
        assert!(problem(&arrivals(true, 3, 3), 4).contains("nothing waits"));
        assert_eq!(problem(&arrivals(false, 0, 0), 1), "rocket not found");
        let last = arrivals(true, MessageNumber::MAX, MessageNumber::MAX);
        assert!(problem(&last, MessageNumber::MAX).contains("has been passed already"));
    }

    #[test]
    fn the_effect_is_told_in_numbers() {
        let pending = [5..=6, 9..=9, 11..=14, 20..=20].into_iter().collect();
        let waiting = Arrivals { pending, ..arrivals(true, 3, 20) };
        let said = |up_to| waiting.effect(channel(), number(up_to), waiting.plan(number(up_to)).unwrap());
        assert_eq!(
            said(4).to_string(),
            format!(
                "Number 4 of rocket {} is skipped for good. 2 messages that wait are applied, and the rocket comes to \
                 number 6, where it waits for 7.",
                channel()
            )
        );
        let effect = |up_to| {
            let effect = said(up_to);
            (effect.first, effect.skipped, effect.applied, effect.applied_through, effect.waiting_for)
        };
        assert_eq!(effect(4), (4, 1, 2, 6, Some(7)));
        assert_eq!(effect(5), (4, 1, 2, 6, Some(7)));
        assert_eq!(effect(10), (4, 4, 7, 14, Some(15)));
        assert_eq!(effect(20), (4, 9, 8, 20, None));
    }

    #[test]
    fn who_skips_the_launch_is_warned() {
        let without_launch = arrivals(false, 0, 9);
        let warned = Ok(SkipPlan { first: number(1), warning: Some(NO_LAUNCH) });
        assert_eq!(without_launch.plan(number(1)), warned);
        let not_taken_up = Arrivals { first_has_arrived: true, ..without_launch };
        assert_eq!(not_taken_up.plan(number(5)).map(|plan| plan.warning), Ok(None));
    }

    #[test]
    fn the_stream_is_read_only_where_the_record_does_not_suffice() {
        for (arrivals, up_to, expected) in [
            (arrivals(true, 3, 9), 5, true),
            (arrivals(true, 3, 9), 2, true),
            (arrivals(true, 3, 9), 10, false),
            (arrivals(true, 3, 3), 3, true),
            (arrivals(true, 3, 3), 4, false),
            (arrivals(false, 3, 3), 3, false),
            (arrivals(false, 3, 4), 3, true),
            (arrivals(false, 0, 9), 5, false),
        ] {
            assert_eq!(arrivals.suffices(number(up_to)), expected, "{arrivals:?} {up_to}");
        }
    }

    #[test]
    fn this_moment_is_a_message_s_time() {
        assert!(now().unwrap().instant() > 0);
    }
}
