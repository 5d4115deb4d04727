//! What happens to a port, and that it is had again.

use std::fs;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use harness::log_lines::RECONNECTED;
use harness::simulator::certificates::Cert;
use harness::simulator::faults::{Api, Fault};
use harness::simulator::server::Server;
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::builder::Kind;
use nix::sys::signal::Signal;

use super::told::{agreed_port, agreed_port_but, all_agree_that_there_is_none, in_firewall};
use super::{forwarding, gateway};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The server that forwards the port.
fn server(world: &World) -> std::sync::Arc<Server> {
    world.pia.server(
        &world
            .pia
            .bound_ports()
            .last()
            .expect("a port is bound")
            .server,
    )
}

/// How often PIA was asked to log in, for a key and for a lease.
fn seen(world: &World) -> [usize; 3] {
    let asked = |api| world.pia.records().of(api).len();
    [Api::Token, Api::AddKey, Api::GetSignature].map(asked)
}

/// "a failure leads to another try, a refusal to a new port" (README.md)
#[test]
fn bind_port_may_fail_for_as_long_as_it_likes() {
    let world = World::builder().behind().build();
    let container = gateway(&world).start();
    let port = agreed_port(&world, &container);
    let before = seen(&world);
    world.pia.fail(Api::BindPort, Fault::Status(503, 1_000_000));
    server(&world).forget_ports();
    all_agree_that_there_is_none(&world, &container);
    let records = world.pia.records();
    let bindings = records.of(Api::BindPort).len();
    assert!(records.wait_for(Api::BindPort, bindings + 2, SOON));
    // Another lease is tried after half a minute only.
    assert_eq!(seen(&world), before);
    world.pia.heal(Api::BindPort);
    assert_eq!(
        agreed_port(&world, &container),
        port,
        "the lease is as good as before"
    );
}

#[test]
fn one_missed_refresh_changes_nothing_for_anybody() {
    let world = World::new();
    let container = forwarding(&world).start();
    let port = agreed_port(&world, &container);
    world.pia.fail_times(Api::BindPort, 503, 1);
    let refreshed = || world.pia.bound_ports()[0].refreshed;
    let before = refreshed();
    wait_until("a later refresh", SOON, || refreshed() > before + 2);
    container.wait_for_log("is bound again", SOON);
    assert_eq!(agreed_port(&world, &container), port);
    assert!(!container.logs().contains("down"), "nobody was bothered");
}

#[test]
fn the_tunnel_may_carry_nothing_for_a_while() {
    let world = World::new();
    let container = forwarding(&world).start();
    let port = agreed_port(&world, &container);
    let server = server(&world);
    server.kill_tunnel();
    server.forget_ports();
    all_agree_that_there_is_none(&world, &container);
    server.revive_tunnel();
    assert_eq!(agreed_port(&world, &container), port);
}

/// "emptied, if it was there before the first port" (README.md)
#[test]
fn a_port_file_that_others_made_stays_theirs_while_there_is_no_port() {
    let world = World::new();
    let made = "umask 077; echo a longer text >/pia-shared/port.dat; chown 1000:1000 \
                /pia-shared/port.dat; chmod 640 /pia-shared/port.dat";
    let container = forwarding(&world).env("PRE_UP", made).start();
    let port = agreed_port(&world, &container);
    let file = container.path("/pia-shared/port.dat");
    // As a helper has it that mounts the file alone.
    let mounted = fs::File::open(&file).expect("readable");
    let read = || {
        let mut text = String::new();
        (&mounted).rewind().expect("a file");
        (&mounted).read_to_string(&mut text).expect("a text");
        text
    };
    let looks = || {
        let found = fs::metadata(&file).expect("it is there");
        let owner = (found.uid(), found.gid(), found.mode() & 0o777);
        assert_eq!(owner, (1000, 1000, 0o640));
        found.ino()
    };
    let before = looks();
    world.pia.port_forwarding().occupy_ports();
    world
        .pia
        .fail(Api::GetSignature, Fault::Status(503, 1_000_000));
    server(&world).forget_ports();
    all_agree_that_there_is_none(&world, &container);
    assert_eq!((looks(), read()), (before, String::new()));
    world.pia.heal(Api::GetSignature);
    let port = agreed_port_but(&world, &container, port);
    assert_eq!((looks(), read()), (before, format!("{port}\n")));
}

