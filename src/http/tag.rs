//! The name of what an answer says, by which a client can ask whether it is still so: an `ETag`. A weak one, because no two
//! answers are the same bytes: each has its request's id, and what is packed is other bytes again.

use headers::{ETag, HeaderMapExt as _, IfNoneMatch};
use warp::http::HeaderMap;
use warp::http::header::HeaderValue;

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// What this names, of visible ASCII characters without quotes.
    pub fn new(name: &str) -> Self {
        Self(format!("W/\"{name}\""))
    }

    /// Whether a request says that the client has it already. A header that cannot be read says nothing.
    pub fn is_had_by(&self, headers: &HeaderMap) -> bool {
        let (had, tag) = (headers.typed_get::<IfNoneMatch>(), self.0.parse::<ETag>());
        had.zip(tag.ok()).is_some_and(|(had, tag)| !had.precondition_passes(&tag))
    }

    pub(super) fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("W/\"\""))
    }
}

#[cfg(test)]
mod tests {
    use warp::http::header::IF_NONE_MATCH;

    use super::*;

    #[test]
    fn a_client_has_what_it_names() {
        let tag = Tag::new("18c1-7");
        assert_eq!(tag.to_header(), "W/\"18c1-7\"");
        for (value, expected) in [
            ("W/\"18c1-7\"", true),
            ("\"18c1-7\"", true),
            ("\"a\", W/\"18c1-7\"", true),
            ("*", true),
            ("W/\"18c1-8\"", false),
            ("18c1-7", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(value))]);
            assert_eq!(tag.is_had_by(&headers), expected, "{value}");
        }
        assert!(!tag.is_had_by(&HeaderMap::new()));
    }
}
