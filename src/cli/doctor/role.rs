//! The process that serves HTTP with these settings, if one does: it says itself what is wrong with it.

use std::net::SocketAddr;

use reqwest::StatusCode;
use serde::Deserialize;

use super::Finding;
use crate::cli::health::{answer_to, readiness};
use crate::config::Config;

/// What needs a key where keys are asked for: the first for a process that answers for rockets, the second for any.
const NOT_FOR_EVERYBODY: [&str; 2] = ["/rockets?limit=1", "/metrics"];

/// What `/readyz` answers, as far as it matters here.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    problems: Vec<String>,
}

/// All findings about the process, such as that its view is stale, and about who is let in there.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let addr = config.http.addr.here();
    let Ok((is_ready, answer)) = readiness(config).await else {
        return vec![Finding::ok("role", format!("nothing serves HTTP at {addr} (http.addr), so none was asked"))];
    };
    let Ok(answer) = serde_json::from_str(&answer) else {
        return vec![Finding::ok("role", format!("what serves HTTP at {addr} (http.addr) is another program"))];
    };
    let mut findings = passed_on(addr, is_ready, &answer);
    findings.push(keys(addr, config.http.addr.is_loopback(), without_key(config).await));
    findings
}

/// What the process says to somebody without a key, where it has something that is not for everybody.
async fn without_key(config: &Config) -> Option<StatusCode> {
    for path in NOT_FOR_EVERYBODY {
        let status = answer_to(config, path).await.ok()?.status();
        if status != StatusCode::NOT_FOUND {
            return Some(status);
        }
    }
    None
}

/// The process is asked: it may have been started with other settings than these.
fn keys(addr: SocketAddr, is_loopback: bool, without_key: Option<StatusCode>) -> Finding {
    match without_key {
        None => Finding::ok("keys", format!("it is not known whether the process at {addr} asks for one")),
        Some(StatusCode::UNAUTHORIZED) => {
            Finding::ok("keys", format!("the process at {addr} lets nobody in without one"))
        }
        Some(_) if is_loopback => {
            Finding::ok("keys", format!("the process at {addr} asks for none; only this machine reaches that address"))
        }
        Some(_) => Finding::warn(
            "keys",
            format!("the process at {addr} asks for none: whoever reaches it may send, skip, replay and drop"),
            "make some (`rockets key new`) and set auth.mode to required",
        ),
    }
}

fn passed_on(addr: SocketAddr, is_ready: bool, answer: &Answer) -> Vec<Finding> {
    let Answer { data: Data { problems } } = answer;
    let remedy = "docs/operations.md, \"Health\", says what it means";
    let problem = |problem: &String| match is_ready {
        true => Finding::warn("role", format!("the process at {addr}: {problem}"), remedy),
        false => Finding::bad("role", format!("the process at {addr} is not ready: {problem}"), remedy),
    };
    if problems.is_empty() && is_ready {
        return vec![Finding::ok("role", format!("the process at {addr} is ready"))];
    }
    if problems.is_empty() {
        return vec![problem(&"it does not say why".to_owned())];
    }
    problems.iter().map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn what_a_process_says_of_itself_is_passed_on() {
        let levels = |is_ready, answer: &str| -> Vec<Level> {
            let answer = serde_json::from_str(answer).unwrap();
            passed_on(([127, 0, 0, 1], 80).into(), is_ready, &answer).iter().map(|finding| finding.level).collect()
        };
        assert_eq!(levels(true, r#"{"data":{"status":"ready"}}"#), [Level::Ok]);
        assert_eq!(levels(true, r#"{"data":{"problems":["a","b"]}}"#), [Level::Warn; 2]);
        assert_eq!(levels(false, r#"{"error":"x","data":{"problems":["a"]}}"#), [Level::Bad]);
        assert_eq!(levels(false, r#"{"error":"x"}"#), [Level::Bad]);
    }

    #[test]
    fn an_open_door_is_told_of() {
        let level = |is_loopback, status: u16| {
            keys(([192, 0, 2, 1], 80).into(), is_loopback, StatusCode::from_u16(status).ok()).level
        };
        assert_eq!([level(false, 200), level(false, 503)], [Level::Warn; 2]);
        assert_eq!([level(true, 200), level(false, 401), level(true, 401), level(false, 0)], [Level::Ok; 4]);
    }
}
