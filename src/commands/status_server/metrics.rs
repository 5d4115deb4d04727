//! The status as Prometheus reads it. Names and units follow its conventions.

use std::collections::BTreeMap;

use prometheus::core::{Collector, GenericCounter, GenericGauge};
use prometheus::{
    Encoder, Error, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::failure::FailureKind;
use crate::port_forward::MAX_HELD;
use crate::status::{ReconnectCause, State, Status};
use crate::wireguard::show::Counters;

/// All figures; `uptime` is the machine's, in seconds.
///
/// # Errors
/// Never for the names in use here.
pub fn text(
    status: Option<&Status>,
    is_healthy: bool,
    counters: Option<Counters>,
    uptime: u64,
) -> Result<String, Error> {
    let figures = Figures(Registry::new());
    let version = env!("CARGO_PKG_VERSION");
    figures.info("build_info", "The program.", &[("version", version)])?;
    figures.gauge(
        "healthy",
        "Whether the health check is content.",
        is_healthy.into(),
    )?;
    if let Some(counters) = counters {
        let name = "receive_bytes_total";
        figures.counter(
            name,
            "Bytes that came out of the tunnel.",
            counters.received.bytes,
        )?;
        let name = "transmit_bytes_total";
        figures.counter(
            name,
            "Bytes that went into the tunnel.",
            counters.sent.bytes,
        )?;
    }
    if let Some(status) = status {
        figures.states(status, uptime)?;
        figures.connection(status)?;
        figures.port(status)?;
        figures.counts(status)?;
        figures.dropped(status)?;
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&figures.0.gather(), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

struct Figures(Registry);

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("wireguard_pia")
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Figures {
    fn add<C: Collector + Clone + 'static>(&self, collector: Result<C, Error>) -> Result<C, Error> {
        let collector = collector?;
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn gauge(&self, name: &str, help: &str, value: i64) -> Result<(), Error> {
        let gauge: IntGauge = self.add(GenericGauge::with_opts(options(name, help)))?;
        gauge.set(value);
        Ok(())
    }

    fn counter(&self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let counter: IntCounter = self.add(GenericCounter::with_opts(options(name, help)))?;
        counter.inc_by(value);
        Ok(())
    }

    fn info(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Result<(), Error> {
        let (names, values): (Vec<&str>, Vec<&str>) = labels.iter().copied().unzip();
        let gauge = self.add(IntGaugeVec::new(options(name, help), &names))?;
        gauge.with_label_values(&values).set(1);
        Ok(())
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &BTreeMap<&str, u64>,
    ) -> Result<(), Error> {
        let counters = self.add(IntCounterVec::new(options(name, help), &[label]))?;
        for (value, count) in values {
            counters.with_label_values(&[value]).inc_by(*count);
        }
        Ok(())
    }

    fn states(&self, status: &Status, uptime: u64) -> Result<(), Error> {
        let help = "The state that it is in is 1.";
        let states = self.add(IntGaugeVec::new(options("state", help), &["state"]))?;
        let help = "Seconds spent in each state.";
        let options = options("state_seconds_total", help);
        let seconds = self.add(IntCounterVec::new(options, &["state"]))?;
        for state in State::ALL {
            let is_present = state == status.state;
            let name = state.to_string();
            states.with_label_values(&[&name]).set(is_present.into());
            let past = status.counts.state_seconds.get(&state).copied();
            let present = if is_present { status.stay(uptime) } else { 0 };
            let total = past.unwrap_or_default().saturating_add(present);
            seconds.with_label_values(&[&name]).inc_by(total);
        }
        let name = "state_since_timestamp_seconds";
        self.gauge(name, "When it entered its state.", whole(status.since))
    }

    fn connection(&self, status: &Status) -> Result<(), Error> {
        if let Some(server) = &status.server {
            let location = status.location.as_deref().unwrap_or_default();
            let labels = [
                ("location", location),
                ("server", server.cn.as_str()),
                ("endpoint", server.endpoint.as_str()),
            ];
            self.info("server_info", "The server of the tunnel.", &labels)?;
        }
        if let Some(exit) = status.exit {
            let ip = exit.ip.to_string();
            let rotates = if exit.rotates { "1" } else { "0" };
            let help = "The address that the world sees, and whether others take its place.";
            let labels = [("ip", ip.as_str()), ("rotates", rotates)];
            self.info("exit_address_info", help, &labels)?;
        }
        let help = "Whether that address is not what the tunnel is for.";
        self.gauge(
            "exit_address_wrong",
            help,
            status.exit_error.is_some().into(),
        )?;
        let help = "Whether packets are sent and nothing comes back.";
        self.gauge("endpoint_silent", help, status.endpoint_silent.into())?;
        if let Some(at) = status.last_handshake {
            let name = "last_handshake_timestamp_seconds";
            self.gauge(name, "WireGuard's last handshake.", whole(at))?;
        }
        let help = "Whether something that should be blocked is not.";
        self.gauge(
            "kill_switch_incomplete",
            help,
            status.not_blocked.is_some().into(),
        )?;
        let help = "Whether raw frames of other programs leave outside the tunnel.";
        self.gauge("frames_pass", help, status.frames_pass.is_some().into())
    }

    fn port(&self, status: &Status) -> Result<(), Error> {
        let help = "Whether a port is forwarded.";
        let is_bound = status.forwarded().is_some();
        self.gauge("forwarded_port_bound", help, is_bound.into())?;
        let Some(port) = status.port else {
            return Ok(());
        };
        self.gauge(
            "forwarded_port",
            "The forwarded port's number.",
            port.number.into(),
        )?;
        let name = "forwarded_port_refresh_timestamp_seconds";
        self.gauge(
            name,
            "When PIA last took a refresh of the port.",
            whole(port.bound_at),
        )?;
        let name = "forwarded_port_expiry_timestamp_seconds";
        let expiry = port.bound_at.saturating_add(MAX_HELD.as_secs());
        self.gauge(
            name,
            "When PIA gives the port up without another refresh.",
            whole(expiry),
        )?;
        self.port_clients(status)
    }

    fn port_clients(&self, status: &Status) -> Result<(), Error> {
        if status.port_clients.is_empty() {
            return Ok(());
        }
        let help = "Whether a client of PORT_CLIENTS says that it has the port.";
        let clients = options("port_client_has_port", help);
        let clients = self.add(IntGaugeVec::new(clients, &["client"]))?;
        for (name, client) in &status.port_clients {
            clients
                .with_label_values(&[name])
                .set(client.has_port.into());
        }
        Ok(())
    }

    fn dropped(&self, status: &Status) -> Result<(), Error> {
        let help = "Packets that each wall dropped, by chain or network card.";
        let options = options("dropped_packets_total", help);
        let counters = self.add(IntCounterVec::new(options, &["wall", "at"]))?;
        for (wall, places) in &status.dropped {
            for (place, count) in places {
                counters.with_label_values(&[wall, place]).inc_by(*count);
            }
        }
        Ok(())
    }

    fn counts(&self, status: &Status) -> Result<(), Error> {
        let counts = &status.counts;
        let reconnects = ReconnectCause::ALL.map(|cause| {
            let count = counts.reconnects.get(&cause).copied();
            (cause.name(), count.unwrap_or_default())
        });
        let help = "Reconnects that were begun, by cause.";
        self.counters("reconnects_total", help, "cause", &reconnects.into())?;
        // A series that begins with its first failure shows no increase by it.
        let none = FailureKind::COUNTED.map(|kind| (kind.name(), 0));
        let failures = counts.failures.iter();
        let failures = failures.map(|(kind, count)| (kind.as_str(), *count));
        let failures = none.into_iter().chain(failures).collect();
        let help = "Attempts that failed, by what failed.";
        self.counters("failures_total", help, "kind", &failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Port, PortClientStatus, Reporter};
    use crate::wireguard::show::Traffic;

    #[test]
    fn a_life_in_figures() {
        let directory = tempfile::tempdir().unwrap();
        let reporter = Reporter::new(&directory.path().join("status.json"));
        reporter.count_failure("login");
        reporter.count_reconnect(ReconnectCause::Request);
        reporter.enter(State::Connected, None);
        reporter.update(|status| {
            // The clock was set back since.
            status.since = 9000;
            status.since_uptime = 1000;
            status.port = Some(Port {
                number: 47047,
                bound_at: 1000,
                leads_to: None,
            });
            let client = PortClientStatus {
                has_port: true,
                says: "listens on 47047".to_owned(),
                since: 1000,
            };
            status.port_clients.insert("slskd".to_owned(), client);
        });
        let passed = |bytes| Traffic { packets: 1, bytes };
        let counters = Some(Counters {
            received: passed(7),
            sent: passed(8),
        });
        let text = text(Some(&reporter.current()), true, counters, 1090).unwrap();
        for line in [
            "wireguard_pia_healthy 1",
            "wireguard_pia_receive_bytes_total 7",
            "wireguard_pia_state{state=\"connected\"} 1",
            "wireguard_pia_state{state=\"blocked\"} 0",
            "wireguard_pia_state_seconds_total{state=\"connected\"} 90",
            "wireguard_pia_forwarded_port_bound 1",
            "wireguard_pia_forwarded_port 47047",
            "wireguard_pia_forwarded_port_expiry_timestamp_seconds 2200",
            "wireguard_pia_port_client_has_port{client=\"slskd\"} 1",
            "wireguard_pia_reconnects_total{cause=\"request\"} 1",
            "wireguard_pia_reconnects_total{cause=\"endpoint\"} 0",
            "wireguard_pia_reconnects_total{cause=\"interface\"} 0",
            "wireguard_pia_failures_total{kind=\"login\"} 1",
            "wireguard_pia_failures_total{kind=\"network\"} 0",
            "wireguard_pia_failures_total{kind=\"port_forwarding\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        reporter.update(|status| status.port_unbound = true);
        let text = super::text(Some(&reporter.current()), true, counters, 1090).unwrap();
        assert!(text.contains("wireguard_pia_forwarded_port_bound 0\n"));
    }
}
