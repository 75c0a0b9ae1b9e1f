//! The frames in which a snapshot travels: S2, which the server packs with and unpacks from. Taken apart here in whatever
//! pieces they come; put together without packing, because what is sent stays on this machine or its network.
//!
//! A frame is a kind, a length of three bytes, a checksum (CRC-32C, masked) and a block, which is plain or is a length and
//! a list of literals and copies of what came before.

use super::Damaged;

/// Longest block that S2 knows, in bytes.
const BLOCK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest frame: a block may grow a little when it is packed.
const FRAME_BYTES_MAX: usize = BLOCK_BYTES_MAX + BLOCK_BYTES_MAX / 4;
const HEAD_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;
/// The frame that every stream of frames begins with.
const BEGINNING: &[u8] = b"\xff\x06\x00\x00S2sTwO";
const KIND_PACKED: u8 = 0x00;
const KIND_PLAIN: u8 = 0x01;
/// From this kind on, a frame says nothing that is needed.
const KIND_SKIPPABLE: u8 = 0x80;

/// Takes frames apart.
#[derive(Default)]
pub(super) struct Unpacker {
    /// What has come of the frame that is not whole yet.
    coming: Vec<u8>,
}

impl Unpacker {
    /// Takes what has come, and appends what the frames in it hold.
    pub(super) fn take(&mut self, piece: &[u8], unpacked: &mut Vec<u8>) -> Result<(), Damaged> {
        self.coming.extend_from_slice(piece);
        let mut at = 0;
        while let Some(frame) = whole_frame(&self.coming[at..])? {
            open(frame, unpacked)?;
            at += frame.len();
        }
        self.coming.drain(..at);
        Ok(())
    }

    /// Whether the last frame is whole.
    pub(super) fn is_at_an_end(&self) -> bool {
        self.coming.is_empty()
    }
}

/// The beginning of all frames.
pub(super) fn beginning() -> Vec<u8> {
    BEGINNING.to_vec()
}

/// Appends a plain frame with these bytes, of which there are at most [`BLOCK_BYTES_MAX`].
pub(super) fn append_plain(bytes: &[u8], frames: &mut Vec<u8>) {
    let length = (bytes.len() + CHECKSUM_BYTES) as u32;
    frames.push(KIND_PLAIN);
    frames.extend_from_slice(&length.to_le_bytes()[..3]);
    frames.extend_from_slice(&checksum(bytes).to_le_bytes());
    frames.extend_from_slice(bytes);
}

fn whole_frame(bytes: &[u8]) -> Result<Option<&[u8]>, Damaged> {
    let Some([_, length @ ..]) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let length = little_endian(length);
    if length > FRAME_BYTES_MAX {
        return Err(Damaged("a frame is too long"));
    }
    Ok(bytes.get(..HEAD_BYTES + length))
}

fn open(frame: &[u8], unpacked: &mut Vec<u8>) -> Result<(), Damaged> {
    let (kind, block) = (frame[0], &frame[HEAD_BYTES..]);
    if kind >= KIND_SKIPPABLE {
        return Ok(());
    }
    let (stated, block) = block.split_first_chunk::<CHECKSUM_BYTES>().ok_or(Damaged("a frame has no checksum"))?;
    let from = unpacked.len();
    match kind {
        KIND_PACKED => unpack(block, unpacked)?,
        KIND_PLAIN => unpacked.extend_from_slice(block),
        _ => return Err(Damaged("a frame is of no known kind")),
    }
    if checksum(&unpacked[from..]) != u32::from_le_bytes(*stated) {
        return Err(Damaged("a frame's checksum is wrong"));
    }
    Ok(())
}

/// A block that is taken apart.
struct Block<'a> {
    left: &'a [u8],
    /// How far back the last copy was: one may say "the same".
    offset: usize,
}

fn unpack(block: &[u8], unpacked: &mut Vec<u8>) -> Result<(), Damaged> {
    let mut block = Block { left: block, offset: 0 };
    let (length, from) = (block.varint()?, unpacked.len());
    if length > BLOCK_BYTES_MAX {
        return Err(Damaged("a block is too long"));
    }
    while let Some((&tag, left)) = block.left.split_first() {
        block.left = left;
        let copied = match tag & 3 {
            0 => {
                let literal = block.literal(tag)?;
                unpacked.extend_from_slice(literal);
                0
            }
            1 => block.short_copy(tag)?,
            2 => block.copy(tag, 2)?,
            _ => block.copy(tag, 4)?,
        };
        append_copy(unpacked, from, block.offset, copied)?;
        if unpacked.len() - from > length {
            break;
        }
    }
    if unpacked.len() - from == length { Ok(()) } else { Err(Damaged("a block has another length than it says")) }
}

/// Appends bytes that came before; those that are just being appended may be among them.
fn append_copy(unpacked: &mut Vec<u8>, from: usize, offset: usize, length: usize) -> Result<(), Damaged> {
    if length == 0 {
        return Ok(());
    }
    if offset == 0 || offset > unpacked.len() - from || length > BLOCK_BYTES_MAX {
        return Err(Damaged("a block copies what is not there"));
    }
    let start = unpacked.len() - offset;
    if offset >= length {
        unpacked.extend_from_within(start..start + length);
    } else {
        (start..start + length).for_each(|at| unpacked.push(unpacked[at]));
    }
    Ok(())
}

