//! A bucket: settings, credentials from files, certificates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::client::{Certificate, ClientOptions};
use object_store::{BackoffConfig, RetryConfig};

use crate::error::Error;
use crate::repository::Repository;

/// Longest time to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence of a server.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a request may take, answer included: a part on a slow line.
pub const REQUEST: Duration = Duration::from_secs(180);
/// How long a request is repeated.
const RETRY: Duration = Duration::from_secs(180);
/// Region where none is given: most servers other than Amazon's do not look at it.
const REGION: &str = "us-east-1";

/// Where a bucket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub bucket: String,
    /// URL of the server; Amazon's when absent.
    pub endpoint: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// True when the bucket is part of the host name instead of the path.
    pub virtual_hosted: bool,
    /// Folder with the files `accessKeyId`, `secretAccessKey` and, where the server's certificate is signed by an
    /// authority of its own, `ca.crt`.
    pub credentials: PathBuf,
}

impl Bucket {
    /// The repository in it.
    ///
    /// # Errors
    /// When settings or credentials cannot be used.
    pub fn open(&self) -> Result<Repository, Error> {
        self.open_within(RETRY, REQUEST)
    }

    /// The repository in it; a request is repeated for `retry` at most, and takes `request` at most each time.
    ///
    /// # Errors
    /// As [`Bucket::open`].
    pub fn open_within(&self, retry: Duration, request: Duration) -> Result<Repository, Error> {
        let plain = self
            .endpoint
            .as_deref()
            .is_some_and(|url| url.starts_with("http://"));
        let mut options = ClientOptions::new()
            .with_allow_http(plain)
            .with_connect_timeout(CONNECT.min(retry))
            .with_read_timeout(SILENCE)
            .with_timeout(request)
            .with_no_system_certificates(true);
        for certificate in self.certificates()? {
            options = options.with_root_certificate(certificate);
        }
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_region(self.region.as_deref().unwrap_or(REGION))
            .with_access_key_id(self.secret("accessKeyId")?)
            .with_secret_access_key(self.secret("secretAccessKey")?)
            .with_virtual_hosted_style_request(self.virtual_hosted)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // Each part's SHA-256 is signed, so the server refuses what was changed on the way.
            .with_config(AmazonS3ConfigKey::UnsignedPayload, "false")
            .with_client_options(options)
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: 8,
                retry_timeout: retry,
            });
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        let store = builder.build().map_err(|error| {
            Error::Settings(format!(
                "{error}: check config.bucket, config.endpoint and config.region"
            ))
        })?;
        Ok(Repository::bucket(store))
    }

    fn secret(&self, key: &str) -> Result<String, Error> {
        let text = read(&self.credentials.join(key))?;
        let text = String::from_utf8(text.unwrap_or_default()).unwrap_or_default();
        let text = text.trim();
        if text.is_empty() {
            let why = format!(
                "the credential Secret has no key {key}: it needs accessKeyId and secretAccessKey"
            );
            return Err(Error::Settings(why));
        }
        Ok(text.to_owned())
    }

    /// The own authority alone where there is one, else the public ones: the image has no certificates.
    fn certificates(&self) -> Result<Vec<Certificate>, Error> {
        let wrong = |error| {
            Error::Settings(format!(
                "ca.crt of the credential Secret holds no certificates: {error}"
            ))
        };
        if let Some(pem) = read(&self.credentials.join("ca.crt"))? {
            let all =
                Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
            if all.is_empty() {
                return Err(wrong("there is none in it".to_owned()));
            }
            return Ok(all);
        }
        let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        let public: Result<_, _> = public.map(|root| Certificate::from_der(root)).collect();
        public.map_err(|error| {
            Error::Settings(format!("public certificates cannot be read: {error}"))
        })
    }
}

/// A small file; `None` when there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let path = path.display();
            Err(Error::Settings(format!("failed to read {path}: {error}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(credentials: &Path) -> Bucket {
        Bucket {
            bucket: "b".into(),
            endpoint: Some("https://s3.example".into()),
            region: None,
            virtual_hosted: false,
            credentials: credentials.to_owned(),
        }
    }

    #[test]
    fn what_is_missing_is_named_and_no_secret_is_shown() {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let told = |bucket: &Bucket| bucket.open().expect_err("refused").to_string();
        assert!(told(&bucket(folder.path())).contains("no key accessKeyId"));
        std::fs::write(folder.path().join("accessKeyId"), "me\n").expect("write");
        std::fs::write(folder.path().join("secretAccessKey"), "hidden\n").expect("write");
        let open = bucket(folder.path()).open().expect("a repository");
        assert!(!format!("{open:?}").contains("hidden"));
        std::fs::write(folder.path().join("ca.crt"), "no certificate").expect("write");
        let text = told(&bucket(folder.path()));
        assert!(
            text.contains("ca.crt") && !text.contains("hidden"),
            "{text}"
        );
    }
}
