//! A file that is part of the program, answered as it is and not in the envelope: with a tag of its bytes, so that a browser
//! that has it is told so, and with what a browser may do with it.

use std::sync::Arc;

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
    bytes: Bytes,
    content_type: &'static str,
    policy: &'static str,
    tag: Tag,
}

/// Some files that belong together, by their names.
#[derive(Clone, Debug)]
pub struct Files(Arc<[(&'static str, File)]>);

impl Files {
    /// The one of this name, or that the client has it, or that there is none.
    pub fn answer(&self, name: &str, request: &HeaderMap) -> Answer {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map_or_else(|| Answer::not_found("path"), |(_, file)| file.answer(request))
    }
}

impl FromIterator<(&'static str, File)> for Files {
    fn from_iter<I: IntoIterator<Item = (&'static str, File)>>(files: I) -> Self {
        Self(files.into_iter().collect())
    }
}

impl File {
    /// A file of this name, under this Content-Security-Policy.
    pub fn new(name: &str, bytes: impl Into<Bytes>, policy: &'static str) -> Self {
        let bytes = bytes.into();
        let digest = Sha256::digest(&bytes);
        let tag: String = digest.iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Self { bytes, content_type: content_type(name), policy, tag: Tag::new(&tag) }
    }

    /// The file, or that the client has it.
    pub fn answer(&self, request: &HeaderMap) -> Answer {
        match self.tag.is_had_by(request) {
            true => Answer::not_modified(self.tag.clone()),
            false => Answer::file(self.clone()).tagged(self.tag.clone()),
        }
    }

    pub(super) fn into_body(self) -> Bytes {
        self.bytes
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

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "json")) => "application/json",
        Some((_, "svg")) => "image/svg+xml",
        Some((_, "png")) => "image/png",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use warp::http::header::IF_NONE_MATCH;

    use super::*;

    #[test]
    fn a_client_that_has_these_bytes_is_told_so() {
        let files = ["a", "b"].map(|text| File::new("a.css", text, "default-src 'none'"));
        let had = HeaderMap::from_iter([(IF_NONE_MATCH, files[0].tag.to_header())]);
        let status = |file: &File, request: &HeaderMap| file.answer(request).status().as_u16();
        assert_eq!(files.each_ref().map(|file| status(file, &had)), [304, 200]);
        assert_eq!(files.each_ref().map(|file| status(file, &HeaderMap::new())), [200, 200]);
    }
}
