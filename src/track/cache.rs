//! What a partition's worker remembers of its channels: hints. With all of it forgotten at any moment the result is the
//! same; the record is read from the bucket again, and what is pending from the stream.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::channel_state::ChannelState;
use super::checkpoint::Checkpoints;
use crate::broker::Stored;
use crate::domain::Channel;
use crate::domain::sequencer::trim;
use crate::memory;

/// Channels of one partition that are remembered; beyond it the one that was not touched for longest is forgotten.
const CHANNELS_MAX: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();
/// Bytes of one channel's pending messages in memory; beyond it, or beyond what the partition has room for, those with the
/// highest numbers are forgotten.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// What a worker remembers of its channels.
pub struct Memory {
    /// The channels that were touched last.
    pub cache: Cache,
    /// Those that have come far enough for a checkpoint.
    pub checkpoints: Checkpoints,
}

impl Memory {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { cache: Cache::new(), checkpoints: Checkpoints::default() }
    }

    /// Remembers a channel.
    pub fn put(&mut self, mut state: ChannelState) {
        self.checkpoints.note(&mut state);
        self.cache.put(state);
    }
}

/// The channels of one partition that were touched last.
pub struct Cache {
    states: LruCache<Channel, Entry>,
    waiting_bytes: usize,
    /// Beyond it whole channels are forgotten.
    waiting_bytes_max: usize,
}

struct Entry {
    state: ChannelState,
    waiting_bytes: usize,
}

impl Cache {
    /// An empty cache.
    pub fn new() -> Self {
        let waiting_bytes_max = memory::of_a_partition();
        Self { states: LruCache::new(CHANNELS_MAX), waiting_bytes: 0, waiting_bytes_max }
    }

    /// Takes out what is remembered of a channel, or an empty one. What is not put back is forgotten.
    pub fn take(&mut self, channel: Channel) -> ChannelState {
        match self.states.pop(&channel) {
            Some(entry) => {
                self.waiting_bytes -= entry.waiting_bytes;
                entry.state
            }
            None => ChannelState::new(channel),
        }
    }

    /// Looks at what is remembered of a channel.
    pub fn peek(&mut self, channel: Channel) -> Option<&mut ChannelState> {
        self.states.peek_mut(&channel).map(|entry| &mut entry.state)
    }

    /// Remembers a channel; forgets others, or parts of it, where that is too much.
    pub fn put(&mut self, mut state: ChannelState) {
        let (waiting_bytes, _) = trim(&mut state.buffer, Stored::size, BUFFER_BYTES_MAX.min(self.waiting_bytes_max));
        self.waiting_bytes += waiting_bytes;
        if let Some((_, forgotten)) = self.states.push(state.channel, Entry { state, waiting_bytes }) {
            self.waiting_bytes -= forgotten.waiting_bytes;
        }
        while self.waiting_bytes > self.waiting_bytes_max
            && let Some((_, forgotten)) = self.states.pop_lru()
        {
            self.waiting_bytes -= forgotten.waiting_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::testing::arrival;

    fn state(number: u8, messages: u64) -> ChannelState {
        let channel = Channel::parse(&format!("00000000-0000-4000-8000-0000000000{number:02x}")).unwrap();
        let mut state = ChannelState::new(channel);
        state.buffer = (1..=messages).map(|at| arrival(channel, at, at)).map(|it| (it.message.number, it)).collect();
        state
    }

    #[test]
    fn of_too_many_messages_the_highest_are_forgotten() {
        let mut cache = Cache::new();
        let channel = state(1, 0).channel;
        cache.put(state(1, 10_000));
        let kept = cache.take(channel).buffer;
        assert!(kept.len() > 1_000 && kept.len() < 2_000, "{}", kept.len());
        assert!(kept.keys().map(|number| number.get()).eq(1..=kept.len() as u64));
        assert_eq!(cache.waiting_bytes, 0);
    }

    #[test]
    fn of_too_many_channels_the_oldest_are_forgotten() {
        let mut cache = Cache::new();
        (0..16).for_each(|number| cache.put(state(number, 10_000)));
        assert!(cache.waiting_bytes <= cache.waiting_bytes_max);
        assert!(cache.take(state(0, 0).channel).buffer.is_empty());
        assert!(!cache.take(state(15, 0).channel).buffer.is_empty());
    }
}
