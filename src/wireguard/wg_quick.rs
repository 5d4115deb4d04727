//! wg-quick, unpatched: made tolerant by a file of shell functions that it reads through
//! `BASH_ENV`.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{WireGuardError, leftovers};
use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::{files, paths};

/// How wg-quick is to be run.
#[derive(Clone)]
pub struct WgQuick {
    /// With what pre-up hooks have left: a program for WireGuard in user space is chosen by a
    /// variable.
    pub environment: Vec<(OsString, OsString)>,
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
            .environment(self.environment.iter().cloned())
            .variable("BASH_ENV", paths::WG_QUICK_ENV)
            .variable("WIREGUARD_PIA_MODES", modes(conf))
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

/// The modes of the configuration and of its folder, a line each, for wg-quick to warn of what
/// others may read; of what cannot be looked at there is none.
fn modes(conf: &Path) -> String {
    let mut lines = String::new();
    for path in [Some(conf), conf.parent()].into_iter().flatten() {
        if let Ok(metadata) = path.metadata() {
            let mode = metadata.permissions().mode() & 0o7777;
            lines += &format!("0{mode:o} {}\n", path.display());
        }
    }
    lines
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

    /// What bash prints that has read the functions as wg-quick does, with `PROGRAMS` in front of
    /// PATH, each of which says that it was asked.
    fn printed(script: &str) -> String {
        const PROGRAMS: [&str; 3] = ["ip", "stat", "wg"];
        const PRINTING: &str = r#"#!/bin/sh
            echo "asked: ${0##*/} $*"
            [ "$2" != -batch ] || cat
            [ ! "$FAILING" ]
            "#;
        let folder = tempfile::tempdir().unwrap();
        for program in PROGRAMS {
            let path = folder.path().join(program);
            std::fs::write(&path, PRINTING).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let functions = folder.path().join("functions");
        let wg_quick = WgQuick {
            environment: Vec::new(),
            private_bin: None,
            legacy: false,
            allow_missing_rules: false,
        };
        std::fs::write(&functions, wg_quick.functions()).unwrap();
        let path = std::env::var("PATH").unwrap();
        let output = std::process::Command::new("bash")
            .arg("-c")
            .arg(format!("set -e -o pipefail\nshopt -s extglob\n{script}"))
            .env("BASH_ENV", &functions)
            .env("PATH", format!("{}:{path}", folder.path().display()))
            .env(
                "WIREGUARD_PIA_MODES",
                "0640 /etc/wireguard/a b.conf\n0755 /etc/wireguard",
            )
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8(output.stdout).unwrap()
    }

    /// As wg-quick is where it has made the interface of this configuration.
    fn while_bringing_up(conf: &str, script: &str) -> String {
        printed(&format!(
            "INTERFACE=wg0 ADDRESSES=(10.1.2.3)\nWG_CONFIG='{conf}'\n\
             execute_hooks() {{ (eval \"$*\"); }}\ncmd_up() {{\n{script}\n}}\ncmd_up"
        ))
    }

    const CONF: &str = "[Interface]
PrivateKey = a=
FwMark = 51820 # ours

[Peer]
PublicKey = b=
AllowedIPs = 0.0.0.0/0
";

    #[test]
    fn what_wg_quick_has_just_set_is_not_asked_for() {
        let script = "wg show wg0 fwmark; wg show wg0 allowed-ips; ip -o -4 addr show dev wg0
            ! ip link show dev wg0; echo .";
        assert_eq!(
            while_bringing_up(CONF, script),
            "0xca6c\nb=\t0.0.0.0/0\n    inet 10.1.2.3/32 scope global wg0\n.\n"
        );
    }

    #[test]
    fn what_it_may_not_know_is_asked_of_the_program() {
        let asked = |conf: &str, command: &str, by: &str| {
            let expected = format!("asked: {command}\n");
            assert_eq!(while_bringing_up(conf, by), expected, "{conf}");
        };
        let fwmark = "wg show wg0 fwmark";
        for conf in [
            CONF.replace("FwMark = 51820", "FwMark = off"),
            CONF.replace("FwMark = 51820", "FwMark = 0"),
            CONF.replace("FwMark = 51820", ""),
            CONF.replace("FwMark", "FwMark = 1\nfwmark"),
        ] {
            asked(&conf, fwmark, fwmark);
        }
        let allowed = "wg show wg0 allowed-ips";
        for conf in [
            CONF.replace("0.0.0.0/0", "0.0.0.0/0, ::/0"),
            CONF.replace("0.0.0.0/0", "10.1.2.3/8"),
            format!("{CONF}[peer]\nPublicKey = c=\n"),
            format!("{CONF}AllowedIPs = 10.0.0.0/8\n"),
        ] {
            asked(&conf, allowed, allowed);
        }
        let addresses = "ip -o -4 addr show dev wg0";
        asked(
            CONF,
            addresses,
            &format!("ADDRESSES+=(fd00::1)\n{addresses}"),
        );
        for other in [
            "wg show wg1 fwmark",
            "wg show wg0",
            "ip link show dev lo",
            "ip link show",
        ] {
            asked(CONF, other, other);
        }
        // The loopback is there.
        asked(
            CONF,
            "ip link show dev lo",
            "INTERFACE=lo\nip link show dev lo",
        );
        // A hook may have changed it, and may want to see all.
        for command in [fwmark, allowed, addresses, "ip link show dev wg0"] {
            asked(CONF, command, &format!("execute_hooks '{command}'"));
            let outside = printed(&format!("INTERFACE=wg0 WG_CONFIG='{CONF}'\n{command}"));
            assert_eq!(outside, format!("asked: {command}\n"));
        }
    }

    const ROUTE: &str = "cmd ip -4 route add 0.0.0.0/0 dev wg0 table 51820";
    const RULES: &str = "cmd ip -4 rule add not fwmark 51820 table 51820
        cmd ip -4 rule add table main suppress_prefixlength 0";

    /// As wg-quick has them.
    fn with_batches(defaults: &[&str], script: &str) -> String {
        while_bringing_up(
            CONF,
            &format!(
                "cmd() {{ \"$@\"; }}
                add_addr() {{ cmd ip \"$1\" address add \"$2\" dev wg0; }}
                set_mtu_up() {{
                    echo \"$(ip route get 192.0.2.1)\"
                    cmd ip link set mtu 1420 up dev wg0
                }}
                add_default() {{\n{}\ntype -p nft-of-nobody || true\n}}
                {script}",
                defaults.join("\n")
            ),
        )
    }

    #[test]
    fn what_follows_each_other_is_done_by_one_program() {
        let rules = "rule add not fwmark 51820 table 51820 protocol 51
rule add table main suppress_prefixlength 0 protocol 51
";
        let route = "route add 0.0.0.0/0 dev wg0 table 51820\n";
        let script = "add_addr -4 10.1.2.3/32; add_addr -4 10.1.2.4; set_mtu_up; add_default";
        let printed = |defaults: &[&str]| with_batches(defaults, script);
        let head = "asked: ip route get 192.0.2.1
asked: ip -4 -batch -
address add 10.1.2.3/32 dev wg0
address add 10.1.2.4 dev wg0
link set mtu 1420 up dev wg0 alias wireguard-pia
asked: ip -4 -batch -
";
        assert_eq!(printed(&[ROUTE, RULES]), format!("{head}{route}{rules}"));
        // So since 1.0.20250521.
        assert_eq!(printed(&[RULES, ROUTE]), format!("{head}{rules}{route}"));
        // No version is like that, and none is to leave anything undone.
        assert_eq!(printed(&[RULES]), format!("{head}{rules}"));
    }

    #[test]
    fn what_of_several_changes_fails_is_a_failure_that_names_them() {
        let script = "export FAILING=1; add_addr -4 10.1.2.3; set_mtu_up 2>&1 || echo failed";
        let printed = with_batches(&[], script);
        let end = "ip: one of these could not be done: address add 10.1.2.3 dev wg0; link set mtu \
                   1420 up dev wg0 alias wireguard-pia\nfailed\n";
        assert!(printed.ends_with(end), "{printed}");
    }

    #[test]
    fn what_waits_is_done_before_anything_else_and_hooks_wait_for_nothing() {
        assert_eq!(
            with_batches(
                &[],
                "add_addr -4 10.1.2.3; add_addr -6 fd00::1; ip link show"
            ),
            "asked: ip -4 -batch -
address add 10.1.2.3 dev wg0
asked: ip -6 address add fd00::1 dev wg0
asked: ip link show
"
        );
        let hook = "ip -4 rule add table main suppress_prefixlength 0";
        assert_eq!(
            with_batches(&[], &format!("execute_hooks '{hook}'")),
            format!("asked: {hook} protocol 51\n")
        );
    }

    #[test]
    fn modes_are_known_of_the_configuration_and_its_folder_alone() {
        let script =
            "for path in '/etc/wireguard/a b.conf' /etc/wireguard /etc/wireguard/a /etc; do
                stat -c '0%#a' \"$path\"
            done
            stat /etc/wireguard
            env | grep -c WIREGUARD_PIA_MODES || true";
        assert_eq!(
            printed(script),
            "00640\n00755\nasked: stat -c 0%#a /etc/wireguard/a\nasked: stat -c 0%#a /etc\n\
             asked: stat /etc/wireguard\n0\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let conf = folder.path().join("wg0.conf");
        files::replace(&conf, b"", 0o600).unwrap();
        let folder = folder.path();
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o750)).unwrap();
        let expected = format!("0600 {}\n0750 {}\n", conf.display(), folder.display());
        assert_eq!(modes(&conf), expected);
    }

    #[test]
    fn readlink_and_sort_say_what_the_programs_say() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "cd {}
            mkdir a 'b c'; touch a/file 'b c/file'; ln -s a link; ln -s a/file file
            for path in {{,/,$PWD/}}{{a,b\\ c,link}}{{,/,/file}} $PWD{{/file,/a/../file,/./a,//a}} \
             $PWD/none{{,/none}} / /etc; do
                ours=$(readlink -f \"$path\" || echo no)
                [[ $ours == \"$(command readlink -f \"$path\" || echo no)\" ]] || echo \"$path\"
            done
            readlink link
            sort -nr -k 2 -t / </dev/null
            echo 10.0.0.0/8 | sort -nr -k 2 -t /
            printf '%s\\n' 10.0.0.0/8 0.0.0.0/0 10.1.0.0/16 | sort -nr -k 2 -t /
            printf '%s\\n' b a | sort",
            folder.path().display()
        );
        assert_eq!(
            printed(&script),
            "a\n10.0.0.0/8\n10.1.0.0/16\n10.0.0.0/8\n0.0.0.0/0\na\nb\n"
        );
    }
}
