//! The id of a request: brought by the client or made here, and then in every line that the request causes.

use std::sync::Arc;

use warp::http::{HeaderMap, HeaderValue};

/// An id of 1 to 128 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The header that brings it and takes it back.
    pub const HEADER: &'static str = "request-id";
    const LEN_MAX: usize = 128;

    /// The id that the request brought, or a new one where it brought none that can be used.
    pub fn of(headers: &HeaderMap) -> Self {
        let brought = headers.get(Self::HEADER).and_then(|value| value.to_str().ok());
        let usable =
            |id: &&str| (1..=Self::LEN_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        Self(brought.filter(usable).map_or_else(new, Arc::from))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn to_header(&self) -> HeaderValue {
        // Visible ASCII is always a header's value.
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("-"))
    }
}

fn new() -> Arc<str> {
    let mut buffer = uuid::Uuid::encode_buffer();
    Arc::from(&*uuid::Uuid::new_v4().hyphenated().encode_lower(&mut buffer))
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &[u8]) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(RequestId::HEADER, HeaderValue::from_bytes(value).unwrap());
        RequestId::of(&headers)
    }

    #[test]
    fn an_id_that_can_be_used_is_kept() {
        for id in ["x", "my-request_7.~!", &"a".repeat(128)] {
            assert_eq!(of(id.as_bytes()).as_str(), id);
        }
    }

    #[test]
    fn any_other_is_replaced_by_a_new_one() {
        for value in [&b""[..], b"two words", b"tab\there", "é".as_bytes(), "a".repeat(129).as_bytes()] {
            let id = of(value);
            assert!(uuid::Uuid::parse_str(id.as_str()).is_ok(), "{id}");
        }
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }
}
