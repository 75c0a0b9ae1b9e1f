//! Who is let in where: what each route needs is said beside its path ([`Access`]), and decided here before a handler is called
//! and before a body is read.
//!
//! Whoever is not let in costs a look at the headers. What a sender signed is known to be right only once the body is there;
//! [`Request::body`](super::Request::body) gives no body to anybody whose signature is wrong.

use std::time::Instant;

use hyper::{HeaderMap, Method};
use time::OffsetDateTime;
use warp::http::header::{AUTHORIZATION, HeaderName};

use super::Answer;
use crate::auth::signature::{Check, Claim};
use crate::auth::turns::Quota;
use crate::auth::{Auth, Caller, Scope};
use crate::logging::limited;

const BEARER: &str = "bearer";
const KEY_ID: HeaderName = HeaderName::from_static("rockets-key");
const SIGNED_ID: HeaderName = HeaderName::from_static("webhook-id");
const SIGNED_AT: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What a route is for, and so who may use it, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whether the process is well, and files: for everybody.
    Open,
    /// Messages: for those who send them.
    Messages,
    /// What is known: for those who look at it. What is changed there: for operators.
    Knowledge,
    /// What the process counts of itself: at the operators' own address for everybody.
    Metrics,
}

/// Which of the addresses that are listened at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// The only one.
    #[default]
    Only,
    /// The public one, where there is another one for operators.
    Public,
    /// The operators' own.
    Operators,
}

/// What somebody must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    Key(Scope),
    /// To ask at the other address.
    OtherAddress,
}

/// What lets in at one address.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// The keys.
    pub auth: Auth,
    /// Where it stands.
    pub side: Side,
}

/// Somebody who is let in.
#[derive(Default)]
pub struct Admitted {
    /// Who it is.
    pub caller: Caller,
    /// What proves it, once the body is there.
    pub check: Option<Check>,
}

impl Access {
    fn need(self, method: &Method, side: Side) -> Need {
        let is_look = matches!(*method, Method::GET | Method::HEAD);
        match (self, side) {
            (Self::Open, _) | (Self::Metrics, Side::Operators) => Need::Nothing,
            (Self::Metrics, Side::Public) => Need::OtherAddress,
            (Self::Metrics, Side::Only) => Need::Key(Scope::Read),
            (Self::Messages, _) => Need::Key(Scope::Ingest),
            (Self::Knowledge, _) if is_look => Need::Key(Scope::Read),
            (Self::Knowledge, Side::Public) => Need::OtherAddress,
            (Self::Knowledge, Side::Only | Side::Operators) => Need::Key(Scope::Operate),
        }
    }
}

impl Door {
    /// Lets somebody in, or answers why not.
    pub fn admit(&self, access: Access, method: &Method, headers: &HeaderMap) -> Result<Admitted, Answer> {
        let scope = match access.need(method, self.side) {
            Need::Nothing => return Ok(Admitted::default()),
            Need::OtherAddress => return Err(Answer::not_found("path")),
            Need::Key(scope) => scope,
        };
        let Some(keyring) = self.auth.keyring() else { return Ok(Admitted::default()) };
        let now = OffsetDateTime::now_utc();
        let admitted = match (one(headers, &AUTHORIZATION), access) {
            (Some(authorization), _) => {
                let caller = bearer(authorization).and_then(|token| keyring.holder_of(token, now));
                caller.map(|caller| Admitted { caller, check: None })
            }
            (None, Access::Messages) if !headers.contains_key(AUTHORIZATION) => {
                let signer = claim(headers).and_then(|(id, claim)| keyring.signer_of(id, &claim, now));
                signer.map(|(caller, check)| Admitted { caller, check: Some(check) })
            }
            (None, _) => None,
        };
        let admitted = admitted.ok_or_else(Answer::unauthorized)?;
        if !admitted.caller.may(scope) {
            return Err(Answer::forbidden(format!("this key is not for this: it needs the scope {scope}")));
        }
        // Whoever has not proved yet who they are takes no turn of the one whom they name.
        if access == Access::Messages && admitted.check.is_none() {
            take_turn(&admitted.caller)?;
        }
        Ok(admitted)
    }
}

impl Admitted {
    /// Takes in a piece of the body, as it was sent.
    pub fn see(&mut self, bytes: &[u8]) {
        if let Some(check) = &mut self.check {
            check.update(bytes);
        }
    }

    /// Decides whether they are who they say they are, now that the whole body was seen.
    pub fn prove(&mut self) -> Result<(), Answer> {
        match self.check.take() {
            Some(check) if !check.is_right() => Err(Answer::unauthorized()),
            Some(_) => take_turn(&self.caller),
            None => Ok(()),
        }
    }
}

/// Takes the turn of one message.
pub fn take_turn(caller: &Caller) -> Result<(), Answer> {
    match caller.take_turn(Instant::now()) {
        Quota::Unlimited | Quota::Taken { .. } => Ok(()),
        Quota::Wait { rate, wait } => {
            limited!(info, key = caller.key_id(), "a key is over its rate");
            Err(Answer::too_many("this key is over its rate of messages", wait).by_rate("messages", rate, wait))
        }
    }
}

/// A header that is there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case(BEARER).then_some(token.trim_start_matches(' '))
}

/// Who claims to have signed what.
fn claim(headers: &HeaderMap) -> Option<(&str, Claim<'_>)> {
    let claim = Claim {
        id: one(headers, &SIGNED_ID)?,
        timestamp: one(headers, &SIGNED_AT)?,
        signatures: one(headers, &SIGNATURE)?,
    };
    Some((one(headers, &KEY_ID)?, claim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_where_is_one_table() {
        use Side::{Only, Operators, Public};
        let of = |access: Access, method| [Only, Public, Operators].map(|address| access.need(&method, address));
        let [nothing, other] = [Need::Nothing, Need::OtherAddress];
        let [ingest, read, operate] = [Scope::Ingest, Scope::Read, Scope::Operate].map(Need::Key);
        for (access, method, expected) in [
            (Access::Open, Method::GET, [nothing, nothing, nothing]),
            (Access::Messages, Method::POST, [ingest, ingest, ingest]),
            (Access::Knowledge, Method::GET, [read, read, read]),
            (Access::Knowledge, Method::HEAD, [read, read, read]),
            (Access::Knowledge, Method::POST, [operate, other, operate]),
            (Access::Knowledge, Method::DELETE, [operate, other, operate]),
            (Access::Metrics, Method::GET, [read, other, nothing]),
        ] {
            assert_eq!(of(access, method.clone()), expected, "{access:?} {method}");
        }
    }

    #[test]
    fn a_token_is_said_once_and_as_a_bearer_s() {
        for (text, expected) in [
            ("Bearer rkt_a_b", Some("rkt_a_b")),
            ("bearer  rkt_a_b", Some("rkt_a_b")),
            ("Basic rkt_a_b", None),
            ("rkt_a_b", None),
            ("", None),
        ] {
            assert_eq!(bearer(text), expected, "{text}");
        }
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, "Bearer a".parse().unwrap());
        assert_eq!(one(&headers, &AUTHORIZATION), Some("Bearer a"));
        headers.append(AUTHORIZATION, "Bearer b".parse().unwrap());
        assert_eq!(one(&headers, &AUTHORIZATION), None);
    }
}
