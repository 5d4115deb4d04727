//! The lease in a file, so that the port stays the same from life to life.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::pia::lease::Lease;
use crate::system::files::{self, FileError};

/// A file with the answer that gave the lease, as it was received. It holds the account token, so
/// it is nobody else's to read.
#[derive(Debug, Clone)]
pub struct LeaseFile {
    path: PathBuf,
    /// What keeps others from using it too, as long as it is open.
    _claim: Option<Arc<File>>,
}

/// Containers that share a volume, each with a port of its own.
const MAX_SHARERS: u32 = 100;

impl LeaseFile {
    /// The file need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            _claim: None,
        }
    }

    /// The same, or where another program has claimed that one, the first of `NAME-2`, `NAME-3`, …
    /// that is free: two that used one lease would fight for its port. Where nothing can be
    /// claimed, as on some network file systems, the file itself is used.
    ///
    /// The claim of the first is a lock on its folder, so that no further file lies there for
    /// those who are alone.
    pub fn claim(path: &Path) -> Self {
        let alone = Self::new(path);
        let Some(folder) = path.parent() else {
            return alone;
        };
        if files::make_directory(folder).is_err() {
            return alone;
        }
        for number in 1..=MAX_SHARERS {
            let (path, lock) = match number {
                1 => (path.to_owned(), files::lock_directory_if_free(folder)),
                _ => {
                    let path = numbered(path, number);
                    let lock = files::lock_if_free(&path.with_extension("lock"));
                    (path, lock)
                }
            };
            match lock {
                Ok(Some(claim)) => {
                    return Self {
                        path,
                        _claim: Some(Arc::new(claim)),
                    };
                }
                Ok(None) => log::debug!("{}: used by another container", path.display()),
                Err(error) => {
                    log::debug!("{error}");
                    break;
                }
            }
        }
        alone
    }

    /// The lease in it, if there is a good one; says what becomes of any other.
    pub fn read(&self) -> Option<Lease> {
        let path = self.path.display();
        let text = match files::read_stored(&self.path) {
            Ok(text) => text?,
            Err(error) => {
                log::warn!("stored lease: {error}; a new port is asked for");
                return None;
            }
        };
        let lease = match Lease::parse(text.as_bytes()) {
            Ok(lease) => lease,
            Err(error) => {
                log::warn!("{path}: {error}; a new port is asked for");
                return None;
            }
        };
        let (port, now) = (lease.port, SystemTime::now());
        if lease.is_due_for_renewal(now) {
            log::info!(
                "The stored lease of port {port} has expired or soon will; a new one is asked for"
            );
        } else {
            let left = lease.expires_at.duration_since(now).unwrap_or_default();
            let days = left.as_secs() / 86_400;
            log::info!("Using the stored lease of port {port}, good for {days} days");
        }
        Some(lease)
    }

    /// Stores the lease.
    ///
    /// # Errors
    /// When it cannot be written: the next start gets another port.
    pub fn store(&self, lease: &Lease) -> Result<(), FileError> {
        self.path
            .parent()
            .map_or(Ok(()), files::make_directory)
            .and_then(|()| files::replace(&self.path, lease.answer(), 0o600))
    }
}

/// `portsig-2.json` of `portsig.json`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut name = format!("{stem}-{number}");
    if let Some(extension) = path.extension() {
        name += &format!(".{}", extension.to_string_lossy());
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_who_claims_has_a_file_of_its_own_and_leaves_it_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portsig.json");
        let first = LeaseFile::claim(&path);
        assert_eq!(first.path, path);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let second = LeaseFile::claim(&path);
        let third = LeaseFile::claim(&path);
        assert_eq!(second.path, folder.path().join("portsig-2.json"));
        assert_eq!(third.path, folder.path().join("portsig-3.json"));
        drop(first);
        assert_eq!(LeaseFile::claim(&path).path, path);
        drop(second);
        assert_eq!(LeaseFile::claim(&path).path, path);
    }
}
