//! The diagnosis: for each broken environment it names the fault and the cure, and a healthy one
//! gives no warning.

use std::net::{Ipv4Addr, UdpSocket};
use std::thread;

use harness::log_lines::{FORWARDING, UP};
use harness::simulator::account::{PASSWORD, USER};
use harness::simulator::certificates::Cert;
use harness::waiting::{LATER, SOON, wait_until};
use harness::world::World;
use harness::world::container::Container;
use harness::world::internet::Outage;
use harness::world::network::DNS_V6;
use harness::world::privileges::Privileges;
use harness::world::recipe::Recipe;
use serde_json::Value;

use crate::PROGRAM;

const OWN: &str = "/usr/local/bin/wireguard-pia";

/// A container that would connect.
fn healthy(world: &World) -> Recipe {
    world.container(PROGRAM).credentials().env("LOC", "swiss")
}

/// The diagnosis as JSON, with its exit status.
pub(super) struct Diagnosis {
    checks: Vec<Value>,
    is_ok: bool,
}

impl Diagnosis {
    #[track_caller]
    pub(super) fn of(recipe: Recipe, options: &[&str]) -> Self {
        let container = recipe
            .command([&[OWN, "doctor", "--json"], options].concat())
            .start();
        let code = container.wait(LATER).code();
        let said = container.lines().into_iter().filter(|line| !line.error);
        Self::parse(&said.map(|line| line.text + "\n").collect::<String>(), code)
    }

    /// In a container that runs.
    #[track_caller]
    pub(super) fn inside(container: &Container) -> Self {
        let output = container.exec(&[OWN, "doctor", "--json"]);
        Self::parse(
            &String::from_utf8(output.stdout).unwrap(),
            output.status.code(),
        )
    }

    #[track_caller]
    fn parse(text: &str, code: Option<i32>) -> Self {
        assert!(!text.contains(PASSWORD) && !text.contains(USER), "{text}");
        let whole: Value =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let is_ok = whole["ok"].as_bool().unwrap();
        assert_eq!(code, Some(i32::from(!is_ok)), "{text}");
        Self {
            checks: whole["checks"].as_array().unwrap().clone(),
            is_ok,
        }
    }

    fn of_level(&self, level: &str) -> Vec<&Value> {
        self.checks
            .iter()
            .filter(|check| check["level"] == level)
            .collect()
    }

    #[track_caller]
    fn assert_clean(&self) {
        assert!(
            self.of_level("warning").is_empty() && self.of_level("failure").is_empty(),
            "{:#?}",
            self.checks
        );
    }

    /// This check says so, and this is the cure; nothing else is wrong.
    #[track_caller]
    fn assert_only(&self, level: &str, check: &str, what: &str, cure: &str) {
        self.assert_says(level, check, what, cure);
        let bad = self.of_level("warning").len() + self.of_level("failure").len();
        assert_eq!(bad, 1, "{:#?}", self.checks);
        assert_eq!(self.is_ok, level == "warning");
    }

    /// The first failure that this check found: what is wrong, and the cure.
    #[track_caller]
    pub(super) fn failure(&self, check: &str) -> (&str, &str) {
        let mut failures = self.of_level("failure").into_iter();
        let Some(found) = failures.find(|finding| finding["check"] == check) else {
            panic!("no failure of {check} in {:#?}", self.checks)
        };
        ["what", "cure"]
            .map(|name| found[name].as_str().unwrap_or_default())
            .into()
    }

    #[track_caller]
    pub(super) fn assert_says(&self, level: &str, check: &str, what: &str, cure: &str) {
        let text =
            |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        let found = self.checks.iter().any(|finding| {
            finding["check"] == check
                && finding["level"] == level
                && text(finding, "what").contains(what)
                && text(finding, "cure").contains(cure)
        });
        assert!(
            found,
            "{level} {check}: {what:?}, {cure:?} in {:#?}",
            self.checks
        );
    }
}

// Healthy.

/// Others can make one there, and a user may want one.
#[test]
fn a_pipe_in_the_place_of_the_port_file_holds_nothing_up() {
    let world = World::new();
    let script = format!("mkdir -p /pia-shared; mkfifo /pia-shared/port.dat; {OWN} doctor");
    let recipe = healthy(&world).env("PORT_FORWARDING", "1");
    let container = recipe.command(["sh", "-c", &script]).start();
    container.wait(LATER);
}

