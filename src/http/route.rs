//! Routes: a path with at most one parameter, the methods that it has, and the handler that answers.
//!
//! A handler is an async function of a role's state and the [`Request`]. It may end early with the answer as its error, so
//! that `?` does what is expected of it.

use std::future::ready;
use std::pin::Pin;

use bytes::{Buf, Bytes};
use futures_util::{Stream, TryStreamExt as _};
use percent_encoding::percent_decode_str;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, Method};
use warp::path::FullPath;
use warp::{Filter, Rejection};

use super::asker::Asker;
use super::body::{BodyBounds, Received};
use super::door::{Access, Admitted, Door};
use super::{Answer, RequestId, body};
use crate::auth::Caller;
use crate::traces::Trace;

/// Some routes of one role.
#[derive(Clone)]
pub struct Routes {
    /// Answers a request, or says that none of them has its path.
    pub filter: BoxedFilter<(Answer,)>,
    /// Their patterns.
    pub patterns: Vec<&'static str>,
}

/// What a handler is given of a request.
pub struct Request {
    /// One of those that the route has.
    pub method: Method,
    /// What stands in the path in the place of the pattern's `:`, decoded; empty where it has none.
    pub parameter: String,
    /// Whether the path ends in a slash, which means something to nothing but relative addresses.
    pub is_folder: bool,
    /// The query string without its question mark; empty where there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// What the request is called in answers and logs.
    pub id: RequestId,
    /// What the request causes is a part of this.
    pub trace: Trace,
    /// Whether anybody still waits for the answer.
    pub asker: Asker,
    door: Door,
    admitted: Admitted,
    chunks: Chunks,
}

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

impl Request {
    /// The body, unpacked, at most so many bytes, or the answer to give instead.
    ///
    /// A signature is checked over what was sent, and there is no body of one that is wrong.
    pub async fn body(&mut self, bytes_max: usize) -> Result<Bytes, Answer> {
        let received = self.one_or_list(BodyBounds { one: bytes_max, list: bytes_max }).await?;
        Ok(received.bytes)
    }

    /// The same of a body that may be a list.
    pub async fn one_or_list(&mut self, bounds: BodyBounds) -> Result<Received, Answer> {
        let Self { headers, chunks, admitted, .. } = self;
        let seen = chunks.inspect_ok(|chunk| admitted.see(chunk));
        let received = body::read(headers, seen, bounds).await?;
        self.admitted.prove()?;
        Ok(received)
    }

    /// Who asks. Of one who signs this is known to be true once the body was read.
    pub fn caller(&self) -> &Caller {
        &self.admitted.caller
    }

    /// Lets it in, or answers why not.
    fn admit(mut self, access: Access) -> Result<Self, Answer> {
        self.admitted = self.door.admit(access, &self.method, &self.headers)?;
        Ok(self)
    }
}

