//! The server lists at hand: fetched now, or stored by an earlier life.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kept_list::KeptList;
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

/// So long a stored list is kept that names more than later ones: locations have been away for
/// hours, and those that are away for longer may be so for good.
const STORED_KEPT_FOR: Duration = Duration::from_secs(3 * 24 * 3600);

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
    lists: Vec<(ListVersion, KeptList)>,
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
        self.lists.iter().map(|(_, kept)| kept.list()).collect()
    }

    /// The best one.
    pub(super) fn first(&self) -> Option<&ServerList> {
        self.lists.first().map(|(_, kept)| kept.list())
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Nobody will look at them soon.
    pub(super) fn rest(&mut self) {
        self.lists.iter_mut().for_each(|(_, kept)| kept.rest());
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
        let is_behind = |(first, _): &(ListVersion, KeptList)| {
            version == ListVersion::V7 && *first == ListVersion::V6
        };
        let place = usize::from(self.lists.first().is_some_and(is_behind));
        self.lists
            .insert(place, (version, KeptList::new(signed.list)));
        if self.lists.len() > MAX_LISTS {
            self.forget_old();
        }
        self.is_fresh = true;
    }

    /// Puts a stored list last, unless it is at hand.
    fn take_last(&mut self, list: ServerList) {
        if self.all().iter().all(|at_hand| **at_hand != list) {
            self.lists.push((ListVersion::V6, KeptList::new(list)));
            self.lists.truncate(MAX_LISTS);
        }
    }

    /// Whether the newest list of a version names this location, and it can be used.
    pub(super) fn name_today(&self, id: &str) -> bool {
        let mut is_newest = first_of_version();
        self.lists.iter().any(|(version, kept)| {
            let is_it = |location: &Location| location.id == id && is_usable(location);
            is_newest(*version) && kept.list().locations.iter().any(is_it)
        })
    }

    /// Drops all but the newest of each version, and the locations that these lack today, or whose
    /// servers they lack. A search that needs more servers fetches more.
    pub(super) fn forget_old(&mut self) {
        let mut is_newest = first_of_version();
        let lists = self.lists.drain(..);
        let (newest, older): (Vec<_>, Vec<_>) = lists.partition(|(version, _)| is_newest(*version));
        self.lists = newest;
        for (version, kept) in older {
            let mut list = kept.into_list();
            list.locations.retain(|location| {
                let is_same = |other: &Location| {
                    other.id == location.id && (other.offline || is_usable(other))
                };
                let is_known =
                    |(_, kept): &(_, KeptList)| kept.list().locations.iter().any(is_same);
                is_usable(location) && !self.lists.iter().any(is_known)
            });
            if !list.locations.is_empty() {
                self.lists.push((version, KeptList::new(list)));
            }
        }
    }

    /// Stores what was fetched and is not stored yet, unless that `lacks` more of what is wanted
    /// than the stored list does, which is kept for some days then.
    pub(super) fn store_fetched(&mut self, lacks: impl Fn(&ServerList) -> usize) {
        let (Some(file), Some(text)) = (self.files.stored.clone(), self.unstored.take()) else {
            return;
        };
        let mut of_v6 = self.lists.iter().filter(|(of, _)| *of == ListVersion::V6);
        let lacking = of_v6.next().map_or(0, |(_, kept)| lacks(kept.list()));
        if lacking > 0 && is_of_late(&file) {
            let stored = self.key().ok().and_then(|key| {
                let text = files::read_stored(&file).ok()??;
                ServerList::verify(text.as_bytes(), &key).ok()
            });
            if stored.is_some_and(|stored| lacks(&stored) < lacking) {
                log::debug!("the stored server list is kept, as it names more of the locations");
                return;
            }
        }
        if let Err(error) = files::replace(&file, &text, 0o644) {
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

/// Says of one list after the other whether it is the first of its version, which is the newest.
fn first_of_version() -> impl FnMut(ListVersion) -> bool {
    let mut seen = Vec::new();
    move |version| {
        let is_first = !seen.contains(&version);
        seen.push(version);
        is_first
    }
}

fn is_of_late(file: &Path) -> bool {
    let written = file.metadata().and_then(|metadata| metadata.modified());
    written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < STORED_KEPT_FOR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pia::regions::Server;
    use std::net::Ipv4Addr;

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
    fn a_location_that_later_lists_lack_is_remembered_and_one_that_is_offline_is_not() {
        let mut lists = ServerLists::new(ListFiles {
            key: PathBuf::new(),
            stored: None,
        });
        let location = |id: &str, offline| Location {
            id: id.to_owned(),
            offline,
            servers: vec![Server {
                cn: id.to_owned(),
                ip: Ipv4Addr::new(192, 0, 2, 7),
            }],
            name: id.to_owned(),
            country: "XX".to_owned(),
            port_forward: true,
            geo: false,
        };
        let mut take = |locations| {
            let list = ServerList {
                registration_port: 1337,
                locations,
            };
            let text = Vec::new();
            lists.take(ListVersion::V6, SignedList { text, list });
        };
        take(vec![location("gone", false), location("offline", false)]);
        for _ in 0..20 {
            take(vec![location("there", false), location("offline", true)]);
        }
        lists.forget_old();
        let all = lists.all();
        let ids = all.iter().flat_map(|list| &list.locations);
        let usable: Vec<&str> = ids
            .filter(|location| is_usable(location))
            .map(|location| location.id.as_str())
            .collect();
        assert_eq!(usable, ["there", "gone"]);
        assert!(lists.name_today("there") && !lists.name_today("gone"));
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