/// "checks everything that a start needs, and names the cure" (README.md)
#[test]
fn a_healthy_environment_gives_no_warning() {
    let world = World::new();
    Diagnosis::of(healthy(&world), &["--login"]).assert_clean();
    Diagnosis::of(healthy(&world).env("LOC", "auto"), &[]).assert_clean();
    let server = world.pia.servers_of("nl_amsterdam")[0].clone();
    let manual = healthy(&world)
        .env("PIA_IP", server.address().to_string())
        .env("PIA_CN", server.cn());
    Diagnosis::of(manual.env("PIA_PORT", "1337"), &[]).assert_clean();
}

#[test]
fn so_does_a_tunnel_that_is_up_and_nothing_is_changed_by_looking() {
    let world = World::new();
    let container = healthy(&world).start();
    container.wait_for_log(UP, SOON);
    let rules = || world.look("iptables-save") + &world.look("ip link") + &world.look("ip rule");
    let without_counters = |text: String| {
        text.lines()
            .filter(|line| !line.starts_with([':', '#']))
            .collect::<String>()
    };
    let before = without_counters(rules());
    let diagnosis = Diagnosis::inside(&container);
    diagnosis.assert_clean();
    assert_eq!(before, without_counters(rules()));
    for check in ["handshake", "leaks"] {
        assert!(
            diagnosis
                .checks
                .iter()
                .any(|finding| finding["check"] == check),
            "{check}"
        );
    }
    assert!(diagnosis.checks.iter().any(|finding| {
        finding["what"]
            .as_str()
            .unwrap()
            .contains("cap_drop: [NET_RAW]")
    }));
}

// The machine.

#[test]
fn net_admin_is_missing() {
    let world = World::new();
    let found = Diagnosis::of(healthy(&world).cap_drop("net_admin"), &[]);
    found.assert_only(
        "failure",
        "capabilities",
        "NET_ADMIN is missing",
        "cap_add: [NET_ADMIN]",
    );
}

/// Whether this machine's kernel makes WireGuard interfaces, so that nothing else is needed.
fn kernel_has_wireguard(world: &World) -> bool {
    !world.look("ip link add trial type wireguard").is_empty()
        || world.look("ip link").contains("trial")
}

#[test]
fn the_tun_device_is_missing() {
    let world = World::new();
    if !kernel_has_wireguard(&world) {
        let found = Diagnosis::of(healthy(&world).without_tun(), &[]);
        found.assert_only(
            "failure",
            "wireguard",
            "/dev/net/tun is missing",
            "devices: [/dev/net/tun:/dev/net/tun]",
        );
    }
}

#[test]
fn wireguard_go_is_missing() {
    let world = World::new();
    if !kernel_has_wireguard(&world) {
        let found = Diagnosis::of(healthy(&world).without("/usr/bin/wireguard-go"), &[]);
        found.assert_only(
            "failure",
            "wireguard",
            "wireguard-go is not installed",
            "modprobe wireguard",
        );
    }
}

#[test]
fn wg_quick_is_missing() {
    let world = World::new();
    let found = Diagnosis::of(healthy(&world).without("/usr/bin/wg-quick"), &[]);
    found.assert_only(
        "failure",
        "programs",
        "not in PATH: wg-quick",
        "install iproute2, wireguard-tools",
    );
}

#[test]
fn the_wanted_iptables_is_missing() {
    let world = World::new();
    let mut recipe = healthy(&world).env("NFTABLES", "1");
    for name in [
        "iptables-nft",
        "iptables-nft-restore",
        "ip6tables-nft",
        "ip6tables-nft-restore",
        "xtables-nft-multi",
    ] {
        recipe = recipe.without(format!("/usr/sbin/{name}"));
    }
    let found = Diagnosis::of(recipe, &[]);
    found.assert_only(
        "failure",
        "iptables",
        "no rules can be loaded",
        "unset NFTABLES",
    );
}

#[test]
fn reverse_path_filtering_drops_the_tunnel() {
    let world = World::builder()
        .sysctl("net/ipv4/conf/all/rp_filter", "1")
        .build();
    let found = Diagnosis::of(healthy(&world), &[]);
    found.assert_only(
        "failure",
        "reverse path",
        "rp_filter is strict",
        "net.ipv4.conf.all.src_valid_mark=1",
    );
}

