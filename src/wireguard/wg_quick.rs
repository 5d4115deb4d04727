//! wg-quick, unpatched: made tolerant by a file of shell functions that it reads through
//! `BASH_ENV`.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{WireGuardError, leftovers};
use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::{files, paths};

/// How wg-quick is to be run.
#[derive(Debug, Clone)]
pub struct WgQuick {
    /// The directory with links to the chosen iptables, where they are needed.
    pub private_bin: Option<String>,
    /// The legacy backend was chosen, so nft must not be used either.
    pub legacy: bool,
    /// `ALLOW_MISSING_IPTABLES_RULES`
    pub allow_missing_rules: bool,
}

impl WgQuick {
    /// `wg-quick up`; its `[#]` lines are passed on.
    ///
    /// # Errors
    /// When it fails; it has then undone what it did.
    pub fn up(&self, conf: &Path, stop: &CancellationToken) -> Result<(), WireGuardError> {
        self.run("up", conf, stop)
    }

    /// `wg-quick down`.
    ///
    /// # Errors
    /// When it fails, for example because the interface is not there.
    pub fn down(&self, conf: &Path, stop: &CancellationToken) -> Result<(), WireGuardError> {
        self.run("down", conf, stop)
    }

    fn run(&self, verb: &str, conf: &Path, stop: &CancellationToken) -> Result<(), WireGuardError> {
        files::replace(
            Path::new(paths::WG_QUICK_ENV),
            self.functions().as_bytes(),
            0o644,
        )?;
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&complaints);
        Command::new("wg-quick", [verb.as_ref(), conf.as_os_str()])
            .variable("BASH_ENV", paths::WG_QUICK_ENV)
            // Else wireguard-go advises at length to use the kernel's, which wg-quick has just
            // tried.
            .variable("WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD", "1")
            .stream(stop, move |line| {
                // Its progress is for the curious; what it warns of is for everybody.
                if is_progress(line) {
                    log::debug!("{line}");
                } else {
                    log::info!("[wg-quick] {line}");
                    kept.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(line.to_owned());
                }
            })
            .map_err(|source| {
                let complaints = complaints.lock().unwrap_or_else(PoisonError::into_inner);
                let last = complaints
                    .get(complaints.len().saturating_sub(ERROR_LINES)..)
                    .unwrap_or_default()
                    .join(" / ");
                WireGuardError::Quick {
                    source: source.with_stderr(last),
                    complaints: complaints.join("\n"),
                }
            })
    }

    /// What it reads through `BASH_ENV`, our choices first: so the image's `wg-quick` by hand does
    /// as we do.
    fn functions(&self) -> String {
        let flag = |on: bool| if on { "1" } else { "" };
        format!(
            "WIREGUARD_PIA_BIN={}\nWIREGUARD_PIA_LEGACY={}\nWIREGUARD_PIA_ALIAS={}\n\
             WIREGUARD_PIA_PROTOCOL={}\nALLOW_MISSING_IPTABLES_RULES={}\n{}",
            self.private_bin.as_deref().unwrap_or_default(),
            flag(self.legacy),
            leftovers::ALIAS,
            paths::RULE_PROTOCOL,
            flag(self.allow_missing_rules),
            include_str!("../../scripts/wg-quick.bash"),
        )
    }
}

/// How many of its last lines go into a message.
const ERROR_LINES: usize = 3;

/// Commands as they are run, and the box in which wireguard-go recommends the kernel's WireGuard.
fn is_progress(line: &str) -> bool {
    line.starts_with("[#]") || line.starts_with(['┌', '│', '└'])
}

impl WireGuardError {
    /// Whether a stop ended the work, rather than a failure.
    pub fn is_interrupted(&self) -> bool {
        matches!(
            self,
            Self::Quick {
                source: CommandError::Interrupted { .. },
                ..
            } | Self::Command(CommandError::Interrupted { .. })
        )
    }
}

/// What the user can do about what wg-quick said.
pub(super) fn advice(complaints: &str) -> &'static str {
    let complaints: Vec<&str> = complaints
        .lines()
        .filter(|line| !line.starts_with("[#]"))
        .collect();
    let has = |text: &str| complaints.iter().any(|line| line.contains(text));
    // wg-quick says so of the kernel also where it then goes on with wireguard-go.
    let no_kernel = has("Unknown device type") || has("Operation not supported");
    let user_space = has("Falling back to slow userspace");
    if has("/dev/net/tun") || has("CreateTUN") || has("Failed to create TUN device") {
        "; the kernel has no WireGuard and user space needs the tun device: add `devices: \
         [/dev/net/tun:/dev/net/tun]`"
    } else if has("tables-restore") || has("nft") {
        "; the kernel lacks a firewall module that wg-quick needs: set \
         ALLOW_MISSING_IPTABLES_RULES=1 to go on without \
         such rules, or NFTABLES=0 to use the legacy backend"
    } else if has("temporarily unavailable")
        || user_space && (has("Connection reset by peer") || has("fatal error: "))
    {
        "; wireguard-go or wg-quick could not be run: raise the container's `pids_limit`, or its \
         `mem_limit`"
    } else if no_kernel && (!user_space || has("command not found")) {
        "; the kernel has no WireGuard: load its module on the host (`modprobe wireguard`), or \
         install wireguard-go"
    } else if has("Operation not permitted") {
        "; add `cap_add: [NET_ADMIN]`"
    } else {
        "; see the lines of wg-quick above (DEBUG=1 shows all), and `wireguard-pia doctor`"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What wg-quick says where user space stands in for the kernel, before anything goes wrong.
    const USER_SPACE: &str = "[#] ip link add wg0 type wireguard\nError: Unknown device type.\n\
        [!] Missing WireGuard kernel module. Falling back to slow userspace implementation.\n[#] \
        wireguard-go wg0\n";

    #[test]
    fn advice_is_about_what_failed_not_about_what_was_tried_on_the_way() {
        let no_module =
            format!("{USER_SPACE}[#] iptables-restore -n\niptables-restore: line 2 failed\n");
        assert!(advice(&no_module).contains("ALLOW_MISSING_IPTABLES_RULES"));
        for ended in [
            "Unable to modify interface: Connection reset by peer",
            "fatal error: failed to reserve page summary memory",
        ] {
            let complaints = format!("{USER_SPACE}{ended}\n");
            assert!(advice(&complaints).contains("`pids_limit`"));
        }
        let no_program =
            format!("{USER_SPACE}wg-quick: line 94: wireguard-go: command not found\n");
        assert!(advice(&no_program).contains("install wireguard-go"));
        let no_tun = format!("{USER_SPACE}Failed to create TUN device: CreateTUN failed\n");
        assert!(advice(&no_tun).contains("/dev/net/tun"));
        assert!(advice("[#] iptables-restore -n\nsomething else\n").contains("doctor"));
    }
}
