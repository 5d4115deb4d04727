//! The server lists at hand: fetched now, or stored by an earlier life.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::pia::account::{self, ListVersion};
use crate::pia::error::ApiError;
use crate::pia::host::Host;
use crate::pia::regions::{ListKey, ServerList};
use crate::pia::retry::RetryPolicy;
use crate::system::cancellation::CancellationToken;
use crate::system::files;

/// Verified lists, the best first.
pub struct Directory {
    key_file: PathBuf,
    key: Option<ListKey>,
    stored: PathBuf,
    lists: Vec<ServerList>,
    /// Whether a list was fetched in this life, so that an id it lacks is unknown rather than
    /// merely not at hand.
    fresh: bool,
}

/// More lists than that hold nothing new.
const MAX_LISTS: usize = 8;

impl Directory {
    /// Nothing is read before it is needed.
    pub fn new(key_file: PathBuf, stored: &Path) -> Self {
        Self {
            key_file,
            key: None,
            stored: stored.to_owned(),
            lists: Vec::new(),
            fresh: false,
        }
    }

    /// All lists at hand.
    pub fn lists(&self) -> Vec<&ServerList> {
        self.lists.iter().collect()
    }

    /// Whether a list was fetched in this life.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Fetches a list and puts it first; one of version 6 is stored, signature included.
    ///
    /// # Errors
    /// When the key cannot be read or the list cannot be had.
    pub fn fetch(
        &mut self,
        host: &Host,
        version: ListVersion,
        retry: &RetryPolicy,
        stop: &CancellationToken,
    ) -> Result<Result<(), ApiError>, Failure> {
        let key = self.key()?;
        let signed = match account::server_list(host, version, &key, retry, stop) {
            Ok(signed) => signed,
            Err(error) => return Ok(Err(error)),
        };
        if version == ListVersion::V6 {
            log::info!(
                "Verified server list ({} locations)",
                signed.list.locations.len()
            );
            self.store(&signed.text);
        }
        self.lists.insert(0, signed.list);
        self.lists.truncate(MAX_LISTS);
        self.fresh = true;
        Ok(Ok(()))
    }

    fn store(&self, raw: &[u8]) {
        if let Err(error) = files::replace(&self.stored, raw, 0o644) {
            log::warn!(
                "{error}; should PIA's server list be down at the next start, there is none to \
                 fall back on"
            );
        }
    }

    /// Takes the stored list in addition, verified like any other. Whether there is a good one.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub fn recall(&mut self) -> Result<bool, Failure> {
        let key = self.key()?;
        let text = match std::fs::read(&self.stored) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => {
                log::warn!("stored server list, {}: {error}", self.stored.display());
                return Ok(false);
            }
        };
        match ServerList::verify(&text, &key) {
            Ok(list) => {
                self.lists.push(list);
                Ok(true)
            }
            Err(error) => {
                log::warn!(
                    "stored server list, {}: {error}; it is not used",
                    self.stored.display()
                );
                Ok(false)
            }
        }
    }

    /// Whether a list is stored; it may yet turn out to be bad.
    pub fn has_stored(&self) -> bool {
        self.stored.exists()
    }

    fn key(&mut self) -> Result<ListKey, Failure> {
        if let Some(key) = &self.key {
            return Ok(key.clone());
        }
        let key =
            ListKey::read(&self.key_file).map_err(|error| Failure::lasting(error.to_string()))?;
        self.key = Some(key.clone());
        Ok(key)
    }
}