/// What the former server says while the tunnel is changed is nothing that the new one has done.
#[test]
fn nobody_is_told_of_a_port_that_the_new_server_has_not_bound() {
    let world = World::new();
    let held = "#!/bin/bash\n[[ $1 != set || ! -p /pia/hold ]] || { echo >/pia/held; read -r _ \
                </pia/hold; }\nexec /opt/wg \"$@\"\n";
    let container = forwarding(&world)
        .bind("/usr/bin/wg", "/opt/wg")
        .script("/usr/bin/wg", held)
        .start();
    agreed_port(&world, &container);
    let former = world.server_in_use();
    for server in world.pia.servers() {
        if server.cn() != former.cn() {
            server.silent_port_forwarding();
        }
    }
    container.shell("mkfifo /pia/hold");
    container.signal(Signal::SIGHUP);
    let held = container.path("/pia/held");
    wait_until("the tunnel is being changed", SOON, || held.exists());
    let refreshed = || world.pia.records().of(Api::BindPort).len();
    let before = refreshed();
    wait_until("refreshes meanwhile", SOON, || refreshed() > before + 1);
    let hold = container.path("/pia/hold");
    let mut pipe = fs::File::options()
        .write(true)
        .open(&hold)
        .expect("it is read");
    fs::remove_file(&hold).expect("it is there");
    pipe.write_all(b"\n").expect("it is read");
    container.wait_for_log(RECONNECTED, LATER);
    container.wait_for_log("is no longer forwarded", LATER);
    let log = container.logs();
    assert_eq!(log.matches("Forwarding on port").count(), 1, "{log}");
}

#[test]
fn a_refused_signature_is_replaced() {
    let world = World::builder().behind().build();
    let container = gateway(&world).start();
    let port = agreed_port(&world, &container);
    let leases = || world.pia.records().of(Api::GetSignature).len();
    let before = leases();
    world.pia.port_forwarding().forget_signatures();
    server(&world).forget_ports();
    agreed_port_but(&world, &container, port);
    assert!(
        container.logs().contains("bad signature"),
        "the reason is said"
    );
    assert_eq!(leases(), before + 1);
    assert_eq!(world.pia.login_attempts(), 1);
}

#[test]
fn signatures_may_be_refused_for_a_while() {
    let world = World::new();
    let container = forwarding(&world).start();
    let port = agreed_port(&world, &container);
    world.pia.port_forwarding().forget_signatures();
    world.pia.refuse_signature();
    server(&world).forget_ports();
    all_agree_that_there_is_none(&world, &container);
    world.pia.forward_ports();
    agreed_port_but(&world, &container, port);
}

#[test]
fn a_busy_port_is_given_up_for_another() {
    let world = World::new();
    let container = forwarding(&world).start();
    let port = agreed_port(&world, &container);
    world.pia.port_forwarding().occupy_ports();
    server(&world).forget_ports();
    agreed_port_but(&world, &container, port);
}

