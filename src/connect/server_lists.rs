//! The server lists at hand: fetched now, or stored by an earlier life.

use std::path::PathBuf;

use super::server_selection::locations::is_usable;
use crate::failure::Failure;
use crate::pia::account::{self, ListVersion, SignedList};
use crate::pia::error::ApiError;
use crate::pia::host::Host;
use crate::pia::regions::{ListKey, Location, ServerList};
use crate::pia::retry::RetryPolicy;
use crate::system::cancellation::CancellationToken;
use crate::system::files;

/// More lists than that hold nothing new.
const MAX_LISTS: usize = 8;

/// The files that lists need.
#[derive(Debug, Clone)]
pub struct ListFiles {
    /// The public key of their signature.
    pub key: PathBuf,
    /// Where the newest is stored from life to life, if it is.
    pub stored: Option<PathBuf>,
}

/// Verified lists, the best first.
pub(super) struct ServerLists {
    files: ListFiles,
    key: Option<ListKey>,
    lists: Vec<(ListVersion, ServerList)>,
    /// Whether a list was fetched in this life, so that an id it lacks is unknown rather than
    /// merely not at hand.
    is_fresh: bool,
    /// The newest of version 6 that was fetched, signature included, until it is stored.
    unstored: Option<Vec<u8>>,
}

impl ServerLists {
    /// Nothing is read before it is needed.
    pub(super) fn new(files: ListFiles) -> Self {
        Self {
            files,
            key: None,
            lists: Vec::new(),
            is_fresh: false,
            unstored: None,
        }
    }

    /// All lists at hand.
    pub(super) fn all(&self) -> Vec<&ServerList> {
        self.lists.iter().map(|(_, list)| list).collect()
    }

    /// The best one.
    pub(super) fn first(&self) -> Option<&ServerList> {
        self.lists.first().map(|(_, list)| list)
    }

    /// Whether one of this version is at hand.
    pub(super) fn has(&self, version: ListVersion) -> bool {
        self.lists.iter().any(|(at_hand, _)| *at_hand == version)
    }

    /// Whether a list was fetched in this life.
    pub(super) fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Fetches a list and takes it.
    ///
    /// # Errors
    /// When the key cannot be read or the list cannot be had.
    pub(super) fn fetch(
        &mut self,
        host: impl FnMut(Option<&ApiError>) -> Host,
        version: ListVersion,
        retry: &RetryPolicy,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let key = self.key()?;
        let signed = account::server_list(host, version, &key, retry, stop)?;
        self.take(version, signed);
        Ok(())
    }

    /// Puts a list that was fetched first; one of version 6 stays before a newer one, and is to be
    /// stored.
    pub(super) fn take(&mut self, version: ListVersion, signed: SignedList) {
        if version == ListVersion::V6 {
            self.unstored = Some(signed.text);
        }
        let is_behind = |(first, _): &(ListVersion, ServerList)| {
            version == ListVersion::V7 && *first == ListVersion::V6
        };
        let place = usize::from(self.lists.first().is_some_and(is_behind));
        self.lists.insert(place, (version, signed.list));
        self.lists.truncate(MAX_LISTS);
        self.is_fresh = true;
    }

    /// Puts a stored list last, unless it is at hand.
    fn take_last(&mut self, list: ServerList) {
        if self.lists.iter().all(|(_, at_hand)| *at_hand != list) {
            self.lists.push((ListVersion::V6, list));
            self.lists.truncate(MAX_LISTS);
        }
    }

    /// Drops all but the newest of each version, and the locations that these lack today. A search
    /// that needs more servers fetches more.
    pub(super) fn forget_old(&mut self) {
        let mut versions = Vec::new();
        let (newest, older): (Vec<_>, Vec<_>) = self.lists.drain(..).partition(|(version, _)| {
            let is_newest = !versions.contains(version);
            versions.push(*version);
            is_newest
        });
        self.lists = newest;
        for (version, mut list) in older {
            list.locations.retain(|location| {
                let is_same = |other: &Location| other.id == location.id && is_usable(other);
                let is_known = |(_, list): &(_, ServerList)| list.locations.iter().any(is_same);
                is_usable(location) && !self.lists.iter().any(is_known)
            });
            if !list.locations.is_empty() {
                list.locations.shrink_to_fit();
                self.lists.push((version, list));
            }
        }
    }

