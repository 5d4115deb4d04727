//! What to run in a container and how: the options of `docker run`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use super::World;
use super::cgroup::Cgroup;
use super::container::Container;
use super::network::DNS;
use super::privileges::Privileges;
use super::rootfs::Rootfs;
use crate::log_lines::UP;
use crate::netns::Namespace;
use crate::simulator::account::{PASSWORD, USER};
use crate::waiting::SOON;

/// What stands in the image's `/scripts` under each of its names.
const ENTRY_POINT: &[u8] = include_bytes!("../../../../scripts/entry-point");

/// Where programs are found, in the container and by what starts it.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container says when its words are executed, before the time in seconds.
pub(super) const EXECUTED: &str = "executed at ";

/// What a process writes a 0 to, to join the container's control group.
pub const CGROUP: &str = "/cgroup.procs";

/// What to run and how: the options of `docker run`.
#[derive(Debug)]
pub struct Recipe {
    pub(super) network: Arc<Namespace>,
    pub(super) words: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    privileges: Privileges,
    pub(super) rootfs: Rootfs,
    resolv_conf: String,
    files: Vec<(PathBuf, Vec<u8>, u32)>,
    pub(super) shared_pids: bool,
    pub(super) cgroups: Vec<Cgroup>,
}

impl World {
    /// A container of the program, with the image's paths, in the client's network.
    pub fn container(&self, program: impl AsRef<Path>) -> Recipe {
        let directory = self.files().directory.join(self.unique("container"));
        let files = self.files();
        let bind = |source: &Path, path: &str| (source.to_owned(), PathBuf::from(path));
        let resolv_conf = directory.join("resolv.conf");
        let binds = vec![
            bind(program.as_ref(), "/usr/local/bin/wireguard-pia"),
            bind(&files.pia_ca, "/rsa_4096.crt"),
            bind(&files.list_key, "/RegionsListPubKey.pem"),
            bind(&files.web_ca, "/etc/ssl/certs/ca-certificates.crt"),
            bind(&resolv_conf, "/etc/resolv.conf"),
        ];
        // wg-quick prefers nft where there is one, and the image has none.
        let removed = vec![PathBuf::from("/usr/sbin/nft")];
        Recipe {
            network: Arc::clone(self.client()),
            words: vec!["/usr/local/bin/wireguard-pia".into(), "run".into()],
            environment: Vec::new(),
            privileges: Privileges::docker().with("net_admin"),
            rootfs: Rootfs {
                directory,
                binds,
                removed,
                tun: true,
                ..Rootfs::default()
            },
            resolv_conf: format!("nameserver {DNS}\noptions ndots:0\n"),
            files: Vec::new(),
            shared_pids: false,
            cgroups: Vec::new(),
        }
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    }
}

