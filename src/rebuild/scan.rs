//! All channels of a partition folded in one reading of it, in bounded memory.
//!
//! A channel costs its record and what is pending behind its gaps. One that needs more (an override on its sequence, so
//! that it has to be read twice; a large buffer; more gaps than a record can list) is set aside, and read by itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::reported_events::ReportedEvents;
use crate::broker::log_reader::read_partition;
use crate::broker::{Broker, BrokerError};
use crate::domain::outcome::UNREPORTED_MAX;
use crate::domain::{Arrival, Buffer, Channel, Entry, Event, Record, Refusal, Sequence, Verdict, apply_batch};

/// Messages of one partition that wait in memory, without their bytes: mostly some 300 bytes each, 3 KiB at most. Beyond
/// it the channel is set aside whose message was one too many.
const WAITING_MAX: usize = 32_768;

/// A channel on which no operator has said anything, as it should be.
#[derive(Clone, Debug)]
pub struct Folded {
    /// The channel.
    pub channel: Channel,
    /// Its record.
    pub record: Record,
    /// The last of its messages that was seen.
    pub seen: Sequence,
    /// Messages that were applied, and of which nothing was reported, where that is asked for.
    pub unstored: Vec<(Event, Option<Refusal>)>,
}

/// The channels of one partition, as they should be.
#[derive(Debug, Default)]
pub struct Scan<'a> {
    /// What was reported; only who means to write needs to know.
    reported: Option<&'a ReportedEvents>,
    scanned_channels: HashMap<Channel, ChannelScan>,
    /// Channels that are to be read by themselves.
    aside: HashSet<Channel>,
    waiting: usize,
}

#[derive(Debug, Default)]
struct ChannelScan {
    record: Record,
    buffer: Buffer<usize>,
    seen: Sequence,
    unstored: Vec<(Event, Option<Refusal>)>,
}

impl ChannelScan {
    /// Applies messages, as many as can be applied.
    fn take(&mut self, arrivals: &[Arc<Arrival<usize>>], reported: Option<&ReportedEvents>) {
        self.seen = arrivals.last().map_or(self.seen, |arrival| arrival.sequence);
        self.take_once(arrivals, reported);
        // No more than so many are applied in one go.
        while self.record.next_number().is_some_and(|next| self.buffer.contains_key(&next)) {
            self.take_once(&[], reported);
        }
    }

    fn take_once(&mut self, arrivals: &[Arc<Arrival<usize>>], reported: Option<&ReportedEvents>) {
        let verdicts = apply_batch(&mut self.record, &mut self.buffer, arrivals, None);
        let Some(reported) = reported else { return };
        let unstored = verdicts.into_iter().filter(|(arrival, _)| !reported.contains(arrival.event()));
        self.unstored.extend(unstored.filter_map(|(arrival, verdict)| match verdict {
            Verdict::Applied => Some((arrival.event(), None)),
            Verdict::Refused(refusal) => Some((arrival.event(), Some(refusal))),
            Verdict::Duplicate | Verdict::SkippedLate | Verdict::Unjudged | Verdict::Pending => None,
        }));
    }
}

impl<'a> Scan<'a> {
    /// Reads a partition from its beginning, where some channels were trimmed, and returns how many messages each page had.
    pub async fn read(
        broker: &Broker,
        partition: u16,
        trimmed: HashMap<Channel, Record>,
        reported: Option<&'a ReportedEvents>,
        mut report: impl FnMut(usize),
    ) -> Result<Self, BrokerError> {
        let begun = |(channel, record)| (channel, ChannelScan { record, ..ChannelScan::default() });
        let scanned_channels = trimmed.into_iter().map(begun).collect();
        let (mut scan, mut next) = (Self { reported, scanned_channels, ..Self::default() }, Some(Sequence(1)));
        while let Some(from) = next {
            let page = read_partition(broker, partition, from).await?;
            scan.take(page.messages.iter().filter_map(|stored| stored.read_light()));
            report(page.messages.len());
            next = page.next;
        }
        Ok(scan)
    }

    /// The channels as they should be, and those that are to be read by themselves.
    pub fn into_parts(self) -> (Vec<Folded>, HashSet<Channel>) {
        let folded = self.scanned_channels.into_iter().map(|(channel, scanned)| {
            let ChannelScan { record, seen, unstored, .. } = scanned;
            Folded { channel, record, seen, unstored }
        });
        (folded.collect(), self.aside)
    }

    fn take(&mut self, entries: impl Iterator<Item = Entry<usize>>) {
        let mut groups: HashMap<Channel, Vec<Arc<Arrival<usize>>>> = HashMap::new();
        for entry in entries {
            let channel = entry.channel();
            match entry {
                Entry::Message(arrival) if !arrival.corrects => groups.entry(channel).or_default().push(arrival),
                _ => self.set_aside(channel),
            }
        }
        groups.into_iter().for_each(|(channel, arrivals)| self.take_of(channel, &arrivals));
    }

