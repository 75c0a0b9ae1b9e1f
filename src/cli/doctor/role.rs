//! The process that serves HTTP with these settings, if one does: it says itself what is wrong with it.

use std::net::SocketAddr;

use serde::Deserialize;

use super::Finding;
use crate::auth::Mode;
use crate::cli::health::readiness;
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
    let mut findings = match readiness(config).await {
        Ok((is_ready, answer)) => passed_on(addr, is_ready, &answer),
        Err(_) => vec![Finding::ok("role", format!("nothing serves HTTP at {addr} (http.addr), so none was asked"))],
    };
    findings.push(keys(config.http.addr, config.auth.mode));
    findings
}

fn keys(addr: Address, mode: Mode) -> Finding {
    match mode {
        Mode::Required => Finding::ok("keys", "nobody is let in without one"),
        Mode::Off if addr.is_loopback() => Finding::ok("keys", "none is asked for, of this machine alone"),
        Mode::Off => Finding::warn(
            "keys",
            format!("none is asked for: whoever reaches {addr} may send, skip, replay and drop"),
            "make some (`rockets key new`) and set auth.mode to required",
        ),
    }
}

fn passed_on(addr: SocketAddr, is_ready: bool, answer: &str) -> Vec<Finding> {
    let Ok(Answer { data: Data { problems } }) = serde_json::from_str(answer) else {
        return vec![Finding::ok("role", format!("what serves HTTP at {addr} (http.addr) is another program"))];
    };
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
            passed_on(([127, 0, 0, 1], 80).into(), is_ready, answer).iter().map(|finding| finding.level).collect()
        };
        assert_eq!(levels(true, r#"{"data":{"status":"ready"}}"#), [Level::Ok]);
        assert_eq!(levels(true, r#"{"data":{"problems":["a","b"]}}"#), [Level::Warn; 2]);
        assert_eq!(levels(false, r#"{"error":"x","data":{"problems":["a"]}}"#), [Level::Bad]);
        assert_eq!(levels(false, r#"{"error":"x"}"#), [Level::Bad]);
        assert_eq!(levels(true, "<html>"), [Level::Ok]);
    }

    #[test]
    fn an_open_door_is_told_of() {
        let level = |addr: &str, mode| keys(addr.parse().unwrap(), mode).level;
        assert_eq!(level("0.0.0.0:80", Mode::Off), Level::Warn);
        assert_eq!((level("localhost:80", Mode::Off), level("0.0.0.0:80", Mode::Required)), (Level::Ok, Level::Ok));
    }
}