/// "With `RECONNECT=1` a port that is busy at one server first leads to another server."
/// (README.md)
#[test]
fn where_all_ports_are_busy_another_server_is_tried_if_the_user_lets_us() {
    let world = World::new();
    let container = forwarding(&world).env("RECONNECT", "1").start();
    agreed_port(&world, &container);
    let before = server(&world);
    let requests = seen(&world);
    before.no_free_ports(true);
    before.forget_ports();
    container.wait_for_log("Reconnected to", SOON);
    agreed_port(&world, &container);
    assert_ne!(server(&world).cn(), before.cn());
    let [logins, keys, leases] = requests;
    assert_eq!(seen(&world)[..2], [logins, keys + 1]);
    // One here, whose port is busy too, and after a pause others, until there is one there.
    let asked = world.pia.records().of(Api::GetSignature).split_off(leases);
    let (here, there): (Vec<_>, Vec<_>) = asked.iter().partition(|it| it.host == before.cn());
    assert!(!here.is_empty());
    let pauses = here.windows(2).map(|pair| pair[1].at - pair[0].at);
    assert!(
        pauses
            .min()
            .is_none_or(|least| least > Duration::from_secs(3)),
        "{here:?}"
    );
    assert_eq!(there.len(), 1);
}

/// A command chose this server and no other.
#[test]
fn where_one_server_was_chosen_by_a_command_its_busy_ports_lead_to_no_reconnect() {
    let world = World::new();
    let container = forwarding(&world).env("RECONNECT", "1").start();
    agreed_port(&world, &container);
    let reconnect = |words: &[&str]| {
        let command = [&["wireguard-pia", "reconnect"], words].concat();
        let output = container.exec(&command);
        assert!(output.status.success(), "{output:?}");
    };
    let before = server(&world);
    reconnect(&["--server", before.cn()]);
    before.no_free_ports(true);
    before.forget_ports();
    container.wait_for_log("also with a new lease", SOON);
    let told = container.logs();
    assert!(!told.contains("Reconnecting: no port here"), "{told}");
    // The same where the choice is ours again.
    reconnect(&["--server", before.cn()]);
    for server in world.pia.servers_of("nl_amsterdam") {
        server.no_free_ports(true);
    }
    reconnect(&["--configured"]);
    container.wait_for_log("Reconnecting: no port here", SOON);
}

#[test]
fn a_reconnect_keeps_the_port() {
    let world = World::new();
    let container = forwarding(&world).start();
    let (port, before) = (agreed_port(&world, &container), server(&world));
    container.signal(Signal::SIGHUP);
    container.wait_for_log("Reconnected to", SOON);
    // The old server does not know yet that nobody will refresh it there.
    let has_moved = || {
        world
            .pia
            .bound_ports()
            .iter()
            .any(|bound| bound.server != before.cn())
    };
    wait_until("the new server has it", SOON, has_moved);
    before.forget_ports();
    assert_eq!(agreed_port(&world, &container), port);
    assert!(!container.logs().contains("down"), "nobody was bothered");
}

#[test]
fn after_a_reconnect_the_port_script_runs_again_and_the_file_is_written() {
    let world = World::new();
    let container = forwarding(&world)
        .env("PORT_REBIND_INTERVAL", "900")
        .start();
    let (port, before) = (agreed_port(&world, &container), server(&world));
    let written = || {
        fs::metadata(container.path("/pia-shared/port.dat"))
            .and_then(|file| file.modified())
            .expect("the port file")
    };
    let first = written();
    container.signal(Signal::SIGHUP);
    container.wait_for_log("Reconnected to", SOON);
    let told = || {
        container
            .logs()
            .matches(&format!("[port-script] up {port}"))
            .count()
    };
    wait_until("the script runs again", SOON, || told() == 2);
    assert!(written() > first);
    assert_eq!(in_firewall(&world), [port].into());
    assert!(
        world
            .pia
            .bound_ports()
            .iter()
            .any(|bound| bound.server != before.cn()),
        "it is told once it is bound at the new server"
    );
    assert!(!container.logs().contains("[port-down-script]"));
}

/// "A lost port that keeps failing is tried with another signature" (README.md)
#[test]
fn a_lease_that_pia_fails_to_bind_is_replaced() {
    let world = World::new();
    let container = forwarding(&world).start();
    let port = agreed_port(&world, &container);
    let asked = || world.pia.records().of(Api::GetSignature).len();
    let before = asked();
    world.pia.port_forwarding().break_leases();
    server(&world).forget_ports();
    agreed_port_but(&world, &container, port);
    assert_eq!(asked(), before + 1);
    assert!(!container.logs().contains("Reconnecting"));
}

