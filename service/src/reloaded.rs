//! What files say, as they are now: read at the start, and again whenever they change.
//!
//! In the flow: files → **`reloaded`** → `access`, `tls`. A change with a fault is not taken over: what counted
//! before goes on counting, and the log and a metric say so.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

/// How often the files are looked at.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The largest file.
const BYTES_MAX: u64 = 4 << 20;

type Contents = Result<Vec<Vec<u8>>, String>;
type Read<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync>;

/// What the files held.
struct Seen {
    /// When they were read last.
    read: Contents,
    /// At the last look; a file that is being written is another one at the next.
    last: Contents,
}

/// What some files mean, and the files.
pub struct Reloaded<T> {
    what: &'static str,
    paths: Vec<PathBuf>,
    read: Read<T>,
    current: RwLock<Arc<T>>,
    seen: Mutex<Seen>,
    is_stale: AtomicBool,
}

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloaded")
            .field("what", &self.what)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Reads the files; `read` says what their contents mean together, and `what` names that in the log.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(
        what: &'static str,
        paths: Vec<PathBuf>,
        read: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let contents = contents(&paths)?;
        let current = read(&contents)?;
        Ok(Self {
            what,
            paths,
            read: Box::new(read),
            current: RwLock::new(Arc::new(current)),
            seen: Mutex::new(Seen {
                read: Ok(contents.clone()),
                last: Ok(contents),
            }),
            is_stale: AtomicBool::new(false),
        })
    }

    /// What counts.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Whether the files have a fault, and what they meant before counts.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.is_stale.load(Ordering::Relaxed)
    }

    /// Looks at the files every [`LOOK_INTERVAL`], on a thread that ends with the last user of what they mean.
    pub fn watch(self: &Arc<Self>) {
        let files: Weak<Self> = Arc::downgrade(self);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(LOOK_INTERVAL);
                match files.upgrade() {
                    Some(files) => files.look(),
                    None => return,
                }
            }
        });
    }

    /// Looks once; what two looks in a row find is taken over. The contents are compared and not the times: a file that
    /// is replaced, as Kubernetes replaces a secret, may bear any time.
    pub(crate) fn look(&self) {
        let contents = contents(&self.paths);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_settled = seen.last == contents;
        seen.last.clone_from(&contents);
        if !is_settled || seen.read == contents {
            return;
        }
        seen.read.clone_from(&contents);
        let (what, paths) = (self.what, &self.paths);
        match contents.and_then(|contents| (self.read)(&contents)) {
            Ok(current) => {
                tracing::info!(?paths, "{what} are read again");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
                self.is_stale.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::error!(
                    ?paths,
                    %error,
                    "{what} have changed, and cannot be read; those from before count"
                );
                self.is_stale.store(true, Ordering::Relaxed);
            }
        }
    }
}

fn contents(paths: &[PathBuf]) -> Contents {
    paths.iter().map(|path| content(path)).collect()
}

fn content(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes));
    let path = path.display();
    match read {
        Ok(_) if bytes.len() as u64 > BYTES_MAX => {
            Err(format!("`{path}` has more than {BYTES_MAX} bytes"))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(format!("`{path}` cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(contents: &[Vec<u8>]) -> Result<u32, String> {
        let text = String::from_utf8_lossy(&contents.concat()).into_owned();
        text.trim().parse().map_err(|_| format!("`{text}`"))
    }

    #[test]
    fn a_change_counts_and_a_bad_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        std::fs::write(&paths[0], "1").unwrap();
        assert!(Reloaded::load("numbers", paths.to_vec(), number).is_err());
        std::fs::write(&paths[1], "2").unwrap();
        let files = Reloaded::load("numbers", paths.to_vec(), number).unwrap();
        for (second, expected, is_stale) in [
            (Some("2"), 12, false),
            (Some("x"), 12, true),
            (Some("3"), 13, false),
            (None, 13, true),
            (Some("3"), 13, false),
        ] {
            match second {
                Some(text) => std::fs::write(&paths[1], text).unwrap(),
                None => std::fs::remove_file(&paths[1]).unwrap(),
            }
            let before = (*files.current(), files.is_stale());
            files.look();
            assert_eq!(
                (*files.current(), files.is_stale()),
                before,
                "it may be half of a file"
            );
            files.look();
            assert_eq!(
                (*files.current(), files.is_stale()),
                (expected, is_stale),
                "{second:?}"
            );
        }
    }
}
