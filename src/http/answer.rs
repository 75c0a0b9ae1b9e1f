//! What a route answers, before the envelope: a status, and data or an error in words.
//!
//! The one place where errors meet HTTP. A 5xx says a fixed phrase outside; the cause is in the log.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use serde::Serialize;
use serde_json::value::RawValue;
use warp::http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use warp::http::{Response, StatusCode};

use super::events::Events;
use super::pieces::{Body, Pieces};
use super::{File, RequestId, Tag};
use crate::auth::turns::Rate;
use crate::metrics::http::NO_ROUTE;

/// How long a sender that got a 503 is asked to wait.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);
/// How often somebody may, and what is left of it.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a route answers.
#[derive(Clone, Debug)]
pub struct Answer {
    status: StatusCode,
    content: Content,
    next_cursor: Option<String>,
    trimmed_through: Option<u64>,
    revision: Option<String>,
    tag: Option<Tag>,
    /// The pattern of the route that answers.
    route: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Clone, Debug)]
enum Content {
    Data(Box<RawValue>),
    /// JSON that is written while it is taken.
    Pieces(Pieces),
    Error(String),
    /// An error, and what is to be known beside it.
    ErrorWith(String, Box<RawValue>),
    /// Nothing: whoever asked has it, or asks elsewhere.
    Nothing,
    Events(Events),
    /// What stands for itself, without the envelope: a type and a text.
    Plain(&'static str, String),
    /// A file as it is, without the envelope.
    File(File),
}

/// The envelope of every answer.
#[derive(Serialize)]
struct Envelope<'a> {
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trimmed_through: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
}

