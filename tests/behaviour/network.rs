//! The networks around the tunnel: the LAN, other interfaces, name servers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use harness::log_lines::UP;
use harness::simulator::faults::Api;
use harness::simulator::server::TUNNEL_DNS;
use harness::waiting::{SOON, wait_until};
use harness::world::World;
use harness::world::container::Container;
use harness::world::docker_dns::Docker;
use harness::world::network::{CLIENT, CLIENT_SECOND, DNS, DNS_V6, ELSEWHERE, GATEWAY, LAN};
use harness::world::pcap::{Packet, Transport};
use harness::world::recipe::Recipe;
use nix::sys::signal::Signal;

use crate::PROGRAM;

// The local network.

#[test]
fn without_local_network_neither_side_reaches_the_other() {
    let world = World::new();
    let _container = life(&world).connect();
    let ((_lan, there), (_client, here)) = (world.lan().listen(), world.client().listen());
    assert!(world.client().is_kept_from((LAN, there)));
    assert!(world.lan().is_kept_from((CLIENT, here)));
}

/// "Ranges that are reached outside the tunnel, both ways" (README.md)
#[test]
fn local_network_and_container_reach_each_other() {
    let world = World::new();
    let _container = life(&world)
        .env("LOCAL_NETWORK", "192.168.77.0/24")
        .connect();
    let ((_lan, there), (_client, here)) = (world.lan().listen(), world.client().listen());
    assert!(world.client().reaches((LAN, there)));
    assert!(world.lan().reaches((CLIENT, here)));
    world.assert_carries();
}

#[test]
fn local_network_ends_at_its_range() {
    let world = World::new();
    let _container = life(&world)
        .env("LOCAL_NETWORK", "192.168.77.11, 192.168.78.0/24")
        .connect();
    let ((_lan, there), (_client, here)) = (world.lan().listen(), world.client().listen());
    assert!(world.client().is_kept_from((LAN, there)));
    assert!(world.lan().is_kept_from((CLIENT, here)));
}

#[test]
fn bad_ranges_are_named_and_the_others_hold() {
    let world = World::new();
    let container = life(&world)
        .env(
            "LOCAL_NETWORK",
            "192.168.300.0/24,lan 192.168.77.10 10.1.0.0/33",
        )
        .connect();
    let log = container.logs();
    for bad in ["192.168.300.0/24", "lan", "10.1.0.0/33"] {
        let warned = log
            .lines()
            .any(|line| line.contains("LOCAL_NETWORK") && line.contains(bad));
        assert!(warned, "{bad}\n{log}");
    }
    let (_lan, port) = world.lan().listen();
    assert!(world.client().reaches((LAN, port)));
}

#[test]
fn a_range_that_holds_the_vpns_own_hosts_is_warned_of_and_they_stay_in_the_tunnel() {
    let world = World::new();
    let container = life(&world).env("LOCAL_NETWORK", "10.0.0.0/8").connect();
    let warning = container
        .wait_for_log(
            "LOCAL_NETWORK range 10.0.0.0/8 holds the VPN's DNS server",
            SOON,
        )
        .text;
    assert!(warning.contains(&TUNNEL_DNS[0].to_string()), "{warning}");
    assert!(
        world.client().reaches((TUNNEL_DNS[0], 53)) && world.client().reaches((TUNNEL_DNS[1], 53))
    );
    assert!(world.client().reaches((vip(&world), 19999)));
    assert_eq!(
        container.shell("getent ahostsv4 inside.test | head -c 10"),
        "100.64.0.8"
    );
    assert!(
        world
            .pia
            .records()
            .questions()
            .iter()
            .any(|q| q.name == "inside.test" && q.through.is_some())
    );
}

/// "servers that PIA named and the port-forwarding gateway are routed into the tunnel all the same"
#[test]
fn a_range_that_holds_the_gateway_keeps_no_server_out() {
    let world = World::new();
    let _container = life(&world).env("LOCAL_NETWORK", "10.0.0.0/9").connect();
    let vip = vip(&world);
    assert!(world.client().reaches((vip, 19999)));
}

