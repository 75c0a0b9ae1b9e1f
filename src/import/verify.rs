//! `--verify`: folds what the file says, waits until the service has caught up, and compares each rocket, field by field.
//!
//! A service may know more of a rocket than the file, when others send too. Then it is compared as it was after the file's last
//! number (`GET /rockets/{channel}/history?at=N`).

use std::io::Write;

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use reqwest::{Client, StatusCode, Url};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::check::messages;
use super::expected::{Expectations, Expected, Known};
use super::options::Options;
use super::source::Source;
use crate::client::{LOOK_AGAIN_AFTER, NoAnswer, REQUESTS_MAX, below, read};
use crate::terminal::Progress;
use crate::text::printable;

/// How much of an answer is read: a rocket takes some thousand bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How many differences are printed one by one.
const PRINTED_DIFFERENCES_MAX: usize = 50;
const TEMPLATE: &str = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} rockets compared {msg}";

/// What was found.
#[derive(Debug, Default)]
struct Verdict {
    /// How many rockets were compared field by field.
    rockets: usize,
    /// How many only by how far their numbers are applied.
    by_number: usize,
    /// How many channels there are that nothing launched.
    unknown: usize,
    /// Everything that is not as it must be.
    differences: Vec<String>,
}

/// Compares what the service has with what the file says, prints the verdict, and gives whether all is right.
pub(super) async fn run(
    options: &Options,
    shutdown: &CancellationToken,
    output: &mut impl Write,
) -> anyhow::Result<bool> {
    let expectations = expectations(options)?;
    let comparison = Comparison {
        client: options.access.client(true)?,
        base: &options.url,
        until: Instant::now() + options.verify_deadline,
        progress: Progress::new(expectations.channels() as u64, TEMPLATE),
    };
    let verdict = shutdown.run_until_cancelled(comparison.verdict(&expectations)).await;
    comparison.progress.finish();
    let Some(verdict) = verdict else {
        // A program sees it by the exit code.
        if !options.json {
            writeln!(output, "stopped before everything was verified").context("the result cannot be written")?;
        }
        return Ok(false);
    };
    print(&verdict, options, output).context("the verdict cannot be written")?;
    Ok(verdict.differences.is_empty())
}

/// What the file says, without the lines that are no messages: those were refused, and said so.
fn expectations(options: &Options) -> anyhow::Result<Expectations> {
    let mut expectations = Expectations::default();
    messages(Source::of(&options.file)?, |_, message| {
        if let Ok((message, bytes)) = message {
            expectations.observe(message, bytes);
        }
    })?;
    Ok(expectations)
}

fn print(verdict: &Verdict, options: &Options, output: &mut impl Write) -> std::io::Result<()> {
    let Verdict { rockets, by_number, unknown, differences } = verdict;
    if options.json {
        let json = json!({
            "rockets": rockets, "by_number": by_number, "unknown": unknown, "differences": differences,
        });
        return writeln!(output, "{json}");
    }
    for difference in differences.iter().take(PRINTED_DIFFERENCES_MAX) {
        writeln!(output, "{}", printable(difference))?;
    }
    if differences.len() > PRINTED_DIFFERENCES_MAX {
        writeln!(output, "and {} more", differences.len() - PRINTED_DIFFERENCES_MAX)?;
    }
    let all = rockets + by_number;
    match differences.len() {
        0 => write!(output, "all {all} rockets right")?,
        count => write!(output, "{count} differences in {all} rockets")?,
    }
    if *by_number > 0 {
        write!(output, ", {by_number} of them by their numbers only")?;
    }
    if *unknown > 0 {
        write!(output, ", and {unknown} channels without a launch")?;
    }
    writeln!(output)
}

/// One look at many rockets, again and again.
struct Comparison<'a> {
    client: Client,
    base: &'a Url,
    until: Instant,
    progress: Progress,
}

/// What a look at one rocket has shown.
#[derive(Debug, PartialEq)]
enum Seen {
    /// It has not come as far as the file yet; how far.
    Behind(u64),
    /// There is none.
    Unknown,
    /// It has come so far, and this is it as it was after the file's last number.
    Rocket(Map<String, Value>),
    /// Nothing could be read yet, for this reason.
    Unreadable(String),
    /// It is not to be read, for this reason: no key that may, or trimmed.
    Denied(String),
}