#[test]
fn a_gateway_forwards_nothing() {
    let world = World::builder().sysctl("net/ipv4/ip_forward", "0").build();
    let found = Diagnosis::of(healthy(&world).env("FWD_IFACE", "eth0"), &[]);
    found.assert_only(
        "warning",
        "gateway",
        "forwards nothing",
        "net.ipv4.ip_forward=1",
    );
}

#[test]
fn a_gateway_has_no_such_interface() {
    let world = World::new();
    let found = Diagnosis::of(healthy(&world).env("FWD_IFACE", "eth7"), &[]);
    found.assert_only("warning", "gateway", "FWD_IFACE=eth7", "ip link");
}

// Names and routes.

#[test]
fn the_name_server_is_silent() {
    let world = World::new();
    world.begin(Outage::DnsSilent);
    let found = Diagnosis::of(healthy(&world), &[]);
    found.assert_says(
        "failure",
        "name servers",
        "203.0.113.53 did not answer",
        "--dns",
    );
}

#[test]
fn one_of_the_name_servers_does_not_answer() {
    let world = World::new();
    let recipe = healthy(&world).resolv_conf("nameserver 203.0.113.53\nnameserver 192.0.2.99\n");
    Diagnosis::of(recipe, &[]).assert_only("warning", "name servers", "192.0.2.99", "take it out");
}

#[test]
fn the_name_servers_are_all_on_the_link() {
    let world = World::new();
    let recipe = healthy(&world).resolv_conf("nameserver fe80::1%eth0\n");
    let found = Diagnosis::of(recipe, &[]);
    found.assert_says("failure", "name servers", "only fe80::1%eth0", "--dns");
}

#[test]
fn an_ipv6_name_server_answers() {
    let world = World::new();
    let recipe = healthy(&world).resolv_conf(format!("nameserver {DNS_V6}\n"));
    let found = Diagnosis::of(recipe, &[]);
    found.assert_says("ok", "name servers", &format!("{DNS_V6} answers"), "");
}

// PIA.

#[test]
fn the_account_api_does_not_answer() {
    let world = World::new();
    world.begin(Outage::Api);
    let found = Diagnosis::of(healthy(&world), &[]);
    found.assert_only(
        "failure",
        "account API",
        "so its address is blocked on the way",
        "META_IP and META_CN",
    );
}

#[test]
fn the_list_host_does_not_answer() {
    let world = World::new();
    world.begin(Outage::List);
    let found = Diagnosis::of(healthy(&world), &[]);
    found.assert_only(
        "failure",
        "server list",
        "serverlist.piaservers.net",
        "META_IP and META_CN",
    );
}

#[test]
fn the_list_was_tampered_with() {
    let world = World::new();
    world.pia.bad_list_signature();
    let found = Diagnosis::of(healthy(&world), &[]);
    found.assert_only("failure", "server list", "its signature is wrong", "");
}

#[test]
fn the_meta_server_is_none_any_more() {
    let world = World::new();
    let server = world.pia.servers_of("swiss")[0].clone();
    let recipe = healthy(&world).env("META_IP", server.address().to_string());
    let found = Diagnosis::of(recipe.env("META_CN", server.plan().meta_cn.clone()), &[]);
    found.assert_says(
        "failure",
        "account API",
        "no meta server",
        "another meta server",
    );
}

#[test]
fn there_is_no_such_location() {
    let world = World::new();
    let found = Diagnosis::of(healthy(&world).env("LOC", "swis"), &[]);
    found.assert_only(
        "failure",
        "location",
        "did you mean swiss",
        "wireguard-pia locations",
    );
}

#[test]
fn ports_are_not_forwarded_there() {
    let world = World::new();
    world
        .pia
        .lists()
        .edit("swiss", |region| region.port_forward = false);
    let found = Diagnosis::of(healthy(&world).env("PORT_FORWARDING", "1"), &[]);
    found.assert_only(
        "warning",
        "location",
        "no ports can be forwarded in swiss",
        "locations --port-forward",
    );
}

#[test]
fn no_server_of_the_location_answers() {
    let world = World::new();
    world
        .pia
        .servers_of("swiss")
        .iter()
        .for_each(|server| server.close_registration());
    let found = Diagnosis::of(healthy(&world), &[]);
    found.assert_only("failure", "servers", "none answers", "TCP port 1337");
}

