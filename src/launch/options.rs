//! The flags of `rockets launch`: what may be said, its defaults, and what is refused with which words.
//!
//! Everything is checked while the command line is read, so that what follows takes the values as they are. The flags
//! of the field's sender are here under their own names and with their own defaults.

use std::time::Duration;

use clap::{ArgGroup, Args};
use reqwest::Url;

use crate::client::{Access, http_url};

/// The most places a message may be moved, and so the most messages that the shuffle holds in memory.
const SHUFFLE_PLACES_MAX: i64 = 100_000;
/// The most rockets: for each one a script and an expected state are held in memory.
const ROCKETS_MAX: i64 = 100_000;
/// The most workers, and so the most connections at one time.
const CONCURRENCY_LEVEL_MAX: i64 = 10_000;
/// The most corrections: each one replays its whole channel, on either side.
const CORRECTIONS_MAX: u64 = 100_000;
/// The most messages in one request: as many as the service takes.
const BATCH_MAX: i64 = 1_000;
/// The most messages a second that can be asked for.
const RATE_MAX: i64 = 1_000_000;

/// Sends the messages of many rockets, as the field's sender does: many connections, out of order, again until through
///
/// The same seed, `--rockets`, `--max-messages`, `--hostile` and `--lost` give the same messages on the same channels,
/// with the same message times, on every platform. Any other value of one of these gives other channels, so that runs
/// with different flags do not contradict each other on one service.
///
/// A message is sent again 500 ms after any answer but 2xx, after a timeout (10 s) and after a lost connection, until
/// it is through. Unlike the field's sender this one also waits for the messages which still have to be sent again
/// when the last message has been generated.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("refusals").args(["hostile", "lost"]).multiple(true)))]
pub struct Options {
    /// Where the messages are posted, such as http://localhost:8088/messages
    #[arg(value_name = "URL", value_parser = http_url)]
    pub url: Url,

    /// How long each worker pauses between two messages, such as 500ms
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub message_delay: Duration,

    /// How many messages are under way at the same time
    #[arg(long, value_name = "WORKERS", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=CONCURRENCY_LEVEL_MAX))]
    pub concurrency_level: u32,

    /// How many messages each request has: with more than one they are a JSON array, and each gets an answer of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=BATCH_MAX))]
    pub batch: u32,

    /// How many messages are generated; copies (--duplicates) come on top
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_messages: u64,

    /// What the messages are drawn from
    #[arg(long, value_name = "N", default_value_t = 444)]
    pub seed: u64,

    /// How many rockets the messages belong to (never more than there are messages)
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=ROCKETS_MAX))]
    pub rockets: u32,

    /// The share of messages that is sent twice, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub duplicates: f64,

    /// The share of messages that is generated and never sent, from 0 to 1: the radio has lost them
    ///
    /// With --verify, the gaps which that leaves on the channels of this run are closed first, as an operator would: by
    /// asking the service for its gaps and skipping what is missing.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = lost_share)]
    pub lost: f32,

    /// How far out of order messages are sent: at most so many places from their own
    #[arg(long, value_name = "PLACES", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=SHUFFLE_PLACES_MAX))]
    pub shuffle: u32,

    /// Use connections again, instead of opening a new one for every message
    #[arg(long)]
    pub keep_alive: bool,

    /// At most so many messages a second, those sent again included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
    pub rate: Option<u32>,

    /// Also send what the field's sender never does: second launches, changes after an explosion or before a launch,
    /// speeds below zero and beyond 63 bits, hostile names and message times
    #[arg(long)]
    pub hostile: bool,

    /// After sending, wait until the service at this URL (such as http://localhost:8088) has caught up, compare every
    /// field of every rocket with what it must be, and print what differs
    #[arg(long, value_name = "URL", value_parser = http_url)]
    pub verify: Option<Url>,

    /// How many messages that were refused are corrected: their dead letters are replayed with a body that makes more
    /// sense
    ///
    /// Only after --verify has found everything right; then everything is compared again. For this, every message of the
    /// run is kept in memory (some hundred bytes each). The next run with the same flags would not know of the
    /// corrections, and find other rockets than it expects.
    ///
    /// Without --hostile or --lost nothing is ever refused.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "verify", requires = "refusals",
          value_parser = clap::value_parser!(u64).range(0..=CORRECTIONS_MAX))]
    pub corrections: u64,

    #[command(flatten)]
    pub access: Access,

    /// JSON lines instead of tables: an object of what was sent, and with --verify one of what was found
    #[arg(long)]
    pub json: bool,

    /// How long --verify waits for the service to catch up, --lost and --corrections included
    #[arg(long, value_name = "DURATION", default_value = "60s", requires = "verify",
          value_parser = humantime::parse_duration)]
    pub verify_deadline: Duration,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a share from 0 (none) to 1 (all), such as 0.1".into()),
    }
}

