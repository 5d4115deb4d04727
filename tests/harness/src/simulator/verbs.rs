//! What can go wrong with PIA, at any moment.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::Simulator;
use super::account::{self, DedicatedIp, Login};
use super::exit_address::Exits;
use super::faults::{Api, Fault};
use super::port_forwarding::Mode;
use super::regions::{self, Flicker, Listed};
use super::server::Server;

impl Simulator {
    /// PIA's hosts and all name servers are so far away, by the time of a question and its answer.
    pub fn set_round_trip(&self, time: Duration) {
        self.shared.round_trip.set(time);
    }

    // The account.

    /// A token as an earlier login would have given it.
    pub fn issue_token(&self) -> String {
        self.shared.account.issue_token()
    }

    /// All tokens are over: registration says "Login failed!".
    pub fn forget_tokens(&self) {
        self.shared.account.forget_tokens();
    }

    /// Logins work again.
    pub fn accept_login(&self) {
        self.shared.account.set_login(Login::Open);
        self.shared.faults.clear(Api::Token);
    }

    pub fn refuse_login(&self) {
        self.shared.account.set_login(Login::Refuse);
    }

    pub fn forbid_login(&self) {
        self.shared.account.set_login(Login::Forbid);
    }

    pub fn deny_login(&self) {
        self.shared.account.set_login(Login::Denied);
    }

    pub fn deny_login_with_200(&self) {
        self.shared.account.set_login(Login::DeniedWith200);
    }

    /// The content network before the login refuses the client's address.
    pub fn block_login(&self) {
        self.shared.account.set_login(Login::Blocked);
    }

    /// The login refuses, and quotes name and password.
    pub fn quote_login(&self) {
        self.shared.account.set_login(Login::Quote);
    }

    /// The login says this to everybody.
    pub fn answer_login(&self, status: u16, text: &'static str) {
        self.shared.account.set_login(Login::Says(status, text));
    }

    pub fn lock_out(&self) {
        self.shared.account.set_login(Login::LockedOut);
    }

    pub fn payment_required(&self) {
        self.shared.account.set_login(Login::PaymentRequired);
    }

    pub fn rate_limit(&self, retry_after: Duration) {
        self.shared
            .faults
            .set(Api::Token, Fault::RateLimit(retry_after.as_secs()));
    }

    /// The login answers with a web page.
    pub fn answer_html(&self) {
        self.shared.faults.set(Api::Token, Fault::Html);
    }

    /// Sells a dedicated IP: this server's; the answer is its token.
    pub fn dedicate(&self, server: &Server) -> String {
        let token = format!("DIP{}", account::random_word(29));
        let plan = server.plan();
        self.shared.account.add_dedicated_ip(DedicatedIp {
            token: token.clone(),
            status: "active".to_owned(),
            ip: plan.address,
            cn: plan.cn.clone(),
            id: plan.location.clone(),
        });
        token
    }

    pub fn set_dedicated_ip_status(&self, status: &str) {
        self.shared.account.set_dedicated_ip_status(status);
    }

    // The exit address.

    /// Whoever asks is told that the address is none of PIA's.
    pub fn disown_exits(&self) {
        self.shared.exits.set(Exits::Disowned);
    }

    /// Whoever asks is told this address, and that it is none of PIA's: that of before the tunnel,
    /// say.
    pub fn see_address(&self, ip: Ipv4Addr) {
        self.shared.exits.set(Exits::Seen(ip));
    }

    /// Whoever asks is told the truth.
    pub fn own_exits(&self) {
        self.shared.exits.set(Exits::True);
    }

    // Any API.

    /// Lets an API fail in this way until [`Self::heal`].
    pub fn fail(&self, api: Api, fault: Fault) {
        self.shared.faults.set(api, fault);
    }

    /// Accepts connections and requests, and never answers.
    pub fn hang(&self, api: Api) {
        self.fail(api, Fault::Hang);
    }

    /// Accepts connections and never says a word of TLS.
    pub fn accept_tls_never(&self, api: Api) {
        self.fail(api, Fault::HangInHandshake);
    }

    /// Answers with this status, so many times.
    pub fn fail_times(&self, api: Api, status: u16, times: u32) {
        self.fail(api, Fault::Status(status, times));
    }

    /// Ends the connection in the middle of the body.
    pub fn cut_body(&self, api: Api) {
        self.fail(api, Fault::CutBody);
    }

    /// Answers with JSON that breaks off.
    pub fn malformed(&self, api: Api) {
        self.fail(api, Fault::Malformed);
    }

    /// This API works again. Connections that hang go on hanging.
    pub fn heal(&self, api: Api) {
        self.shared.faults.clear(api);
    }

    // The lists.

    pub fn bad_list_signature(&self) {
        self.lists().bad_signature(true);
    }

    pub fn good_list_signature(&self) {
        self.lists().bad_signature(false);
    }

    pub fn location_offline(&self, id: &str) {
        self.lists().edit(id, |region| region.offline = true);
    }

    pub fn location_missing_from_next_list(&self, id: &str) {
        self.lists().omit_once(id);
    }

    /// A location is in every second download of either list only, and not in the next.
    pub fn location_flickers(&self, id: &str) {
        self.lists().flicker(id, Flicker::Location);
    }

    /// The location's WireGuard servers are in every second download of either list only, and not
    /// in the next.
    pub fn wireguard_flickers(&self, id: &str) {
        self.lists().flicker(id, Flicker::Wireguard);
    }

    /// Adds a server that swallows everything to a location.
    pub fn list_dead_server(&self, location: &str, cn: &str) {
        let [a, b] = regions::BLACKHOLE;
        let ip = Ipv4Addr::new(a, b, 255, fastrand::u8(1..));
        let listed = Listed {
            ip,
            cn: cn.to_owned(),
            meta_cn: cn.to_owned(),
        };
        self.lists()
            .edit(location, |region| region.servers.push(listed));
    }

    // Port forwarding.

    pub fn forward_ports(&self) {
        self.port_forwarding().set(Mode::Works);
    }

    /// Payloads given from now on say when they were made, as older ones do.
    pub fn date_payloads(&self) {
        self.port_forwarding().date_payloads();
    }

    pub fn refuse_signature(&self) {
        self.port_forwarding().set(Mode::RefuseSignature);
    }

    pub fn port_busy(&self) {
        self.port_forwarding().set(Mode::Busy);
    }

    pub fn port_expired(&self) {
        self.port_forwarding().set(Mode::Expired);
    }

    pub fn port_unauthorized(&self) {
        self.port_forwarding().set(Mode::Unauthorized);
    }
}