#[test]
fn one_server_shows_a_certificate_that_has_run_out() {
    let world = World::new();
    world.pia.servers_of("swiss")[0].certificate(Cert::Expired);
    let found = Diagnosis::of(healthy(&world), &[]);
    found.assert_only(
        "warning",
        "servers",
        "check this machine's clock",
        "others are tried",
    );
}

// Settings and files.

#[test]
fn no_location_is_set() {
    let world = World::new();
    let found = Diagnosis::of(world.container(PROGRAM).credentials(), &[]);
    found.assert_only(
        "failure",
        "settings",
        "LOC is empty",
        "wireguard-pia locations",
    );
}

#[test]
fn a_value_makes_no_sense() {
    let world = World::new();
    let found = Diagnosis::of(healthy(&world).env("KEEPALIVE", "often"), &[]);
    found.assert_only(
        "warning",
        "settings",
        "not often; it is ignored",
        "KEEPALIVE",
    );
}

#[test]
fn there_are_no_credentials() {
    let world = World::new();
    let found = Diagnosis::of(world.container(PROGRAM).env("LOC", "swiss"), &[]);
    found.assert_only(
        "failure",
        "credentials",
        "user name and password are missing",
        "USER_FILE and PASS_FILE",
    );
}

#[test]
fn the_secret_is_not_mounted() {
    let world = World::new();
    let recipe = world
        .container(PROGRAM)
        .env("LOC", "swiss")
        .env("USER", USER)
        .env("PASS_FILE", "/run/secrets/pass");
    let found = Diagnosis::of(recipe, &[]);
    found.assert_only("failure", "credentials", "PASS_FILE", "check the path");
}

#[test]
fn secrets_that_need_no_variable_are_found() {
    let world = World::new();
    let of_systemd = "/run/credentials/vpn.service";
    for directory in ["/run/secrets", of_systemd] {
        let recipe = world
            .container(PROGRAM)
            .env("LOC", "swiss")
            .env("CREDENTIALS_DIRECTORY", of_systemd)
            .file(format!("{directory}/pia_user"), USER)
            .file(format!("{directory}/pia_pass"), PASSWORD);
        let found = Diagnosis::of(recipe, &[]);
        assert!(
            !format!("{:?}", found.checks).contains("are missing"),
            "{:?}",
            found.checks
        );
    }
}

#[test]
fn a_file_with_a_password_is_open_to_all() {
    let world = World::new();
    let recipe = healthy(&world)
        .env("DELUGE_PASS_FILE", "/pia/deluge")
        .file("/pia/deluge", "secret");
    let found = Diagnosis::of(recipe, &[]);
    let what = "everybody can read /pia/deluge; it is used all the same: `chmod 600` it";
    found.assert_only("warning", "settings", what, "DELUGE_PASS_FILE");
}

#[test]
fn the_password_is_wrong() {
    let world = World::new();
    let found = Diagnosis::of(healthy(&world).env("PASS", "wrongpassword"), &["--login"]);
    found.assert_only("failure", "login", "was refused", "`$$` for each `$`");
    assert!(!format!("{:?}", found.checks).contains("wrongpassword"));
    assert_eq!(world.pia.login_attempts(), 1);
}

#[test]
fn pias_certificate_is_missing() {
    let world = World::new();
    let found = Diagnosis::of(healthy(&world).env("PIA_CA_FILE", "/nowhere.crt"), &[]);
    let cure = "which has them: PIA's certificate authority is at https://";
    found.assert_says("failure", "certificates", "/nowhere.crt", cure);
}

#[test]
fn the_key_of_the_list_is_none() {
    let world = World::new();
    let recipe = healthy(&world).env("PIA_SERVERLIST_KEY_FILE", "/rsa_4096.crt");
    let found = Diagnosis::of(recipe, &[]);
    found.assert_says(
        "failure",
        "certificates",
        "no RSA public key",
        "which has them: the key that signs PIA's server list is at https://",
    );
}

#[test]
fn a_folder_cannot_be_written() {
    let world = World::new();
    let recipe = healthy(&world).ordinary_user(1000);
    let found = Diagnosis::of(recipe, &[]);
    found.assert_says(
        "failure",
        "volumes",
        "/pia cannot be written",
        "mount a volume or a tmpfs there",
    );
}

