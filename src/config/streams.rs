//! Settings of the streams: their partitions, their copies, and the room that each may take.

use super::{Reader, text_to};
use crate::broker::topology::Bounds;

/// The streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Partitions, fixed for the life of the stream.
    pub partitions: u16,
    /// Copies of each stream.
    pub replicas: usize,
    /// Bytes that each of them may take.
    pub bounds: Bounds,
}

impl Stream {
    pub(super) fn read(read: &mut Reader<'_>) -> Self {
        let mut size = |setting| {
            let may_be = "unlimited, or a size of at least 1MiB, such as 512MiB or 4GiB";
            read.parsed(setting, may_be, size).unwrap_or_default()
        };
        let bounds = Bounds {
            log: size("stream.log_max_bytes"),
            dead_letters: size("stream.dead_letters_max_bytes"),
            outcomes: size("stream.outcomes_max_bytes"),
            checkpoints: size("stream.checkpoints_max_bytes"),
            bucket: size("stream.bucket_max_bytes"),
        };
        Self {
            partitions: read.parsed("stream.partitions", "from 1 to 256", partitions).unwrap_or_default(),
            replicas: read.parsed("stream.replicas", "1, 3 or 5", replicas).unwrap_or_default(),
            bounds,
        }
    }
}

fn partitions(text: &str) -> Option<u16> {
    text_to(text).filter(|partitions| (1..=256).contains(partitions))
}

fn replicas(text: &str) -> Option<usize> {
    text_to(text).filter(|replicas| [1, 3, 5].contains(replicas))
}

fn size(text: &str) -> Option<Option<u64>> {
    const MIB: u64 = 1024 * 1024;
    if text == "unlimited" {
        return Some(None);
    }
    let unit = |unit: &str, bytes: u64| text.strip_suffix(unit)?.trim_end().parse::<u64>().ok()?.checked_mul(bytes);
    let bytes = unit("MiB", MIB).or_else(|| unit("GiB", 1024 * MIB)).or_else(|| unit("TiB", 1024 * 1024 * MIB));
    // The broker counts in signed numbers.
    bytes.filter(|bytes| *bytes >= MIB && i64::try_from(*bytes).is_ok()).map(Some)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read() {
        let gib = 1024 * 1024 * 1024;
        for (text, expected) in [
            ("unlimited", Some(None)),
            ("1MiB", Some(Some(1024 * 1024))),
            ("4 GiB", Some(Some(4 * gib))),
            ("1TiB", Some(Some(1024 * gib))),
            ("0MiB", None),
            ("4GB", None),
            ("-1MiB", None),
            ("99999999999TiB", None),
            ("", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
    }
}
