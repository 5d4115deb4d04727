//! Reading, replacing and locking files. What is in them is not known here.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Uid, geteuid};

use super::paths;
use super::secret::Secret;

/// A file could not be read or written; the message names it and, where the container's rights are
/// too few, the line to add.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {source}{}", path.display(), self.advice())]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    /// Why the operating system refused.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// For callers that touch a file in a way that this module does not offer.
    pub fn new(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self {
            action,
            path: path.into(),
            source,
        }
    }

    /// Whether the file could not be given to the owner that was asked for.
    pub fn is_about_owner(&self) -> bool {
        self.action == CHANGING_OWNER
    }

    fn advice(&self) -> String {
        match self.source.kind() {
            io::ErrorKind::PermissionDenied if self.is_about_owner() => OWNER_ADVICE.to_owned(),
            // This bind mount of Docker and Kubernetes is read-only when the root file system is.
            io::ErrorKind::ReadOnlyFilesystem if self.path == Path::new(paths::RESOLV_CONF) => {
                "; it is read-only because the root file system is: remove `read_only: true`, or \
                 mount a file of yours \
                 that names your name servers (`volumes: [./resolv.conf:/etc/resolv.conf]`)"
                    .to_owned()
            }
            // What is in a tmpfs would be forgotten.
            io::ErrorKind::ReadOnlyFilesystem if self.path.starts_with(paths::VOLUME) => {
                format!(
                    "; mount a volume there that can be written (`volumes: [pia:{}]`, without \
                     `:ro`)",
                    paths::VOLUME
                )
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                let directory = self.path.parent().unwrap_or(&self.path);
                format!(
                    "; with a read-only root file system add `tmpfs: [{}]`",
                    directory.display()
                )
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "; make room there, or let it have more (a tmpfs: `size=`)".to_owned()
            }
            io::ErrorKind::PermissionDenied => permission_advice(geteuid()).to_owned(),
            _ => String::new(),
        }
    }
}

pub(super) const CHANGING_OWNER: &str = "changing the owner of";
const OWNER_ADVICE: &str = "; root without the capability CHOWN cannot give files away: add \
                            `cap_add: [CHOWN]`";

/// Why root may be refused, and what to do; of others it is expected.
pub fn permission_advice(user: Uid) -> &'static str {
    match user.is_root() {
        true => ROOT_ADVICE,
        false => "",
    }
}

const ROOT_ADVICE: &str = "; root without the capability DAC_OVERRIDE is bound by file \
                                     modes: make the file \
     root's, or add `cap_add: [DAC_OVERRIDE]`";

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError::new(action, path, source)
}

/// The file's text, `None` where there is no such file. Bytes that are not UTF-8 are replaced.
pub fn read_if_present(path: &Path) -> Result<Option<String>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("reading", path)(error)),
    }
}

/// More than a resolver's configuration has, and no burden on the memory.
const MAX_SHARED_BYTES: u64 = 1024 * 1024;

/// As [`read_if_present`], of `/etc/hosts` or `/etc/resolv.conf`, which all who share the network
/// share, and root among them can write: one of any size, that is.
pub fn read_shared(path: &Path) -> Result<Option<String>, FileError> {
    let read = || {
        // Of a pipe nothing is waited for.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        let mut bytes = Vec::new();
        let limit = MAX_SHARED_BYTES.saturating_add(1);
        let length = file.take(limit).read_to_end(&mut bytes)?;
        if u64::try_from(length).is_ok_and(|length| length > MAX_SHARED_BYTES) {
            return Err(io::Error::other(TOO_LARGE));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("reading", path)(error)),
    }
}

const TOO_LARGE: &str = "it is larger than 1 MiB; root of any container that shares this network \
    can write it: write it anew, or recreate the container that owns the network, and use \
    `user:` for those that need no root";

/// A hundred times the largest, the server list.
const MAX_STORED_BYTES: u64 = 16 * 1024 * 1024;

