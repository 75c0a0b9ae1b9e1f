//! Whoever is let in has the key, or has signed: a token, and what Standard Webhooks says of a signature, a line each.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use time::OffsetDateTime;

use crate::auth::signature::{Claim, SigningSecret};
use crate::auth::token::{Digest, Token};

const SECRET_OF_TOKEN: &str = "x";
/// Its own.
const DIGEST: &str = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
const SECRET: &str = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// When all of it comes.
const NOW: i64 = 1_649_367_553;

/// Lines: token, id, time, signatures; the rest is the body.
pub fn credentials(bytes: &[u8]) -> bool {
    let mut lines = bytes.splitn(5, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let [token, id, timestamp, signatures] = [(); 4].map(|()| std::str::from_utf8(line()).unwrap_or_default());
    let digest = Digest::try_from(DIGEST.to_owned()).expect("a digest");
    // Which key it is of is found out before, by its id.
    let is_its = Token::parse(token).is_some_and(|read| token == format!("rkt_{}_{SECRET_OF_TOKEN}", read.id));
    assert_eq!(Token::parse(token).is_some_and(|token| token.is_of(Some(&digest))), is_its);
    signed(&Claim { id, timestamp, signatures }, line()) && is_its
}

fn signed(claim: &Claim<'_>, body: &[u8]) -> bool {
    let secret = SigningSecret::try_from(format!("whsec_{SECRET}")).expect("a secret");
    let now = OffsetDateTime::from_unix_timestamp(NOW).expect("a time");
    let Some(mut check) = secret.begin(claim, now) else { return false };
    body.chunks(3).for_each(|chunk| check.update(chunk));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_STANDARD.decode(SECRET).expect("base64"));
    let said = [claim.id.as_bytes(), b".", claim.timestamp.as_bytes(), b".", body].concat();
    let right = format!("v1,{}", BASE64_STANDARD.encode(hmac::sign(&key, &said)));
    let is_right = check.is_right();
    assert!(!is_right || claim.signatures.split(' ').any(|signature| signature == right));
    is_right
}
