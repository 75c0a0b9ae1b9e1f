//! The process that serves HTTP with these settings, if one does: it says itself what is wrong with it.

use std::net::SocketAddr;

use reqwest::StatusCode;
use serde::Deserialize;

use super::Finding;
use crate::auth::Mode;
use crate::cli::health::{answer, readiness};
use crate::config::Config;
use crate::http::Address;

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
        let detail =
            format!("nothing serves HTTP at {addr} (http.addr): neither how it is nor whom it lets in was looked at");
        return vec![Finding::ok("role", detail)];
    };
    let Ok(Answer { data: Data { problems } }) = serde_json::from_str(&answer) else {
        return vec![Finding::ok("role", format!("what serves HTTP at {addr} (http.addr) is another program"))];
    };
    let mut findings = passed_on(addr, is_ready, problems);
    findings.push(keys(config.http.addr, asks_for_keys(config).await.unwrap_or(config.auth.mode == Mode::Required)));
    findings
}

/// Whether the process does, which may have been started with other settings; none where it does not tell.
async fn asks_for_keys(config: &Config) -> Option<bool> {
    match answer(config, "/metrics").await.ok()?.status() {
        StatusCode::UNAUTHORIZED => Some(true),
        StatusCode::OK => Some(false),
        // Its operators have an address of their own.
        _ => None,
    }
}

fn keys(addr: Address, is_required: bool) -> Finding {
    if is_required {
        return Finding::ok("keys", "nobody is let in without one");
    }
    if addr.is_loopback() {
        return Finding::ok("keys", "none is asked for, of this machine alone");
    }
    Finding::warn(
        "keys",
        format!("none is asked for: whoever reaches {addr} may do all that is served there (send, skip, replay, drop)"),
        "make some (`rockets key new`) and set auth.mode to required",
    )
}

fn passed_on(addr: SocketAddr, is_ready: bool, mut problems: Vec<String>) -> Vec<Finding> {
    let remedy = "docs/operations.md, \"Health\", says what it means";
    if problems.is_empty() && is_ready {
        return vec![Finding::ok("role", format!("the process at {addr} is ready"))];
    }
    if problems.is_empty() {
        problems.push("it does not say why".to_owned());
    }
    let problem = |problem| match is_ready {
        true => Finding::warn("role", format!("the process at {addr}: {problem}"), remedy),
        false => Finding::bad("role", format!("the process at {addr} is not ready: {problem}"), remedy),
    };
    problems.into_iter().map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn what_a_process_says_of_itself_is_passed_on() {
        let levels = |is_ready, problems: &[&str]| -> Vec<Level> {
            let problems = problems.iter().map(|problem| (*problem).to_owned()).collect();
            passed_on(([127, 0, 0, 1], 80).into(), is_ready, problems).iter().map(|finding| finding.level).collect()
        };
        assert_eq!(levels(true, &[]), [Level::Ok]);
        assert_eq!(levels(true, &["a", "b"]), [Level::Warn; 2]);
        assert_eq!(levels(false, &["a"]), [Level::Bad]);
        assert_eq!(levels(false, &[]), [Level::Bad]);
    }

    #[test]
    fn an_open_door_is_told_of() {
        let level = |addr: &str, is_required| keys(addr.parse().unwrap(), is_required).level;
        assert_eq!(level("0.0.0.0:80", false), Level::Warn);
        assert_eq!((level("localhost:80", false), level("0.0.0.0:80", true)), (Level::Ok, Level::Ok));
    }
}