/// As [`read_if_present`], of a file that this program wrote into a folder that others may write
/// to: a pipe or a device in its place, which could be read without an end, is none.
pub fn read_stored(path: &Path) -> Result<Option<String>, FileError> {
    let read = || {
        // To open a pipe would wait for somebody who writes.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("this is no regular file"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_STORED_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("reading", path)(error)),
    }
}

/// Whose a file is, and who may read and write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    pub mode: u32,
    /// `None` is our own.
    pub user: Option<u32>,
    pub group: Option<u32>,
}

impl Ownership {
    /// Ours, with this mode.
    pub const fn own(mode: u32) -> Self {
        Self {
            mode,
            user: None,
            group: None,
        }
    }
}

/// Replaces the file in one step: readers see the old content or the new, never a part, and it has
/// `mode` from the first byte, where the file system lets it have one. A file that cannot be
/// replaced because it is a mount point is written in place, and so it is where its file system is
/// full, if that takes no more room than the file has.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let replaced = tempfile::Builder::new()
        .prefix(".wireguard-pia-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(directory)
        .and_then(|mut file| {
            file.write_all(content)?;
            set_mode(file.as_file(), mode, path);
            file.persist(path).map(drop).map_err(|error| error.error)
        });
    match replaced {
        Ok(()) => Ok(()),
        // A single bind-mounted file answers EBUSY; its directory may also be read-only while the
        // file is not.
        Err(error) if path.exists() && !would_tear(&error, path, content) => {
            write_in_place(path, content)
        }
        Err(error) => Err(failed("writing", path)(error)),
    }
}

/// What a file system gives a file at a time, at least.
const BLOCK: u64 = 512;

/// Whether there may be no room for all of `content` in the file's place, so that the start of the
/// new would stand before nothing. One that copies on write may have none for what fits.
fn would_tear(why: &io::Error, path: &Path, content: &[u8]) -> bool {
    let is_full = matches!(
        why.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    let room = || fs::metadata(path).map_or(0, |metadata| metadata.len().next_multiple_of(BLOCK));
    is_full && content.len() as u64 > room()
}

/// Gives a file that we have just made this mode: the umask may have taken bits away that readers
/// need. A file system with modes of its own (CIFS, exFAT, ZFS with ACLs) refuses, or does nothing;
/// the file is of use all the same, and where others can read what they should not, that is said.
pub(super) fn set_mode(file: &File, mode: u32, path: &Path) {
    // Of one that cannot be looked at there is nothing to say.
    let mode_now = || {
        let metadata = file.metadata();
        metadata.map_or(mode, |metadata| metadata.permissions().mode() & 0o7777)
    };
    if mode_now() == mode {
        return;
    }
    if let Err(why) = file.set_permissions(fs::Permissions::from_mode(mode)) {
        log::debug!("changing the mode of {}: {why}", path.display());
    }
    let has = mode_now();
    let mut told = TOLD_OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if exposes(has, mode) && told.insert(path.to_owned()) {
        log::warn!(
            "{} is to be its owner's alone, and its file system gives it the mode 0{has:o}; mount \
             it with another one, such as `file_mode=0600` of CIFS or `umask=077` of exFAT",
            path.display()
        );
    }
}

/// Of which files that has been said.
static TOLD_OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Whether a file is to be its owner's alone, and is not.
fn exposes(has: u32, wanted: u32) -> bool {
    wanted & 0o077 == 0 && has & 0o077 != 0
}

/// Overwrites an existing file without replacing it; no reader ever sees it empty.
pub fn write_in_place(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            // A pipe that nobody reads is an error, not a wait.
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        file.write_all(content)?;
        file.set_len(content.len() as u64)
    };
    write().map_err(failed("writing", path))
}

/// Removes the file; that it is not there is no error.
pub fn remove_if_present(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("removing", path)(error))
        }
        _ => Ok(()),
    }
}

/// Makes the directory and those above it.
pub fn make_directory(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(failed("creating", path))
}

/// A secret that has a file of its own; line ends at its end are the editor's, not the secret's.
/// `None` where nothing is left.
///
/// # Errors
/// When the file cannot be read.
pub fn read_secret(path: &Path) -> io::Result<Option<Secret>> {
    let text = fs::read_to_string(path)?;
    let text = text.trim_end_matches(['\r', '\n']);
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}

