//! The privileges that a container engine leaves to a process.

use std::ffi::OsStr;
use std::process::Command;

/// What Docker gives to every container that asks for nothing.
pub const DOCKER_DEFAULT: [&str; 14] = [
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "net_bind_service",
    "net_raw",
    "sys_chroot",
    "mknod",
    "audit_write",
    "setfcap",
];

/// Who a process is, and what it may do.
#[derive(Clone, Debug)]
pub struct Privileges {
    pub capabilities: Vec<String>,
    pub uid: u32,
}

impl Privileges {
    /// Root with Docker's default capabilities.
    pub fn docker() -> Self {
        Self::only(&DOCKER_DEFAULT)
    }

    /// Root with these capabilities and no other.
    pub fn only(capabilities: &[&str]) -> Self {
        let capabilities = capabilities.iter().map(|name| (*name).to_owned()).collect();
        Self {
            capabilities,
            uid: 0,
        }
    }

    pub fn with(mut self, capability: &str) -> Self {
        self.capabilities.push(capability.to_owned());
        self
    }

    pub fn without(mut self, capability: &str) -> Self {
        self.capabilities.retain(|name| name != capability);
        self
    }

    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = uid;
        self
    }

    /// The words that run what follows them with these privileges.
    pub fn words(&self) -> Vec<String> {
        let mut bounding = String::from("--bounding-set=-all");
        for capability in &self.capabilities {
            bounding += &format!(",+{capability}");
        }
        let mut words = vec![
            "setpriv".to_owned(),
            bounding,
            "--pdeathsig=KILL".to_owned(),
            "--inh-caps=-all".to_owned(),
            "--ambient-caps=-all".to_owned(),
        ];
        if self.uid != 0 {
            let uid = self.uid;
            words.extend([format!("--reuid={uid}"), format!("--regid={uid}")]);
            words.push("--clear-groups".to_owned());
        }
        words.push("--".to_owned());
        words
    }

    /// A command that runs `program` so.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(program);
        command
    }
}
