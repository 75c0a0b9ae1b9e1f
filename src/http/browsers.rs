//! What a browser may be made to do by a page that is not ours, and what it is told about what it gets.
//!
//! A page anywhere can have a browser send a plain `POST`, without asking first, also to this machine. Browsers say where a
//! request comes from; whoever is none says nothing and passes. And a name that its owner points at 127.0.0.1 makes a page of
//! theirs one of this host: so here, only the names of this machine are answered to.

use std::sync::Arc;

use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, StatusCode, Version};

use super::{Answer, Cors};

/// Where a browser says that a request comes from.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The names of this machine.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Whose requests are answered.
#[derive(Clone)]
pub struct Guard {
    /// Which pages of other origins may call.
    pub cors: Cors,
    /// The names that are answered to; any where there are none.
    hosts: Option<Arc<[String]>>,
}

impl Guard {
    /// One for an address that only this machine reaches, or for another one; with names that a proxy in front passes on.
    pub fn new(cors: Cors, is_loopback: bool, hosts: &[String]) -> Self {
        let local = LOCAL_HOSTS.iter().map(|host| (*host).to_owned());
        let hosts = is_loopback.then(|| local.chain(hosts.iter().cloned()).collect());
        Self { cors, hosts }
    }

    /// The answer to a request that goes no further.
    pub fn refusal<B>(&self, request: &Request<B>) -> Option<Answer> {
        let headers = request.headers();
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() || host.is_none() && request.version() == Version::HTTP_11 {
            return Some(Answer::bad_request("Host: must be given, once"));
        }
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
        if self.hosts.as_ref().is_some_and(|hosts| !host.is_empty() && !is_listed(hosts, &host)) {
            return Some(Answer::forbidden("Host: is not the name of this machine (http.hosts)"));
        }
        let is_write = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        (is_write && self.is_foreign(request, &host))
            .then(|| Answer::forbidden("a page of another origin may not do this (http.cors_origins)"))
    }

    /// Whether a browser says that a page of another origin has it ask.
    fn is_foreign<B>(&self, request: &Request<B>, host: &str) -> bool {
        if self.cors.origin_of(request).is_some() {
            return false;
        }
        let headers = request.headers();
        let is_cross_site = headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "cross-site");
        is_cross_site || headers.get(ORIGIN).is_some_and(|origin| !is_of_host(origin, host))
    }
}

fn is_listed(hosts: &[String], host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    hosts.iter().any(|known| known == host || known == without_port)
}

fn is_of_host(origin: &HeaderValue, host: &str) -> bool {
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    authority.is_some_and(|(_, authority)| authority == host)
}

/// Says what a browser may make of an answer, where that has not been said.
pub fn put_headers(status: StatusCode, headers: &mut HeaderMap) {
    let has = |headers: &HeaderMap, name| headers.contains_key(&name);
    let kept = if has(headers, ETAG) { "no-cache" } else { "no-store" };
    let said = [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (REFERRER_POLICY, "no-referrer"), (CACHE_CONTROL, kept)];
    // What a browser has of a page keeps the policy that it came with.
    let policy = (status != StatusCode::NOT_MODIFIED)
        .then_some((CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"));
    for (name, value) in said.into_iter().chain(policy) {
        if !has(headers, name.clone()) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(guard: &Guard, method: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let request = Request::builder().method(method);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Some(guard.refusal(&request.body(()).unwrap())?.status().as_u16())
    }

    #[test]
    fn a_page_of_another_origin_may_not_write() {
        let guard = Guard::new(Cors::new(&["https://a.example".into()]), false, &[]);
        for (method, headers, expected) in [
            ("POST", &[][..], None),
            ("POST", &[("sec-fetch-site", "cross-site")], Some(403)),
            ("DELETE", &[("sec-fetch-site", "cross-site")], Some(403)),
            ("GET", &[("sec-fetch-site", "cross-site")], None),
            ("POST", &[("sec-fetch-site", "same-origin"), ("origin", "http://rockets.example:8088")], None),
            ("POST", &[("origin", "https://rockets.example:8088")], None),
            ("POST", &[("origin", "http://rockets.example")], Some(403)),
            ("POST", &[("origin", "https://b.example")], Some(403)),
            ("POST", &[("origin", "null")], Some(403)),
            ("POST", &[("sec-fetch-site", "cross-site"), ("origin", "https://a.example")], None),
        ] {
            let headers = [&[("host", "Rockets.example:8088")], headers].concat();
            assert_eq!(status(&guard, method, &headers), expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn only_the_names_of_this_machine_are_answered_to_on_it() {
        let here = Guard::new(Cors::default(), true, &["rockets.example".into()]);
        let anywhere = Guard::new(Cors::default(), false, &[]);
        for (host, expected) in [
            ("localhost", None),
            ("LOCALHOST:8088", None),
            ("127.0.0.1:8088", None),
            ("[::1]", None),
            ("[::1]:8088", None),
            ("rockets.example", None),
            ("rockets.example:443", None),
            ("evil.example", Some(403)),
            ("localhost.evil.example", Some(403)),
            ("127.0.0.1.evil.example:8088", Some(403)),
            ("evil.example:localhost", Some(403)),
        ] {
            assert_eq!(status(&here, "GET", &[("host", host)]), expected, "{host}");
            assert_eq!(status(&anywhere, "GET", &[("host", host)]), None, "{host}");
        }
    }

    #[test]
    fn a_host_is_given_once() {
        let guard = Guard::new(Cors::default(), false, &[]);
        assert_eq!(status(&guard, "GET", &[]), Some(400));
        assert_eq!(status(&guard, "GET", &[("host", "a"), ("host", "a")]), Some(400));
        let old = Request::builder().version(Version::HTTP_10).body(()).unwrap();
        assert!(guard.refusal(&old).is_none());
    }

    #[test]
    fn what_was_said_stays() {
        let mut page = HeaderMap::new();
        page.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'"));
        page.insert(ETAG, HeaderValue::from_static("\"1\""));
        put_headers(StatusCode::OK, &mut page);
        assert!(page[CONTENT_SECURITY_POLICY] == "default-src 'self'" && page[CACHE_CONTROL] == "no-cache");
        let mut kept = HeaderMap::new();
        put_headers(StatusCode::NOT_MODIFIED, &mut kept);
        assert!(!kept.contains_key(CONTENT_SECURITY_POLICY) && kept[X_CONTENT_TYPE_OPTIONS] == "nosniff");
        assert_eq!(kept[CACHE_CONTROL], "no-store");
    }
}