/// Whether users that have nothing to do with it can read a file: its mode says so, and they come
/// through all folders above it. `path` is to be absolute and without links.
pub fn is_readable_by_all(path: &Path) -> bool {
    let has = |path: &Path, bit: u32| {
        fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & bit != 0)
    };
    has(path, 0o4) && path.ancestors().skip(1).all(|folder| has(folder, 0o1))
}

/// Takes an exclusive lock that lasts as long as the returned file is kept open; `None` when
/// another holds it.
pub fn lock_if_free(path: &Path) -> Result<Option<File>, FileError> {
    lock_or_none(open_for_locks(path)?, path)
}

/// A file that has locks instead of content, made if it is not there.
///
/// # Errors
/// When it cannot be opened or made.
pub fn open_for_locks(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)
        .map_err(failed("opening", path))
}

/// The same on a directory that is there.
pub fn lock_directory_if_free(path: &Path) -> Result<Option<File>, FileError> {
    let directory = File::open(path).map_err(failed("opening", path))?;
    lock_or_none(directory, path)
}

fn lock_or_none(file: File, path: &Path) -> Result<Option<File>, FileError> {
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(failed("locking", path)(error)),
    }
}

/// An empty file without a name, which nothing that ends us leaves behind: in memory, where no file
/// system is full, or else in `directory` if it can be written.
pub fn nameless(directory: &Path) -> io::Result<File> {
    // Linux has it since 3.17, and old engines' seccomp refuses it.
    memfd_create("nameless", MFdFlags::MFD_CLOEXEC)
        .map(File::from)
        .or_else(|_| tempfile::tempfile_in(directory))
        .or_else(|_| tempfile::tempfile())
}

/// By which our children can open such a file, as long as we have it open.
pub fn path_for_children(file: &File) -> PathBuf {
    let (pid, descriptor) = (std::process::id(), file.as_raw_fd());
    PathBuf::from(format!("/proc/{pid}/fd/{descriptor}"))
}

