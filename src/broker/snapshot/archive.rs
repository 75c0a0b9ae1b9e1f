//! The messages of a stream, one after the other, as the server (from 2.15 on) writes them into a snapshot and reads them
//! from one: each with its place, its time, its subject and the very bytes of its headers. It knows nothing of frames.
//!
//! An entry is five numbers of variable length (length of the name, time, sequence, length of headers, length of payload),
//! the name and the bytes. What is no message has sequence 0: the state at the beginning, and an empty one at the end.

use super::Damaged;

/// The first bytes of every archive.
pub const MAGIC: &[u8] = b"NATSARC1";
/// Longest name that the server takes, in bytes.
const NAME_BYTES_MAX: u64 = 1024 * 1024;
/// Longest message that a server can be told to take, in bytes.
const CONTENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// From so many bytes on, what has been read is taken away from what is held.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// A message as it is stored, or what the archive says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The subject under which it is stored.
    pub name: Vec<u8>,
    /// When it was stored, in nanoseconds since 1970.
    pub time: i64,
    /// Its sequence; 0 for what is no message.
    pub sequence: u64,
    /// How many bytes of the content are headers.
    pub header_bytes: usize,
    /// Headers and payload.
    pub content: Vec<u8>,
}

impl Entry {
    /// What stands at the end of every archive.
    pub fn end() -> Self {
        Self { name: Vec::new(), time: 0, sequence: 0, header_bytes: 0, content: Vec::new() }
    }

    /// Whether this is [`Self::end`].
    pub fn is_end(&self) -> bool {
        *self == Self::end()
    }

    /// Appends its bytes.
    pub fn append_to(&self, bytes: &mut Vec<u8>) {
        append_number(self.name.len() as u64, bytes);
        append_number(((self.time << 1) ^ (self.time >> 63)) as u64, bytes);
        append_number(self.sequence, bytes);
        append_number(self.header_bytes as u64, bytes);
        append_number((self.content.len() - self.header_bytes) as u64, bytes);
        bytes.extend_from_slice(&self.name);
        bytes.extend_from_slice(&self.content);
    }
}

fn append_number(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 128 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes an archive apart, in whatever pieces it comes. It holds one entry at most, and what came with its end.
#[derive(Default)]
pub struct Reader {
    coming: Vec<u8>,
    at: usize,
    began: bool,
}

impl Reader {
    /// What has come is appended here.
    pub fn coming(&mut self) -> &mut Vec<u8> {
        if self.at >= READ_BYTES_MAX || self.at == self.coming.len() {
            self.coming.drain(..self.at);
            self.at = 0;
        }
        &mut self.coming
    }

    /// The next entry, if all of it has come.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Damaged> {
        if !self.began {
            let Some(magic) = self.coming.get(..MAGIC.len()) else { return Ok(None) };
            if magic != MAGIC {
                return Err(Damaged("it does not begin as an archive of messages does"));
            }
            (self.began, self.at) = (true, MAGIC.len());
        }
        let mut left = &self.coming[self.at..];
        let Some(entry) = entry(&mut left)? else { return Ok(None) };
        self.at = self.coming.len() - left.len();
        Ok(Some(entry))
    }

    /// Whether nothing has come that is no whole entry.
    pub fn is_at_an_end(&self) -> bool {
        self.began && self.at == self.coming.len()
    }
}

fn entry(left: &mut &[u8]) -> Result<Option<Entry>, Damaged> {
    let mut numbers = [0; 5];
    for number in &mut numbers {
        let Some(read) = read_number(left)? else { return Ok(None) };
        *number = read;
    }
    let [name, time, sequence, headers, payload] = numbers;
    if name > NAME_BYTES_MAX || headers > CONTENT_BYTES_MAX || payload > CONTENT_BYTES_MAX {
        return Err(Damaged("a message is too long"));
    }
    let Some((name, rest)) = left.split_at_checked(name as usize) else { return Ok(None) };
    let Some((content, rest)) = rest.split_at_checked((headers + payload) as usize) else { return Ok(None) };
    *left = rest;
    Ok(Some(Entry {
        name: name.to_vec(),
        time: (time >> 1) as i64 ^ -((time & 1) as i64),
        sequence,
        header_bytes: headers as usize,
        content: content.to_vec(),
    }))
}

fn read_number(left: &mut &[u8]) -> Result<Option<u64>, Damaged> {
    let (mut number, mut shift) = (0, 0);
    while let Some((&byte, rest)) = left.split_first() {
        *left = rest;
        if shift > 63 {
            return Err(Damaged("a number is too long"));
        }
        number |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Ok(Some(number));
        }
        shift += 7;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sequence: u64, time: i64) -> Entry {
        let content = b"NATS/1.0\r\nA: 1\r\n\r\nbody".to_vec();
        Entry { name: b"rockets.3.x".to_vec(), time, sequence, header_bytes: 18, content }
    }

    #[test]
    fn entries_are_read_as_they_were_written_whatever_the_pieces() {
        let entries =
            [message(1, 0), message(300, -1), message(u64::MAX, i64::MAX), message(7, i64::MIN), Entry::end()];
        let mut bytes = MAGIC.to_vec();
        entries.iter().for_each(|entry| entry.append_to(&mut bytes));
        for piece in [1, 2, 7, 1_000] {
            let (mut reader, mut read) = (Reader::default(), Vec::new());
            for piece in bytes.chunks(piece) {
                reader.coming().extend_from_slice(piece);
                while let Some(entry) = reader.next_entry().unwrap() {
                    read.push(entry);
                }
            }
            assert_eq!(read, entries);
            assert!(reader.is_at_an_end());
        }
    }

    #[test]
    fn what_is_no_archive_is_not_read() {
        let read = |bytes: &[u8]| {
            let mut reader = Reader::default();
            reader.coming().extend_from_slice(bytes);
            reader.next_entry()
        };
        assert!(read(b"NATSARC2\0\0\0\0\0").is_err());
        assert!(read(b"NATSARC1\0\0\0\0\xff\xff\xff\xff\x7f").is_err());
        assert!(read(b"NATSARC1\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").is_err());
        assert_eq!(read(b"NATSARC1\x01\0\0\0\0"), Ok(None));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut reader = Reader::default();
            reader.coming().extend_from_slice(MAGIC);
            reader.coming().extend_from_slice(&bytes);
            while let Ok(Some(_)) = reader.next_entry() {}
        }
    }
}