#[test]
fn the_rules_for_the_lan_go_with_the_tunnel() {
    let world = World::new();
    let container = life(&world)
        .env("LOCAL_NETWORK", "10.0.0.0/8 192.168.77.0/24")
        .connect();
    assert_eq!(
        rules_of_preference(&world, &["9:", "10:"]).len(),
        5,
        "{:?}",
        rules_of_preference(&world, &["9:", "10:"])
    );
    container.stop();
    assert_eq!(rules_of_preference(&world, &["9:", "10:"]), [""; 0]);
    // The LAN is reached still: the kill switch stays, its openings too.
    let (_lan, port) = world.lan().listen();
    assert!(world.client().reaches((LAN, port)));
}

// Other interfaces.

#[test]
fn attached_networks_and_container_reach_each_other() {
    let world = World::builder().second_network(None).build();
    let _container = life(&world).connect();
    let ((_router, there), (_client, here)) = (world.router().listen(), world.client().listen());
    for (gateway, own) in [
        (GATEWAY, CLIENT),
        (Ipv4Addr::new(172, 19, 0, 1), CLIENT_SECOND),
    ] {
        assert!(world.client().reaches((gateway, there)), "{gateway}");
        assert!(world.router().reaches((own, here)), "{own}");
    }
    world.assert_carries();
}

#[test]
fn a_second_default_route_is_no_way_around_the_tunnel() {
    let world = World::builder().second_network(Some(50)).build();
    let (capture, second) = (world.capture(), world.capture_on("wire2"));
    let _container = life(&world).connect();
    let up = capture.packets().len();
    world.assert_carries();
    let servers: Vec<_> = world
        .pia
        .servers()
        .iter()
        .map(|server| server.address())
        .collect();
    let to_server = |packet: &Packet| {
        packet.is_udp() && servers.iter().any(|server| packet.destination == *server)
    };
    assert!(capture.packets().len() > up);
    assert!(
        capture.packets()[up..]
            .iter()
            .filter(|packet| packet.source == CLIENT)
            .all(to_server)
    );
    assert_eq!(second.leaks(|_| false), []);
}

// Name servers.

#[test]
fn the_vpns_name_servers_are_used_and_the_former_lines_kept_and_restored() {
    let world = World::new();
    let former = format!("search lan\nnameserver {DNS}\noptions ndots:0\n");
    let container = life(&world).resolv_conf(&former).connect();
    assert_eq!(
        name_servers(&container),
        TUNNEL_DNS.map(|server| server.to_string())
    );
    for line in former.lines() {
        assert!(
            resolv_conf(&container).contains(&format!("#| {line}\n")),
            "{}",
            resolv_conf(&container)
        );
    }
    container.shell("getent hosts elsewhere.test");
    assert!(
        world
            .pia
            .records()
            .questions()
            .iter()
            .any(|q| q.name == "elsewhere.test" && q.through.is_some())
    );
    container.stop();
    assert_eq!(resolv_conf(&container), former);
}

#[test]
fn a_resolv_conf_that_cannot_be_written_for_a_while_is_written_when_it_can() {
    let world = World::new();
    let container = life(&world)
        .cap_drop("dac_override")
        .first("chmod 444 /etc/resolv.conf")
        .connect();
    container.wait_for_log("writing /etc/resolv.conf: Permission denied", SOON);
    let status = || container.shell("wireguard-pia status --json");
    assert!(status().contains("\"dns_error\": \"writing /etc/resolv.conf: Permission denied"));
    container.shell("chmod 644 /etc/resolv.conf");
    container.wait_for_log("names the VPN's name servers now", SOON);
    assert_eq!(
        name_servers(&container),
        TUNNEL_DNS.map(|server| server.to_string())
    );
    assert!(status().contains("\"dns_error\": null"), "{}", status());
    assert_eq!(container.logs().matches("DNS: ").count(), 2);
}