impl Recipe {
    /// Runs these words instead of `wireguard-pia run`.
    pub fn command<S: Into<OsString>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.words = words.into_iter().map(Into::into).collect();
        self
    }

    /// Says when its words are executed, before anything of them runs: see
    /// [`Container::executed`].
    pub fn saying_when_executed(self) -> Self {
        self.first(&format!("echo \"{EXECUTED}$EPOCHREALTIME\""))
    }

    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        set(&mut self.environment, name.into(), value.into());
        self
    }

    /// `USER` and `PASS`, the right ones.
    pub fn credentials(self) -> Self {
        self.env("USER", USER).env("PASS", PASSWORD)
    }

    /// Puts a file of mode 0644 into the container, before its first life.
    pub fn file(self, path: impl Into<PathBuf>, contents: impl Into<Vec<u8>>) -> Self {
        self.file_mode(path, contents, 0o644)
    }

    /// Puts an executable file into the container, such as `/pia/scripts/pre-up.sh`.
    pub fn script(self, path: impl Into<PathBuf>, contents: impl Into<Vec<u8>>) -> Self {
        self.file_mode(path, contents, 0o755)
    }

    pub fn file_mode(
        mut self,
        path: impl Into<PathBuf>,
        contents: impl Into<Vec<u8>>,
        mode: u32,
    ) -> Self {
        self.files.push((path.into(), contents.into(), mode));
        self
    }

    /// `--volume SOURCE:PATH`, of a file or a directory of the machine.
    pub fn bind(mut self, source: impl Into<PathBuf>, path: impl Into<PathBuf>) -> Self {
        self.rootfs.binds.push((source.into(), path.into()));
        self
    }

    /// Hides a program of the machine that the image would not have.
    pub fn without(mut self, path: impl Into<PathBuf>) -> Self {
        self.rootfs.removed.push(path.into());
        self
    }

    /// Leaves the machine's `nft` in place.
    pub fn with_nft(mut self) -> Self {
        self.rootfs.removed.clear();
        self
    }

    pub fn resolv_conf(mut self, text: impl Into<String>) -> Self {
        self.resolv_conf = text.into();
        self
    }

    /// `--user`, with no capability at all, as an ordinary user has none.
    pub fn ordinary_user(mut self, uid: u32) -> Self {
        self.privileges = Privileges::only(&[]).uid(uid);
        self
    }

    /// `--cap-drop`; the names are `setpriv`'s: `net_admin`.
    pub fn cap_drop(mut self, capability: &str) -> Self {
        self.privileges = self.privileges.without(capability);
        self
    }

    /// `--cap-add`
    pub fn cap_add(mut self, capability: &str) -> Self {
        self.privileges = self.privileges.with(capability);
        self
    }

    pub fn without_tun(mut self) -> Self {
        self.rootfs.tun = false;
        self
    }

    /// `--read-only --tmpfs /run`
    pub fn read_only(mut self) -> Self {
        self.rootfs.read_only = true;
        self.rootfs.fresh_run = true;
        self
    }

    /// `--tmpfs /run`
    pub fn fresh_run(mut self) -> Self {
        self.rootfs.fresh_run = true;
        self
    }

    /// `--tmpfs PATH:OPTIONS`
    pub fn tmpfs(mut self, path: impl Into<PathBuf>, options: &str) -> Self {
        self.rootfs.tmpfs.push((path.into(), options.to_owned()));
        self
    }

    /// `--pids-limit`
    #[track_caller]
    pub fn pids_limit(self, processes: u32) -> Self {
        self.limited("pids", &processes.to_string())
    }

    /// `--memory`, in bytes.
    #[track_caller]
    pub fn memory(self, bytes: u64) -> Self {
        self.limited("memory", &bytes.to_string())
    }

    #[track_caller]
    fn limited(mut self, controller: &str, limit: &str) -> Self {
        let name = self.rootfs.directory.file_name().unwrap_or_default();
        let cgroup = Cgroup::make(&name.to_string_lossy(), controller, limit);
        let cgroup = cgroup.unwrap_or_else(|error| {
            panic!("cannot make a control group of {controller}: {error}: mount /sys/fs/cgroup")
        });
        let members = cgroup.members();
        self.cgroups.push(cgroup);
        self.bind(members, CGROUP)
            .first(&format!("echo 0 >{CGROUP}"))
    }

    /// Runs a line of bash before its words, in their process.
    pub fn first(mut self, line: &str) -> Self {
        let script = format!("{line}; exec \"$@\"");
        let mut words: Vec<OsString> = ["bash", "-c", &script, "-"].map(Into::into).into();
        words.append(&mut self.words);
        self.words = words;
        self
    }

    /// Other processes of the pod, such as wireguard-go, survive the program's death.
    pub fn shared_pid_namespace(mut self) -> Self {
        self.shared_pids = true;
        self
    }

    /// Makes the container without starting it.
    #[track_caller]
    pub fn create(self) -> Container {
        let made = self.rootfs.create().and_then(|()| {
            fs::write(self.rootfs.directory.join("resolv.conf"), &self.resolv_conf)?;
            for (path, contents, mode) in &self.files {
                self.rootfs.write(path, contents, *mode)?;
            }
            self.entry_points()
        });
        made.unwrap_or_else(|error| panic!("cannot make the container's files: {error}"));
        Container::new(self)
    }

    #[track_caller]
    pub fn start(self) -> Container {
        let mut container = self.create();
        container.start();
        container
    }

    /// Starts it and blocks until its tunnel is up.
    #[track_caller]
    pub fn connect(self) -> Container {
        let container = self.start();
        container.wait_for_log(UP, SOON);
        container
    }

    /// The names by which the image's programs are called.
    fn entry_points(&self) -> io::Result<()> {
        let names = [
            "run",
            "healthcheck.sh",
            "wg-gen.sh",
            "pia-auth.sh",
            "pf.sh",
            "pf_success.sh",
        ];
        for name in names {
            let path = Path::new("/scripts").join(name);
            if !self.rootfs.layered(&path).exists() {
                self.rootfs.write(&path, ENTRY_POINT, 0o755)?;
            }
        }
        Ok(())
    }

    /// `words` with the container's privileges and environment.
    pub(super) fn contained<S: AsRef<OsStr>>(&self, words: &[S]) -> Vec<OsString> {
        let mut all: Vec<OsString> = self
            .privileges
            .words()
            .into_iter()
            .map(Into::into)
            .collect();
        all.extend(["env".into(), "-i".into()]);
        for (name, value) in &self.environment {
            let mut assignment = name.clone();
            assignment.push("=");
            assignment.push(value);
            all.push(assignment);
        }
        all.extend(words.iter().map(|word| word.as_ref().to_owned()));
        all
    }
}

/// Gives a variable its only value.
pub(super) fn set(environment: &mut Vec<(OsString, OsString)>, name: OsString, value: OsString) {
    environment.retain(|(known, _)| *known != name);
    environment.push((name, value));
}
