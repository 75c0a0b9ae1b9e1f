//! Health, for people, load balancers and orchestrators: what a process says of itself. What makes it healthy is its
//! roles' to know; they bring [`Check`]s.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use warp::Filter;
use warp::http::Method;

use super::{Answer, Routes, not_this_route};

/// What one role says of itself at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It does its work.
    Well,
    /// It does its work, and something is to be known about it.
    Degraded(&'static str),
    /// It cannot do its work.
    Unable(&'static str),
}

/// Asks a role how it is; never waits.
pub type Check = Arc<dyn Fn() -> Condition + Send + Sync>;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    service: &'static str,
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    roles: BTreeMap<&'static str, &'static str>,
}

/// `/health` and `/readyz` answer 503 when any role cannot do its work, `/livez` only says that the process runs.
pub fn routes(checks: BTreeMap<&'static str, Check>) -> Routes {
    let route = warp::path::param().and(warp::path::end()).and(warp::method());
    route
        .and_then(move |name: String, method| {
            std::future::ready(answer(&name, &method, &checks).ok_or_else(not_this_route))
        })
        .boxed()
}

fn answer(name: &str, method: &Method, checks: &BTreeMap<&'static str, Check>) -> Option<Answer> {
    let route = match name {
        "livez" => |_: &_| Answer::ok(&Health { status: "OK", service: "rockets-backend" }),
        "health" => health,
        "readyz" => readiness,
        _ => return None,
    };
    let allowed = matches!(*method, Method::GET | Method::HEAD);
    Some(if allowed { route(checks) } else { Answer::method_not_allowed("GET, HEAD") })
}

fn health(checks: &BTreeMap<&'static str, Check>) -> Answer {
    let unable = checks.values().any(|check| matches!(check(), Condition::Unable(_)));
    if unable {
        Answer::unavailable("cannot serve")
    } else {
        Answer::ok(&Health { status: "OK", service: "rockets-backend" })
    }
}

fn readiness(checks: &BTreeMap<&'static str, Check>) -> Answer {
    let roles: BTreeMap<_, _> = checks.iter().map(|(role, check)| (*role, check())).collect();
    let unable = roles.values().find_map(|condition| match condition {
        Condition::Unable(why) => Some(*why),
        _ => None,
    });
    if let Some(why) = unable {
        return Answer::unavailable(why);
    }
    let degraded = roles.values().any(|condition| matches!(condition, Condition::Degraded(_)));
    let told = |condition| match condition {
        Condition::Well => "ready",
        Condition::Degraded(what) | Condition::Unable(what) => what,
    };
    let roles = roles.into_iter().map(|(role, condition)| (role, told(condition))).collect();
    Answer::ok(&Readiness { status: if degraded { "degraded" } else { "ready" }, roles })
}