#[test]
fn a_hook_is_not_executable() {
    let world = World::new();
    let found = Diagnosis::of(
        healthy(&world).file("/pia/scripts/post-up.sh", "#!/bin/sh\n"),
        &[],
    );
    found.assert_only("warning", "hooks", "/pia/scripts/post-up.sh", "chmod +x");
}

#[test]
fn the_lan_hides_the_dns() {
    let world = World::new();
    let found = Diagnosis::of(healthy(&world).env("LOCAL_NETWORK", "10.0.0.0/8"), &[]);
    found.assert_only("warning", "LAN", "10.0.0.243", "VPNDNS");
}

#[test]
fn the_lan_is_of_ipv6_and_the_container_is_not() {
    let world = World::builder()
        .sysctl("net/ipv6/conf/all/disable_ipv6", "1")
        .build();
    let found = Diagnosis::of(healthy(&world).env("LOCAL_NETWORK", "fd00::/8"), &[]);
    found.assert_only("warning", "LAN", "no IPv6 address", "enable_ipv6");
}

#[test]
fn the_lan_is_the_whole_world() {
    let world = World::new();
    let found = Diagnosis::of(healthy(&world).env("LOCAL_NETWORK", "0.0.0.0/0"), &[]);
    found.assert_only(
        "warning",
        "settings",
        "too much would go outside the tunnel",
        "LOCAL_NETWORK",
    );
}

#[test]
fn large_packets_do_not_come_through() {
    let world = World::new();
    // Not the link itself: large packets from the other side would be lost in silence, its
    // certificates among them.
    world
        .router()
        .ip("route change default via 192.0.2.1 mtu lock 1400");
    let found = Diagnosis::of(healthy(&world).env("MTU", "1420"), &[]);
    found.assert_only(
        "warning",
        "MTU",
        "1400 on the way to the endpoint",
        "set MTU=1320",
    );
    Diagnosis::of(healthy(&world).env("MTU", "1320"), &[]).assert_clean();
    Diagnosis::of(healthy(&world), &[]).assert_clean();
}

// Lives that are or were.

#[test]
fn wg0_is_there_without_the_program() {
    let world = World::new();
    world.client().ip("link add wg0 type bridge");
    let found = Diagnosis::of(healthy(&world), &[]);
    found.assert_says(
        "warning",
        "state",
        "the program does not run",
        "start it again",
    );
}

#[test]
fn a_blocked_container_says_where_to_look() {
    let world = World::new();
    let container = world.container(PROGRAM).env("LOC", "swiss").start();
    container.wait_for_log("`wireguard-pia doctor` checks everything", SOON);
    container.wait_for_log("Waiting, sealed", SOON);
    let found = Diagnosis::inside(&container);
    found.assert_only(
        "failure",
        "credentials",
        "no token is stored",
        "USER and PASS",
    );
    found.assert_says("skipped", "account API", "in a fresh container", "");
}

#[test]
fn the_tunnel_is_dead() {
    let world = World::new();
    let container = healthy(&world).start();
    container.wait_for_log(UP, SOON);
    world
        .pia
        .servers()
        .iter()
        .for_each(|server| server.kill_tunnel());
    let found = Diagnosis::inside(&container);
    found.assert_says("failure", "name servers", "10.0.0.243 did not answer", "");
    assert!(!found.is_ok);
}

/// "Variables of the table above that `PRE_UP` assigns take effect" (README.md), which cannot be
/// seen in the environment that `doctor` has.
#[test]
fn what_pre_up_may_set_is_not_said_to_be_missing() {
    const HOOK: &str = "a pre-up hook may set it";
    let world = World::new();
    let recipe = || world.container(PROGRAM).env("PRE_UP", "LOC=swiss");
    let fresh = Diagnosis::of(recipe(), &[]);
    fresh.assert_says("skipped", "settings", HOOK, "");
    fresh.assert_says("skipped", "credentials", HOOK, "");
    assert!(fresh.is_ok);
    Diagnosis::of(recipe().env("LOC", "nowhere"), &[]).assert_says("skipped", "location", HOOK, "");
    let container = recipe().credentials().connect();
    let found = Diagnosis::inside(&container);
    found.assert_says("skipped", "settings", HOOK, "");
    assert!(found.is_ok, "{:#?}", found.checks);
}

