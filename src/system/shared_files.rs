//! Files in directories that others can write: volumes that containers share.
//!
//! Whoever can write there may put a symbolic link or a pipe in the place of our file, to have us
//! overwrite another file or wait for ever. So the way to the file is gone directory by directory,
//! no link in such a directory is followed, and nothing but a regular file is written there. Whose
//! files those are, and what is in them, is not known here.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, fchown};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, geteuid, linkat, unlinkat};

use super::files::{self, FileError, Ownership};

/// As many symbolic links as the kernel follows.
const MAX_LINKS: usize = 40;
/// How a file is opened for writing: a pipe that nobody reads is an error, not a wait.
const FOR_WRITING: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_CLOEXEC);

/// A file that says something for a while. One that was there before is another's, who may have
/// mounted it elsewhere or given it an owner: it is not taken away with what it says.
#[derive(Debug, Default)]
pub struct Notice {
    /// It says what we wrote.
    is_said: bool,
    was_there_before: bool,
}

impl Notice {
    /// As [`write()`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn say(
        &mut self,
        path: &Path,
        content: &[u8],
        ownership: Ownership,
    ) -> Result<(), FileError> {
        match write(path, content, ownership)? {
            Written::Anew => self.was_there_before = false,
            Written::InPlace if self.is_said => {}
            Written::InPlace => self.was_there_before = true,
        }
        self.is_said = true;
        Ok(())
    }

    /// Takes back what was said, if anything was: with the file, or by emptying one that was there
    /// before.
    ///
    /// # Errors
    /// When it still says so.
    pub fn take_back(&mut self, path: &Path) -> Result<(), FileError> {
        if !self.is_said {
            return Ok(());
        }
        if self.was_there_before {
            try_empty(path).map_err(|source| FileError::new("emptying", path, source))?;
        } else {
            remove(path)?;
        }
        self.is_said = false;
        Ok(())
    }
}

/// How a file got its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// There was none, or what must not be written.
    Anew,
    InPlace,
}

/// Gives the file this content. One that exists keeps its inode, owner and mode, and is written in
/// place in one step; a new one appears whole, with this ownership. A device or pipe is written if
/// only root and we could have put it there.
pub fn write(path: &Path, content: &[u8], ownership: Ownership) -> Result<Written, FileError> {
    try_write(path, content, ownership).map_err(|error| {
        let action = if error.is_about_owner {
            files::CHANGING_OWNER
        } else {
            "writing"
        };
        FileError::new(action, path, error.source)
    })
}

/// Whether the file says this and nothing else. What was written to a device of the user's cannot
/// be read again, and is taken for said.
pub fn holds(path: &Path, content: &[u8]) -> bool {
    try_hold(path, content).unwrap_or(false)
}

fn try_hold(path: &Path, content: &[u8]) -> io::Result<bool> {
    let place = Place::find(path, false)?;
    match place.kind()? {
        Some(EntryKind::Regular) => place.reads(content),
        None | Some(EntryKind::Directory) => Ok(false),
        Some(_) => Ok(!place.is_shared),
    }
}

/// Why a file was not written.
struct WriteError {
    /// It could not be given to the owner that was asked for.
    is_about_owner: bool,
    source: io::Error,
}

impl<E: Into<io::Error>> From<E> for WriteError {
    fn from(source: E) -> Self {
        Self {
            is_about_owner: false,
            source: source.into(),
        }
    }
}

/// Removes the file; that it is not there is no error. One that cannot be removed, such as a mount
/// point, is emptied; a device or pipe of the user's stays.
pub fn remove(path: &Path) -> Result<(), FileError> {
    try_remove(path).map_err(|source| FileError::new("removing", path, source))
}

fn try_write(path: &Path, content: &[u8], ownership: Ownership) -> Result<Written, WriteError> {
    let place = Place::find(path, true)?;
    match place.kind()? {
        None => {
            place.create(path, content, ownership)?;
            return Ok(Written::Anew);
        }
        Some(EntryKind::Regular) => place.overwrite(content)?,
        Some(EntryKind::Directory) => return Err(Errno::EISDIR.into()),
        Some(_) if place.is_shared => {
            place.create(path, content, ownership)?;
            return Ok(Written::Anew);
        }
        // Opened by the kernel: what a link in /proc leads to may have no path.
        Some(EntryKind::Link) => place.open(FOR_WRITING)?.write_all(content)?,
        Some(EntryKind::Special) => {
            let mut file = place.open(FOR_WRITING | OFlag::O_NOFOLLOW)?;
            file.write_all(content)?;
        }
    }
    Ok(Written::InPlace)
}

