//! The file system of a container: the machine's own, under a layer that takes all changes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{chdir, pivot_root};

/// Directories that outlive a container's layer, as volumes do.
const VOLUMES: [&str; 3] = ["/pia", "/pia-shared", "/run"];

/// What `docker run` options make of the file system.
#[derive(Clone, Debug, Default)]
pub struct Rootfs {
    /// Where layer, volumes and mount points are kept.
    pub directory: PathBuf,
    /// Files of the machine that appear at other places: (there, here).
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// Files of the machine that the image would not have.
    pub removed: Vec<PathBuf>,
    /// `--read-only`
    pub read_only: bool,
    /// `--tmpfs /run`: empty in every life.
    pub fresh_run: bool,
    /// `--tmpfs PATH:OPTIONS`: (path, options).
    pub tmpfs: Vec<(PathBuf, String)>,
    /// Whether there is a `/dev/net/tun`.
    pub tun: bool,
}

impl Rootfs {
    /// Makes the layer and the volumes.
    pub fn create(&self) -> io::Result<()> {
        for name in [
            "upper",
            "work",
            "root",
            "volumes/pia",
            "volumes/pia-shared",
            "volumes/run",
        ] {
            fs::create_dir_all(self.directory.join(name))?;
        }
        for path in ["/scripts", "/etc/wireguard"] {
            fs::create_dir_all(self.layered(Path::new(path)))?;
        }
        Ok(())
    }

    /// Where the machine keeps a file of the container, if the container has changed it.
    pub fn layered(&self, path: &Path) -> PathBuf {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let volume = VOLUMES.iter().any(|volume| path.starts_with(volume));
        self.directory
            .join(if volume { "volumes" } else { "upper" })
            .join(relative)
    }

    /// Puts a file into the container, before it starts or while it runs from a volume.
    pub fn write(&self, path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
        let target = self.layered(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        options.open(&target)?.write_all(contents)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))
    }

    /// Makes this file system the calling thread's, which must be in mount and network namespaces
    /// of its own. Only `/proc` is missing: it has to be mounted from the PID namespace it shows.
    pub fn enter(&self) -> io::Result<()> {
        let root = self.directory.join("root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let layers = format!(
            "lowerdir=/,upperdir={0}/upper,workdir={0}/work",
            self.directory.display()
        );
        mount(
            Some("overlay"),
            &root,
            Some("overlay"),
            MsFlags::empty(),
            Some(layers.as_str()),
        )?;
        for path in &self.removed {
            let _ = fs::remove_file(inside(&root, path));
        }
        for volume in VOLUMES {
            let target = inside(&root, volume);
            fs::create_dir_all(&target)?;
            if volume == "/run" && self.fresh_run {
                tmpfs(&target, "mode=755")?;
            } else {
                bind(&self.layered(Path::new(volume)), &target)?;
            }
        }
        for (source, path) in &self.binds {
            let target = inside(&root, path);
            let link = fs::symlink_metadata(&target).is_ok_and(|data| data.is_symlink());
            if link {
                fs::remove_file(&target)?;
            }
            if source.is_dir() {
                fs::create_dir_all(&target)?;
            } else if !target.exists() {
                fs::create_dir_all(target.parent().unwrap_or(&root))?;
                File::create(&target)?;
            }
            bind(source, &target)?;
        }
        self.mount_tmpfs(&root)?;
        self.devices(&inside(&root, "/dev"))?;
        mount(
            Some("sysfs"),
            &inside(&root, "/sys"),
            Some("sysfs"),
            MsFlags::MS_RDONLY,
            none,
        )?;
        if self.read_only {
            let again = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
            mount(none, &root, none, again, none)?;
        }
        chdir(&root)?;
        // The old root goes on top of the new one and is taken off at once.
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        chdir("/")?;
        Ok(())
    }

    fn mount_tmpfs(&self, root: &Path) -> io::Result<()> {
        for (path, options) in &self.tmpfs {
            let target = inside(root, path);
            fs::create_dir_all(&target)?;
            tmpfs(&target, options)?;
        }
        tmpfs(&inside(root, "/tmp"), "mode=1777")
    }

    fn devices(&self, dev: &Path) -> io::Result<()> {
        tmpfs(dev, "mode=755")?;
        let all = Mode::from_bits_truncate(0o666);
        let mut nodes = vec![
            ("null", 1, 3),
            ("zero", 1, 5),
            ("full", 1, 7),
            ("random", 1, 8),
            ("urandom", 1, 9),
        ];
        nodes.push(("tty", 5, 0));
        fs::create_dir(dev.join("net"))?;
        if self.tun {
            nodes.push(("net/tun", 10, 200));
        }
        for (name, major, minor) in nodes {
            let path = dev.join(name);
            mknod(&path, SFlag::S_IFCHR, all, makedev(major, minor))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            symlink(target, dev.join(name))?;
        }
        fs::create_dir(dev.join("pts"))?;
        let terminals = Some("newinstance,ptmxmode=0666,mode=620");
        let (kind, none) = (Some("devpts"), MsFlags::empty());
        mount(kind, &dev.join("pts"), kind, none, terminals)?;
        symlink("pts/ptmx", dev.join("ptmx"))?;
        fs::create_dir(dev.join("shm"))?;
        tmpfs(&dev.join("shm"), "mode=1777")
    }
}

fn inside(root: &Path, path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn bind(source: &Path, target: &Path) -> io::Result<()> {
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    Ok(())
}

fn tmpfs(target: &Path, options: &str) -> io::Result<()> {
    // To the kernel this one is no option of the file system's.
    let (flags, options) = match options {
        "ro" => (MsFlags::MS_RDONLY, None),
        options => (MsFlags::empty(), Some(options)),
    };
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, options)?;
    Ok(())
}
