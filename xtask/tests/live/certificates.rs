//! Certificates for one scenario, made by the `openssl` command: an authority, and who it vouches for.
//!
//! In the flow: `stage` → **`certificates`** → `scenarios`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use xtask::command;
use xtask::interrupt::Interrupt;

/// An authority, in a directory.
#[derive(Debug)]
pub(crate) struct Authority {
    directory: PathBuf,
    interrupt: Interrupt,
}

/// A certificate and its private key, as PEM files.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(directory: &Path, interrupt: &Interrupt) -> Result<Self> {
        let authority = Self {
            directory: directory.to_path_buf(),
            interrupt: interrupt.clone(),
        };
        authority.make("authority", &[])?;
        Ok(authority)
    }

    /// Its own certificate.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("authority.pem")
    }

    /// One for these subject alternative names, such as `DNS:localhost,IP:127.0.0.1`.
    pub(crate) fn vouch(&self, name: &str, alternative_names: &str) -> Result<Certificate> {
        let names = format!("subjectAltName={alternative_names}");
        let own = self.directory.join("authority.key");
        let [path, own] = [self.path(), own].map(|path| path.display().to_string());
        self.make(name, &["-CA", &path, "-CAkey", &own, "-addext", &names])
    }

    fn make(&self, name: &str, more: &[&str]) -> Result<Certificate> {
        let made = Certificate {
            certificate: self.directory.join(format!("{name}.pem")),
            key: self.directory.join(format!("{name}.key")),
        };
        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"])
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
