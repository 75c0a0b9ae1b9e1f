//! What the holder of a key sends: `rkt_<id>_<secret>`. The beginning lets those find it who look for secrets where none
//! should be.
//!
//! The secret is random and long, so its plain SHA-256 is as good as itself to whoever has to compare, and of no use to
//! whoever reads the file. (What makes digests slow is for passwords, and would be work that strangers give us.)

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::random::{self, NoRandom};

const PREFIX: &str = "rkt_";
const ID_LEN: usize = 10;
const SECRET_LEN: usize = 40;
/// More bytes than any token has.
const TOKEN_BYTES_MAX: usize = 256;

/// A token as it was sent, in its parts.
pub struct Token<'a> {
    /// Which key it is.
    pub id: &'a str,
    secret: &'a str,
}

/// What is kept of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// An id for a new key.
pub fn new_id() -> Result<String, NoRandom> {
    random::text(ID_LEN)
}

/// A new token of this key, and what is kept of it.
pub fn new_token(id: &str) -> Result<(String, Digest), NoRandom> {
    let secret = random::text(SECRET_LEN)?;
    Ok((format!("{PREFIX}{id}_{secret}"), Digest::of(&secret)))
}

impl<'a> Token<'a> {
    /// Reads one.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (text.len() <= TOKEN_BYTES_MAX && is_part(id) && is_part(secret)).then_some(Self { id, secret })
    }

    /// Whether it has the secret of which this is kept; without one, the same work for nothing.
    pub fn is_of(&self, digest: Option<&Digest>) -> bool {
        let kept = digest.map_or([0; 32], |digest| digest.0);
        let is_same: bool = Digest::of(self.secret).0.ct_eq(&kept).into();
        is_same && digest.is_some()
    }
}

impl Digest {
    fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let byte = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
        let mut digest = [0; 32];
        for (at, place) in digest.iter_mut().enumerate() {
            *place = byte(at).ok_or("must be 64 hexadecimal digits")?;
        }
        if text.len() == 64 { Ok(Self(digest)) } else { Err("must be 64 hexadecimal digits") }
    }
}

/// Not even what is kept is for the log.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_its_own_and_no_other_s() {
        let (token, digest) = new_token("abc").unwrap();
        let (other, _) = new_token("abc").unwrap();
        let is_of = |text: &str, digest| Token::parse(text).unwrap().is_of(digest);
        assert_eq!(Token::parse(&token).unwrap().id, "abc");
        assert!(is_of(&token, Some(&digest)));
        assert!(!is_of(&other, Some(&digest)));
        assert!(!is_of(&token, None));
        let [cut, longer] = [token[..token.len() - 1].to_owned(), format!("{token}x")];
        assert!(!is_of(&cut, Some(&digest)) && !is_of(&longer, Some(&digest)));
    }

    #[test]
    fn what_is_no_token_is_none() {
        for text in ["", "rkt_", "rkt_a", "rkt_a_", "rkt__b", "rkt_a_b_c", "rkt_a_b ", "RKT_a_b", "key_a_b", "rkt_ä_b"]
        {
            assert!(Token::parse(text).is_none(), "{text}");
        }
        assert!(Token::parse(&format!("rkt_a_{}", "b".repeat(TOKEN_BYTES_MAX))).is_none());
        assert!(Token::parse("rkt_a_b").is_some());
    }

    #[test]
    fn a_digest_is_kept_as_hexadecimal_digits() {
        let text: String = Digest::of("x").into();
        assert_eq!(text, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881");
        assert_eq!(Digest::try_from(text), Ok(Digest::of("x")));
        for text in ["", "2d", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert!(Digest::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_of_it_is_shown() {
        assert_eq!(format!("{:?}", Digest::of("x")), "Digest(…)");
    }
}