/// "it then goes before `LOC`" (README.md)
#[test]
fn a_kept_choice_is_what_a_start_goes_by() {
    let world = World::new();
    let kept = |text: &str| {
        let recipe = world.container(PROGRAM).credentials();
        recipe.file("/pia/choice.json", text)
    };
    let swiss = r#"{"locations":"swiss"}"#;
    for recipe in [kept(swiss), kept(swiss).env("LOC", "nowhere")] {
        let found = Diagnosis::of(recipe, &[]);
        found.assert_clean();
        found.assert_says("ok", "location", "swiss can be used", "");
    }
    Diagnosis::of(kept(r#"{"locations":","}"#), &[]).assert_only(
        "failure",
        "settings",
        "LOC is empty",
        "set LOC",
    );
    let container = kept(swiss).connect();
    Diagnosis::inside(&container).assert_clean();
}

#[test]
fn no_port_is_forwarded() {
    let world = World::new();
    world.pia.refuse_signature();
    let container = healthy(&world).env("PORT_FORWARDING", "1").start();
    container.wait_for_log(UP, SOON);
    container.wait_for_log("Port forwarding: ", SOON);
    let found = Diagnosis::inside(&container);
    found.assert_only(
        "failure",
        "port",
        "none is forwarded",
        "locations --port-forward",
    );
    world.pia.forward_ports();
    let line = container.wait_for_log(FORWARDING, LATER).text;
    let found = Diagnosis::inside(&container);
    found.assert_only(
        "warning",
        "port",
        "is forwarded, but nobody listens on port",
        "PORT_CLIENTS=qbittorrent",
    );
    let port = line.rsplit(' ').next().and_then(|port| port.parse().ok());
    let any = (Ipv4Addr::UNSPECIFIED, port.expect("a port"));
    let _client = world.client().run(|| UdpSocket::bind(any)).unwrap();
    Diagnosis::inside(&container).assert_clean();
}

#[test]
fn a_rule_of_the_users_lets_something_out() {
    let world = World::new();
    let hook = "iptables -I OUTPUT -o eth0 -p udp --dport 9 -j ACCEPT";
    let container = healthy(&world).env("POST_UP", hook).start();
    container.wait_for_log(UP, SOON);
    let is_in_force = || world.look("iptables-save").contains("--dport 9 ");
    wait_until("the hook's rule", SOON, is_in_force);
    let found = Diagnosis::inside(&container);
    found.assert_only("failure", "leaks", "UDP to port 9 by eth0", "a hook's");
}

#[test]
fn there_is_no_kill_switch() {
    let world = World::new();
    let container = healthy(&world).env("FIREWALL", "0").start();
    container.wait_for_log(UP, SOON);
    Diagnosis::inside(&container).assert_only("warning", "leaks", "FIREWALL=0", "unset FIREWALL");
}

// What it looks like.

#[test]
fn people_get_lines_of_80_columns_and_no_colour_in_a_log() {
    let world = World::new();
    let recipe = healthy(&world)
        .env("LOC", "swis")
        .env("LOCAL_NETWORK", "10.0.0.0/8")
        .env("TERM", "xterm-256color");
    let container = recipe.command([OWN, "doctor"]).start();
    assert_eq!(container.wait(LATER).code(), Some(1));
    let text = container.logs();
    assert!(
        text.lines()
            .all(|line| line.chars().count() <= 80 && !line.contains('\x1b')),
        "{text}"
    );
    assert!(
        text.contains("FAILURE  location       location swis")
            && text.contains("\n                        cure: "),
        "{text}"
    );
    assert!(text.ends_with("\n1 failure, 1 warning\n"), "{text}");
}

#[test]
fn a_terminal_gets_colours_unless_they_are_not_wanted() {
    let world = World::new();
    let colours_where = |environment: &str| {
        let line = format!("{environment} {PROGRAM} doctor");
        let output = world.beside(
            &Privileges::only(&[]),
            &["script", "-qec", &line, "/dev/null"],
        );
        String::from_utf8_lossy(&output.stdout).contains("\x1b[31m")
    };
    // At once: each waits for names that nobody here tells it.
    let colours = thread::scope(|scope| {
        let runs = [
            "env -u NO_COLOR TERM=xterm",
            "env NO_COLOR=1 TERM=xterm",
            "env -u NO_COLOR TERM=dumb",
        ]
        .map(|environment| scope.spawn(move || colours_where(environment)));
        runs.map(|run| run.join().unwrap())
    });
    assert_eq!(colours, [true, false, false]);
}
