//! Signed messages, as Standard Webhooks has them: HMAC-SHA256 of `id.timestamp.body`, over the body as it was sent.
//!
//! A sender that signs never sends its secret, so nothing on the way can use it. Whoever records a message may send it
//! again for as long as its time is near; the number in it makes that harmless.
//!
//! What is said before the body ([`Claim`]) is checked before the body is read, and the rest while it is read.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;

use super::random::{self, NoRandom};

/// How far the time of a message may be from ours.
const TOLERANCE: time::Duration = time::Duration::seconds(300);
/// Signatures that are looked at: a sender that changes its secret sends two.
const SIGNATURES_MAX: usize = 8;
const SECRET_PREFIX: &str = "whsec_";
const VERSION_PREFIX: &str = "v1,";
const SECRET_BYTES: usize = 32;
/// Fewest bytes of a secret, as the standard has it.
const SECRET_BYTES_MIN: usize = 24;

/// What a sender signs with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SigningSecret(Vec<u8>);

/// What a message says of its signature before its body.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// `webhook-id`.
    pub id: &'a str,
    /// `webhook-timestamp`.
    pub timestamp: &'a str,
    /// `webhook-signature`: several with spaces.
    pub signatures: &'a str,
}

/// A signature that is checked while the body is read.
pub struct Check {
    so_far: hmac::Context,
    claimed: Vec<[u8; 32]>,
}

impl SigningSecret {
    /// A new one.
    pub fn random() -> Result<Self, NoRandom> {
        Ok(Self(random::bytes::<SECRET_BYTES>()?.to_vec()))
    }

    /// Begins to check a message; none where it is stale or no signature of it can be right.
    pub fn begin(&self, claim: &Claim<'_>, now: OffsetDateTime) -> Option<Check> {
        let Claim { id, timestamp, signatures } = claim;
        let claimed: Vec<_> = signatures.split(' ').take(SIGNATURES_MAX).filter_map(signature).collect();
        if id.is_empty() || claimed.is_empty() || !is_near(timestamp, now) {
            return None;
        }
        let mut so_far = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        [*id, ".", timestamp, "."].iter().for_each(|part| so_far.update(part.as_bytes()));
        Some(Check { so_far, claimed })
    }
}

impl Check {
    /// Takes in a piece of the body, as it was sent.
    pub fn update(&mut self, bytes: &[u8]) {
        self.so_far.update(bytes);
    }

    /// Whether the body has come to its end as it was signed.
    pub fn is_right(&self) -> bool {
        let tag = self.so_far.clone().sign();
        // Each one is compared, whatever the one before came to.
        self.claimed.iter().fold(false, |is_right, claimed| is_right | bool::from(tag.as_ref().ct_eq(claimed)))
    }
}

/// The bytes of one signature, which are 32: nothing shorter is compared with a part of the right ones.
fn signature(text: &str) -> Option<[u8; 32]> {
    BASE64_STANDARD.decode(text.strip_prefix(VERSION_PREFIX)?).ok()?.try_into().ok()
}

fn is_near(timestamp: &str, now: OffsetDateTime) -> bool {
    let is_digits = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let time = timestamp.parse().ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    is_digits && time.is_some_and(|time| (now - time).abs() <= TOLERANCE)
}

impl TryFrom<String> for SigningSecret {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = text.strip_prefix(SECRET_PREFIX).and_then(|text| BASE64_STANDARD.decode(text).ok());
        let bytes = bytes.filter(|bytes| bytes.len() >= SECRET_BYTES_MIN);
        bytes.map(Self).ok_or("must be whsec_ and 24 bytes or more in base64")
    }
}

impl From<SigningSecret> for String {
    fn from(secret: SigningSecret) -> Self {
        format!("{SECRET_PREFIX}{}", BASE64_STANDARD.encode(secret.0))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the standard's own library.
    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const TIME: i64 = 1_649_367_553;
    const BODY: &str = r#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

    fn accepts(signatures: &str, timestamp: &str, body: &str, late: i64) -> bool {
        let now = OffsetDateTime::from_unix_timestamp(TIME + late).unwrap();
        let claim = Claim { id: ID, timestamp, signatures };
        let Some(mut check) = SigningSecret::try_from(SECRET.to_owned()).unwrap().begin(&claim, now) else {
            return false;
        };
        body.as_bytes().chunks(7).for_each(|chunk| check.update(chunk));
        check.is_right()
    }

    #[test]
    fn what_was_signed_passes_and_no_forgery_does() {
        let (time, other) = (TIME.to_string(), format!("v1,{}", BASE64_STANDARD.encode([7; 32])));
        let rows = [
            ("valid", SIGNATURE.to_owned(), true),
            ("nothing behind the version", "v1,".to_owned(), false),
            ("ten right characters", SIGNATURE[..13].to_owned(), false),
            ("a part that is whole base64", SIGNATURE[..3 + 40].to_owned(), false),
            ("empty", String::new(), false),
            ("another version", SIGNATURE.replacen("v1", "v1a", 1), false),
            ("two, the second right", format!("{other} {SIGNATURE}"), true),
            ("two, the first right", format!("{SIGNATURE} {other}"), true),
            ("one that is wrong", other.clone(), false),
            ("the right one behind too many", format!("{} {SIGNATURE}", [&*other; SIGNATURES_MAX].join(" ")), false),
        ];
        for (what, signatures, expected) in rows {
            assert_eq!(accepts(&signatures, &time, BODY, 0), expected, "{what}");
        }
        for (late, expected) in [(300, true), (-300, true), (301, false), (-301, false)] {
            assert_eq!(accepts(SIGNATURE, &time, BODY, late), expected, "{late} s late");
        }
        assert!(!accepts(SIGNATURE, &time, &format!("{BODY} "), 0), "a body with one space more");
        for timestamp in ["", "+1649367553", "1649367553.0", "x", "99999999999999999999", &(TIME + 1).to_string()] {
            assert!(!accepts(SIGNATURE, timestamp, BODY, 0), "{timestamp}");
        }
    }

    #[test]
    fn a_secret_has_a_length() {
        for text in ["", "whsec_", "whsec_AAAA", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_!"] {
            assert!(SigningSecret::try_from(text.to_owned()).is_err(), "{text}");
        }
        let secret = SigningSecret::random().unwrap();
        assert_eq!(SigningSecret::try_from(String::from(secret.clone())), Ok(secret.clone()));
        assert_eq!(format!("{secret:?}"), "SigningSecret(…)");
    }
}
