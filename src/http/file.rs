//! A file that is part of the program, answered as it is and not in the envelope: with a strong tag of its bytes, so that a
//! browser that has it is told so, and with what a browser may do with it.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};

use super::{Answer, Tag};

/// Bytes of the digest that a tag is made of.
const TAG_BYTES: usize = 16;

/// A file.
#[derive(Clone, Debug)]
pub struct File {
    bytes: &'static [u8],
    content_type: &'static str,
    policy: &'static str,
    tag: Tag,
}

impl File {
    /// A file of this type, under this Content-Security-Policy.
    pub fn new(bytes: &'static [u8], content_type: &'static str, policy: &'static str) -> Self {
        let digest = Sha256::digest(bytes);
        let name: String = digest.iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Self { bytes, content_type, policy, tag: Tag::of_bytes(&name) }
    }

    /// The file, or that the client has it.
    pub fn answer(&self, request: &HeaderMap) -> Answer {
        match self.tag.is_had_by(request) {
            true => Answer::not_modified(self.tag.clone()),
            false => Answer::file(self.clone()).tagged(self.tag.clone()),
        }
    }

    pub(super) fn into_body(self) -> Bytes {
        Bytes::from_static(self.bytes)
    }

    pub(super) fn put_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in [
            (CONTENT_TYPE, self.content_type),
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, self.policy),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use warp::http::header::IF_NONE_MATCH;

    use super::*;

    #[test]
    fn a_client_that_has_these_bytes_is_told_so() {
        let files = [b"a", b"b"].map(|bytes| File::new(bytes, "text/plain", "default-src 'none'"));
        let had = HeaderMap::from_iter([(IF_NONE_MATCH, files[0].tag.to_header())]);
        let status = |file: &File, request: &HeaderMap| file.answer(request).status().as_u16();
        assert_eq!(files.each_ref().map(|file| status(file, &had)), [304, 200]);
        assert_eq!(files.each_ref().map(|file| status(file, &HeaderMap::new())), [200, 200]);
    }
}
