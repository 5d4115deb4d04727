//! The network of the world: who is connected to whom, under which addresses.
//!
//! ```text
//!   behind ── client ──(the wire)── router ──── internet ──┬── server 1
//!                                     │      (web, DNS, …) ├── server 2
//!                                    lan                   └── …
//! ```
//!
//! Public addresses are from the ranges kept for documentation, but for 1.1.1.1, which health
//! checks ping.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::thread;

use crate::netns::Namespace;

/// The container.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);
/// Docker's gateway, as the container sees it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);
/// The container, by IPv6.
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 2);
/// The gateway, by IPv6.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 1);
/// The container in its second network, where it has one.
pub const CLIENT_SECOND: Ipv4Addr = Ipv4Addr::new(172, 19, 0, 2);
/// The container's other leg, where it is the gateway of others.
pub const CLIENT_INNER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The host that uses the container as its gateway.
pub const BEHIND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// A host of the local network.
pub const LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 10);
/// The public address of everything that leaves without a tunnel.
pub const HOME: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The other end of the router's way out.
pub const INTERNET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The name server.
pub const DNS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
/// A second name server.
pub const DNS_SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 54);
/// The first name server by IPv6.
pub const DNS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x53);
/// The account API.
pub const API: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The server list.
pub const LIST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
/// Where leaks go.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
/// Where IPv6 leaks go.
pub const ELSEWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x66, 0, 0, 0, 0, 0x66);
/// A page that only servers can reach.
pub const INSIDE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 80);
/// The other target of health checks.
pub const PINGABLE: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);

/// The public address of the server of this number.
pub const fn server_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 11 + number)
}

/// How many public addresses a server has whose address rotates.
const ROTATING: u8 = 25;

/// Further public addresses of the server of this number.
pub fn rotation(number: u8) -> Vec<Ipv4Addr> {
    (1..ROTATING)
        .map(|host| Ipv4Addr::new(198, 18, number, host))
        .collect()
}

/// What of the network is optional.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    pub servers: u8,
    /// A second network of the container's, with its own default route of this metric if any.
    pub second: Option<Option<u32>>,
    /// A host behind the container.
    pub behind: bool,
}

/// The namespaces; they are gone when the last user drops them.
#[derive(Debug)]
pub struct Network {
    pub client: Arc<Namespace>,
    pub router: Arc<Namespace>,
    pub lan: Arc<Namespace>,
    pub internet: Arc<Namespace>,
    pub behind: Option<Arc<Namespace>>,
    pub servers: Vec<Arc<Namespace>>,
}

impl Network {
    pub fn build(prefix: &str, shape: &Shape) -> Self {
        let create = |name: &str| Arc::new(Namespace::create(format!("{prefix}-{name}")));
        let network = thread::scope(|scope| {
            let server = |number| scope.spawn(move || create(&format!("server{number}")));
            let servers: Vec<_> = (0..shape.servers).map(server).collect();
            let joined = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            Self {
                client: create("client"),
                router: create("router"),
                lan: create("lan"),
                internet: create("internet"),
                behind: shape.behind.then(|| create("behind")),
                servers: servers.into_iter().map(joined).collect(),
            }
        });
        network.connect_internet();
        network.connect_home(shape);
        network
    }

    /// The internet is one bridge with every public host on it.
    fn connect_internet(&self) {
        let mut lines = String::from("link add wan type bridge\n");
        lines += &format!(
            "link add router type veth peer name wan netns {}\n",
            self.router.name()
        );
        lines += "link set router master wan up\n";
        let mut routes = String::new();
        for (number, server) in self.servers.iter().enumerate() {
            let address = server_address(u8::try_from(number).expect("servers are few"));
            routes += &format!("route add 198.18.{number}.0/24 via {address}\n");
            lines += &format!(
                "link add s{number} type veth peer name eth0 netns {}\n",
                server.name()
            );
            lines += &format!("link set s{number} master wan up\n");
        }
        lines +=
            "link set wan up\naddr add 192.0.2.1/24 dev wan\naddr add 198.51.100.1/24 dev wan\n";
        for host in [DNS, DNS_SECOND, API, LIST, ELSEWHERE, INSIDE, PINGABLE] {
            lines += &format!("addr add {host}/32 dev wan\n");
        }
        lines += &routes;
        lines += "route add blackhole 198.19.0.0/16\n";
        lines += "addr add 2001:db8:1::1/64 dev wan nodad\n";
        for host in [ELSEWHERE_V6, DNS_V6] {
            lines += &format!("addr add {host}/128 dev wan nodad\n");
        }
        lines += "route add 2001:db8:18::/64 via 2001:db8:1::2\n";
        self.internet.ip(lines);
        self.internet.sysctl("net/ipv4/ip_forward", "1");
        // Who refuses says so each time: by default a host refuses but once a second, and is silent
        // else, which is another fault.
        self.internet.sysctl("net/ipv4/icmp_ratelimit", "0");
        thread::scope(|scope| {
            for (number, server) in self.servers.iter().enumerate() {
                let address = server_address(u8::try_from(number).expect("servers are few"));
                scope.spawn(move || {
                    server.ip(format_args!(
                        "addr add {address}/24 dev eth0\nlink set eth0 up\nroute add default via \
                         198.51.100.1"
                    ));
                });
            }
        });
    }