/// Whether another process holds the lock.
pub fn is_locked(path: &Path) -> bool {
    // Reading is enough, so that an ordinary user can look too.
    File::open(path)
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever reads them otherwise does so for ever.
    #[test]
    fn a_pipe_or_a_device_is_no_stored_file() {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let at = |name: &str| directory.path().join(name);
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("zeros")).unwrap();
        fs::write(at("file"), "kept").unwrap();
        for name in ["pipe", "zeros"] {
            let error = read_stored(&at(name)).unwrap_err().to_string();
            assert!(error.contains("no regular file"), "{error}");
        }
        assert_eq!(read_stored(&at("file")).unwrap().unwrap(), "kept");
        assert_eq!(read_stored(&at("none")).unwrap(), None);
    }

    #[test]
    fn a_file_that_others_can_write_is_read_as_far_as_it_makes_sense() {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let path = directory.path().join("hosts");
        assert_eq!(read_shared(&path).unwrap(), None);
        for (size, is_read) in [
            (0, true),
            (MAX_SHARED_BYTES, true),
            (MAX_SHARED_BYTES + 1, false),
            (1 << 40, false),
        ] {
            File::create(&path).unwrap().set_len(size).unwrap();
            let text = read_shared(&path);
            assert_eq!(text.is_ok(), is_read, "{size}");
            if let Err(error) = text {
                let error = error.to_string();
                assert!(error.contains("hosts: it is larger than 1 MiB"), "{error}");
            }
        }
        // What users mount to have none.
        assert_eq!(read_shared(Path::new("/dev/null")).unwrap().unwrap(), "");
        read_shared(Path::new("/dev/zero")).unwrap_err();
    }

    #[test]
    fn a_file_is_readable_by_all_only_through_its_folders() {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let file = directory.path().join("secret");
        fs::write(&file, "secret").unwrap();
        let set = |path: &Path, mode: u32| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for (folder, of_file, expected) in [
            (0o755, 0o644, true),
            (0o700, 0o644, false),
            (0o755, 0o640, false),
        ] {
            set(directory.path(), folder);
            set(&file, of_file);
            let readable = is_readable_by_all(&file);
            assert_eq!(readable, expected, "{folder:o} {of_file:o}");
        }
        assert!(!is_readable_by_all(&directory.path().join("none")));
    }

    #[test]
    fn a_replaced_file_has_the_mode_and_the_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("port.dat");
        replace(&path, b"12345\n", 0o644).unwrap();
        replace(&path, b"1\n", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1\n");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_full_disk_tears_no_file_that_has_to_grow() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        for (has, wants, kind, expected) in [
            (6, 6, io::ErrorKind::StorageFull, false),
            (6, 512, io::ErrorKind::StorageFull, false),
            (6, 513, io::ErrorKind::StorageFull, true),
            (0, 6, io::ErrorKind::QuotaExceeded, true),
            (0, 6, io::ErrorKind::ResourceBusy, false),
        ] {
            fs::write(&path, vec![b'a'; has]).unwrap();
            let tears = would_tear(&kind.into(), &path, &vec![b'b'; wants]);
            assert_eq!(tears, expected, "{has} {wants} {kind}");
        }
    }

    #[test]
    fn a_file_is_exposed_by_a_mode_that_lets_others_in() {
        for (has, wanted, expected) in [
            (0o755, 0o600, true),
            (0o640, 0o600, true),
            (0o700, 0o600, false),
            (0o400, 0o600, false),
            (0o777, 0o644, false),
            (0o600, 0o644, false),
        ] {
            assert_eq!(exposes(has, wanted), expected, "{has:o} {wanted:o}");
        }
    }

    #[test]
    fn in_place_shortens_what_was_longer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        fs::write(&path, "a long line").unwrap();
        write_in_place(&path, b"short").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
    }

    #[test]
    fn errors_name_the_path() {
        let error = replace(Path::new("/nonexistent/directory/file"), b"", 0o600).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("writing /nonexistent/directory/file: "),
            "{error}"
        );
    }

    #[test]
    fn errors_that_the_container_causes_name_the_line_to_add() {
        let error = |path: &str, kind: io::ErrorKind| {
            FileError::new("writing", path, kind.into()).to_string()
        };
        let read_only = io::ErrorKind::ReadOnlyFilesystem;
        assert!(error(paths::WG_CONF, read_only).contains("`tmpfs: [/etc/wireguard]`"));
        assert!(error(paths::RESOLV_CONF, read_only).contains("`read_only: true`"));
        assert!(error(paths::TOKEN, read_only).contains("`volumes: [pia:/pia]`"));
        assert!(error(paths::TOKEN, io::ErrorKind::StorageFull).contains("make room"));
        let of_root = permission_advice(Uid::from_raw(0));
        assert!(of_root.contains("`cap_add: [DAC_OVERRIDE]`"));
        assert_eq!(permission_advice(Uid::from_raw(1000)), "");
        let denied = error(paths::WG_CONF, io::ErrorKind::PermissionDenied);
        assert!(denied.ends_with(permission_advice(geteuid())), "{denied}");
        assert!(!error(paths::WG_CONF, io::ErrorKind::NotFound).contains("add"));
    }

    #[test]
    fn a_file_without_a_name_can_be_written_by_its_path() {
        let directory = tempfile::tempdir().unwrap();
        for directory in [directory.path(), Path::new("/nonexistent")] {
            let mut file = nameless(directory).unwrap();
            fs::write(path_for_children(&file), "here").unwrap();
            assert_eq!(io::read_to_string(&mut file).unwrap(), "here");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_lock_is_held_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = lock_if_free(&path).unwrap();
        assert!(held.is_some());
        assert!(lock_if_free(&path).unwrap().is_none());
        assert!(is_locked(&path));
        drop(held);
        assert!(!is_locked(&path));
        assert!(lock_if_free(&path).unwrap().is_some());
    }
}
