//! Health, for people, load balancers and orchestrators: what a process says of itself. What makes it healthy is its
//! roles' to know; they bring [`Check`]s.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::ready;
use std::sync::Arc;

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::route::{Routes, any, get};
use super::{Access, Answer};

/// What is wrong where the connection to the broker is lost.
pub const NO_BROKER: &str = "the broker is not available";
/// What is said of a process that is about to end.
const SHUTTING_DOWN: &str = "the process is shutting down";

/// What one role says of itself at this moment. With nothing to say it does its work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// What keeps it from its work, a sentence each.
    pub stops: Vec<String>,
    /// What is wrong, and does not.
    pub notes: Vec<String>,
}

/// Asks a role how it is; never waits.
pub type Check = Arc<dyn Fn() -> Condition + Send + Sync>;

/// The checks of all roles, and whether the process is about to end.
#[derive(Clone)]
pub struct Checks {
    /// By the role's name.
    pub roles: BTreeMap<&'static str, Check>,
    /// Whether it is.
    pub shutdown: CancellationToken,
}

/// Whether the process does its work.
#[derive(Serialize, ToSchema)]
pub struct Health {
    #[schema(pattern = "^(OK|unavailable)$")]
    status: &'static str,
    #[schema(pattern = "^rockets-backend$")]
    service: &'static str,
    /// What is wrong, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

const SERVICE: &str = "rockets-backend";
const OK: Health = Health { status: "OK", service: SERVICE, problems: Vec::new() };

/// Whether the process is ready for more work.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Readiness {
    #[schema(pattern = "^(ready|degraded|unready)$")]
    status: &'static str,
    /// Each role of the process: `ready`, or what is wrong.
    roles: BTreeMap<&'static str, String>,
    /// What is wrong, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

impl Condition {
    /// It cannot do its work for this one reason.
    pub fn unable(why: impl Into<String>) -> Self {
        Self { stops: vec![why.into()], notes: Vec::new() }
    }

    /// It has these problems, of which some keep it from its work.
    pub fn of<P: Display>(problems: &[P], stops: impl Fn(&P) -> bool) -> Self {
        let mut condition = Self::default();
        for problem in problems {
            let list = if stops(problem) { &mut condition.stops } else { &mut condition.notes };
            list.push(problem.to_string());
        }
        condition
    }

    fn is_able(&self) -> bool {
        self.stops.is_empty()
    }

    /// What is wrong, the gravest first.
    fn problems(&self) -> impl Iterator<Item = &String> {
        self.stops.iter().chain(&self.notes)
    }

    /// In a few words.
    fn sentence(&self) -> String {
        let mut problems = self.problems();
        match (problems.next(), problems.count()) {
            (None, _) => "ready".to_owned(),
            (Some(first), 0) => first.clone(),
            (Some(first), others) => format!("{first} (and {others} more)"),
        }
    }
}

/// `/health` and `/readyz` answer 503 when any role cannot do its work, `/readyz` also when the process is about to
/// end; `/livez` only says that it runs.
pub fn routes(checks: &Checks) -> Routes {
    let alive = |_, _| ready(Ok(Answer::ok(&OK)));
    any([
        get("livez", Access::Open, checks, alive),
        get("health", Access::Open, checks, |checks, _| ready(Ok(health(&checks)))),
        get("readyz", Access::Open, checks, |checks, _| ready(Ok(readiness(&checks)))),
    ])
}

fn health(checks: &Checks) -> Answer {
    let conditions = conditions(checks);
    match troubles(&conditions) {
        None => Answer::ok(&OK),
        Some(troubles) => {
            let health = Health { status: "unavailable", service: SERVICE, problems: problems(&conditions) };
            Answer::unavailable(troubles).with_data(&health)
        }
    }
}

fn readiness(checks: &Checks) -> Answer {
    let conditions = conditions(checks);
    let (troubles, mut problems) = (troubles(&conditions), problems(&conditions));
    let mut unready = troubles;
    if checks.shutdown.is_cancelled() {
        problems.insert(0, SHUTTING_DOWN.to_owned());
        unready = Some(SHUTTING_DOWN.to_owned());
    }
    let status = match &unready {
        Some(_) => "unready",
        None if problems.is_empty() => "ready",
        None => "degraded",
    };
    let roles = conditions.into_iter().map(|(role, condition)| (role, condition.sentence())).collect();
    let readiness = Readiness { status, roles, problems };
    match unready {
        Some(troubles) => Answer::unavailable(troubles).with_data(&readiness),
        None => Answer::ok(&readiness),
    }
}

fn conditions(checks: &Checks) -> BTreeMap<&'static str, Condition> {
    checks.roles.iter().map(|(role, check)| (*role, check())).collect()
}