    /// Stores what was fetched and is not stored yet.
    pub(super) fn store_fetched(&mut self) {
        let (Some(file), Some(text)) = (&self.files.stored, self.unstored.take()) else {
            return;
        };
        if let Err(error) = files::replace(file, &text, 0o644) {
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
    pub(super) fn recall(&mut self) -> Result<bool, Failure> {
        let Some(file) = self.files.stored.clone() else {
            return Ok(false);
        };
        let key = self.key()?;
        let text = match files::read_stored(&file) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(false),
            Err(error) => {
                log::warn!("stored server list: {error}");
                return Ok(false);
            }
        };
        match ServerList::verify(text.as_bytes(), &key) {
            Ok(list) => {
                self.take_last(list);
                Ok(true)
            }
            Err(error) => {
                let file = file.display();
                log::warn!("stored server list, {file}: {error}; it is not used");
                Ok(false)
            }
        }
    }

    /// Whether a list is stored; it may yet turn out to be bad.
    pub(super) fn has_stored(&self) -> bool {
        self.files.stored.as_ref().is_some_and(|file| file.exists())
    }

    fn key(&mut self) -> Result<ListKey, Failure> {
        if let Some(key) = &self.key {
            return Ok(key.clone());
        }
        let key = ListKey::read(&self.files.key)?;
        self.key = Some(key.clone());
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_list_is_taken_once() {
        let mut lists = ServerLists::new(ListFiles {
            key: PathBuf::new(),
            stored: None,
        });
        let list = |registration_port| ServerList {
            registration_port,
            locations: Vec::new(),
        };
        let fetched = SignedList {
            text: Vec::new(),
            list: list(2),
        };
        lists.take(ListVersion::V7, fetched);
        for stored in [1, 1, 2, 1] {
            lists.take_last(list(stored));
        }
        assert_eq!(lists.all(), [&list(2), &list(1)]);
        // Another container with the volume may store one after the other.
        (3..99).for_each(|stored| lists.take_last(list(stored)));
        assert_eq!(lists.all().len(), MAX_LISTS);
        assert_eq!(lists.first(), Some(&list(2)));
    }

    #[test]
    fn whichever_comes_first_the_newer_list_is_the_second() {
        for versions in [
            [ListVersion::V6, ListVersion::V7],
            [ListVersion::V7, ListVersion::V6],
        ] {
            let mut lists = ServerLists::new(ListFiles {
                key: PathBuf::new(),
                stored: None,
            });
            for version in versions {
                let list = ServerList {
                    registration_port: match version {
                        ListVersion::V6 => 6,
                        ListVersion::V7 => 7,
                    },
                    locations: Vec::new(),
                };
                let text = Vec::new();
                lists.take(version, SignedList { text, list });
            }
            let first = lists.first().map(|it| it.registration_port);
            assert_eq!(first, Some(6), "{versions:?}");
        }
    }

    #[test]
    fn days_of_renewals_leave_the_newest_list_of_each_version() {
        let mut lists = ServerLists::new(ListFiles {
            key: PathBuf::new(),
            stored: None,
        });
        for registration_port in 1..=20 {
            let version = match registration_port {
                7 => ListVersion::V7,
                _ => ListVersion::V6,
            };
            let list = ServerList {
                registration_port,
                locations: Vec::new(),
            };
            let text = Vec::new();
            lists.take(version, SignedList { text, list });
            lists.forget_old();
        }
        let ports: Vec<u16> = lists.all().iter().map(|it| it.registration_port).collect();
        assert_eq!(ports, [20, 7]);
    }
}
