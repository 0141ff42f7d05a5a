//! Knows where the repository and its build directory are, and takes the locks in them.
//!
//! In the flow: **`workspace`** → `prerequisites`. Not here: what lies in those directories.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The directories that all commands share.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The repository's root.
    pub root: PathBuf,
    /// Cargo's build directory, `target` unless the user set another.
    pub target: PathBuf,
}

impl Workspace {
    /// Finds both: the root from the sources this binary was built from, the build directory from the binary itself,
    /// so that every way to configure it is honoured.
    ///
    /// # Errors
    /// When the binary was moved out of the build directory or the sources were moved away.
    pub fn locate() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest
            .parent()
            .context("xtask has no parent directory")?
            .to_path_buf();
        if !root.join("Cargo.toml").is_file() {
            bail!(
                "`{}` is gone since xtask was built; run it as `cargo xtask` inside the repository",
                root.display()
            );
        }
        let binary =
            std::env::current_exe().context("the path of the running binary is unknown")?;
        let profile = binary
            .ancestors()
            .find(|path| path.file_name().is_some_and(|name| name == "release"));
        let target = profile.and_then(Path::parent).with_context(|| {
            format!(
                "`{}` does not lie in a release directory; run `cargo xtask`",
                binary.display()
            )
        })?;
        Ok(Self {
            root,
            target: target.to_path_buf(),
        })
    }

    /// Where the release binaries are built.
    #[must_use]
    pub fn binaries(&self) -> PathBuf {
        self.target.join("release")
    }
}

/// A directory held by this process alone until the value is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock file `path`, creating it and its directory, and writes this process's id into it.
    ///
    /// The kernel holds the lock, so one of a dead process never stands in the way.
    ///
    /// # Errors
    /// When another live process holds it; the error tells its id.
    pub fn take(path: &Path) -> Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create `{}`", directory.display()))?;
        }
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| format!("cannot open the lock file `{}`", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).ok();
                bail!(
                    "it runs already, as process {} (lock file `{}`)",
                    holder.trim(),
                    path.display()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock `{}`", path.display()));
            }
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/lock");
        let first = Lock::take(&path).unwrap();
        let refusal = Lock::take(&path).unwrap_err().to_string();
        assert!(
            refusal.contains(&format!("process {}", std::process::id())),
            "{refusal}"
        );
        drop(first);
        Lock::take(&path).unwrap();
    }

    #[test]
    fn a_lock_file_left_by_a_dead_process_does_not_hold() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        fs::write(&path, "4000000\n").unwrap();
        Lock::take(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id())
        );
    }
}