impl<'a> Block<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (bytes, left) = self.left.split_at_checked(count).ok_or(Damaged("a block ends early"))?;
        self.left = left;
        Ok(bytes)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, Damaged> {
        Ok(little_endian(self.bytes(bytes)?))
    }

    fn varint(&mut self) -> Result<usize, Damaged> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.number(1)?;
            value |= (byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
            shift += 7;
            if shift > 28 {
                return Err(Damaged("a length is too long"));
            }
        }
    }

    fn literal(&mut self, tag: u8) -> Result<&'a [u8], Damaged> {
        let length = match usize::from(tag >> 2) {
            short @ ..60 => short,
            long => self.number(long - 59)?,
        };
        self.bytes(length + 1)
    }

    /// A copy of the last eleven bits' reach, or one from as far back as the last.
    fn short_copy(&mut self, tag: u8) -> Result<usize, Damaged> {
        let offset = usize::from(tag & 0xe0) << 3 | self.number(1)?;
        let length = usize::from(tag >> 2 & 7);
        if offset != 0 {
            self.offset = offset;
            return Ok(length + 4);
        }
        Ok(4 + match length {
            5 => self.number(1)? + 4,
            6 => self.number(2)? + (1 << 8),
            7 => self.number(3)? + (1 << 16),
            short => short,
        })
    }

    fn copy(&mut self, tag: u8, offset_bytes: usize) -> Result<usize, Damaged> {
        self.offset = self.number(offset_bytes)?;
        Ok(usize::from(tag >> 2) + 1)
    }
}

fn little_endian(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

/// CRC-32C as Snappy masks it.
fn checksum(bytes: &[u8]) -> u32 {
    let crc = !bytes.iter().fold(!0, |crc: u32, byte| CRC[usize::from(crc as u8 ^ byte)] ^ crc >> 8);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

const CRC: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut value, mut bit) = (at as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(frames: &[u8], piece: usize) -> Result<Vec<u8>, Damaged> {
        let (mut unpacker, mut unpacked) = (Unpacker::default(), Vec::new());
        for piece in frames.chunks(piece) {
            unpacker.take(piece, &mut unpacked)?;
        }
        assert!(unpacker.is_at_an_end());
        Ok(unpacked)
    }

    /// A frame with this packed block of these bytes.
    fn packed(block: &[u8], bytes: &[u8]) -> Vec<u8> {
        let mut frame = vec![KIND_PACKED];
        frame.extend_from_slice(&((block.len() + CHECKSUM_BYTES) as u32).to_le_bytes()[..3]);
        frame.extend_from_slice(&checksum(bytes).to_le_bytes());
        frame.extend_from_slice(block);
        frame
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        // CRC-32C of "123456789", masked as Snappy's framing says.
        assert_eq!(checksum(b"123456789"), 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn plain_frames_hold_what_was_put_in_whatever_the_pieces() {
        let mut frames = beginning();
        append_plain(b"one, ", &mut frames);
        append_plain(&[], &mut frames);
        append_plain(b"two", &mut frames);
        for piece in 1..frames.len() {
            assert_eq!(unpacked(&frames, piece).unwrap(), b"one, two");
        }
    }

    #[test]
    fn packed_blocks_are_literals_and_copies() {
        let check = |block: &[u8], bytes: &[u8]| {
            assert_eq!(unpacked(&packed(block, bytes), 3).unwrap(), bytes, "{block:?}");
        };
        check(b"\x03\x08abc", b"abc");
        // Copies of eleven, sixteen and thirty-two bits' reach; the second reaches into itself.
        check(b"\x07\x08abc\x01\x03", b"abcabca");
        check(b"\x06\x00a\x12\x01\x00", b"aaaaaa");
        check(b"\x06\x08abc\x0b\x03\x00\x00\x00", b"abcabc");
        // "As far back as the last one", five and nine bytes long.
        check(b"\x0c\x08abc\x01\x03\x05\x00", b"abcabcabcabc");
        check(b"\x14\x08abc\x01\x03\x15\x00\x05", b"abcabcabcabcabcabcab");
        let long = [b'x'; 100];
        check(&[&b"\x64\xf0\x63"[..], &long].concat(), &long);
    }

    #[test]
    fn what_is_damaged_is_not_taken() {
        let mut frames = beginning();
        append_plain(b"message", &mut frames);
        let last = frames.len() - 1;
        frames[last] ^= 1;
        assert_eq!(unpacked(&frames, 100), Err(Damaged("a frame's checksum is wrong")));
        for block in
            [&b"\x03\x08ab"[..], b"\x02\x08abc", b"\x09\x08abc\x01\x04", b"\x04\x08abc", b"\x04\x01\x00", b"\xff"]
        {
            assert!(unpacked(&packed(block, b"abc"), 100).is_err(), "{block:?}");
        }
        assert!(unpacked(b"\x02\x04\x00\x00abcd", 100).is_err());
        assert!(unpacked(b"\x00\xff\xff\xff", 100).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut unpacker = Unpacker::default();
            let _ = unpacker.take(&bytes, &mut Vec::new());
            let _ = unpack(&bytes, &mut Vec::new());
        }
    }
}
