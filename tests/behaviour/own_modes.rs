//! File systems that have modes of their own, as those of a NAS do (CIFS, exFAT, ZFS with ACLs):
//! they refuse to change a mode, and the files are of use all the same.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::log_lines::{FORWARDING, UP};
use harness::waiting::{SOON, wait_until};
use harness::world::World;
use nix::mount::{MntFlags, umount2};

use crate::PROGRAM;

/// Who mounts them; not the owner of what root makes there.
const USER: u32 = 1000;

/// A folder where nobody can change a mode, root with all rights neither: an overlay changes files
/// with the rights of whoever mounted it, here a user without the capability FOWNER.
struct Folder(PathBuf);

impl Folder {
    fn new(world: &World, name: &str) -> Self {
        let base = world.files().directory.join(name);
        let at = |name: &str| base.join(name);
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir_all(at(name)).expect("a new folder");
            chown(at(name), Some(USER), Some(USER)).expect("we are root");
        }
        let layers = format!(
            "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work",
            base.display()
        );
        // The program `mount` would give up its rights. The call's number is that of x86-64, or
        // else that of newer machines.
        let script = "my ($to, $layers) = @ARGV; my $type = 'overlay'; require POSIX; \
                      my $mount = (POSIX::uname())[4] eq 'x86_64' ? 165 : 40; \
                      syscall($mount, $type, $to, $type, 0, $layers) == 0 or die $!";
        let rights = ["sys_admin", "dac_override"].map(|name| format!("+{name}"));
        let rights = rights.join(",");
        let mounted = Command::new("setpriv")
            .args([format!("--reuid={USER}"), format!("--regid={USER}")])
            .arg("--clear-groups")
            .arg(format!("--bounding-set=-all,{rights}"))
            .arg(format!("--inh-caps=-all,{rights}"))
            .arg(format!("--ambient-caps=-all,{rights}"))
            .args(["perl", "-e", script])
            .args([at("merged").as_os_str(), layers.as_ref()])
            .status();
        assert!(mounted.expect("it is there").success());
        Self(at("merged"))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Without it the world cannot be removed; that fails by itself.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// "refuses to change a mode (ZFS with access control lists); files are written there all the same"
/// (docs/platforms.md)
#[test]
fn files_are_written_where_no_mode_can_be_changed() {
    let world = World::new();
    let folders = ["pia", "pia-shared", "wireguard"].map(|name| Folder::new(&world, name));
    let [pia, shared, wireguard] = folders.each_ref().map(Folder::path);
    // The control.
    let file = shared.join("other");
    fs::write(&file, "").expect("it can be written");
    let refused = fs::set_permissions(&file, fs::Permissions::from_mode(0o600));
    refused.expect_err("no mode can be changed");

    let recipe = world.container(PROGRAM).credentials().env("LOC", "swiss");
    let container = recipe
        .env("PORT_FORWARDING", "1")
        .env("PORT_PERSIST", "1")
        .bind(pia, "/pia")
        .bind(shared, "/pia-shared")
        .bind(wireguard, "/etc/wireguard")
        // So the port file's mode is not what it is to be.
        .first("umask 077")
        .start();
    container.wait_for_log(UP, SOON);
    container.wait_for_log(FORWARDING, SOON);
    wait_until("healthy", SOON, || {
        let checked = container.exec(&["wireguard-pia", "healthcheck"]);
        checked.status.success()
    });
    for name in [".token", "portsig.json", "servers.json"] {
        assert!(pia.join(name).is_file(), "{name}");
    }
    assert!(wireguard.join("wg0.conf").is_file());
    let port = fs::read_to_string(shared.join("port.dat")).expect("it is written");
    assert!(port.trim().parse::<u16>().is_ok(), "{port}");
    let log = container.logs();
    assert!(!log.contains("its owner's alone"), "nothing is open: {log}");
}
