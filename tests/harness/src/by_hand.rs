//! The program's commands on a host that has a tunnel by plain wg-quick.

use crate::waiting::SOON;
use crate::world::World;
use crate::world::container::Container;

/// An ordinary user.
pub const NOBODY: u32 = 65534;
/// A file with a token that is good.
pub const TOKEN: &str = "/pia-shared/token";

/// A container with a tunnel by plain wg-quick, from wg-gen's file, which then runs this script.
/// `resolvconf` is the host's.
#[track_caller]
pub fn with_tunnel(world: &World, program: &str, then: &str) -> Container {
    let script = format!(
        "setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --inh-caps=-all \
         --bounding-set=-all \
         wireguard-pia wg-gen -t {TOKEN} -l swiss -o /tmp/wg-pia.conf || exit 9\n\
         wg-quick up /tmp/wg-pia.conf || exit 8\necho the tunnel is up\n{then}"
    );
    // What a host has and a container lacks: a resolvconf, and kernel variables that can be
    // written.
    let dummy = "#!/bin/sh\ncat > /tmp/resolvconf.$1\n";
    let recipe = world
        .container(program)
        .env("HOME", "/tmp")
        .env("PORT_REBIND_INTERVAL", "1");
    let recipe = recipe
        .file(TOKEN, world.pia.issue_token())
        .script("/usr/local/bin/resolvconf", dummy);
    let recipe = recipe.script("/usr/local/bin/sysctl", "#!/bin/sh\n");
    let container = recipe.command(["bash", "-c", &script]).start();
    container.wait_for_log("the tunnel is up", SOON);
    container
}

/// What runs `words` as an ordinary user.
pub fn unprivileged(words: &str) -> String {
    format!(
        "exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --inh-caps=-all \
         --bounding-set=-all {words}\n"
    )
}