#[test]
fn a_server_that_names_no_usable_name_servers_gets_pias_own() {
    let world = World::new();
    let unusable = serde_json::json!(["127.0.0.11", "0.0.0.0", "nonsense", "8.8.8.8"]);
    for server in world.pia.servers() {
        server.answer_with("dns_servers", unusable.clone());
    }
    let container = life(&world).connect();
    container.wait_for_log("no usable name servers", SOON);
    assert_eq!(
        name_servers(&container),
        TUNNEL_DNS.map(|server| server.to_string())
    );
}

#[test]
fn vpndns_names_others() {
    let world = World::new();
    let container = life(&world).env("VPNDNS", "10.0.0.242, 9.9.9.9").connect();
    assert_eq!(name_servers(&container), ["10.0.0.242", "9.9.9.9"]);
    container.stop();
    assert_eq!(name_servers(&container), [DNS.to_string()]);
}

/// A Pi-hole, for one, often on the same host as everything else.
#[test]
fn a_resolver_in_the_lan_is_asked_there_and_its_host_stays_in_reach() {
    let world = World::new();
    let (_lan, there) = world.lan().listen();
    let resolver = world
        .lan()
        .run(|| UdpSocket::bind((LAN, 53)))
        .expect("port 53 is free");
    resolver.set_read_timeout(Some(SOON)).unwrap();
    let container = life(&world)
        .env("LOCAL_NETWORK", "192.168.77.0/24")
        .env("VPNDNS", LAN.to_string())
        .env("ACTIVE_HEALTHCHECKS", "1")
        .env("HEALTHCHECK_PING_TARGET", "www.example.com")
        .connect();
    assert!(world.client().reaches((LAN, there)));
    assert!(!container.logs().contains("routed into the tunnel"));
    container.shell("wireguard-pia healthcheck");
    let mut query = [0; 512];
    let (length, from) = resolver.recv_from(&mut query).expect("a query in the LAN");
    assert!(query[..length].windows(7).any(|seen| seen == b"example"));
    assert_eq!(from.ip(), CLIENT);
}

/// "`0` leaves the container's DNS as it is" (README.md)
#[test]
fn vpndns_takes_search_domains() {
    let world = World::new();
    let container = life(&world).env("VPNDNS", "9.9.9.9,home.lan").connect();
    let text = resolv_conf(&container);
    let active: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(active, ["nameserver 9.9.9.9", "search home.lan"]);
    let conf = container.read("/etc/wireguard/wg0.conf").unwrap();
    assert!(conf.contains("\nDNS = 9.9.9.9,home.lan\n"), "{conf}");
}

/// A rule that a hook added has our rules' shape, and is not ours.
#[test]
fn a_hooks_own_routing_rule_stays_through_a_reconnect_and_after_the_stop() {
    let world = World::new();
    let container = life(&world)
        .env("LOCAL_NETWORK", "192.168.77.0/24")
        .env(
            "POST_UP",
            "ip rule add to 198.18.0.0/15 lookup main pref 10",
        )
        .start();
    let rules = || world.look("ip rule");
    wait_until("the hook's rule", SOON, || {
        rules().contains("198.18.0.0/15")
    });
    container.signal(Signal::SIGHUP);
    container.wait_for_log("Reconnected to", SOON);
    assert!(rules().contains("198.18.0.0/15") && rules().contains("192.168.77.0/24"));
    container.stop();
    assert!(rules().contains("198.18.0.0/15") && !rules().contains("192.168.77.0/24"));
}

#[test]
fn vpndns_0_leaves_the_file_alone() {
    let world = World::new();
    let container = life(&world).env("VPNDNS", "0").connect();
    assert_eq!(
        resolv_conf(&container),
        format!("nameserver {DNS}\noptions ndots:0\n")
    );
    container.stop();
    assert_eq!(
        resolv_conf(&container),
        format!("nameserver {DNS}\noptions ndots:0\n")
    );
}