fn try_remove(path: &Path) -> io::Result<()> {
    withdraw(path, |place| match place.unlink() {
        Err(Errno::ENOENT) => Ok(()),
        Err(error) => place.overwrite(b"").map_err(|_| error.into()),
        Ok(()) => Ok(()),
    })
}

/// What cannot be emptied is removed: nobody is to read what it says.
fn try_empty(path: &Path) -> io::Result<()> {
    withdraw(path, |place| match place.overwrite(b"") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => place.unlink().map_err(|_| error),
        Ok(()) => Ok(()),
    })
}

/// Does this to a regular file; a link or pipe that others may have put into its place is removed.
fn withdraw(path: &Path, regular: impl FnOnce(&Place) -> io::Result<()>) -> io::Result<()> {
    let place = match Place::find(path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        place => place?,
    };
    match place.kind()? {
        None => Ok(()),
        Some(EntryKind::Regular) => regular(&place),
        Some(EntryKind::Directory) => Err(Errno::EISDIR.into()),
        Some(_) if place.is_shared => Ok(place.unlink()?),
        Some(_) => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EntryKind {
    Regular,
    Directory,
    Link,
    Special,
}

fn kind_of(stat: &FileStat) -> EntryKind {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => EntryKind::Regular,
        SFlag::S_IFDIR => EntryKind::Directory,
        SFlag::S_IFLNK => EntryKind::Link,
        _ => EntryKind::Special,
    }
}

/// A name in an open directory. Only a link that must not or cannot be followed by name is left at
/// the end of the way.
struct Place {
    directory: OwnedFd,
    name: OsString,
    /// Whether others than root and we can change what lies in the directory.
    is_shared: bool,
}

impl Place {
    /// Goes the way to `path`; missing directories are made if `make_directories` says so.
    fn find(path: &Path, make_directories: bool) -> io::Result<Self> {
        let mut way = names(path);
        let mut directory = start(path)?;
        let mut links = 0_usize;
        loop {
            let name = way.pop_front().ok_or(Errno::EISDIR)?;
            let is_last = way.is_empty();
            let is_shared = is_shared(&directory)?;
            match stat(&directory, &name)?.as_ref().map(kind_of) {
                Some(EntryKind::Link) if !is_shared && !is_in_proc(&directory)? => {
                    links = links.saturating_add(1);
                    if links > MAX_LINKS {
                        return Err(Errno::ELOOP.into());
                    }
                    let target = readlinkat(&directory, name.as_os_str())?;
                    let target = Path::new(&target);
                    if target.is_absolute() {
                        directory = start(target)?;
                    }
                    let mut target = names(target);
                    target.append(&mut way);
                    way = target;
                }
                _ if is_last => {
                    return Ok(Self {
                        directory,
                        name,
                        is_shared,
                    });
                }
                Some(EntryKind::Link) if is_shared => {
                    return Err(io::Error::other(format!(
                        "{} is a symbolic link that others can change",
                        name.display()
                    )));
                }
                None if make_directories => {
                    mkdirat(
                        &directory,
                        name.as_os_str(),
                        Mode::from_bits_truncate(0o755),
                    )?;
                    directory = enter(&directory, &name, OFlag::O_NOFOLLOW)?;
                }
                // One in /proc, which only the kernel can change.
                Some(EntryKind::Link) => directory = enter(&directory, &name, OFlag::empty())?,
                _ => directory = enter(&directory, &name, OFlag::O_NOFOLLOW)?,
            }
        }
    }

    fn kind(&self) -> io::Result<Option<EntryKind>> {
        Ok(stat(&self.directory, &self.name)?.as_ref().map(kind_of))
    }

    fn open(&self, flags: OFlag) -> io::Result<File> {
        let file = openat(&self.directory, self.name.as_os_str(), flags, Mode::empty())?;
        Ok(File::from(file))
    }

    fn overwrite(&self, content: &[u8]) -> io::Result<()> {
        let file = self.open(FOR_WRITING | OFlag::O_NOFOLLOW)?;
        // Another kind of file may have taken its place meanwhile.
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file any more"));
        }
        file.write_all_at(content, 0)?;
        file.set_len(u64::try_from(content.len()).unwrap_or(u64::MAX))
    }

    fn reads(&self, content: &[u8]) -> io::Result<bool> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = self.open(flags | OFlag::O_NOFOLLOW)?;
        let metadata = file.metadata()?;
        let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
        if !metadata.is_file() || metadata.len() != length {
            return Ok(false);
        }
        let mut found = vec![0; content.len()];
        file.read_exact_at(&mut found, 0)?;
        Ok(found == content)
    }

    /// Makes the file beside its place, and then puts it there whole, in place of a link or pipe as
    /// well. Those who wait for a file of this name to be made or to be written are woken.
    fn create(&self, path: &Path, content: &[u8], ownership: Ownership) -> Result<(), WriteError> {
        let temporary = OsString::from(format!(".wireguard-pia-{:016x}", fastrand::u64(..)));
        let made = self
            .make(&temporary, path, content, ownership)
            .and_then(|()| Ok(self.put(&temporary)?));
        // It may not have been made at all, or have been moved.
        let _ = unlinkat(
            &self.directory,
            temporary.as_os_str(),
            UnlinkatFlags::NoRemoveDir,
        );
        made?;
        // The same once more, for those who wait for that. The file is as it should be already.
        let _ = self.overwrite(content);
        Ok(())
    }

    /// By a second name: what is only moved here counts as made for nobody who watches. Some file
    /// systems have no second names, and nothing else can take the place of a link.
    fn put(&self, temporary: &OsStr) -> Result<(), Errno> {
        let (directory, name) = (&self.directory, self.name.as_os_str());
        linkat(directory, temporary, directory, name, AtFlags::empty())
            .or_else(|_| renameat(directory, temporary, directory, name))
    }

    /// What is to be at `path`, by another name.
    fn make(
        &self,
        name: &OsStr,
        path: &Path,
        content: &[u8],
        ownership: Ownership,
    ) -> Result<(), WriteError> {
        let flags = FOR_WRITING | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let mode = Mode::from_bits_truncate(ownership.mode);
        let mut file = File::from(openat(&self.directory, name, flags, mode)?);
        file.write_all(content)?;
        files::set_mode(&file, ownership.mode, path);
        // Where the file system decides on owners, it may have decided so, and refuse a change.
        let is = file.metadata()?;
        let is_theirs = ownership.user.is_none_or(|user| user == is.uid())
            && ownership.group.is_none_or(|group| group == is.gid());
        if !is_theirs {
            fchown(&file, ownership.user, ownership.group).map_err(|source| WriteError {
                is_about_owner: true,
                source,
            })?;
        }
        Ok(())
    }

    fn unlink(&self) -> Result<(), Errno> {
        unlinkat(
            &self.directory,
            self.name.as_os_str(),
            UnlinkatFlags::NoRemoveDir,
        )
    }
}

