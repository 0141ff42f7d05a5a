//! The secrets of one secured machine: an authority, certificates, passwords and API keys, each in a file for its owner
//! alone. Made once, and renewed one by one.
//!
//! In the flow: **`secrets`** → `security` → `layout`. Not here: who may do what with them (`security`).

use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::certificates::{Authority, Certificate};
use crate::http::Client;
use crate::interrupt::Interrupt;

/// Random bytes of a password; it is written in hexadecimal, so that no file's syntax minds it.
const PASSWORD_BYTES: usize = 24;
/// As Elasticsearch's `PBKDF2` has them: the rounds, the bytes of the salt and those of the hash.
const ROUNDS: &str = "10000";
const SALT_BYTES: usize = 32;
/// What all servers are called; clients reach them by both.
const SERVER_NAMES: &str = "DNS:localhost,IP:127.0.0.1";

/// The directory with all secrets.
#[derive(Debug, Clone)]
pub struct Secrets {
    directory: PathBuf,
    authority: Authority,
}

impl Secrets {
    /// Those in `directory`, or new ones.
    ///
    /// # Errors
    /// When a file cannot be written, or `openssl` fails.
    pub fn open(directory: &Path, interrupt: &Interrupt) -> Result<Self> {
        fs::create_dir_all(directory)
            .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o700)))
            .with_context(|| format!("cannot create `{}`", directory.display()))?;
        Ok(Self {
            directory: directory.to_path_buf(),
            authority: Authority::kept(directory, interrupt)?,
        })
    }

    /// Where a file of that name lies.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The certificate of the authority.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.authority.path()
    }

    /// A file's contents.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, name: &str) -> Result<String> {
        let path = self.path(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
    }

    /// Writes a file for its owner alone, in one step: whoever reads it at this moment gets the old one or the new one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, name: &str, contents: &str) -> Result<PathBuf> {
        let path = self.path(name);
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, contents)
            .and_then(|()| fs::set_permissions(&new, Permissions::from_mode(0o600)))
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(path)
    }

    /// A new certificate for the server `name`, its key beside it.
    ///
    /// # Errors
    /// When `openssl` fails.
    pub fn certificate(&self, name: &str) -> Result<Certificate> {
        self.authority.vouch(name, SERVER_NAMES)
    }

    /// The same in one file, key first.
    ///
    /// # Errors
    /// When `openssl` fails or a file cannot be written.
    pub fn keystore(&self, name: &str) -> Result<PathBuf> {
        self.certificate(name)?;
        let parts = [format!("{name}.key"), format!("{name}.pem")].map(|part| self.read(&part));
        let [key, certificate] = parts;
        self.put(
            &format!("{name}.keystore.pem"),
            &format!("{}{}", key?, certificate?),
        )
    }

    /// The password `name`, made if there is none yet.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn password(&self, name: &str) -> Result<String> {
        match self.path(&format!("{name}.password")).is_file() {
            true => self.read(&format!("{name}.password")),
            false => self.renew_password(name),
        }
    }

    /// A new password `name` in the place of the old one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn renew_password(&self, name: &str) -> Result<String> {
        let password = hexadecimal(&random(PASSWORD_BYTES)?);
        self.put(&format!("{name}.password"), &password)?;
        Ok(password)
    }

    /// A new API key `id`, by `ingest-gateway keys new`. Its entry for the key file is in `<id>.entry` from now on, the
    /// key itself in `<id>.key`, and what a client sends in `<id>.header`.
    ///
    /// # Errors
    /// When the command fails or a file cannot be written.
    pub fn renew_key(&self, gateway: &Path, id: &str, scopes: &str) -> Result<()> {
        let output = Command::new(gateway)
            .args(["keys", "new", "--id", id, "--scope", scopes])
            .stdin(Stdio::null())
            .output()
            .context("cannot start `ingest-gateway keys new`")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "no key `{id}`: {}", told.trim());
        let begins = format!("{id}.");
        let key = told
            .split_whitespace()
            .find(|word| word.starts_with(&begins));
        let key = key.with_context(|| format!("`keys new` shows no key `{id}`"))?;
        self.put(&format!("{id}.key"), key)?;
        self.put(
            &format!("{id}.header"),
            &format!("Authorization: Bearer {key}\n"),
        )?;
        let entry = String::from_utf8(output.stdout).context("the entry is no text")?;
        self.put(&format!("{id}.entry"), &entry)?;
        Ok(())
    }

    /// Writes the key file with these keys.
    ///
    /// # Errors
    /// When one of them was never made, or the file cannot be written.
    pub fn write_keys(&self, ids: &[&str]) -> Result<()> {
        let entries: Result<String> = ids
            .iter()
            .map(|id| self.read(&format!("{id}.entry")))
            .collect();
        self.put("keys.toml", &entries?)?;
        Ok(())
    }

    /// A client that sends the lines of `<who>.header`.
    #[must_use]
    pub fn client(&self, who: &str) -> Client {
        Client::over_tls(
            &self.authority(),
            Some(&self.path(&format!("{who}.header"))),
        )
    }

    /// A client that shows nothing.
    #[must_use]
    pub fn nobody(&self) -> Client {
        Client::over_tls(&self.authority(), None)
    }
}

