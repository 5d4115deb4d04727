//! The places at servers that containers with one volume hold: a server keeps one client of an
//! account, so whoever registers where another one is throws that out.
//!
//! They share one empty file, in which each locks the byte at the number of its server's address.
//! The lock belongs to the open file: a child does not inherit it, and it ends with the container,
//! however that ends.

use std::fmt;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::system::files;

/// The places of this container, and what it can know of those of others.
#[derive(Debug, Default)]
pub struct Places {
    path: Option<PathBuf>,
    file: OnceLock<Option<Arc<File>>>,
    own: Mutex<Vec<Weak<HeldPlace>>>,
}

/// A place that others with this volume leave to us for as long as this lives.
pub struct HeldPlace {
    server: Ipv4Addr,
    file: Arc<File>,
}

/// Who has the place at a server.
#[derive(Debug, Clone)]
pub enum Holder {
    /// This container, unless nothing can be locked.
    Us(Option<Arc<HeldPlace>>),
    Other,
}

impl Places {
    /// Those of the containers that share this file. It is made when it is first needed.
    pub fn shared_by(path: &Path) -> Self {
        Self {
            path: Some(path.to_owned()),
            ..Self::default()
        }
    }

    /// Takes the place at this server, unless another container has it.
    pub fn take(&self, server: Ipv4Addr) -> Holder {
        // Held until the end, so that what is ours is known.
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.retain(|place| place.strong_count() > 0);
        let ours = own.iter().filter_map(Weak::upgrade);
        if let Some(place) = ours.into_iter().find(|place| place.server == server) {
            return Holder::Us(Some(place));
        }
        let Some(file) = self.file() else {
            return Holder::Us(None);
        };
        match lock(&file, server, libc::F_WRLCK) {
            Ok(()) => {
                let place = Arc::new(HeldPlace { server, file });
                own.push(Arc::downgrade(&place));
                Holder::Us(Some(place))
            }
            Err(Errno::EAGAIN | Errno::EACCES) => Holder::Other,
            // As on some network file systems.
            Err(error) => Holder::Us(said(error)),
        }
    }

    /// Whether another container has the place at this server.
    pub fn is_others(&self, server: Ipv4Addr) -> bool {
        let file = self.file();
        // That of a lock which would be in the way.
        file.is_some_and(|file| {
            let mut range = range(server, libc::F_WRLCK);
            let asked = fcntl(&*file, FcntlArg::F_OFD_GETLK(&mut range));
            asked.is_ok() && range.l_type != narrow(libc::F_UNLCK)
        })
    }

    fn file(&self) -> Option<Arc<File>> {
        let open = || {
            let opened = files::open_for_locks(self.path.as_deref()?);
            opened.map_or_else(said, |file| Some(Arc::new(file)))
        };
        self.file.get_or_init(open).clone()
    }
}

/// Nothing is known then, as without a volume.
fn said<T>(error: impl fmt::Display) -> Option<T> {
    log::debug!("places of other containers: {error}");
    None
}

impl fmt::Debug for HeldPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        // It would end with the file at the latest.
        let _ = lock(&self.file, self.server, libc::F_UNLCK);
    }
}

/// `F_WRLCK` or `F_UNLCK`, without waiting.
fn lock(file: &File, server: Ipv4Addr, kind: libc::c_int) -> nix::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&range(server, kind))).map(drop)
}

fn range(server: Ipv4Addr, kind: libc::c_int) -> libc::flock {
    let [a, b, c, d] = server.octets();
    libc::flock {
        l_type: narrow(kind),
        l_whence: narrow(libc::SEEK_SET),
        // Offsets have 31 bits on some machines; the bit that is lost tells no two servers apart.
        l_start: libc::off_t::from(i32::from_be_bytes([a & 0x7f, b, c, d])),
        l_len: 1,
        l_pid: 0,
    }
}

/// The kernel's kinds are small numbers, which libc has in a wide type.
fn narrow(kind: libc::c_int) -> libc::c_short {
    libc::c_short::try_from(kind).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 13);

    #[test]
    fn a_place_is_its_containers_until_it_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("servers.lock");
        let (one, other) = (Places::shared_by(&file), Places::shared_by(&file));
        let Holder::Us(first) = one.take(HERE) else {
            panic!("nobody else is there");
        };
        assert!(first.is_some() && other.is_others(HERE));
        // The next registration at the same server begins before the last one ends.
        let second = one.take(HERE);
        drop(first);
        assert!(other.is_others(HERE));
        drop(second);
        assert!(!other.is_others(HERE));
    }

    #[test]
    fn without_a_file_nobody_is_known() {
        let places = Places::shared_by(Path::new("/proc/none/servers.lock"));
        assert!(matches!(places.take(HERE), Holder::Us(None)));
        assert!(matches!(Places::default().take(HERE), Holder::Us(None)));
    }
}