const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// Where the way to `path` begins.
fn start(path: &Path) -> io::Result<OwnedFd> {
    let start = if path.is_absolute() { "/" } else { "." };
    Ok(open(start, DIRECTORY, Mode::empty())?)
}

fn enter(directory: &OwnedFd, name: &OsStr, flags: OFlag) -> io::Result<OwnedFd> {
    Ok(openat(directory, name, DIRECTORY | flags, Mode::empty())?)
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
        })
        .collect()
}

fn stat(directory: &OwnedFd, name: &OsStr) -> io::Result<Option<FileStat>> {
    match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether others than root and we can change what lies in the directory.
fn is_shared(directory: &OwnedFd) -> io::Result<bool> {
    let stat = fstat(directory)?;
    let is_ours = stat.st_uid == 0 || stat.st_uid == geteuid().as_raw();
    Ok(!is_ours || stat.st_mode & 0o022 != 0)
}

/// The links in /proc are the kernel's; they may lead to what has no path, such as a pipe.
fn is_in_proc(directory: &OwnedFd) -> io::Result<bool> {
    Ok(fstatfs(directory)?.filesystem_type() == PROC_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

    const OURS: Ownership = Ownership {
        mode: 0o644,
        user: None,
        group: None,
    };

    /// A directory that anybody can write, and one beside it that only we can.
    fn directories() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let (shared, private) = (
            directory.path().join("shared"),
            directory.path().join("own"),
        );
        for (path, mode) in [(&shared, 0o777), (&private, 0o755)] {
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        (directory, shared, private)
    }

    #[test]
    fn what_a_file_holds_is_seen_without_following_what_others_put_there() {
        let (_directory, shared, private) = directories();
        for place in [&shared, &private] {
            let file = place.join("port.dat");
            assert!(!holds(&file, b"4711\n"), "it is not there");
            for (text, same) in [("4711\n", true), ("4712\n", false), ("4711\n1", false)] {
                fs::write(&file, text).unwrap();
                assert_eq!(holds(&file, b"4711\n"), same, "{text:?}");
            }
        }
        fs::write(private.join("port.dat"), "4711\n").unwrap();
        let link = shared.join("link");
        symlink(private.join("port.dat"), &link).unwrap();
        assert!(!holds(&link, b"4711\n"));
        let device = private.join("device");
        symlink("/dev/null", &device).unwrap();
        assert!(holds(&device, b"4711\n"), "it cannot be read again");
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    /// A user has 128 of them on the whole machine, and other tests run beside this one.
    fn watch() -> Inotify {
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            match Inotify::init(InitFlags::IN_NONBLOCK) {
                Err(Errno::EMFILE) if Instant::now() < patience => {
                    thread::sleep(Duration::from_millis(50));
                }
                watch => return watch.unwrap(),
            }
        }
    }

    /// Helpers of torrent clients wait for one or the other kind, at the file's own name.
    #[test]
    fn those_who_wait_for_a_file_to_be_made_or_written_are_woken() {
        let (_directory, shared, private) = directories();
        for place in [shared, private] {
            let watch = watch();
            let kinds = AddWatchFlags::IN_ALL_EVENTS;
            watch.add_watch(&place, kinds).unwrap();
            let path = place.join("port.dat");
            for (text, is_made) in [("47047\n", true), ("47048\n", false)] {
                write(&path, text.as_bytes(), OURS).unwrap();
                let events = watch.read_events().unwrap();
                let events = events
                    .into_iter()
                    .filter(|event| event.name.as_deref() == path.file_name());
                let seen = events.fold(AddWatchFlags::empty(), |seen, event| seen | event.mask);
                let written = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE;
                assert!(seen.contains(written), "{seen:?}");
                assert_eq!(seen.contains(AddWatchFlags::IN_CREATE), is_made, "{seen:?}");
            }
        }
    }

    #[test]
    fn a_new_file_has_the_mode_and_leaves_nothing_beside_it() {
        let (_directory, shared, _) = directories();
        let path = shared.join("made/port.dat");
        let ownership = Ownership {
            mode: 0o666,
            ..OURS
        };
        write(&path, b"47047\n", ownership).unwrap();
        assert_eq!(text(&path), "47047\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn an_existing_file_keeps_inode_and_mode_and_is_shortened() {
        let (_directory, shared, _) = directories();
        let path = shared.join("port.dat");
        fs::write(&path, "a longer text").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let before = fs::metadata(&path).unwrap();
        write(&path, b"1\n", OURS).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(text(&path), "1\n");
        assert_eq!((before.ino(), before.mode()), (after.ino(), after.mode()));
    }

    #[test]
    fn what_a_file_says_is_taken_back_without_a_file_that_was_there_before() {
        let (_directory, shared, private) = directories();
        for place in [shared, private] {
            let path = place.join("port.dat");
            let mut notice = Notice::default();
            fs::write(&path, "theirs").unwrap();
            notice.take_back(&path).unwrap();
            assert_eq!(text(&path), "theirs", "nothing was said");
            let before = fs::metadata(&path).unwrap().ino();
            for content in ["1\n", "2\n", "3\n"] {
                // Said again of the same, as after a reconnect.
                for _ in 0..2 {
                    notice.say(&path, content.as_bytes(), OURS).unwrap();
                    assert_eq!(text(&path), content);
                }
                notice.take_back(&path).unwrap();
                assert_eq!(text(&path), "");
                assert_eq!(fs::metadata(&path).unwrap().ino(), before);
            }
            // Theirs is gone; the next one is ours, however often it is written.
            fs::remove_file(&path).unwrap();
            notice.take_back(&path).unwrap();
            for _ in 0..2 {
                for _ in 0..2 {
                    notice.say(&path, b"4\n", OURS).unwrap();
                }
                notice.take_back(&path).unwrap();
                assert!(!path.exists());
            }
        }
    }

    #[test]
    fn what_others_put_into_the_place_of_a_file_of_theirs_is_not_emptied() {
        let (_directory, shared, private) = directories();
        let (path, secret) = (shared.join("port.dat"), private.join("secret"));
        let mut notice = Notice::default();
        fs::write(&path, "theirs").unwrap();
        notice.say(&path, b"1\n", OURS).unwrap();
        fs::write(&secret, "secret").unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&secret, &path).unwrap();
        notice.take_back(&path).unwrap();
        assert_eq!(text(&secret), "secret");
        assert!(fs::symlink_metadata(&path).is_err());
        // A device of the user's stays, and a folder is none of ours.
        let mut said = Notice::default();
        said.say(Path::new("/dev/null"), b"1\n", OURS).unwrap();
        said.take_back(Path::new("/dev/null")).unwrap();
        assert!(Path::new("/dev/null").exists());
    }

    #[test]
    fn a_link_that_others_can_make_is_replaced_and_one_of_ours_followed() {
        let (_directory, shared, private) = directories();
        let secret = private.join("secret");
        fs::write(&secret, "secret").unwrap();
        let link = shared.join("port.dat");
        symlink(&secret, &link).unwrap();
        write(&link, b"1\n", OURS).unwrap();
        assert_eq!(
            (text(&secret), text(&link)),
            ("secret".into(), "1\n".into())
        );
        assert!(fs::symlink_metadata(&link).unwrap().is_file());

        let ours = private.join("port.dat");
        symlink("../shared/port.dat", &ours).unwrap();
        write(&ours, b"2\n", OURS).unwrap();
        assert_eq!(text(&link), "2\n");
        assert!(fs::symlink_metadata(&ours).unwrap().is_symlink());
    }

    #[test]
    fn a_directory_that_others_can_link_is_not_entered() {
        let (_directory, shared, private) = directories();
        symlink(&private, shared.join("sub")).unwrap();
        let error = write(&shared.join("sub/port.dat"), b"1\n", OURS).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert_eq!(fs::read_dir(&private).unwrap().count(), 0);
    }

    #[test]
    fn a_pipe_that_others_can_make_holds_nothing_up() {
        let (_directory, shared, private) = directories();
        let fifo = |path: &Path| nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap();
        let path = shared.join("port.dat");
        fifo(&path);
        write(&path, b"1\n", OURS).unwrap();
        assert_eq!(text(&path), "1\n");
        // Ours is written, if somebody reads it.
        let ours = private.join("port.dat");
        fifo(&ours);
        write(&ours, b"1\n", OURS).unwrap_err();
        remove(&ours).unwrap();
        assert!(ours.exists());
    }

    #[test]
    fn devices_are_written_and_stay() {
        for device in ["/dev/null", "/proc/self/fd/1"] {
            write(Path::new(device), b"\n", OURS).unwrap();
            remove(Path::new(device)).unwrap();
            assert!(Path::new(device).exists());
        }
    }

    #[test]
    fn a_link_that_comes_and_goes_never_leads_elsewhere() {
        let (_directory, shared, private) = directories();
        let secret = private.join("secret");
        fs::write(&secret, "secret").unwrap();
        let path = shared.join("port.dat");
        let enough = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let (link, file) = (shared.join("link"), shared.join("file"));
                while !enough.load(Ordering::Relaxed) {
                    let _ = symlink(&secret, &link);
                    let _ = fs::rename(&link, &path);
                    let _ = fs::write(&file, "x");
                    let _ = fs::rename(&file, &path);
                }
            });
            for _ in 0..2000 {
                // It may fail: what matters is where it does not write.
                let _ = write(&path, b"1\n", OURS);
                let _ = remove(&path);
            }
            enough.store(true, Ordering::Relaxed);
        });
        assert_eq!(text(&secret), "secret");
    }

    #[test]
    fn what_is_removed_is_gone_and_nothing_else_is() {
        let (_directory, shared, private) = directories();
        let (path, secret) = (shared.join("port.dat"), private.join("secret"));
        remove(&path).unwrap();
        remove(&shared.join("no/such/directory")).unwrap();
        fs::write(&path, "1\n").unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
        fs::write(&secret, "secret").unwrap();
        symlink(&secret, &path).unwrap();
        remove(&path).unwrap();
        assert_eq!(text(&secret), "secret");
        assert!(fs::symlink_metadata(&path).is_err());
    }

    #[test]
    fn errors_name_the_path() {
        let (_directory, shared, _) = directories();
        let error = write(&shared, b"", OURS).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("writing {}: ", shared.display())),
            "{error}"
        );
    }
}
