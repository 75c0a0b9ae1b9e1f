//! What the programs that send messages have in common as users of a service: an address, a key and authorities to trust, an
//! HTTP client with our rules, and why there was no answer.
//!
//! Like [`crate::terminal`] it knows nothing of rockets, so that the load generator may share it.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response, Url};
use tokio_rustls::rustls::crypto::ring;

/// How long an attempt may take, from opening the connection to the last byte of the answer.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what is not through waits before it is sent again, as in the field.
pub const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How many requests somebody has under way at the same time who looks at a service.
pub const REQUESTS_MAX: usize = 8;
/// The longest pause before something of a service is looked at again.
pub const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);

// The flags by which a service is spoken to. (A doc comment would take the place of the command's own.)
#[derive(Debug, Clone, Args)]
pub struct Access {
    /// A file in PEM with authorities to trust for https:// URLs, beside those that the system trusts
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// The key that every request has; better as the variable, because other users of the machine see what is said here
    #[arg(long, value_name = "KEY", env = "ROCKETS_KEY", hide_env_values = true, value_parser = authorization)]
    pub key: Option<HeaderValue>,
}

impl Access {
    /// An HTTP client with our rules: no proxy (it would be its latency that is measured), no redirects (a 3xx is no 2xx).
    /// Beside the authorities that the system trusts, it trusts those of the file; and every request says who sends it, where
    /// there is a key.
    pub fn client(&self, keep_alive: bool) -> anyhow::Result<Client> {
        // One that is chosen already is the same.
        let _ = ring::default_provider().install_default();
        let builder = Client::builder().timeout(ATTEMPT_TIMEOUT).no_proxy().redirect(Policy::none()).http1_only();
        let headers = self.key.clone().map(|key| (AUTHORIZATION, key)).into_iter().collect();
        let builder = builder.default_headers(headers);
        let builder = match self.ca.as_deref() {
            None => builder,
            Some(file) => builder
                .tls_certs_merge(certificates(file).with_context(|| format!("--ca: cannot use {}", file.display()))?),
        };
        let builder = if keep_alive { builder } else { builder.pool_max_idle_per_host(0) };
        builder.build().context("the HTTP client cannot be set up")
    }
}

fn certificates(file: &Path) -> anyhow::Result<Vec<Certificate>> {
    Ok(Certificate::from_pem_bundle(&std::fs::read(file)?)?)
}

/// Reads a URL on the command line.
pub fn http_url(text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("{error}; give a URL such as http://localhost:8088/messages"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err("only http:// and https:// URLs are spoken here, such as http://localhost:8088/messages".into()),
    }
}

/// What a request says that has this key. It is not shown, wherever it is printed.
fn authorization(key: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| "no header can have it".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The URL of a path below another one.
pub fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    // Only a URL without a host has no segments, and such a one is no base.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// Reads the body of an answer, at most so much of it. An unread rest costs the connection, and nothing else.
pub async fn read(mut answer: Response, bytes_max: usize) -> reqwest::Result<Vec<u8>> {
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if text.len() + chunk.len() > bytes_max {
            break;
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

/// Why an attempt has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoAnswer {
    /// There was none within the timeout.
    TimedOut,
    /// There was no connection.
    NotConnected,
    /// The connection was lost, or what came is not HTTP.
    Lost,
}

impl From<&reqwest::Error> for NoAnswer {
    fn from(error: &reqwest::Error) -> Self {
        match error {
            error if error.is_timeout() => Self::TimedOut,
            error if error.is_connect() => Self::NotConnected,
            _ => Self::Lost,
        }
    }
}

impl Display for NoAnswer {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TimedOut => "no answer: timed out",
            Self::NotConnected => "no answer: not connected",
            Self::Lost => "no answer: connection lost",
        })
    }
}