    /// Lets only packets of at most this size through between router and internet, both ways. A
    /// sender that forbids to cut them up is told so, or else TCP alone learns it, as the routers
    /// of homes have it.
    pub fn narrow(&self, mtu: u32, told: bool) {
        self.router.ip(format_args!(
            "route change default via {INTERNET} mtu lock {mtu}\n"
        ));
        self.internet.ip(format_args!(
            "route replace {HOME}/32 dev wan mtu lock {mtu}\n"
        ));
        if told {
            return;
        }
        let segment = mtu - 40;
        for place in [&self.router, &self.internet] {
            place.firewall(format_args!(
                "*mangle\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                 -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss {segment}\n\
                 -A OUTPUT -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss {segment}\n\
                 -A OUTPUT -p icmp --icmp-type fragmentation-needed -j DROP\nCOMMIT\n"
            ));
        }
    }

    /// The router, and what is on its near side.
    fn connect_home(&self, shape: &Shape) {
        let (client, lan) = (self.client.name(), self.lan.name());
        let mut router = format!(
            "addr add {HOME}/24 dev wan\n\
             addr add 2001:db8:1::2/64 dev wan nodad\n\
             link set wan up\n\
             route add default via 192.0.2.1\n\
             route add default via 2001:db8:1::1\n\
             route add blackhole 100.64.0.0/10\n\
             link add wire type veth peer name eth0 netns {client}\n\
             addr add {GATEWAY}/16 dev wire\n\
             addr add {GATEWAY_V6}/64 dev wire nodad\n\
             link set wire up\n\
             link add lan type veth peer name eth0 netns {lan}\n\
             addr add 192.168.77.1/24 dev lan\n\
             link set lan up\n"
        );
        let mut inner = format!(
            "addr add {CLIENT}/16 dev eth0\n\
             addr add {CLIENT_V6}/64 dev eth0 nodad\n\
             link set eth0 up\n\
             route add default via {GATEWAY}\n\
             route add default via {GATEWAY_V6}\n"
        );
        let mut next = 1;
        if let Some(behind) = &self.behind {
            inner += &format!(
                "link add eth1 type veth peer name eth0 netns {}\n\
                 addr add {CLIENT_INNER}/24 dev eth1\nlink set eth1 up\n",
                behind.name()
            );
            next += 1;
        }
        if let Some(metric) = shape.second {
            router += &format!(
                "link add wire2 type veth peer name eth{next} netns {client}\n\
                 addr add 172.19.0.1/16 dev wire2\nlink set wire2 up\n"
            );
            inner += &format!("addr add {CLIENT_SECOND}/16 dev eth{next}\nlink set eth{next} up\n");
            if let Some(metric) = metric {
                inner += &format!("route add default via 172.19.0.1 metric {metric}\n");
            }
        }
        self.router.sysctl("net/ipv4/ip_forward", "1");
        self.router.sysctl("net/ipv6/conf/all/forwarding", "1");
        self.router.ip(router);
        self.router.firewall(
            "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o wan -j MASQUERADE\nCOMMIT\n",
        );
        self.client.ip(inner);
        self.lan.ip(format_args!(
            "addr add {LAN}/24 dev eth0\nlink set eth0 up\nroute add default via 192.168.77.1\n"
        ));
        if let Some(behind) = &self.behind {
            behind.ip(format_args!(
                "addr add {BEHIND}/24 dev eth0\nlink set eth0 up\nroute add default via \
                 {CLIENT_INNER}\n"
            ));
        }
    }
}
