//! The flags of `rockets import`: what may be said, its defaults, and what is refused with which words.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::Url;

use super::batches::MESSAGES_MAX;
use crate::client::{Access, http_url};

/// The most requests at one time; each may have 4 MiB.
const CONNECTIONS_MAX: i64 = 64;

/// Sends the messages of a file to a service, in batches: one message as JSON on each line, plain or packed with gzip
///
/// A message that the service cannot take now (429, 5xx, no answer) is sent again until it is through. A line that it refuses
/// is said with its number and the reason, and the rest goes on. Several requests are under way at once, so that messages may
/// arrive in another order than they stand in the file; the service sorts each rocket's by their numbers.
///
/// How far it has come stands in a small file beside the input, until every line is through or refused. When the import was
/// stopped, or killed, the same command goes on from there; what was under way then is sent once more, which the service
/// recognises. A file that has changed, or another service, is refused.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Where the service is
    #[arg(long, value_name = "URL", default_value = "http://localhost:8088", value_parser = http_url)]
    pub url: Url,

    /// How many messages each request has at most (and at most 4 MiB)
    #[arg(long, value_name = "N", default_value_t = 500,
          value_parser = clap::value_parser!(u32).range(1..=MESSAGES_MAX as i64))]
    pub batch: u32,

    /// How many requests are under way at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    pub connections: u32,

    #[command(flatten)]
    pub access: Access,

    /// Where it is noted how far the import has come [default: FILE.rockets-import; none for what cannot be read twice]
    #[arg(long, value_name = "PATH")]
    pub progress: Option<PathBuf>,

    /// After sending, read the file once more, fold each rocket, wait until the service has caught up, compare every field, and
    /// print what differs
    ///
    /// A rocket of which the file does not have all numbers from 1 on is not known from the file: of such a one it is compared
    /// how far the service has applied its numbers. Memory is taken for each rocket, and at most 256 MiB for messages that stand
    /// before an earlier number of theirs; rockets that would take more are compared by number too.
    #[arg(long)]
    pub verify: bool,

    /// How long --verify waits for the service to catch up
    #[arg(long, value_name = "DURATION", default_value = "60s", requires = "verify",
          value_parser = humantime::parse_duration)]
    pub verify_deadline: Duration,

    /// Send nothing: only read the file, say what is wrong with which line, and count
    #[arg(long, conflicts_with_all = ["verify", "progress"])]
    pub dry_run: bool,

    /// JSON lines instead of tables: an object of what was sent, and with --verify one of what was found
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// Whether standard input is read.
    pub(super) fn is_standard_input(&self) -> bool {
        self.file == Path::new("-")
    }

    /// What the input is called.
    pub(super) fn name(&self) -> String {
        if self.is_standard_input() { "standard input".to_owned() } else { self.file.display().to_string() }
    }

    /// What cannot be done together.
    pub fn contradiction(&self) -> Option<&'static str> {
        match self {
            _ if !self.is_standard_input() => None,
            Self { verify: true, .. } => Some("--verify: reads its input twice, which standard input cannot be"),
            Self { progress: Some(_), .. } => Some("--progress: standard input cannot be gone on with in the middle"),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clap::{Command, FromArgMatches as _};

    pub(crate) fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        let command = Options::augment_args(Command::new("import"));
        let matches = command.try_get_matches_from([&["import"], arguments].concat())?;
        Options::from_arg_matches(&matches)
    }

    #[test]
    fn a_file_is_enough() {
        let options = parse(&["messages.ndjson"]).unwrap();
        assert_eq!((options.batch, options.connections, options.url.as_str()), (500, 4, "http://localhost:8088/"));
        assert!(!options.verify && !options.dry_run && options.contradiction().is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused_naming_the_flag() {
        let rows: &[(&[&str], &str)] = &[
            (&[], "FILE"),
            (&["a", "--batch", "0"], "--batch"),
            (&["a", "--batch", "1001"], "--batch"),
            (&["a", "--connections", "0"], "--connections"),
            (&["a", "--connections", "65"], "--connections"),
            (&["a", "--url", "localhost"], "give a URL such as"),
            (&["a", "--verify-deadline", "5s"], "--verify"),
            (&["a", "--dry-run", "--verify"], "--verify"),
            (&["a", "--dry-run", "--progress", "b"], "--progress"),
        ];
        for (arguments, expected) in rows {
            let message = parse(arguments).unwrap_err().to_string();
            assert!(message.contains(expected), "{arguments:?} said: {message}");
        }
    }

    #[test]
    fn standard_input_is_read_once() {
        for (arguments, expected) in [
            (&["-"][..], None),
            (&["-", "--verify"], Some("--verify")),
            (&["-", "--progress", "p"], Some("--progress")),
            (&["./-", "--verify"], None),
        ] {
            let contradiction = parse(arguments).unwrap().contradiction();
            assert_eq!(contradiction.map(|text| text.split(':').next().unwrap()), expected, "{arguments:?}");
        }
    }
}