/// The value of `Authorization` for a user and a password.
#[must_use]
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A password as Elasticsearch's file realm keeps it.
///
/// # Errors
/// When there is no randomness, or `openssl` fails.
pub fn hashed(password: &str) -> Result<String> {
    let salt = random(SALT_BYTES)?;
    let output = Command::new("openssl")
        .args(["kdf", "-keylen", "32", "-binary"])
        .args([
            "-kdfopt",
            "digest:SHA512",
            "-kdfopt",
            &format!("iter:{ROUNDS}"),
        ])
        .args(["-kdfopt", &format!("pass:{password}")])
        .args(["-kdfopt", &format!("hexsalt:{}", hexadecimal(&salt))])
        .arg("PBKDF2")
        .stdin(Stdio::null())
        .output()
        .context("cannot start `openssl`")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl kdf: {}", told.trim());
    let [salt, hash] = [salt, output.stdout].map(|bytes| STANDARD.encode(bytes));
    Ok(format!("{{PBKDF2}}{ROUNDS}${salt}${hash}"))
}

fn random(bytes: usize) -> Result<Vec<u8>> {
    let mut random = vec![0; bytes];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .context("the system gives no randomness (/dev/urandom)")?;
    Ok(random)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_for_its_owner_alone_and_renewed_on_demand() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("secrets");
        let secrets = Secrets::open(&directory, &Interrupt::default()).unwrap();
        let first = secrets.password("es-sink").unwrap();
        assert_eq!(first.len(), 2 * PASSWORD_BYTES);
        let again = Secrets::open(&directory, &Interrupt::default()).unwrap();
        assert_eq!(again.password("es-sink").unwrap(), first);
        assert_ne!(again.renew_password("es-sink").unwrap(), first);
        secrets.keystore("kafka").unwrap();
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            let is_public = entry.file_name().to_string_lossy().ends_with(".pem")
                && !entry.file_name().to_string_lossy().contains("keystore");
            assert!(mode == 0o600 || is_public, "{entry:?} {mode:o}");
        }
        let mode = fs::metadata(&directory).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700);
    }

    #[test]
    fn a_hash_has_the_shape_that_elasticsearch_reads() {
        let hash = hashed("secret").unwrap();
        let parts: Vec<_> = hash.split('$').collect();
        assert_eq!(parts[0], "{PBKDF2}10000");
        // 32 bytes each, in base64.
        assert_eq!((parts[1].len(), parts[2].len()), (44, 44));
        assert_ne!(hashed("secret").unwrap(), hash);
    }
}
