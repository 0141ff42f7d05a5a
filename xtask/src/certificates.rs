//! Certificates for one machine, made by the `openssl` command: an authority, and who it vouches for.
//!
//! In the flow: **`certificates`** → `up::security`, `incidents`, the live tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::command;
use crate::interrupt::Interrupt;

/// An authority, in a directory.
#[derive(Debug, Clone)]
pub struct Authority {
    directory: PathBuf,
    interrupt: Interrupt,
}

/// A certificate and its private key, as PEM files.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How long a certificate is good for: longer than any test, and than the notice that an alert gives.
const DAYS: u32 = 60;
/// How long an authority is that is kept: whoever trusts it need not be told again.
const DAYS_KEPT: u32 = 3650;

/// Whether a server at `host:port` speaks TLS and shows a certificate that `authority` vouches for.
///
/// # Errors
/// When it does not; the error shows what `openssl` says.
pub fn greet(address: &str, authority: &Path) -> Result<()> {
    let mut openssl = Command::new("timeout");
    openssl
        .args(["5", "openssl", "s_client", "-brief", "-verify_return_error"])
        .args(["-connect", address, "-CAfile"])
        .arg(authority)
        .stdin(Stdio::null());
    let output = openssl.output().context("cannot start `openssl`")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "no TLS: {}", told.trim());
    Ok(())
}

/// The certificate that new connections to a port of loopback get, as PEM.
///
/// # Errors
/// When none is shown.
pub fn served(port: u16) -> Result<String> {
    let mut openssl = Command::new("timeout");
    openssl
        .args(["5", "openssl", "s_client", "-showcerts", "-connect"])
        .arg(format!("127.0.0.1:{port}"))
        .stdin(Stdio::null());
    let output = openssl.output().context("cannot start `openssl`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, rest) = text
        .split_once("-----BEGIN CERTIFICATE-----")
        .with_context(|| format!("port {port} shows no certificate"))?;
    let (pem, _) = rest
        .split_once("-----END CERTIFICATE-----")
        .context("the certificate has no end")?;
    Ok(pem.to_owned())
}

impl Authority {
    /// A new one, whose files lie in `directory` beside those that it vouches for.
    ///
    /// # Errors
    /// When `openssl` fails.
    pub fn new(directory: &Path, interrupt: &Interrupt) -> Result<Self> {
        let authority = Self {
            directory: directory.to_path_buf(),
            interrupt: interrupt.clone(),
        };
        authority.make("authority", DAYS, &[])?;
        Ok(authority)
    }

    /// The one whose files lie in `directory` already, else a new one.
    ///
    /// # Errors
    /// When `openssl` fails.
    pub fn kept(directory: &Path, interrupt: &Interrupt) -> Result<Self> {
        let authority = Self {
            directory: directory.to_path_buf(),
            interrupt: interrupt.clone(),
        };
        if !authority.path().is_file() {
            authority.make("authority", DAYS_KEPT, &[])?;
        }
        Ok(authority)
    }

    /// Its own certificate.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join("authority.pem")
    }

    /// One for these subject alternative names, such as `DNS:localhost,IP:127.0.0.1`. It takes the place of one with
    /// the same name.
    ///
    /// # Errors
    /// When `openssl` fails.
    pub fn vouch(&self, name: &str, alternative_names: &str) -> Result<Certificate> {
        self.vouch_for(name, alternative_names, DAYS)
    }

    /// The same, good for so many days.
    ///
    /// # Errors
    /// When `openssl` fails.
    pub fn vouch_for(&self, name: &str, alternative_names: &str, days: u32) -> Result<Certificate> {
        let names = format!("subjectAltName={alternative_names}");
        let own = self.directory.join("authority.key");
        let [path, own] = [self.path(), own].map(|path| path.display().to_string());
        self.make(
            name,
            days,
            &["-CA", &path, "-CAkey", &own, "-addext", &names],
        )
    }

    fn make(&self, name: &str, days: u32, more: &[&str]) -> Result<Certificate> {
        let made = Certificate {
            certificate: self.directory.join(format!("{name}.pem")),
            key: self.directory.join(format!("{name}.key")),
        };
        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-x509", "-nodes", "-newkey", "ec"])
            .args(["-days", &days.to_string()])
            .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj"])
            .arg(format!("/CN={name}"))
            .arg("-out")
            .arg(&made.certificate)
            .arg("-keyout")
            .arg(&made.key)
            .args(more);
        command::run(openssl, &self.interrupt, |_| {})?;
        Ok(made)
    }
}