/// A route that only reads.
pub fn get<S, H, F>(path: &'static str, access: Access, state: &S, handler: H) -> Routes
where
    S: Clone + Send + Sync + 'static,
    H: Fn(S, Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Answer, Answer>> + Send + 'static,
{
    route("GET, HEAD", path, access, state, handler)
}

/// A route with these methods, at the paths of a pattern such as `rockets/:/history`, in which `:` is any one segment,
/// for those who may.
pub fn route<S, H, F>(methods: &'static str, path: &'static str, access: Access, state: &S, handler: H) -> Routes
where
    S: Clone + Send + Sync + 'static,
    H: Fn(S, Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Answer, Answer>> + Send + 'static,
{
    let state = state.clone();
    let answered = request(path).then(move |request: Request| {
        let has_method = methods.split(", ").any(|method| request.method == method);
        let (asker, is_read) = (request.asker.clone(), matches!(request.method, Method::GET | Method::HEAD));
        let admitted = if has_method { request.admit(access) } else { Err(Answer::method_not_allowed(methods)) };
        // On the heap: what is done for a request may be large, and a thread that serves many has one stack of 2 MiB for it.
        let handled = admitted.map(|request| Box::pin(handler(state.clone(), request)));
        async move {
            let answered = match handled {
                // What only reads is not read on for one who has left; what changes something comes to its end.
                Ok(handled) if is_read => asker.while_there(handled).await.unwrap_or_else(|| Err(Answer::nobody())),
                Ok(handled) => handled.await,
                Err(answer) => Err(answer),
            };
            answered.unwrap_or_else(|answer| answer).of_route(path)
        }
    });
    Routes { filter: answered.boxed(), patterns: vec![path] }
}

/// Several routes as one; the first that has the path answers.
pub fn any(routes: impl IntoIterator<Item = Routes>) -> Routes {
    let nothing = || warp::any().and_then(|| ready(Err(warp::reject::not_found()))).boxed();
    let (filters, patterns): (Vec<_>, Vec<_>) =
        routes.into_iter().map(|Routes { filter, patterns }| (filter, patterns)).unzip();
    let filter = filters.into_iter().reduce(|first, second| first.or(second).unify().boxed());
    Routes { filter: filter.unwrap_or_else(nothing), patterns: patterns.concat() }
}

fn request(pattern: &'static str) -> impl Filter<Extract = (Request,), Error = Rejection> + Clone {
    let path = warp::path::full().and_then(move |path: FullPath| {
        let parameter = parameter(pattern, path.as_str()).map(decoded);
        let is_folder = path.as_str().ends_with('/');
        ready(parameter.map(|parameter| (parameter, is_folder)).ok_or_else(warp::reject::not_found))
    });
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let head = warp::method().and(query).and(warp::header::headers_cloned());
    let extensions = warp::ext::get().and(warp::ext::optional::<Trace>()).and(warp::ext::get()).and(warp::ext::get());
    let rest = head.and(extensions).and(warp::body::stream());
    let request =
        |(parameter, is_folder), method, query, headers, id, trace: Option<Trace>, asker, door, chunks| Request {
            method,
            parameter,
            is_folder,
            query,
            headers,
            id,
            trace: trace.unwrap_or_default(),
            asker,
            door,
            admitted: Admitted::default(),
            chunks: in_bytes(chunks),
        };
    path.and(rest).map(request)
}

/// The segment of a path that stands in the place of the pattern's `:`, empty where it has none; nothing where the path is
/// another one. A slash at the end means nothing.
fn parameter<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let path = path.strip_prefix('/')?;
    let mut segments = path.strip_suffix('/').unwrap_or(path).split('/');
    let mut parameter = "";
    for expected in pattern.split('/') {
        match segments.next()? {
            segment if expected == ":" && !segment.is_empty() => parameter = segment,
            segment if percent_decode_str(segment).eq(expected.bytes()) => {}
            _ => return None,
        }
    }
    segments.next().is_none().then_some(parameter)
}

fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

fn in_bytes<B: Buf>(chunks: impl Stream<Item = Result<B, warp::Error>> + Send + 'static) -> Chunks {
    Box::pin(chunks.map_ok(|mut chunk| chunk.copy_to_bytes(chunk.remaining())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_pattern_s() {
        for (pattern, path, expected) in [
            ("rockets", "/rockets", Some("")),
            ("rockets", "/rockets/", Some("")),
            ("", "/", Some("")),
            ("", "/rockets", None),
            ("rockets", "/rockets//", None),
            ("rockets", "//rockets", None),
            ("rockets", "/rocket", None),
            ("rockets", "/", None),
            ("rockets", "/rockets/a", None),
            ("rockets/:", "/rockets/a", Some("a")),
            ("rockets/:", "/%72ocket%73/a", Some("a")),
            ("rockets/:", "/rockets%2Fa", None),
            ("rockets/:", "/rockets/a/", Some("a")),
            ("rockets/:", "/rockets/", None),
            ("rockets/:", "/rockets", None),
            ("rockets/:", "/rockets//", None),
            ("rockets/:", "/rockets/:", Some(":")),
            ("rockets/:", "/rockets/a/history", None),
            ("rockets/:/history", "/rockets/a%2Fb/history", Some("a%2Fb")),
            ("rockets/:/history", "/rockets/a", None),
            ("rockets/:/history", "/rockets//history", None),
        ] {
            assert_eq!(parameter(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_parameter_is_decoded() {
        assert_eq!([decoded("a%2Db%C3%A9"), decoded("100%"), decoded("%FF")], ["a-bé", "100%", "\u{FFFD}"]);
    }
}
