//! `/dead-letters`, `/dead-letters/{id}`, `/dead-letters/{id}/replay` and `/rockets/{channel}/skip`.

use std::time::Duration;

use bytes::Buf;
use futures_util::Stream;
use serde::Serialize;
use warp::Filter;
use warp::http::Method;

use super::list::ListRequest;
use super::replay::BODY_BYTES_MAX;
use super::{AdminError, Operations};
use crate::domain::{Channel, wire};
use crate::http::asker::Asker;
use crate::http::{Answer, RequestId, Routes, body, either, is_read};
use crate::logging::Limit;

/// How long a skip may take with its body and everything.
const SKIP_MAX: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Dropped {
    status: &'static str,
}

/// All routes of an operator.
pub fn routes(operations: &Operations) -> Routes {
    let of_dead_letters = either(list_route(operations.clone()), dead_letter_route(operations.clone()));
    let that_say = either(replay_route(operations.clone()), skip_route(operations.clone()));
    either(of_dead_letters, that_say)
}

fn list_route(operations: Operations) -> Routes {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::path!("dead-letters")
        .and(warp::method())
        .and(warp::ext::get::<RequestId>())
        .and(query)
        .then(move |method: Method, request_id: RequestId, query: String| {
            let operations = operations.clone();
            async move {
                if !is_read(&method) {
                    return Answer::method_not_allowed("GET, HEAD");
                }
                let request = match ListRequest::parse(&query) {
                    Ok(request) => request,
                    Err(problem) => return Answer::bad_request(problem.to_string()),
                };
                match operations.list(&request).await {
                    Ok(page) => Answer::page(&page.rows, page.next.and_then(|next| next.cursor())),
                    Err(error) => answer_to(error, &request_id),
                }
            }
        })
        .boxed()
}

fn dead_letter_route(operations: Operations) -> Routes {
    warp::path!("dead-letters" / String)
        .and(warp::method())
        .and(warp::ext::get::<RequestId>())
        .then(move |id: String, method: Method, request_id: RequestId| {
            let operations = operations.clone();
            async move {
                let is_delete = method == Method::DELETE;
                if !is_delete && !is_read(&method) {
                    return Answer::method_not_allowed("GET, HEAD, DELETE");
                }
                let done = async {
                    let id = dead_letter_id(&id)?;
                    if is_delete {
                        operations.drop_dead_letter(id, request_id.as_str()).await?;
                        return Ok(Answer::ok(&Dropped { status: "dropped" }));
                    }
                    Ok(Answer::ok(&operations.show(id).await?))
                };
                done.await.unwrap_or_else(|error| answer_to(error, &request_id))
            }
        })
        .boxed()
}

fn replay_route(operations: Operations) -> Routes {
    warp::path!("dead-letters" / String / "replay")
        .and(warp::method())
        .and(warp::ext::get::<RequestId>())
        .and(warp::body::stream())
        .then(move |id: String, method, request_id: RequestId, chunks| {
            let operations = operations.clone();
            async move {
                let answer = replay(&operations, &id, method, &request_id, chunks).await;
                answer.unwrap_or_else(|answer| answer)
            }
        })
        .boxed()
}

fn skip_route(operations: Operations) -> Routes {
    warp::path!("rockets" / String / "skip")
        .and(warp::method())
        .and(warp::ext::get::<RequestId>())
        .and(warp::body::stream())
        .and(warp::ext::get())
        .then(move |channel: String, method, request_id: RequestId, chunks, asker: Asker| {
            let operations = operations.clone();
            async move {
                let skipped = skip(&operations, &channel, method, &request_id, chunks);
                match asker.wait_for(SKIP_MAX, skipped).await {
                    Ok(answer) => answer.unwrap_or_else(|answer| answer),
                    Err(_) => Answer::unavailable("the skip was not stored in time, ask again"),
                }
            }
        })
        .boxed()
}

async fn replay<B: Buf>(
    operations: &Operations,
    id: &str,
    method: Method,
    request_id: &RequestId,
    chunks: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Answer, Answer> {
    if method != Method::POST {
        return Err(Answer::method_not_allowed("POST"));
    }
    let answer_to = |error| answer_to(error, request_id);
    let id = dead_letter_id(id).map_err(answer_to)?;
    let body = body::read(chunks, BODY_BYTES_MAX).await?;
    let corrected = Some(body).filter(|body| !body.is_empty());
    let said = operations.replay(id, corrected, request_id.as_str()).await.map_err(answer_to)?;
    Ok(Answer::ok(&said))
}

async fn skip<B: Buf>(
    operations: &Operations,
    channel: &str,
    method: Method,
    request_id: &RequestId,
    chunks: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Answer, Answer> {
    if method != Method::POST {
        return Err(Answer::method_not_allowed("POST"));
    }
    let Some(channel) = Channel::parse(channel) else {
        return Err(Answer::bad_request(format!("channel: {}", Channel::MUST_BE)));
    };
    let body = body::read(chunks, BODY_BYTES_MAX).await?;
    let request = wire::read_skip_request(&body).map_err(|error| Answer::bad_request(error.to_string()))?;
    let said = operations.skip(channel, request, request_id.as_str()).await;
    Ok(Answer::ok(&said.map_err(|error| answer_to(error, request_id))?))
}

/// An id is digits that fit 63 bits.
fn dead_letter_id(text: &str) -> Result<u64, AdminError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let id = text.parse().ok().filter(|id| digits && *id <= i64::MAX as u64);
    id.ok_or_else(|| AdminError::BadRequest(format!("invalid dead letter ID: {text}")))
}

fn answer_to(error: AdminError, request_id: &RequestId) -> Answer {
    static ERRORS: Limit = Limit::new();
    match error {
        AdminError::BadRequest(problem) => Answer::bad_request(problem),
        AdminError::NotFound(what) => Answer::not_found(what),
        AdminError::Conflict(problem) => Answer::conflict(problem),
        AdminError::Broker(error) => {
            if let Some(unlogged) = ERRORS.admits() {
                tracing::warn!(%request_id, %error, unlogged, "an operator's request could not be served");
            }
            Answer::unavailable("the broker cannot be asked now, ask again")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_digits_that_fit_63_bits() {
        assert_eq!((dead_letter_id("0"), dead_letter_id("9223372036854775807")), (Ok(0), Ok(i64::MAX as u64)));
        for text in ["", "x", "+1", "-1", "1.0", "0x1", " 1", "9223372036854775808", "99999999999999999999999"] {
            let expected = AdminError::BadRequest(format!("invalid dead letter ID: {text}"));
            assert_eq!(dead_letter_id(text), Err(expected), "{text}");
        }
    }
}