/// One sentence: every role that cannot do its work, and why; none where all can.
fn troubles(conditions: &BTreeMap<&'static str, Condition>) -> Option<String> {
    let unable = conditions.iter().filter(|(_, condition)| !condition.is_able());
    let sentence: Vec<_> = unable.map(|(role, condition)| format!("{role}: {}", condition.sentence())).collect();
    (!sentence.is_empty()).then(|| sentence.join(", "))
}

/// Everything that is wrong, each once, the gravest first.
fn problems(conditions: &BTreeMap<&'static str, Condition>) -> Vec<String> {
    let stops = conditions.values().flat_map(|condition| &condition.stops);
    let notes = conditions.values().flat_map(|condition| &condition.notes);
    let mut all: Vec<String> = Vec::new();
    for problem in stops.chain(notes) {
        if !all.contains(problem) {
            all.push(problem.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn checks(conditions: &[(&'static str, Condition)]) -> Checks {
        let check = |(role, condition): &(&'static str, Condition)| {
            let condition = condition.clone();
            (*role, Arc::new(move || condition.clone()) as Check)
        };
        Checks { roles: conditions.iter().map(check).collect(), shutdown: CancellationToken::new() }
    }

    fn condition(stops: &[&str], notes: &[&str]) -> Condition {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Condition { stops: owned(stops), notes: owned(notes) }
    }

    fn body(answer: fn(&Checks) -> Answer, checks: &Checks) -> (u16, Value, Value) {
        let answer = answer(checks);
        let status = answer.status().as_u16();
        let envelope = answer.in_envelope(&crate::http::RequestId::of(&Default::default()));
        let mut body: Value = serde_json::from_slice(&envelope).unwrap();
        (status, body["error"].take(), body["data"].take())
    }

    #[test]
    fn a_process_that_does_its_work_is_ready() {
        let checks = checks(&[("ingest", Condition::default()), ("track", Condition::default())]);
        let well = json!({"status": "OK", "service": "rockets-backend"});
        assert_eq!(body(health, &checks), (200, Value::Null, well));
        let ready = json!({"status": "ready", "roles": {"ingest": "ready", "track": "ready"}});
        assert_eq!(body(readiness, &checks), (200, Value::Null, ready));
    }

    #[test]
    fn what_stops_nothing_is_told_with_200() {
        let checks = checks(&[("ingest", Condition::default()), ("track", condition(&[], &["a is odd", "b is odd"]))]);
        assert_eq!(body(health, &checks).0, 200);
        let roles = json!({"ingest": "ready", "track": "a is odd (and 1 more)"});
        let degraded = json!({"status": "degraded", "roles": roles, "problems": ["a is odd", "b is odd"]});
        assert_eq!(body(readiness, &checks), (200, Value::Null, degraded));
    }

    #[test]
    fn what_stops_a_role_is_an_error_and_a_list() {
        let checks = checks(&[
            ("ingest", condition(&["a is missing"], &["c is odd"])),
            ("query", Condition::default()),
            ("track", condition(&["a is missing", "b is full"], &[])),
        ]);
        let error = json!("ingest: a is missing (and 1 more), track: a is missing (and 1 more)");
        let problems = json!(["a is missing", "b is full", "c is odd"]);
        let unwell = json!({"status": "unavailable", "service": "rockets-backend", "problems": problems});
        assert_eq!(body(health, &checks), (503, error.clone(), unwell));
        let roles = json!({
            "ingest": "a is missing (and 1 more)", "query": "ready", "track": "a is missing (and 1 more)"
        });
        let unready = json!({"status": "unready", "roles": roles, "problems": problems});
        assert_eq!(body(readiness, &checks), (503, error, unready));
    }

    #[test]
    fn a_process_that_is_about_to_end_is_not_ready_and_still_serves() {
        let checks = checks(&[("ingest", Condition::default())]);
        checks.shutdown.cancel();
        let unready =
            json!({"status": "unready", "roles": {"ingest": "ready"}, "problems": ["the process is shutting down"]});
        assert_eq!(body(readiness, &checks), (503, json!("the process is shutting down"), unready));
        assert_eq!(body(health, &checks).0, 200);
    }
}