#[test]
fn a_silent_port_service_leads_to_another_server_if_the_user_lets_us() {
    let world = World::new();
    let container = forwarding(&world).env("RECONNECT", "1").start();
    let port = agreed_port(&world, &container);
    let (before, [logins, keys, leases]) = (server(&world), seen(&world));
    before.silent_port_forwarding();
    before.forget_ports();
    // Each of a few requests is waited for.
    container.wait_for_log("Reconnecting: no port here", Duration::from_secs(120));
    container.wait_for_log("Reconnected to", SOON);
    assert_eq!(agreed_port(&world, &container), port);
    assert_ne!(server(&world).cn(), before.cn());
    assert_eq!(seen(&world), [logins, keys + 1, leases]);
}

#[test]
fn a_port_service_that_refuses_connections_leads_to_another_server_if_the_user_lets_us() {
    let world = World::new();
    let container = forwarding(&world).env("RECONNECT", "1").start();
    let port = agreed_port(&world, &container);
    let (before, [logins, keys, leases]) = (server(&world), seen(&world));
    before.no_port_forwarding();
    before.forget_ports();
    container.wait_for_log("Reconnected to", SOON);
    assert_eq!(agreed_port(&world, &container), port);
    assert_ne!(server(&world).cn(), before.cn());
    assert_eq!(seen(&world), [logins, keys + 1, leases]);
}

#[test]
fn a_port_service_with_another_servers_certificate_leads_to_another_server() {
    let world = World::new();
    let container = forwarding(&world).env("RECONNECT", "1").start();
    let port = agreed_port(&world, &container);
    let before = server(&world);
    let leases = || world.pia.records().of(Api::GetSignature).len();
    let leased = leases();
    before.certificate(Cert::WrongName);
    before.forget_ports();
    // Another lease is tried first.
    container.wait_for_log("Reconnecting: no port here", Duration::from_secs(120));
    container.wait_for_log("Reconnected to", SOON);
    assert_eq!(agreed_port(&world, &container), port);
    assert_ne!(server(&world).cn(), before.cn());
    assert!(leases() <= leased + 1, "{} leases", leases() - leased);
}

#[test]
fn an_expired_token_is_renewed_while_the_tunnel_is_up() {
    let world = World::new();
    let container = forwarding(&world).start();
    let port = agreed_port(&world, &container);
    let logins = world.pia.login_attempts();
    world.pia.forget_tokens();
    world.pia.port_forwarding().forget_signatures();
    server(&world).forget_ports();
    agreed_port_but(&world, &container, port);
    assert_eq!(world.pia.login_attempts(), logins + 1);
    let ways_out = world.ways_out();
    assert!(
        ways_out.len() == 1,
        "only the endpoint may be reached past the tunnel again: {ways_out:#?}"
    );
}

#[test]
fn we_may_be_taken_for_somebody_else_for_a_while() {
    let world = World::new();
    let container = forwarding(&world).start();
    agreed_port(&world, &container);
    let (logins, asked) = (
        world.pia.login_attempts(),
        world.pia.records().of(Api::GetSignature).len(),
    );
    world.pia.port_unauthorized();
    server(&world).forget_ports();
    all_agree_that_there_is_none(&world, &container);
    assert!(
        world
            .pia
            .records()
            .wait_for(Api::GetSignature, asked + 4, SOON),
        "it goes on asking"
    );
    assert_eq!(
        world.pia.login_attempts(),
        logins + 1,
        "a new token does not help, so one is enough"
    );
    world.pia.forward_ports();
    agreed_port(&world, &container);
}