    fn take_of(&mut self, channel: Channel, arrivals: &[Arc<Arrival<usize>>]) {
        if self.aside.contains(&channel) {
            return;
        }
        let scanned = self.scanned_channels.entry(channel).or_default();
        self.waiting -= scanned.buffer.len();
        scanned.take(arrivals, self.reported);
        self.waiting += scanned.buffer.len();
        let cannot_list = scanned.record.pending.overflow().is_some() || scanned.unstored.len() > UNREPORTED_MAX;
        if cannot_list || (self.waiting > WAITING_MAX && !scanned.buffer.is_empty()) {
            self.set_aside(channel);
        }
    }

    fn set_aside(&mut self, channel: Channel) {
        if let Some(scanned) = self.scanned_channels.remove(&channel) {
            self.waiting -= scanned.buffer.len();
        }
        self.aside.insert(channel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::outcomes::ReportedRange;
    use crate::domain::{Kind, Message, MessageNumber, MessageTime, StoredAt};

    /// When all messages were stored.
    const AT: i64 = 5;

    fn channel(id: u32) -> Channel {
        Channel::parse(&format!("193270a9-c9cf-404a-8f83-{id:012x}")).unwrap()
    }

    fn entry(id: u32, number: u64, sequence: u64, corrects: bool) -> Entry<usize> {
        let message = Message {
            channel: channel(id),
            number: MessageNumber::new(number).unwrap(),
            time: MessageTime::parse("2022-02-02T19:39:05Z").unwrap(),
            kind: Kind::SpeedIncreased(1),
        };
        Entry::Message(Arc::new(Arrival {
            sequence: Sequence(sequence),
            stored_at: StoredAt(AT),
            message,
            corrects,
            stored: 1,
        }))
    }

    #[test]
    fn channels_are_folded_side_by_side() {
        let mut scan = Scan::default();
        scan.take([entry(1, 2, 1, false), entry(2, 1, 2, false), entry(1, 4, 3, false)].into_iter());
        scan.take([entry(1, 1, 4, false), entry(3, 1, 5, true), entry(3, 2, 6, false)].into_iter());
        assert_eq!(scan.waiting, 1);
        let (mut folded, aside) = scan.into_parts();
        folded.sort_by_key(|folded| folded.channel);
        let last = |record: &Record| record.last.as_ref().map(|last| last.number.get());
        let in_short = |it: &Folded| (it.channel, last(&it.record), it.record.pending.count(), it.seen.0);
        let seen: Vec<_> = folded.iter().map(in_short).collect();
        assert_eq!(seen, [(channel(1), Some(2), 1, 4), (channel(2), Some(1), 0, 2)]);
        assert_eq!(aside, HashSet::from([channel(3)]));
    }

    #[test]
    fn a_gap_of_any_length_is_closed_in_one_reading() {
        let mut scan = Scan::default();
        scan.take((2..=20_000).map(|number| entry(1, number, number, false)));
        assert_eq!(scan.waiting, 19_999);
        scan.take([entry(1, 1, 30_000, false)].into_iter());
        let (folded, _) = scan.into_parts();
        assert_eq!(folded[0].record.next_number(), MessageNumber::new(20_001));
    }

    #[test]
    fn who_was_not_told_is_known() {
        // What was reported of the third is about another message, which lay there before the stream lost its end.
        let range = |first, last, at| ReportedRange { first, last, earliest: at, latest: at };
        let reported = ReportedEvents::of(vec![range(1, 2, StoredAt(AT)), range(3, 3, StoredAt(AT - 1))]);
        let mut scan = Scan { reported: Some(&reported), ..Scan::default() };
        scan.take([entry(1, 1, 1, false), entry(1, 3, 2, false), entry(1, 2, 3, false)].into_iter());
        let refused = Some(Refusal::NotLaunched);
        let third = Event { sequence: Sequence(3), stored_at: StoredAt(AT) };
        assert_eq!(scan.into_parts().0[0].unstored, [(third, refused)]);
    }

    #[test]
    fn what_takes_too_much_memory_is_set_aside() {
        let mut scan = Scan::default();
        scan.take((2..=40_000).map(|number| entry(1, number, number, false)));
        scan.take([entry(2, 1, 50_000, false), entry(2, 3, 50_001, false)].into_iter());
        assert_eq!((scan.waiting, scan.aside.len(), scan.scanned_channels.len()), (1, 1, 1));
        scan.take((1..=1_000).map(|step| entry(4, 2 * step * 1_000_000, 60_000 + step, false)));
        assert!(scan.aside.contains(&channel(4)), "it has more gaps than a record lists");
    }
}
