//! Routes: a path with at most one parameter, the methods that it has, and the handler that answers.
//!
//! A handler is an async function of a role's state and the [`Request`]. It may end early with the answer as its error, so
//! that `?` does what is expected of it.

use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::{Stream, TryStreamExt as _};
use percent_encoding::percent_decode_str;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, Method, Uri};

use super::asker::Asker;
use super::body::{BodyBounds, Received};
use super::door::{Access, Admitted, Door};
use super::{Answer, RequestId, body};
use crate::auth::Caller;
use crate::traces::Trace;

/// Some routes, of which the first that has the path answers.
#[derive(Clone, Default)]
pub struct Routes(Vec<Route>);

#[derive(Clone)]
struct Route {
    pattern: &'static str,
    handler: Handler,
}

type Handler = Arc<dyn Fn(Request) -> Answering + Send + Sync>;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What a request is, but for its body.
pub struct Head {
    /// One of those that the route has, once it has come to a handler.
    pub method: Method,
    /// What is asked for.
    pub uri: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// What the request is called in answers and logs.
    pub id: RequestId,
    /// What the request causes is a part of this.
    pub trace: Trace,
    /// Whether anybody still waits for the answer.
    pub asker: Asker,
    /// What lets it in.
    pub door: Door,
}

/// What a handler is given of a request.
pub struct Request {
    /// All but the body.
    pub head: Arc<Head>,
    /// What stands in the path in the place of the pattern's `:`, decoded; empty where it has none.
    pub parameter: String,
    admitted: Admitted,
    chunks: Chunks,
}

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

impl Request {
    /// The query string without its question mark; empty where there is none.
    pub fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// Whether the path ends in a slash, which means something to nothing but relative addresses.
    pub fn is_folder(&self) -> bool {
        self.head.uri.path().ends_with('/')
    }

    /// The body, unpacked, at most so many bytes, or the answer to give instead.
    ///
    /// A signature is checked over what was sent, and there is no body of one that is wrong.
    pub async fn body(&mut self, bytes_max: usize) -> Result<Bytes, Answer> {
        let received = self.one_or_list(BodyBounds { one: bytes_max, list: bytes_max }).await?;
        Ok(received.bytes)
    }

    /// The same of a body that may be a list.
    pub async fn one_or_list(&mut self, bounds: BodyBounds) -> Result<Received, Answer> {
        let Self { head, chunks, admitted, .. } = self;
        let seen = chunks.inspect_ok(|chunk| admitted.see(chunk));
        let received = body::read(&head.headers, seen, bounds).await?;
        self.admitted.prove()?;
        Ok(received)
    }

    /// Who asks. Of one who signs this is known to be true once the body was read.
    pub fn caller(&self) -> &Caller {
        &self.admitted.caller
    }

    /// Lets it in, or answers why not.
    fn admit(mut self, methods: &'static str, access: Access) -> Result<Self, Answer> {
        let Head { method, headers, door, .. } = &*self.head;
        match methods.split(", ").any(|of_route| *method == of_route) {
            true => self.admitted = door.admit(access, method, headers)?,
            false => return Err(Answer::method_not_allowed(methods)),
        }
        Ok(self)
    }
}

/// A route that only reads.
pub fn get<S, H, F>(path: &'static str, access: Access, state: &S, handler: H) -> Routes
where
    S: Clone + Send + Sync + 'static,
    H: Fn(S, Request) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Answer, Answer>> + Send + 'static,
{
    route("GET, HEAD", path, access, state, handler)
}

/// A route with these methods, at the paths of a pattern such as `rockets/:/history`, in which `:` is any one segment,
/// for those who may.
pub fn route<S, H, F>(methods: &'static str, pattern: &'static str, access: Access, state: &S, handler: H) -> Routes
where
    S: Clone + Send + Sync + 'static,
    H: Fn(S, Request) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Answer, Answer>> + Send + 'static,
{
    let state = state.clone();
    let handler = move |request: Request| -> Answering {
        let (head, admitted) = (request.head.clone(), request.admit(methods, access));
        // On the heap, and not moved any more: what is done for a request may be large.
        let handled = admitted.map(|request| Box::pin(handler(state.clone(), request)));
        Box::pin(async move {
            let answered = match handled {
                // What only reads is not read on for one who has left; what changes something comes to its end.
                Ok(handled) if matches!(head.method, Method::GET | Method::HEAD) => {
                    head.asker.while_there(handled).await.unwrap_or_else(|| Err(Answer::nobody()))
                }
                Ok(handled) => handled.await,
                Err(answer) => Err(answer),
            };
            answered.unwrap_or_else(|answer| answer).of_route(pattern)
        })
    };
    Routes(vec![Route { pattern, handler: Arc::new(handler) }])
}

/// Several routes as one.
pub fn any(routes: impl IntoIterator<Item = Routes>) -> Routes {
    Routes(routes.into_iter().flat_map(|Routes(routes)| routes).collect())
}

impl Routes {
    /// Their patterns.
    pub fn patterns(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|route| route.pattern)
    }

    /// What answers a request that brings its [`Head`] as an extension: one filter, since of a chain of them each would cost a
    /// request something, also where the first one has the path.
    pub fn filter(&self) -> BoxedFilter<(Answer,)> {
        let routes = Arc::new(self.clone());
        let request = warp::ext::get().and(warp::body::stream());
        request.then(move |head, chunks| routes.clone().answer(head, in_bytes(chunks))).boxed()
    }

    async fn answer(self: Arc<Self>, head: Arc<Head>, chunks: Chunks) -> Answer {
        let Some((route, parameter)) = self.find(head.uri.path()) else { return Answer::not_found("path") };
        let parameter = decoded(parameter);
        (route.handler)(Request { head, parameter, admitted: Admitted::default(), chunks }).await
    }

    /// The route that has this path, and what stands there in the place of the pattern's `:`.
    fn find<'a>(&self, path: &'a str) -> Option<(&Route, &'a str)> {
        self.0.iter().find_map(|route| Some((route, parameter(route.pattern, path)?)))
    }
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
