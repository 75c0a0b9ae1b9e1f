//! Texts that nobody can guess, of letters and digits, from the system's own source.

use ring::rand::{SecureRandom as _, SystemRandom};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Below this each letter is as likely as any other.
const EVEN_BELOW: u8 = 248;

/// The system gives nothing that is random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandom;

/// A text of so many letters and digits.
pub fn text(len: usize) -> Result<String, NoRandom> {
    let mut text = String::with_capacity(len);
    while text.len() < len {
        let [byte] = bytes::<1>()?;
        if byte < EVEN_BELOW {
            text.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        }
    }
    Ok(text)
}

/// So many bytes.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_letter_comes_and_no_text_comes_twice() {
        let long = text(10_000).unwrap();
        assert_eq!(long.bytes().collect::<BTreeSet<_>>(), ALPHABET.iter().copied().collect());
        assert_ne!(text(32).unwrap(), text(32).unwrap());
    }
}
