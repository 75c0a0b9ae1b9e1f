//! `/dead-letters`, `/dead-letters/{id}`, `/dead-letters/{id}/replay` and `/rockets/{channel}/skip`.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;
use warp::http::Method;

use super::list::ListRequest;
use super::replay::BODY_BYTES_MAX;
use super::{AdminError, Operations};
use crate::broker::Origin;
use crate::domain::{Channel, wire};
use crate::http::asker::Asker;
use crate::http::params::{BadParameter, Params};
use crate::http::route::{Request, Routes, any, get, route};
use crate::http::{Access, Answer, RequestId};
use crate::logging::limited;

/// How long a skip may take with its body and everything.
const SKIP_MAX: Duration = Duration::from_secs(30);

/// A dead letter is gone.
#[derive(Serialize, ToSchema)]
pub struct Dropped {
    #[schema(pattern = "^dropped$")]
    status: &'static str,
}

/// All routes of an operator.
pub fn routes(operations: &Operations) -> Routes {
    any([
        get("dead-letters", Access::Knowledge, operations, list),
        route("GET, HEAD, DELETE", "dead-letters/:", Access::Knowledge, operations, dead_letter),
        route("POST", "dead-letters/:/replay", Access::Knowledge, operations, replay),
        route("POST", "rockets/:/skip", Access::Knowledge, operations, skip),
    ])
}

async fn list(operations: Operations, request: Request) -> Result<Answer, Answer> {
    let page = operations.list(&ListRequest::parse(request.query())?).await;
    let page = page.map_err(|error| answer_to(error, &request.head.id))?;
    Ok(Answer::page(&page.rows, page.next.and_then(|next| next.cursor())))
}

/// Shows a dead letter, or drops it.
async fn dead_letter(operations: Operations, request: Request) -> Result<Answer, Answer> {
    let answer_to = |error| answer_to(error, &request.head.id);
    let (id, asker) = (dead_letter_id(&request.parameter).map_err(answer_to)?, &request.head.asker);
    if request.head.method != Method::DELETE {
        return Ok(Answer::ok(&operations.show(id).await.map_err(answer_to)?));
    }
    if is_dry_run(&request)? {
        return Ok(Answer::ok(&for_asker(asker, operations.preview_drop(id)).await?.map_err(answer_to)?));
    }
    for_asker(asker, operations.drop_dead_letter(id, origin_of(&request))).await?.map_err(answer_to)?;
    Ok(Answer::ok(&Dropped { status: "dropped" }))
}

async fn replay(operations: Operations, mut request: Request) -> Result<Answer, Answer> {
    let id = dead_letter_id(&request.parameter).map_err(|error| answer_to(error, &request.head.id))?;
    let body = request.body(BODY_BYTES_MAX).await?;
    let corrected = Some(body).filter(|body| !body.is_empty());
    let (asker, answer_to) = (&request.head.asker, |error| answer_to(error, &request.head.id));
    if is_dry_run(&request)? {
        let preview = for_asker(asker, operations.preview_replay(id, corrected)).await?;
        return Ok(Answer::ok(&preview.map_err(answer_to)?));
    }
    let replayed = for_asker(asker, operations.replay(id, corrected, origin_of(&request))).await?;
    Ok(Answer::ok(&replayed.map_err(answer_to)?))
}

async fn skip(operations: Operations, mut request: Request) -> Result<Answer, Answer> {
    let asker = request.head.asker.clone();
    let skipped = async {
        let channel = Channel::parse(&request.parameter).ok_or_else(bad_channel)?;
        let body = request.body(BODY_BYTES_MAX).await?;
        let asked = wire::read_skip_request(&body).map_err(|error| Answer::bad_request(error.to_string()))?;
        if is_dry_run(&request)? {
            let preview = operations.preview_skip(&channel, asked.up_to).await;
            return Ok(Answer::ok(&preview.map_err(|error| answer_to(error, &request.head.id))?));
        }
        let skipped = operations.skip(channel, asked, origin_of(&request)).await;
        Ok(Answer::ok(&skipped.map_err(|error| answer_to(error, &request.head.id))?))
    };
    let late = |_| Answer::unavailable("the skip was not stored in time, ask again");
    asker.wait_for(SKIP_MAX, skipped).await.map_err(late)?
}

/// What was done for whoever asks. For one who has left nothing is read on, and what has begun to change something comes to its
/// end all the same.
async fn for_asker<T>(asker: &Asker, done: impl Future<Output = T>) -> Result<T, Answer> {
    asker.while_there(done).await.ok_or_else(Answer::nobody)
}

fn origin_of(request: &Request) -> Origin {
    let key = request.caller().key_id().map(ToOwned::to_owned);
    Origin { request_id: request.head.id.to_string(), trace: request.head.trace.clone(), key }
}

/// Whether the effect is only to be told.
fn is_dry_run(request: &Request) -> Result<bool, BadParameter> {
    Params::parse(request.query(), &["dry_run"])?.flag("dry_run")
}

fn bad_channel() -> Answer {
    Answer::bad_request(format!("channel: {}", Channel::MUST_BE))
}

/// An id is digits that fit 63 bits.
fn dead_letter_id(text: &str) -> Result<u64, AdminError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let id = text.parse().ok().filter(|id| digits && *id <= i64::MAX as u64);
    id.ok_or_else(|| AdminError::BadRequest(format!("invalid dead letter ID: {text}")))
}

fn answer_to(error: AdminError, request_id: &RequestId) -> Answer {
    match error {
        AdminError::BadRequest(problem) => Answer::bad_request(problem),
        AdminError::NotFound(what) => Answer::not_found(what),
        AdminError::Conflict(problem) => Answer::conflict(problem),
        AdminError::Broker(error) => {
            limited!(warn, %request_id, %error, "an operator's request could not be served");
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
