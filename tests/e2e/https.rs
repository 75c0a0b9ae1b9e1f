//! HTTPS by the service itself: with the certificate that is there, and with the next one when it comes.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::harness::client::http;
use super::harness::{Broker, Client, Program, becomes, eventually};

/// A certificate of its own, and its key.
struct Certificate {
    folder: TempDir,
}

impl Certificate {
    fn new() -> Self {
        let certificate = Self { folder: TempDir::with_prefix("rockets-e2e-certificate-").unwrap() };
        certificate.renew();
        certificate
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn renew(&self) {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        fs::write(self.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        fs::write(self.path("cert.pem"), made.cert.pem()).unwrap();
    }

    /// A client that trusts it, as it is now, and nothing else.
    fn client(&self, addr: &str) -> Client {
        let trusted = reqwest::Certificate::from_pem(&fs::read(self.path("cert.pem")).unwrap()).unwrap();
        Client::with(http().tls_certs_only([trusted]), &format!("https://{addr}"))
    }

    fn settings(&self) -> [(&'static str, String); 2] {
        let path = |name| self.path(name).to_str().unwrap().to_owned();
        [("ROCKETS_TLS__CERT", path("cert.pem")), ("ROCKETS_TLS__KEY", path("key.pem"))]
    }
}

fn up(broker: &Broker, certificate: &Certificate, addr: &str) -> Program {
    let start = Program::of(&["up"]).broker(broker).env("ROCKETS_HTTP__ADDR", addr);
    certificate.settings().iter().fold(start, |start, (name, value)| start.env(name, value)).start()
}

async fn is_alive(client: &Client) -> bool {
    client.try_get("/livez").await.is_some_and(|answer| answer.status == 200)
}

#[tokio::test]
async fn everything_speaks_https() {
    let (broker, certificate) = (Broker::start().await, Certificate::new());
    let mut up = up(&broker, &certificate, "127.0.0.1:0");
    let addr = up.addr().await;
    let client = certificate.client(&addr);
    becomes("/readyz", true, async || client.try_get("/readyz").await.is_some_and(|answer| answer.status == 200)).await;
    assert!(!is_alive(&Client::new(&format!("http://{addr}"))).await, "HTTP is not spoken there");

    let health = Program::of(&["health"]).env("ROCKETS_HTTP__ADDR", &addr);
    let mut health = certificate.settings().iter().fold(health, |start, (name, value)| start.env(name, value)).start();
    assert_eq!(health.exit().await.code(), Some(0), "{}", health.log());
    let (url, base, trusted) =
        (format!("https://{addr}/messages"), format!("https://{addr}"), certificate.path("cert.pem"));
    let flags = ["--max-messages", "200", "--rockets", "3", "--ca", trusted.to_str().unwrap(), "--verify", &base];
    let mut launch = Program::of(&[&["launch", url.as_str()][..], &flags].concat()).start();
    assert_eq!(launch.exit().await.code(), Some(0), "{}", launch.log());
}

#[tokio::test]
async fn only_http_1_1_is_offered() {
    let (broker, certificate) = (Broker::start().await, Certificate::new());
    let mut up = up(&broker, &certificate, "127.0.0.1:0");
    let addr = up.addr().await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate.path("cert.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(ring::default_provider().into());
    let config = config.with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(&addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn a_new_certificate_is_used_and_a_broken_one_is_not() {
    let (broker, certificate) = (Broker::start().await, Certificate::new());
    let mut up = up(&broker, &certificate, "127.0.0.1:0");
    let addr = up.addr().await;
    let old = certificate.client(&addr);
    becomes("an answer", true, async || is_alive(&old).await).await;

    fs::write(certificate.path("cert.pem"), "no certificate").unwrap();
    kill_process(up.pid(), Signal::HUP).unwrap();
    let is_told = || up.log().contains("the new certificate is not used");
    eventually("a line in the log", async || is_told().then_some(())).await;
    assert!(is_alive(&old).await);

    certificate.renew();
    kill_process(up.pid(), Signal::HUP).unwrap();
    let new = certificate.client(&addr);
    becomes("an answer with the new certificate", true, async || is_alive(&new).await).await;
}

#[tokio::test]
async fn a_certificate_that_is_missing_is_a_wrong_setting() {
    let (broker, certificate) = (Broker::start().await, Certificate::new());
    fs::remove_file(certificate.path("key.pem")).unwrap();
    let mut missing = up(&broker, &certificate, "127.0.0.1:0");
    assert_eq!(missing.exit().await.code(), Some(2));
    assert!(missing.log().contains("tls.key: cannot read"), "{}", missing.log());
}