/// Single precision: what is drawn from must be the same in every run, and so short that it fits into the key.
fn lost_share(text: &str) -> Result<f32, String> {
    share(text).map(|share| share as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches as _};

    fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        let command = Options::augment_args(Command::new("launch"));
        let matches = command.try_get_matches_from([&["launch"], arguments].concat())?;
        Options::from_arg_matches(&matches)
    }

    #[test]
    fn defaults_are_those_of_the_fields_sender() {
        let options = parse(&["http://localhost:8088/messages"]).unwrap();
        assert_eq!((options.concurrency_level, options.max_messages, options.seed), (3, 100_000, 444));
        assert_eq!((options.message_delay, options.access.key), (Duration::ZERO, None));
        assert!(!options.keep_alive && !options.hostile && options.rate.is_none() && options.verify.is_none());
    }

    #[test]
    fn the_fields_own_command_line_is_understood() {
        let options =
            parse(&["http://localhost:8088/messages", "--message-delay=500ms", "--concurrency-level=1"]).unwrap();
        assert_eq!((options.message_delay, options.concurrency_level), (Duration::from_millis(500), 1));
    }

    #[test]
    fn a_key_is_not_shown() {
        let options = parse(&["http://a/", "--key", "rkt_a_secret"]).unwrap();
        assert_eq!(options.access.key.as_ref().unwrap().as_bytes(), b"Bearer rkt_a_secret");
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[test]
    fn corrections_are_taken_where_something_may_be_refused() {
        for refusals in [&["--hostile"] as &[&str], &["--lost", "0.1"], &["--hostile", "--lost", "0.1"]] {
            let flags = [&["http://a/", "--verify", "http://a/", "--corrections", "5"], refusals].concat();
            assert_eq!(parse(&flags).unwrap().corrections, 5);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_naming_the_flag() {
        let rows: &[(&[&str], &str)] = &[
            (&["ftp://localhost/messages"], "only http:// and https:// URLs"),
            (&["localhost"], "give a URL such as"),
            (&["http://a/", "--duplicates", "1.5"], "--duplicates"),
            (&["http://a/", "--duplicates", "NaN"], "--duplicates"),
            (&["http://a/", "--lost", "1.01"], "give a share from 0 (none) to 1 (all)"),
            (&["http://a/", "--lost=-0.1"], "--lost"),
            (&["http://a/", "--concurrency-level", "0"], "--concurrency-level"),
            (&["http://a/", "--max-messages", "0"], "--max-messages"),
            (&["http://a/", "--rockets", "0"], "--rockets"),
            (&["http://a/", "--rate", "0"], "--rate"),
            (&["http://a/", "--shuffle=-1"], "--shuffle"),
            (&["http://a/", "--message-delay", "5"], "--message-delay"),
            (&["http://a/", "--verify", "ftp://a/"], "--verify"),
            (&["http://a/", "--verify-deadline", "5s"], "--verify"),
            (&["http://a/", "--lost", "0.1", "--corrections", "5"], "--verify"),
            (&["http://a/", "--verify", "http://a/", "--corrections", "5"], "--hostile|--lost"),
            (&["http://a/", "--verify", "http://a/", "--hostile", "--corrections=-1"], "--corrections"),
        ];
        for (arguments, expected) in rows {
            let message = parse(arguments).unwrap_err().to_string();
            assert!(message.contains(expected), "{arguments:?} said: {message}");
        }
    }
}
