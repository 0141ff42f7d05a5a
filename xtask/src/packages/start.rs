//! Hands what a deployment starts to the binary, which says whether it would run with it.
//!
//! In the flow: `compose`, `chart`, `debian` → **`start`** → the services' `--check-config`.
//! A deployment's files lie in /etc/logflow. Here they lie in a directory of their own, and the paths say so; the
//! secrets and certificates among them are made for the occasion.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::command;
use crate::interrupt::Interrupt;
use crate::services::Binaries;

/// Where a deployment's files lie.
const ETC: &str = "/etc/logflow/";
/// Of a key that nobody has.
const KEYS: &str = "[[key]]\nid = \"somebody\"\nscopes = [\"ingest\", \"query\"]\n\
    secret-sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n";
/// The places of certificates in /etc/logflow, in all deployments.
const CERTIFICATES: [&str; 9] = [
    "server.pem",
    "kafka-ca.pem",
    "tls/tls.crt",
    "tls-client-ca/ca.crt",
    "kafka-ca/ca.crt",
    "elasticsearch-ca/ca.crt",
    "otlp-ca/ca.crt",
    "postgres-ca.pem",
    "postgres-ca/ca.crt",
];
/// The places of PostgreSQL's password.
const PASSWORDS: [&str; 2] = ["postgres.password", "postgres/password"];

/// A binary with everything that a deployment tells it.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// The service.
    pub name: String,
    /// Its flags.
    pub flags: Vec<String>,
    /// Its variables.
    pub variables: Vec<(String, String)>,
    /// Its configuration file: where it lies in /etc/logflow, and what it says.
    pub file: Option<(String, String)>,
}

/// The binaries, and files for them.
#[derive(Debug)]
pub struct Starts {
    binaries: Binaries,
    etc: PathBuf,
}

impl Starts {
    /// Makes the files below `directory`.
    ///
    /// # Errors
    /// When they cannot be written, or openssl makes no certificate.
    pub fn new(binaries: Binaries, directory: &Path, interrupt: &Interrupt) -> Result<Self> {
        let etc = directory.join("etc");
        for part in [
            "config",
            "keys",
            "tls",
            "tls-client-ca",
            "kafka-ca",
            "elasticsearch-ca",
            "otlp",
            "otlp-ca",
            "postgres",
            "postgres-ca",
        ] {
            fs::create_dir_all(etc.join(part))?;
        }
        let (certificate, key) = (etc.join(CERTIFICATES[0]), etc.join("server.key"));
        let mut openssl = Command::new("openssl");
        openssl
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-nodes",
                "-subj",
                "/CN=localhost",
            ])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        command::run(openssl, interrupt, |_| {})?;
        for other in &CERTIFICATES[1..] {
            fs::copy(&certificate, etc.join(other))?;
        }
        fs::copy(&key, etc.join("tls/tls.key"))?;
        for keys in ["keys.toml", "keys/keys.toml"] {
            fs::write(etc.join(keys), KEYS)?;
        }
        for password in PASSWORDS {
            fs::write(etc.join(password), "secret\n")?;
        }
        fs::write(etc.join("otlp/credentials"), "Bearer secret\n")?;
        Ok(Self { binaries, etc })
    }

    /// Whether the binary would run with it.
    ///
    /// # Errors
    /// When it would not; the error says what the binary says.
    pub fn accept(&self, start: &Start) -> Result<()> {
        if let Some((path, text)) = &start.file {
            let path = self.here(path);
            fs::write(&path, self.here(text)).with_context(|| format!("cannot write `{path}`"))?;
        }
        let mut binary = Command::new(self.binaries.path(&start.name));
        binary
            .args(start.flags.iter().map(|flag| self.here(flag)))
            .arg("--check-config")
            .env_clear()
            .envs(
                start
                    .variables
                    .iter()
                    .map(|(name, value)| (name, self.here(value))),
            )
            .stdin(Stdio::null());
        let output = binary
            .output()
            .with_context(|| format!("cannot run `{}`", start.name))?;
        ensure!(
            output.status.success(),
            "`{}` refuses what it is told: {}",
            start.name,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// What a setting is where nothing is said of it, as the binary's `--help` tells.
    ///
    /// # Errors
    /// When there is no such setting, or it has no default.
    pub fn default(&self, name: &str, setting: &str) -> Result<String> {
        let program = self.binaries.path(name);
        let help = command::output(&program.to_string_lossy(), &["--help"])
            .with_context(|| format!("`{name} --help` fails"))?;
        default_in(&help, setting)
            .with_context(|| format!("`{name} --help` tells no default of `--{setting}`"))
    }

    fn here(&self, text: &str) -> String {
        text.replace(ETC, &format!("{}/", self.etc.display()))
    }
}

/// The default of a setting in a help text, whose lines break anywhere.
fn default_in(help: &str, setting: &str) -> Option<String> {
    let words: Vec<&str> = help.split_whitespace().collect();
    let flag = format!("--{setting}");
    let at = words.iter().position(|word| *word == flag)?;
    let after = words[at + 1..].iter();
    let mut after = after.take_while(|word| !word.starts_with("--"));
    after.find(|word| **word == "[default:")?;
    Some(after.next()?.trim_end_matches(']').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_found_where_the_help_breaks_its_line() {
        let help = "  --listen <ADDRESS>  Where [env: X_LISTEN]\n   [default:\n  127.0.0.1:1]\n  \
                    --api-keys <FILE>  Keys [env: X]\n  --drain-timeout <D>  How long [env: Y] [default: 30s]";
        assert_eq!(default_in(help, "drain-timeout").unwrap(), "30s");
        assert_eq!(default_in(help, "listen").unwrap(), "127.0.0.1:1");
        assert_eq!(default_in(help, "api-keys"), None);
        assert_eq!(default_in(help, "drain"), None);
    }
}
