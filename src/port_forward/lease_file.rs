//! The lease in a file, so that the port stays the same from life to life.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::pia::lease::Lease;
use crate::system::files;

/// A file with the answer that gave the lease, as it was received. It holds the account token, so
/// it is nobody else's to read.
#[derive(Debug, Clone)]
pub struct LeaseFile(PathBuf);

impl LeaseFile {
    /// The file need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The lease in it, if there is a good one; says what becomes of any other.
    pub fn read(&self) -> Option<Lease> {
        let path = self.0.display();
        let text = match std::fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                log::warn!("stored lease, {path}: {error}; a new port is asked for");
                return None;
            }
        };
        let lease = match Lease::parse(&text) {
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

    /// Stores the lease; where that fails, the next start gets another port.
    pub fn store(&self, lease: &Lease) {
        let written = self
            .0
            .parent()
            .map_or(Ok(()), files::make_directory)
            .and_then(|()| files::replace(&self.0, lease.answer(), 0o600));
        if let Err(error) = written {
            log::warn!("storing the lease: {error}; the next start gets another port");
        }
    }
}
