//! Which pages of other origins may call from a browser: those that `http.cors_origins` lists, and none unless it does.
//!
//! A browser asks first where a request is more than a plain one (a preflight), and shows a page the answer only if that says
//! so. Nothing here keeps out whoever is no browser.

use std::sync::Arc;

use http_body_util::{Either, Full};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue,
    ORIGIN, VARY,
};
use hyper::{Method, Request, Response, StatusCode};

use super::RequestId;
use super::pieces::Body;

/// How long a browser need not ask again, in seconds.
const MAX_AGE: &str = "600";
const METHODS: &str = "GET, HEAD, POST, DELETE";
/// Headers that a page may send.
const HEADERS: &str = "authorization, content-type, if-none-match, last-event-id, request-id, traceparent, tracestate";
/// Headers that a page may read beside the plain ones.
const EXPOSED: &str = "allow, etag, ratelimit, ratelimit-policy, request-id, retry-after, www-authenticate";

/// The origins that may call.
#[derive(Clone, Debug, Default)]
pub struct Cors(Arc<[String]>);

impl Cors {
    /// These origins, each `scheme://host` or `scheme://host:port`.
    pub fn new(origins: &[String]) -> Self {
        Self(origins.into())
    }

    /// The origin that a request names, if it may call.
    pub fn origin_of<B>(&self, request: &Request<B>) -> Option<HeaderValue> {
        let origin = request.headers().get(ORIGIN)?;
        self.0.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
    }

    /// The answer to a preflight of an origin that may call.
    pub fn preflight<B>(&self, request: &Request<B>, request_id: &RequestId) -> Option<Response<Body>> {
        let asks = request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        self.origin_of(request).filter(|_| asks)?;
        let mut response = Response::new(Either::Left(Full::default()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
            (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response.headers_mut().insert(RequestId::HEADER, request_id.to_header());
        Some(response)
    }

    /// Says in an answer that a page of this origin may read it; where origins are listed at all, also that another one gets
    /// another answer.
    pub fn allow(&self, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
        if !self.0.is_empty() {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, origin: Option<&str>, asks: bool) -> Request<()> {
        let mut request = Request::builder().method(method);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        if asks {
            request = request.header(ACCESS_CONTROL_REQUEST_METHOD, "POST");
        }
        request.body(()).unwrap()
    }

    #[test]
    fn only_listed_origins_may_call() {
        let cors = Cors::new(&["https://a.example".into()]);
        for (origin, expected) in [
            (None, false),
            (Some("https://a.example"), true),
            (Some("https://a.example:443"), false),
            (Some("http://a.example"), false),
            (Some("https://a.example.b"), false),
            (Some("null"), false),
        ] {
            let request = request(Method::GET, origin, false);
            let (allowed, mut headers) = (cors.origin_of(&request), HeaderMap::new());
            cors.allow(allowed, &mut headers);
            let said = headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(HeaderValue::as_bytes);
            assert_eq!(said, origin.filter(|_| expected).map(str::as_bytes), "{origin:?}");
            assert_eq!(headers[VARY], "origin", "{origin:?}");
            assert!(Cors::default().origin_of(&request).is_none());
        }
    }

    #[test]
    fn a_preflight_is_answered_where_it_is_one() {
        let (cors, id) = (Cors::new(&["https://a.example".into()]), RequestId::of(&HeaderMap::new()));
        let is_answered = |method, origin, asks| cors.preflight(&request(method, origin, asks), &id).is_some();
        assert!(is_answered(Method::OPTIONS, Some("https://a.example"), true));
        assert!(!is_answered(Method::OPTIONS, Some("https://b.example"), true));
        assert!(!is_answered(Method::OPTIONS, Some("https://a.example"), false));
        assert!(!is_answered(Method::POST, Some("https://a.example"), true));
    }
}