#[test]
fn refused_credentials_are_not_tried_again() {
    let world = World::new();
    let container = forwarding(&world).env("RECONNECT", "1").start();
    agreed_port(&world, &container);
    world.pia.forget_tokens();
    world.pia.refuse_login();
    world.pia.port_forwarding().forget_signatures();
    let (logins, asked) = (
        world.pia.login_attempts(),
        world.pia.records().of(Api::GetSignature).len(),
    );
    server(&world).forget_ports();
    all_agree_that_there_is_none(&world, &container);
    assert!(
        world
            .pia
            .records()
            .wait_for(Api::GetSignature, asked + 4, SOON),
        "it goes on asking"
    );
    assert_eq!(world.pia.login_attempts(), logins + 1);
    // Nor by others who need a token.
    container.wait_for_log("Reconnecting: no port here", LATER);
    container.wait_for_log(
        "check USER and PASS, or USER_FILE and PASS_FILE. Trying again in",
        LATER,
    );
    assert_eq!(world.pia.login_attempts(), logins + 1);
    container.signal(Signal::SIGHUP);
    wait_until("the user's wish is obeyed", SOON, || {
        world.pia.login_attempts() == logins + 2
    });
}

/// How a login can fail.
type Failing = fn(&World);

/// Each of these passes in its own time, and more logins would make it longer.
#[test]
fn a_login_that_fails_for_good_is_made_once_while_the_port_is_asked_for() {
    let failures: [(Failing, &str); 3] = [
        (|world| world.pia.lock_out(), "the account is locked out"),
        (
            |world| world.pia.payment_required(),
            "the subscription is over",
        ),
        (|world| world.pia.block_login(), "error 1020"),
    ];
    for (fail, said) in failures {
        let world = World::new();
        let container = forwarding(&world).start();
        agreed_port(&world, &container);
        world.pia.forget_tokens();
        world.pia.port_forwarding().forget_signatures();
        fail(&world);
        let [logins, keys, leases] = seen(&world);
        server(&world).forget_ports();
        all_agree_that_there_is_none(&world, &container);
        container.wait_for_log(said, SOON);
        let goes_on = world
            .pia
            .records()
            .wait_for(Api::GetSignature, leases + 3, LATER);
        assert!(goes_on, "it goes on asking");
        assert_eq!(seen(&world)[..2], [logins + 1, keys]);
        world.assert_carries();
    }
}

#[test]
fn a_lease_is_renewed_a_week_before_it_ends() {
    let world = World::builder().behind().build();
    world
        .pia
        .port_forwarding()
        .set_lifetime(7 * DAY + Duration::from_secs(5));
    let container = gateway(&world).start();
    let port = agreed_port(&world, &container);
    world.pia.port_forwarding().set_lifetime(60 * DAY);
    agreed_port_but(&world, &container, port);
}

#[test]
fn a_program_that_was_halted_has_its_port_again() {
    let world = World::new();
    let container = forwarding(&world).start();
    let port = agreed_port(&world, &container);
    container.signal(Signal::SIGSTOP);
    server(&world).forget_ports();
    container.signal(Signal::SIGCONT);
    wait_until("the port is bound again", SOON, || {
        !world.pia.bound_ports().is_empty()
    });
    assert_eq!(agreed_port(&world, &container), port);
}

#[test]
fn a_server_without_port_forwarding_is_warned_of_once_naming_others() {
    let world = World::builder()
        .servers("us_chicago", Kind::New, 1)
        .servers("swiss", Kind::New, 1)
        .build();
    world
        .pia
        .servers_of("us_chicago")
        .iter()
        .for_each(|server| server.no_port_forwarding());
    let container = forwarding(&world).env("LOC", "us_chicago").start();
    let warning = container
        .wait_for_log("Port forwarding: this server has none", SOON)
        .text;
    assert!(
        warning.contains("swiss") && !warning.contains("us_chicago"),
        "{warning}"
    );
    let server = &world.pia.servers_of("us_chicago")[0];
    server.port_forwarding();
    agreed_port(&world, &container);
    assert_eq!(container.logs().matches("this server has none").count(), 1);
}
