//! The key file as it is now: read at the start, and again whenever it changes.
//!
//! In the flow: the file → **`key_file`** → `api_keys`. A changed file with a
//! fault is not taken over: the keys from before stay, and the log and a metric say so.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use super::api_keys::{ApiKeys, NoKeyFile};

/// How often the file is looked at.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The largest file.
const BYTES_MAX: u64 = 4 << 20;

/// A key file and the keys that count.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    current: RwLock<Arc<ApiKeys>>,
    is_stale: AtomicBool,
}

impl KeyFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`NoKeyFile`] with every fault of it.
    pub fn load(path: PathBuf) -> Result<Self, NoKeyFile> {
        let keys = ApiKeys::read(&text_of(&path)?)?;
        Ok(Self {
            path,
            current: RwLock::new(Arc::new(keys)),
            is_stale: AtomicBool::new(false),
        })
    }

    /// The keys that count.
    #[must_use]
    pub fn current(&self) -> Arc<ApiKeys> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Whether the file has a fault, and the keys are those from before.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.is_stale.load(Ordering::Relaxed)
    }

    /// Looks at the file every [`LOOK_INTERVAL`], on a thread that ends with the last user of the keys. The content
    /// is compared and not the time: a file that is replaced, as Kubernetes replaces a secret, may bear any time.
    pub fn watch(self: &Arc<Self>) {
        let file: Weak<Self> = Arc::downgrade(self);
        let mut last = None;
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(LOOK_INTERVAL);
                let Some(file) = file.upgrade() else {
                    return;
                };
                let text = text_of(&file.path);
                if last.as_ref() != Some(&text) {
                    file.take_over(text.clone());
                    last = Some(text);
                }
            }
        });
    }

    fn take_over(&self, text: Result<String, NoKeyFile>) {
        let path = self.path.display();
        match text.and_then(|text| ApiKeys::read(&text)) {
            Ok(keys) if !self.is_stale() && keys == *self.current() => {}
            Ok(keys) => {
                let count = keys.iter().count();
                tracing::info!(%path, count, "the API keys are read again");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                self.is_stale.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::error!(%path, %error, "the API keys have changed, and cannot be read; those from before stay valid");
                self.is_stale.store(true, Ordering::Relaxed);
            }
        }
    }
}

fn text_of(path: &Path) -> Result<String, NoKeyFile> {
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > BYTES_MAX => Err(NoKeyFile(vec![format!(
            "`{}` has more than {BYTES_MAX} bytes",
            path.display()
        )])),
        Ok(_) => Ok(text),
        Err(error) => Err(NoKeyFile(vec![format!(
            "`{}` cannot be read: {error}",
            path.display()
        )])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::api_keys::{NewKey, Scope};

    #[test]
    fn a_change_counts_and_a_bad_one_does_not() {
        let key = |id: &str| NewKey::make(id, &[Scope::Query], None, None, [1; 32]).unwrap();
        let (first, second) = (key("first"), key("second"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        std::fs::write(&path, &first.entry).unwrap();
        let file = KeyFile::load(path.clone()).unwrap();
        let counts = |new: &NewKey| file.current().find(&new.credential).is_some();
        for (text, is_stale) in [("[[key]]", true), (second.entry.as_str(), false)] {
            let before = (counts(&first), counts(&second));
            std::fs::write(&path, text).unwrap();
            file.take_over(text_of(&path));
            assert_eq!(file.is_stale(), is_stale);
            if is_stale {
                assert_eq!((counts(&first), counts(&second)), before);
            }
        }
        assert_eq!((counts(&first), counts(&second)), (false, true));
        std::fs::remove_file(&path).unwrap();
        file.take_over(text_of(&path));
        assert!(file.is_stale() && counts(&second));
    }
}
