//! Health, for people, load balancers and orchestrators: what a process says of itself. What makes it healthy is its
//! roles' to know; they bring [`Check`]s.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use warp::Filter;
use warp::http::Method;

use super::{Answer, Routes, is_read, not_this_route};

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

const OK: Health = Health { status: "OK", service: "rockets-backend" };

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
        "livez" => |_: &_| Answer::ok(&OK),
        "health" => health,
        "readyz" => readiness,
        _ => return None,
    };
    Some(if is_read(method) { route(checks) } else { Answer::method_not_allowed("GET, HEAD") })
}

fn health(checks: &BTreeMap<&'static str, Check>) -> Answer {
    let unable = checks.values().any(|check| matches!(check(), Condition::Unable(_)));
    if unable { Answer::unavailable("cannot serve") } else { Answer::ok(&OK) }
}

fn readiness(checks: &BTreeMap<&'static str, Check>) -> Answer {
    let roles: BTreeMap<_, _> = checks.iter().map(|(role, check)| (*role, check())).collect();
    let degraded = roles.values().any(|condition| *condition != Condition::Well);
    if roles.values().any(|condition| matches!(condition, Condition::Unable(_))) {
        return Answer::unavailable(troubles(&roles));
    }
    let roles = roles.into_iter().map(|(role, condition)| (role, told(&condition))).collect();
    Answer::ok(&Readiness { status: if degraded { "degraded" } else { "ready" }, roles })
}

/// Every role that is not well, and why: also those that still do their work, where another one does not.
fn troubles(roles: &BTreeMap<&'static str, Condition>) -> String {
    let not_well = roles.iter().filter(|(_, condition)| **condition != Condition::Well);
    let told: Vec<_> = not_well.map(|(role, condition)| format!("{role}: {}", told(condition))).collect();
    told.join(", ")
}

fn told(condition: &Condition) -> &'static str {
    match condition {
        Condition::Well => "ready",
        Condition::Degraded(what) | Condition::Unable(what) => what,
    }
}