impl Comparison<'_> {
    async fn verdict(&self, expectations: &Expectations) -> Verdict {
        let mut verdict = Verdict::default();
        let mut open: Vec<Expected> = expectations.all().collect();
        // While the service is behind, a rocket that is unknown says nothing: those are looked at last.
        let unknown: Vec<Expected> = open.extract_if(.., |it| it.known == Known::NoRocket).collect();
        verdict.unknown = unknown.len();
        verdict.by_number = open.iter().filter(|it| matches!(it.known, Known::NumbersOnly { .. })).count();
        verdict.rockets = open.len() - verdict.by_number;
        self.compare(open, &mut verdict.differences).await;
        self.compare(unknown, &mut verdict.differences).await;
        verdict
    }

    /// Looks at rockets until all have come as far as the file, or time is up; adds what differs.
    async fn compare(&self, open: Vec<Expected>, differences: &mut Vec<String>) {
        let not_read = |expected| (expected, Seen::Unreadable("not read before the deadline".to_owned()));
        let mut open: Vec<_> = open.into_iter().map(not_read).collect();
        while !open.is_empty() {
            self.look(&mut open).await;
            self.say_trouble(&open);
            let is_last = Instant::now() >= self.until;
            for (expected, seen) in open.extract_if(.., |(expected, seen)| is_last || seen.is_settled(expected)) {
                differences.extend(seen.differences(&expected));
                self.progress.count();
            }
            if !open.is_empty() {
                sleep_until(self.until.min(Instant::now() + LOOK_AGAIN_AFTER)).await;
            }
        }
    }

    fn say_trouble(&self, open: &[(Expected, Seen)]) {
        let trouble = open.iter().find_map(|(_, seen)| match seen {
            Seen::Unreadable(reason) => Some(reason),
            _ => None,
        });
        if let Some(trouble) = trouble {
            self.progress.say(&printable(trouble));
        }
    }

    /// Looks at each rocket once, or at as many as there is time for; of the others it is known what was seen before.
    async fn look(&self, open: &mut [(Expected, Seen)]) {
        let read = |(at, (expected, _)): (usize, &(Expected, Seen))| {
            let expected = expected.clone();
            async move { (at, self.seen(&expected).await) }
        };
        let mut reads = stream::iter(open.iter().enumerate().map(read)).buffer_unordered(REQUESTS_MAX);
        let mut found = Vec::new();
        while let Ok(Some(one)) = timeout_at(self.until, reads.next()).await {
            found.push(one);
        }
        drop(reads);
        for (at, seen) in found {
            open[at].1 = seen;
        }
    }

    async fn seen(&self, expected: &Expected) -> Seen {
        let channel = expected.channel.to_string();
        let now = self.read(below(self.base, &["rockets", &channel])).await;
        let Seen::Rocket(fields) = &now else { return now };
        match fields.get("lastMessageNumber").and_then(Value::as_u64).unwrap_or(0) {
            number if number < expected.highest => Seen::Behind(number),
            number if number > expected.highest && !matches!(expected.known, Known::NumbersOnly { .. }) => {
                let mut url = below(self.base, &["rockets", &channel, "history"]);
                url.query_pairs_mut().append_pair("at", &expected.highest.to_string());
                self.read(url).await
            }
            _ => now,
        }
    }

    async fn read(&self, url: Url) -> Seen {
        match self.try_read(url).await {
            Ok(seen) => seen,
            Err(error) => Seen::Unreadable(NoAnswer::from(&error).to_string()),
        }
    }

    async fn try_read(&self, url: Url) -> reqwest::Result<Seen> {
        let answer = self.client.get(url).send().await?;
        let status = answer.status();
        let text = read(answer, ANSWER_BYTES_MAX).await?;
        let envelope: Value = serde_json::from_slice(&text).unwrap_or_default();
        Ok(match (status, &envelope["data"]) {
            (StatusCode::OK, Value::Object(fields)) => Seen::Rocket(fields.clone()),
            (StatusCode::NOT_FOUND, _) => Seen::Unknown,
            (_, _) => {
                let reason = format!("answer {}: {}", status.as_u16(), envelope["error"].as_str().unwrap_or("-"));
                let is_final = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
                if is_final { Seen::Denied(reason) } else { Seen::Unreadable(reason) }
            }
        })
    }
}

impl Seen {
    /// Whether it need not be looked at again.
    fn is_settled(&self, expected: &Expected) -> bool {
        match self {
            Self::Rocket(_) | Self::Denied(_) => true,
            Self::Unknown => expected.known == Known::NoRocket,
            Self::Behind(_) | Self::Unreadable(_) => false,
        }
    }

