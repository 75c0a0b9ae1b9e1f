//! What an answer to a batch means: one pure decision, made here and nowhere else.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

/// The longest pause that a service is obeyed in.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// What an answer says of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// What became of each message, in order.
    Each(Vec<Became>),
    /// None was taken, for now.
    NotNow(String),
    /// It cannot be a request as it is: its halves may be.
    Divide(String),
    /// This is no answer to a batch: sending it again would change nothing.
    Never(String),
}

/// What became of one message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Became {
    /// It is stored.
    Ingested,
    /// It had been stored before.
    Duplicate,
    /// It is wrong in itself.
    Refused(String),
    /// It could not be stored now.
    NotNow(String),
}

/// The envelope, as far as it matters here.
#[derive(Default, Deserialize)]
struct Envelope {
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    results: Vec<Result>,
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Result {
    Ingested,
    Duplicate,
    Rejected { error: String },
    Unavailable { error: String },
}

impl From<Result> for Became {
    fn from(result: Result) -> Self {
        match result {
            Result::Ingested => Self::Ingested,
            Result::Duplicate => Self::Duplicate,
            Result::Rejected { error } => Self::Refused(error),
            Result::Unavailable { error } => Self::NotNow(error),
        }
    }
}

/// What this answer says of so many messages.
pub(super) fn said(status: StatusCode, body: &[u8], messages: usize) -> Said {
    let Envelope { error, data } = serde_json::from_slice(body).unwrap_or_default();
    let why = match error {
        Some(error) => format!("answer {}: {error}", status.as_u16()),
        None => format!("answer {}", status.as_u16()),
    };
    match (data, status.as_u16()) {
        (Some(Data { results }), _) if results.len() == messages => {
            Said::Each(results.into_iter().map(Became::from).collect())
        }
        (_, 408 | 429 | 500..) => Said::NotNow(why),
        (_, 400 | 413) => Said::Divide(why),
        (_, 200..300) => Said::Never(format!("{why}, without a word on each message: no service that takes batches")),
        (_, 401 | 403) => Said::Never(format!("{why}; a key is given with --key or ROCKETS_KEY")),
        _ => Said::Never(format!("{why}; is the service there? (--url)")),
    }
}

/// The pause that the service asks for.
pub(super) fn retry_after(seconds: Option<&str>) -> Option<Duration> {
    let seconds = seconds?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, messages: usize, expected: Said) {
        assert_eq!(said(StatusCode::from_u16(status).unwrap(), body.as_bytes(), messages), expected, "{status} {body}");
    }

    #[test]
    fn each_message_has_its_own_result_whatever_the_status() {
        let body = r#"{"error":"some","data":{"results":[{"status":"ingested","event_id":7},{"status":"duplicate","event_id":7},
            {"status":"rejected","error":"metadata: is missing"},{"status":"unavailable","error":"later"}]}}"#;
        for status in [200, 207, 400, 503] {
            let (refused, not_now) = ("metadata: is missing".to_owned(), "later".to_owned());
            let each = vec![Became::Ingested, Became::Duplicate, Became::Refused(refused), Became::NotNow(not_now)];
            check(status, body, 4, Said::Each(each));
        }
        check(503, body, 3, Said::NotNow("answer 503: some".to_owned()));
    }

    #[test]
    fn without_results_the_status_decides() {
        let error = r#"{"error":"why"}"#;
        for status in [408, 429, 500, 502, 503, 504] {
            check(status, error, 1, Said::NotNow(format!("answer {status}: why")));
        }
        for status in [400, 413] {
            check(status, error, 1, Said::Divide(format!("answer {status}: why")));
        }
        for status in [200, 301, 401, 403, 404, 405, 415] {
            let said = said(StatusCode::from_u16(status).unwrap(), error.as_bytes(), 1);
            assert!(matches!(&said, Said::Never(why) if why.starts_with(&format!("answer {status}: why"))), "{said:?}");
        }
        check(502, "<html>", 1, Said::NotNow("answer 502".to_owned()));
    }

    #[test]
    fn a_result_that_is_none_we_know_is_no_word_on_each() {
        let body = r#"{"data":{"results":[{"status":"lost"}]}}"#;
        let said = said(StatusCode::OK, body.as_bytes(), 1);
        assert!(matches!(said, Said::Never(_)), "{said:?}");
    }

    #[test]
    fn a_pause_is_told_in_seconds_and_has_a_bound() {
        for (text, expected) in [("1", Some(1)), (" 7 ", Some(7)), ("9999", Some(60)), ("soon", None), ("-1", None)] {
            assert_eq!(retry_after(Some(text)), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(None), None);
    }
}
