//! A file that is part of the program, answered as it is and not in the envelope: with a strong tag of its bytes, so that a
//! browser that has it is told so, and with what a browser may do with it.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use warp::http::{Response, StatusCode};

use super::{Answer, RequestId};

/// Bytes of the digest that a tag is made of.
const TAG_BYTES: usize = 16;

/// A file.
#[derive(Clone, Debug)]
pub struct File {
    bytes: &'static [u8],
    content_type: &'static str,
    policy: &'static str,
    tag: String,
}

impl File {
    /// A file of this type, under this Content-Security-Policy.
    pub fn new(bytes: &'static [u8], content_type: &'static str, policy: &'static str) -> Self {
        let digest = Sha256::digest(bytes);
        let hex: String = digest.iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Self { bytes, content_type, policy, tag: format!("\"{hex}\"") }
    }

    /// The file, or that the client has it.
    pub fn answer(&self, request: &HeaderMap) -> Answer {
        let had = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut tags = had.flat_map(|value| value.split(',')).map(str::trim);
        // A proxy that packs makes the tag a weak one, and the file is the same all the same.
        let is_had = tags.any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.tag);
        if is_had { Answer::file_not_modified(self.clone()) } else { Answer::file(self.clone()) }
    }

    pub(super) fn into_response<B: From<Bytes>>(&self, status: StatusCode, request_id: &RequestId) -> Response<B> {
        let body = if status == StatusCode::NOT_MODIFIED { &[] } else { self.bytes };
        let mut response = Response::new(B::from(Bytes::from_static(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(RequestId::HEADER, request_id.to_header());
        headers.extend(HeaderValue::from_str(&self.tag).map(|tag| (ETAG, tag)));
        for (name, value) in [
            (CONTENT_TYPE, self.content_type),
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, self.policy),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> File {
        File::new(b"rockets", "text/plain", "default-src 'none'")
    }

    fn status(if_none_match: &'static str) -> u16 {
        let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(if_none_match))]);
        file().answer(&headers).status().as_u16()
    }

    #[test]
    fn a_client_that_has_it_is_told_so() {
        assert_eq!(file().answer(&HeaderMap::new()).status(), 200);
        let tag: &'static str = Box::leak(file().tag.into_boxed_str());
        let weak: &'static str = Box::leak(format!("\"a\", W/{tag}").into_boxed_str());
        assert_eq!([tag, weak, "*", "\"a\"", ""].map(status), [304, 304, 304, 200, 200]);
    }

    #[test]
    fn other_bytes_have_another_tag() {
        let tag = |bytes| File::new(bytes, "text/plain", "").tag;
        assert_ne!(tag(b"a"), tag(b"b"));
        assert_eq!(tag(b"a").len(), 2 * TAG_BYTES + 2);
    }

    #[test]
    fn a_body_goes_only_to_whom_has_it_not() {
        let length = |status| {
            let response: Response<Bytes> = file().into_response(status, &RequestId::of(&HeaderMap::new()));
            assert_eq!(response.headers()[CACHE_CONTROL], "no-cache");
            response.into_body().len()
        };
        assert_eq!([StatusCode::OK, StatusCode::NOT_MODIFIED].map(length), [7, 0]);
    }
}