impl Answer {
    /// 200 with data.
    pub fn ok(data: &impl Serialize) -> Self {
        match serde_json::value::to_raw_value(data) {
            Ok(data) => Self::new(StatusCode::OK, Content::Data(data)),
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written as JSON");
                Self::internal_error()
            }
        }
    }

    /// 207: some of it was done, and what became of each part is said in the data.
    pub fn multi_status(data: &impl Serialize) -> Self {
        Self { status: StatusCode::MULTI_STATUS, ..Self::ok(data) }
    }

    /// 200 with a text of this type, without the envelope.
    pub fn plain(content_type: &'static str, text: String) -> Self {
        Self::new(StatusCode::OK, Content::Plain(content_type, text))
    }

    /// 200 with a page of a list, and the cursor of the next one if there is one.
    pub fn page(data: &impl Serialize, next_cursor: Option<String>) -> Self {
        Self { next_cursor, ..Self::ok(data) }
    }

    /// 200 with data that are written while they are taken: pieces of one JSON value.
    pub fn pieces(data: Pieces) -> Self {
        Self::new(StatusCode::OK, Content::Pieces(data))
    }

    /// The same of a list that begins behind this number, because what came before was trimmed.
    pub fn trimmed_through(self, number: Option<u64>) -> Self {
        Self { trimmed_through: number, ..self }
    }

    /// The same of a list with where it was read, from where on its changes can be followed.
    pub fn read_at(self, revision: String) -> Self {
        Self { revision: Some(revision), ..self }
    }

    /// The same with a name for what is said, by which a client can ask whether it is still so.
    pub fn tagged(self, tag: Tag) -> Self {
        Self { tag: Some(tag), ..self }
    }

    /// 304: the client has already what this names.
    pub fn not_modified(tag: Tag) -> Self {
        Self::new(StatusCode::NOT_MODIFIED, Content::Nothing).tagged(tag)
    }

    /// 308: it is at this address.
    pub fn moved(to: &'static str) -> Self {
        let answer = Self::new(StatusCode::PERMANENT_REDIRECT, Content::Nothing);
        answer.with_header(LOCATION, HeaderValue::from_static(to))
    }

    /// 200 with events that go on for ever.
    pub fn events(events: Events) -> Self {
        Self::new(StatusCode::OK, Content::Events(events))
    }

    /// 200 with a file.
    pub fn file(file: File) -> Self {
        Self::new(StatusCode::OK, Content::File(file))
    }

    /// 400: the request is wrong in itself; the text names the field.
    pub fn bad_request(problem: impl Into<String>) -> Self {
        Self::error(StatusCode::BAD_REQUEST, problem)
    }

    /// 401: whoever asks has no key that counts. Which of the reasons it is would only help those who guess.
    pub fn unauthorized() -> Self {
        let answer =
            Self::error(StatusCode::UNAUTHORIZED, "a key that counts is needed: Authorization: Bearer rkt_...");
        answer.with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 403: not for whoever asks.
    pub fn forbidden(problem: impl Into<String>) -> Self {
        Self::error(StatusCode::FORBIDDEN, problem)
    }

    /// 404.
    pub fn not_found(what: &str) -> Self {
        Self::error(StatusCode::NOT_FOUND, format!("{what} not found"))
    }

    /// 405 with the methods that there are.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let answer = Self::error(StatusCode::METHOD_NOT_ALLOWED, format!("method not allowed, use {allow}"));
        answer.with_header(ALLOW, HeaderValue::from_static(allow))
    }

    /// 408: the request did not come to its end in time.
    pub fn request_timeout() -> Self {
        Self::error(StatusCode::REQUEST_TIMEOUT, "the request took too long to arrive")
    }

    /// 408 to one who has left: it is only counted.
    pub fn nobody() -> Self {
        Self::error(StatusCode::REQUEST_TIMEOUT, "nobody waits for the answer")
    }

    /// 409: the request is right in itself, and things are not as it takes them to be.
    pub fn conflict(problem: impl Into<String>) -> Self {
        Self::error(StatusCode::CONFLICT, problem)
    }

    /// 410: it was there, and is no more.
    pub fn gone(problem: impl Into<String>) -> Self {
        Self::error(StatusCode::GONE, problem)
    }

    /// 413.
    pub fn too_large(bytes_max: usize) -> Self {
        Self::error(StatusCode::PAYLOAD_TOO_LARGE, format!("body: must be at most {bytes_max} bytes"))
    }

    /// 415: a body in a coding that is not read, and the one that is.
    pub fn unknown_coding(coding: &str) -> Self {
        let problem = format!("Content-Encoding: {coding:?} is not read, only gzip is");
        let answer = Self::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem);
        answer.with_header(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))
    }

    /// 429: too often, or too much; it may do after so long.
    pub fn too_many(problem: impl Into<String>, wait: Duration) -> Self {
        Self::error(StatusCode::TOO_MANY_REQUESTS, problem).with_header(RETRY_AFTER, in_seconds(wait).into())
    }

    /// The same by a policy of this name: none is left of this rate, and there is more after so long.
    pub fn by_rate(self, policy: &str, rate: Rate, wait: Duration) -> Self {
        let (times, period, seconds) = (rate.times, rate.period.as_secs(), in_seconds(wait));
        let text = |text: String| text.parse().unwrap_or(HeaderValue::from_static("-"));
        self.with_header(RATE_LIMIT, text(format!("\"{policy}\";r=0;t={seconds}")))
            .with_header(RATE_LIMIT_POLICY, text(format!("\"{policy}\";q={times};w={period}")))
    }

    /// 500: a mistake of ours.
    pub fn internal_error() -> Self {
        Self::error(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    }

    /// 503 with `Retry-After`: not now.
    pub fn unavailable(what: impl Into<String>) -> Self {
        let seconds = HeaderValue::from(RETRY_AFTER_DEFAULT.as_secs());
        Self::error(StatusCode::SERVICE_UNAVAILABLE, what).with_header(RETRY_AFTER, seconds)
    }

    /// The same with data beside the error.
    pub fn with_data(self, data: &impl Serialize) -> Self {
        let content = match (self.content, serde_json::value::to_raw_value(data)) {
            (Content::Error(problem) | Content::ErrorWith(problem, _), Ok(data)) => Content::ErrorWith(problem, data),
            (content, _) => content,
        };
        Self { content, ..self }
    }

    /// The same as the answer of the route with this pattern.
    pub(super) fn of_route(self, route: &'static str) -> Self {
        Self { route, ..self }
    }

    /// The pattern of the route that answers.
    pub(super) fn route(&self) -> &'static str {
        self.route
    }

    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The words of an error.
    pub fn problem(&self) -> Option<&str> {
        match &self.content {
            Content::Error(problem) | Content::ErrorWith(problem, _) => Some(problem),
            _ => None,
        }
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn error(status: StatusCode, problem: impl Into<String>) -> Self {
        Self::new(status, Content::Error(problem.into()))
    }

    fn new(status: StatusCode, content: Content) -> Self {
        let (next_cursor, trimmed_through, revision, tag) = (None, None, None, None);
        Self { status, content, next_cursor, trimmed_through, revision, tag, route: NO_ROUTE, headers: Vec::new() }
    }

    /// The whole answer: in its envelope, but for events and for what is not said again.
    pub fn into_response(self, request_id: &RequestId) -> Response<Body> {
        let mut response = Response::new(Either::Left(Full::default()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(RequestId::HEADER, request_id.to_header());
        headers.extend(self.tag.as_ref().map(|tag| (ETAG, tag.to_header())));
        headers.extend(self.headers.iter().cloned());
        match self.content {
            Content::Nothing => {}
            Content::Pieces(ref pieces) => {
                headers.insert(CONTENT_TYPE, JSON);
                let [head, tail] = self.around(request_id);
                *response.body_mut() = pieces.clone().into_body_between(head, tail);
            }
            Content::Events(events) => {
                Events::put_headers(headers);
                *response.body_mut() = events.into_body();
            }
            Content::Plain(content_type, text) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
                *response.body_mut() = Either::Left(Full::new(text.into()));
            }
            Content::File(file) => {
                file.put_headers(headers);
                *response.body_mut() = Either::Left(Full::new(file.into_body()));
            }
            _ => {
                headers.insert(CONTENT_TYPE, JSON);
                *response.body_mut() = Either::Left(Full::new(self.in_envelope(request_id)));
            }
        }
        response
    }

    /// The envelope before and behind data that are written while they are taken.
    fn around(&self, request_id: &RequestId) -> [Bytes; 2] {
        let mut head = self.in_envelope(request_id).to_vec();
        // The brace at its end comes behind the data.
        head.pop();
        head.extend_from_slice(b",\"data\":");
        [head.into(), Bytes::from_static(b"}")]
    }

    pub(super) fn in_envelope(&self, request_id: &RequestId) -> Bytes {
        let (data, error) = match &self.content {
            Content::Data(data) => (Some(&**data), None),
            Content::Error(problem) => (None, Some(problem.as_str())),
            Content::ErrorWith(problem, data) => (Some(&**data), Some(problem.as_str())),
            _ => (None, None),
        };
        let (request_id, trimmed_through) = (request_id.as_str(), self.trimmed_through);
        let (next_cursor, revision) = (self.next_cursor.as_deref(), self.revision.as_deref());
        let envelope = Envelope { request_id, data, error, next_cursor, trimmed_through, revision };
        // Strings and JSON that was written before: this cannot fail.
        serde_json::to_vec(&envelope).unwrap_or_default().into()
    }
}

/// Whole seconds after which so much time is over.
fn in_seconds(wait: Duration) -> u64 {
    wait.as_secs_f64().ceil().max(1.0) as u64
}

/// An answer travels through warp inside the extensions of an empty response; [`mod@super::serve`] unpacks it.
impl warp::Reply for Answer {
    fn into_response(self) -> warp::reply::Response {
        let mut response = warp::reply::Response::default();
        response.extensions_mut().insert(self);
        response
    }
}
