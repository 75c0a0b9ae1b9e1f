//! HTTPS by the service itself: a certificate and its key, read again when their files change.
//!
//! HTTP/1.1 alone is offered, as it is without TLS. What is changed and cannot be used leaves what there was.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Where a certificate and its key are, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and its root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The certificate and the key with which connections are taken.
pub struct Tls {
    files: TlsFiles,
    /// Tells that the files are to be looked at now.
    look: Arc<Notify>,
    /// What was read last, usable or not.
    read: RwLock<Read>,
    acceptor: RwLock<TlsAcceptor>,
}

type Read = Result<[Vec<u8>; 2], TlsError>;

/// Why the files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// One cannot be read.
    #[error("{0}: cannot read {1}: {2}")]
    Unreadable(&'static str, PathBuf, String),
    /// One holds something else.
    #[error("{0}: {1} holds no {2} in PEM")]
    NotPem(&'static str, PathBuf, &'static str),
    /// They are not each other's, or of a kind that is not known.
    #[error("tls.cert: cannot be used with tls.key: {0}")]
    Unusable(String),
}

/// Chooses what encrypts, for clients that do not name it.
pub fn choose_provider() {
    // One that is chosen already is the same.
    let _ = ring::default_provider().install_default();
}

impl Tls {
    /// Reads the files; again whenever this tells that it is time.
    pub fn load(files: TlsFiles, look: Arc<Notify>) -> Result<Self, TlsError> {
        let read = files.read()?;
        let acceptor = RwLock::new(files.acceptor(&read)?);
        Ok(Self { files, look, read: RwLock::new(Ok(read)), acceptor })
    }

    /// What takes the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the files from time to time, and when it is told to, for ever.
    pub async fn keep_up(&self) -> Infallible {
        loop {
            // Whether it was told or waited long enough makes no difference.
            let _ = timeout(LOOK_EVERY, self.look.notified()).await;
            match self.look() {
                None => {}
                Some(Ok(())) => tracing::info!(cert = %self.files.cert.display(), "a new certificate is used"),
                Some(Err(error)) => tracing::warn!(%error, "the new certificate is not used, the one before is kept"),
            }
        }
    }

    /// Uses what the files hold, if that is not what they held before.
    fn look(&self) -> Option<Result<(), TlsError>> {
        let read = self.files.read();
        {
            let mut before = self.read.write().unwrap_or_else(PoisonError::into_inner);
            if *before == read {
                return None;
            }
            *before = read.clone();
        }
        Some(read.and_then(|read| self.files.acceptor(&read)).map(|acceptor| {
            *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        }))
    }
}

impl TlsFiles {
    fn read(&self) -> Read {
        let read = |setting, path: &PathBuf| {
            std::fs::read(path).map_err(|error| TlsError::Unreadable(setting, path.clone(), error.to_string()))
        };
        Ok([read("tls.cert", &self.cert)?, read("tls.key", &self.key)?])
    }

    fn acceptor(&self, [cert, key]: &[Vec<u8>; 2]) -> Result<TlsAcceptor, TlsError> {
        let no_cert = || TlsError::NotPem("tls.cert", self.cert.clone(), "certificate");
        let certs = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>().map_err(|_| no_cert())?;
        if certs.is_empty() {
            return Err(no_cert());
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| TlsError::NotPem("tls.key", self.key.clone(), "private key"))?;
        let unusable = |error: rustls::Error| TlsError::Unusable(error.to_string());
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let mut config = config.with_no_client_auth().with_single_cert(certs, key).map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            folder.put();
            folder
        }

        fn files(&self) -> TlsFiles {
            TlsFiles { cert: self.0.path().join("cert.pem"), key: self.0.path().join("key.pem") }
        }

        /// A new certificate with its key.
        fn put(&self) {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            fs::write(self.files().cert, made.cert.pem()).unwrap();
            fs::write(self.files().key, made.signing_key.serialize_pem()).unwrap();
        }

        fn load(&self) -> Result<Tls, TlsError> {
            Tls::load(self.files(), Arc::default())
        }
    }

    fn is_used(tls: &Tls, before: &TlsAcceptor) -> bool {
        !Arc::ptr_eq(tls.acceptor().config(), before.config())
    }

    #[test]
    fn what_changes_is_used() {
        let folder = Folder::new();
        let tls = folder.load().unwrap();
        let before = tls.acceptor();
        assert_eq!(tls.look(), None);
        folder.put();
        assert_eq!(tls.look(), Some(Ok(())));
        assert!(is_used(&tls, &before));
    }

    #[test]
    fn what_cannot_be_used_leaves_what_there_was_and_is_told_once() {
        let folder = Folder::new();
        let tls = folder.load().unwrap();
        let before = tls.acceptor();
        fs::write(folder.files().cert, "nothing").unwrap();
        assert!(matches!(tls.look(), Some(Err(TlsError::NotPem("tls.cert", ..)))));
        fs::remove_file(folder.files().key).unwrap();
        assert!(matches!(tls.look(), Some(Err(TlsError::Unreadable("tls.key", ..)))));
        assert_eq!((tls.look(), is_used(&tls, &before)), (None, false));
        folder.put();
        assert_eq!((tls.look(), is_used(&tls, &before)), (Some(Ok(())), true));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (folder, other) = (Folder::new(), Folder::new());
        fs::copy(other.files().key, folder.files().key).unwrap();
        assert!(matches!(folder.load(), Err(TlsError::Unusable(_))));
    }
}