    /// Everything in which it differs from what is expected.
    fn differences(&self, expected: &Expected) -> Vec<String> {
        let Expected { channel, highest, known } = expected;
        let behind = |through: String| match known {
            Known::NumbersOnly { missing: Some(missing) } => {
                format!("{through}, and the file has number {highest}, but not number {missing}")
            }
            _ => format!("{through}, and the file has number {highest}"),
        };
        let differences = match (self, known) {
            (Self::Unreadable(reason) | Self::Denied(reason), _) => vec![format!("cannot be compared: {reason}")],
            (Self::Unknown, Known::NoRocket) | (Self::Rocket(_), Known::NumbersOnly { .. }) => Vec::new(),
            (Self::Unknown, _) => vec![behind("is unknown".to_owned())],
            (Self::Behind(through), _) => vec![behind(format!("has been applied through number {through}"))],
            (Self::Rocket(_), Known::NoRocket) => vec!["is a rocket, and nothing in the file launched it".to_owned()],
            (Self::Rocket(fields), Known::Fields(expected)) => field_differences(fields, expected),
        };
        differences.into_iter().map(|text| format!("{channel} {text}")).collect()
    }
}

/// The fields that differ, also those that only one of the two has.
fn field_differences(seen: &Map<String, Value>, expected: &Map<String, Value>) -> Vec<String> {
    let shown = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), Value::to_string);
    let mut names: Vec<_> = expected.keys().map(String::as_str).chain(["explosionReason"]).collect();
    names.dedup();
    let differing = names.into_iter().filter(|name| seen.get(*name) != expected.get(*name));
    differing
        .map(|name| format!("{name}: is {}, should be {}", shown(seen.get(name)), shown(expected.get(name))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Channel;

    const CHANNEL: &str = "193270a9-c9cf-404a-8f83-838e71d9ae67";

    fn expected(known: Known) -> Expected {
        Expected { channel: Channel::parse(CHANNEL).unwrap(), highest: 7, known }
    }

    fn fields(speed: i64, reason: Option<&str>) -> Map<String, Value> {
        let mut fields = Map::from_iter([("currentSpeed".to_owned(), json!(speed))]);
        fields.extend(reason.map(|reason| ("explosionReason".to_owned(), json!(reason))));
        fields
    }

    fn check(seen: Seen, known: Known, is_settled: bool, differences: &[&str]) {
        let expected = expected(known);
        let told: Vec<_> = differences.iter().map(|text| format!("{CHANNEL} {text}")).collect();
        assert_eq!((seen.is_settled(&expected), seen.differences(&expected)), (is_settled, told), "{seen:?}");
    }

    #[test]
    fn a_rocket_is_compared_field_by_field() {
        let known = || Known::Fields(fields(5, None));
        check(Seen::Rocket(fields(5, None)), known(), true, &[]);
        check(Seen::Rocket(fields(6, None)), known(), true, &["currentSpeed: is 6, should be 5"]);
        check(
            Seen::Rocket(fields(5, Some("FUEL"))),
            known(),
            true,
            &["explosionReason: is \"FUEL\", should be absent"],
        );
        check(
            Seen::Rocket(fields(5, None)),
            Known::Fields(fields(5, Some("FUEL"))),
            true,
            &["explosionReason: is absent, should be \"FUEL\""],
        );
    }

    #[test]
    fn what_is_not_there_yet_is_waited_for() {
        let known = || Known::Fields(fields(5, None));
        check(Seen::Behind(6), known(), false, &["has been applied through number 6, and the file has number 7"]);
        check(Seen::Unknown, known(), false, &["is unknown, and the file has number 7"]);
        check(Seen::Denied("answer 410: -".into()), known(), true, &["cannot be compared: answer 410: -"]);
        check(Seen::Unreadable("answer 503: -".into()), known(), false, &["cannot be compared: answer 503: -"]);
    }

    #[test]
    fn what_the_file_does_not_have_is_named() {
        let gap = || Known::NumbersOnly { missing: Some(3) };
        check(Seen::Rocket(fields(1, None)), gap(), true, &[]);
        let text = "has been applied through number 2, and the file has number 7, but not number 3";
        check(Seen::Behind(2), gap(), false, &[text]);
        check(Seen::Rocket(fields(1, None)), Known::NumbersOnly { missing: None }, true, &[]);
    }

    #[test]
    fn what_nothing_launched_must_be_unknown() {
        check(Seen::Unknown, Known::NoRocket, true, &[]);
        let text = "is a rocket, and nothing in the file launched it";
        check(Seen::Rocket(fields(1, None)), Known::NoRocket, true, &[text]);
    }
}