#[test]
fn after_a_sigkill_the_next_life_knows_the_former_name_servers() {
    let world = World::new();
    let mut container = life(&world).connect();
    container.kill();
    assert_eq!(
        name_servers(&container),
        TUNNEL_DNS.map(|server| server.to_string())
    );
    container.restart();
    container.wait_for_log(UP, SOON);
    container.stop();
    assert_eq!(name_servers(&container), [DNS.to_string()]);
}

#[test]
fn docker_26_with_a_public_name_server_is_passed_by() {
    let world = World::new();
    let resolv_conf = world.docker_dns(Docker::AsksFromContainer);
    let capture = world.capture();
    let container = life(&world).resolv_conf(resolv_conf).connect();
    world.assert_carries();
    // Docker's own questions would not have got out.
    assert!(!container.shell("iptables -S").contains("--uid-owner"));
    assert!(capture.packets().iter().any(asks_the_name_server));
}

#[test]
fn docker_26_with_a_name_server_of_the_host_is_asked() {
    let world = World::new();
    let resolv_conf = world.docker_dns(Docker::AsksFromHost);
    let capture = world.capture();
    let _container = life(&world).resolv_conf(resolv_conf).connect();
    world.assert_carries();
    assert!(!capture.packets().iter().any(asks_the_name_server));
}

#[test]
fn docker_before_26_may_ask_as_root_only_while_a_look_up_runs() {
    let world = World::new();
    let resolv_conf = world.docker_dns(Docker::Old);
    world.pia.hang(Api::Token);
    let mut container = life(&world).resolv_conf(resolv_conf).start();
    // The look-up of its host came before.
    assert!(world.pia.records().wait_for(Api::Token, 1, SOON));
    let rules = |container: &Container| container.shell("iptables -S PIA_OUTPUT");
    assert!(!rules(&container).contains("--uid-owner"));
    container.stop();
    world.pia.heal(Api::Token);
    container.restart();
    container.wait_for_log(UP, SOON);
    assert!(!rules(&container).contains("--uid-owner"));
    world.assert_carries();
}

#[test]
fn with_vpndns_0_dockers_resolver_is_for_all() {
    let world = World::new();
    let resolv_conf = world.docker_dns(Docker::AsksFromHost);
    let container = life(&world)
        .resolv_conf(resolv_conf)
        .env("VPNDNS", "0")
        .connect();
    assert!(world.client().run(|| embedded_resolver_answers(SOON)));
    container.stop();
}

#[test]
fn tabs_and_dead_name_servers_before_a_good_one_are_survived() {
    let world = World::new();
    let text = format!(
        "; made by hand\n\tnameserver\t198.19.0.53\nnameserver fe80::1%eth0\nnameserver\t{DNS}\t# \
         good\n"
    );
    let _container = life(&world).resolv_conf(text).connect();
    world.assert_carries();
}

/// "an IPv6 one is asked where there is no other" (README.md)
#[test]
fn an_ipv6_name_server_serves_where_there_is_no_other() {
    for (truncated, nf_tables) in [(false, "1"), (true, "0")] {
        let world = World::new();
        world.pia.names().truncate(truncated);
        let container = life(&world)
            .bind("/usr/sbin/nft", "/usr/local/libexec/wireguard-pia/nft")
            .env("NFTABLES", nf_tables)
            .resolv_conf(format!("nameserver {DNS_V6}\n"))
            .connect();
        world.assert_carries();
        let rules = world.look("ip6tables -S PIA_OUTPUT");
        assert!(
            !rules.contains("--dport") && !rules.contains("icmp"),
            "{rules}"
        );
        container.stop();
        assert_eq!(resolv_conf(&container), format!("nameserver {DNS_V6}\n"));
    }
}

/// As a life leaves it that was killed, where the file is mounted.
#[test]
fn pre_up_hooks_find_the_name_servers_that_a_killed_life_replaced() {
    let world = World::new();
    let left = format!(
        "# Written by wireguard-pia: the VPN's name servers. The former content follows behind \
         \"#| \".\nnameserver 10.0.0.243\n#| nameserver {DNS}\n#| \n"
    );
    let container = life(&world)
        .resolv_conf(left)
        .env("PRE_UP", "cp /etc/resolv.conf /pia-shared/seen")
        .connect();
    let seen = container.read("/pia-shared/seen");
    assert_eq!(seen, Some(format!("nameserver {DNS}\n")));
}

#[test]
fn name_servers_that_cannot_be_asked_are_named_in_the_error() {
    let world = World::new();
    let container = life(&world)
        .resolv_conf("nameserver ::1\nnameserver fe80::1%eth0\n")
        .start();
    let line = container.wait_for_log("Fatal error", SOON).text;
    for part in ["::1", "fe80::1%eth0", "not asked", "--dns"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

// The interface.

/// "that of the link, at most 1500, less 80" (README.md)
/// Rootless Podman's link takes 65520, the way behind it does not.
#[test]
fn a_jumbo_link_gives_the_tunnel_the_usual_mtu() {
    let world = World::new();
    world.look("ip link set eth0 mtu 9000");
    let container = life(&world).connect();
    assert!(container.shell("ip link show wg0").contains(" mtu 1420 "));
}

/// Whether much data gets to the internet and back.
fn much_comes_through(world: &World, patience: Duration) -> bool {
    let text = vec![b'x'; 50_000];
    let exchange = || -> std::io::Result<()> {
        let address = SocketAddr::from((ELSEWHERE, 80));
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(&text)?;
        stream.read_exact(&mut vec![0; text.len()])
    };
    world.client().run(exchange).is_ok()
}

/// "less where the way to the server turns out to be narrower" (README.md)
#[test]
fn a_way_that_is_narrower_than_the_link_gives_the_tunnel_a_smaller_mtu() {
    // Where nobody says what the way takes, it is tried in steps.
    for (narrow, mtu) in [
        (World::narrow as fn(&World, u32), 1220),
        (World::narrow_silently, 1196),
    ] {
        let world = World::new();
        narrow(&world, 1300);
        let container = life(&world).connect();
        container.wait_for_log(&format!("the MTU of wg0 is {mtu} now"), SOON);
        let shown = container.shell("cat /sys/class/net/wg0/mtu; grep MTU /etc/wireguard/wg0.conf");
        assert_eq!(shown, format!("{mtu}\nMTU = {mtu}\n"));
        assert!(much_comes_through(&world, SOON));
    }
}

#[test]
fn an_mtu_that_the_user_set_stays_though_the_way_is_narrower() {
    let world = World::new();
    world.narrow_silently(1300);
    let container = life(&world).env("MTU", "1420").connect();
    assert!(!much_comes_through(&world, Duration::from_secs(5)));
    assert!(container.shell("ip link show wg0").contains(" mtu 1420 "));
}

#[test]
fn after_a_reconnect_wg0_conf_names_the_mtu_of_the_interface() {
    let world = World::new();
    let container = life(&world).connect();
    container.signal(Signal::SIGHUP);
    container.wait_for_log("Reconnected to", SOON);
    let conf = container.shell("cat /etc/wireguard/wg0.conf");
    assert!(conf.contains("\nMTU = 1420\n"), "{conf}");
}

#[test]
fn mtu_and_keepalive_are_the_interfaces() {
    let world = World::new();
    let servers = world.pia.servers();
    servers
        .iter()
        .for_each(|server| server.write_prefix_lengths());
    let container = life(&world)
        .env("MTU", "1280")
        .env("KEEPALIVE", "25")
        .connect();
    assert!(container.shell("ip link show wg0").contains(" mtu 1280 "));
    assert!(
        container
            .shell("wg show wg0 persistent-keepalive")
            .trim()
            .ends_with("\t25")
    );
    let (_, address) = world.server_in_use().peers().remove(0);
    let conf = container.shell("cat /etc/wireguard/wg0.conf");
    assert!(conf.contains(&format!("\nAddress = {address}\n")), "{conf}");
}

/// "`0` is off" (README.md)
#[test]
fn keepalive_0_is_none_at_all() {
    let world = World::new();
    let container = life(&world).env("KEEPALIVE", "0").connect();
    assert!(
        container
            .shell("wg show wg0 persistent-keepalive")
            .trim()
            .ends_with("\toff")
    );
}

/// "as `tc qdisc add root dev wg0` takes it" (README.md)
#[test]
fn qdisc_is_added_to_wg0() {
    let world = World::new();
    let container = life(&world).env("QDISC", "pfifo limit 33").connect();
    assert!(
        container.shell("tc qdisc show dev wg0").contains("pfifo")
            && container.logs().contains("pfifo limit 33")
    );
    world.assert_carries();
}

#[test]
fn a_bad_qdisc_is_a_warning() {
    let world = World::new();
    let container = life(&world).env("QDISC", "nonsense limit 33").connect();
    assert!(container.logs().contains("QDISC=nonsense limit 33"));
    world.assert_carries();
}

/// "Local ports that the tunnel uses in turn" (README.md)
#[test]
fn cycle_ports_changes_the_listen_port_while_traffic_goes_on() {
    let world = World::new();
    let container = life(&world)
        .env("CYCLE_PORTS", "40001,40002")
        .env("CYCLE_INTERVAL", "1")
        .connect();
    for port in ["40001", "40002", "40001"] {
        wait_until("the port is changed", SOON, || {
            container.shell("wg show wg0 listen-port").trim() == port
        });
        world.assert_carries();
    }
    let capture = world.capture();
    world.assert_carries();
    let from_wg0 = |packet: &Packet| {
        matches!(
            packet.transport,
            Transport::Udp {
                from: 40001 | 40002,
                ..
            }
        )
    };
    assert!(capture.packets().iter().any(from_wg0));
    assert!(container.stop().status.success());
}

fn life(world: &World) -> Recipe {
    world.container(PROGRAM).credentials().env("LOC", "swiss")
}

/// The inner address of the server that the container has registered with.
fn vip(world: &World) -> Ipv4Addr {
    let registrations = world.pia.records().registrations();
    let last = registrations.last().expect("somebody has registered");
    world.pia.server(&last.server).plan().vip
}

fn rules_of_preference(world: &World, preferences: &[&str]) -> Vec<String> {
    let output = world
        .client()
        .output(Command::new("ip").args(["-4", "rule"]))
        .expect("ip is installed");
    let text = String::from_utf8(output.stdout).expect("ip writes UTF-8");
    let of = |line: &&str| {
        preferences
            .iter()
            .any(|preference| line.starts_with(preference))
    };
    text.lines().filter(of).map(str::to_owned).collect()
}

fn resolv_conf(container: &Container) -> String {
    container
        .read("/etc/resolv.conf")
        .expect("the file is there")
}

pub fn name_servers(container: &Container) -> Vec<String> {
    let text = resolv_conf(container);
    text.lines()
        .filter_map(|line| line.strip_prefix("nameserver "))
        .map(str::to_owned)
        .collect()
}

/// Asks Docker's resolver for the addresses of `example.com`, without a mark.
fn embedded_resolver_answers(wait: Duration) -> bool {
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend(b"\x07example\x03com\0\0\x01\0\x01");
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(wait)).unwrap();
    socket.send_to(&question, "127.0.0.11:53").is_ok() && socket.recv(&mut [0; 512]).is_ok()
}

fn asks_the_name_server(packet: &Packet) -> bool {
    packet.source == CLIENT && packet.destination == DNS && packet.to_port() == Some(53)
}
