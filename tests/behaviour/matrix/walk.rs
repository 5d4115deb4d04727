//! A capture that knows in which state the program is, and what it should see then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use harness::waiting::SOON;
use harness::world::World;
use harness::world::capture::Capture;
use harness::world::pcap::Packet;
use harness::world::prober::{Kind, Probe, Prober};
use harness::world::watch::ours;
use harness::world::ways_out::{Cell, Setup, State, Table};

/// How often each way is tried in each state, at least.
const TRIES: usize = 3;

/// What is to be seen.
pub enum Expected {
    /// What the table says.
    Table { table: Table, setup: Setup },
    /// Everything, but for what a tunnel carries.
    AllOut,
}

impl Expected {
    fn cell(&self, probe: Probe, state: State) -> Cell {
        match self {
            Self::Table { table, setup } => table.cell(probe, state, *setup),
            Self::AllOut => Cell::All,
        }
    }

    /// What a state has to show before it is left.
    fn wanted(&self, state: State) -> BTreeSet<Probe> {
        let mut probes: BTreeSet<Probe> = Probe::every().filter(|p| p.is_possible()).collect();
        probes.retain(|probe| self.cell(*probe, state) == Cell::All);
        if matches!(self, Self::AllOut) {
            let tunnel = [State::Connected, State::Reconnecting, State::Stopping];
            probes.retain(|probe| !(tunnel.contains(&state) && probe.follows_routes()));
            // The tunnel ends flows from before it.
            let old = |probe: &Probe| matches!(probe.kind, Kind::OldUdp | Kind::OldTcp);
            let early = [State::BeforeStart, State::PreUp, State::Bootstrap];
            probes.retain(|probe| early.contains(&state) || !old(probe));
        }
        probes
    }
}

/// A state from its beginning to its end, and what was passed on the way to it.
struct Stay {
    state: State,
    passed: Vec<State>,
    from: Instant,
    /// By then Docker's resolver has passed on what it was asked before.
    settled: Instant,
    to: Instant,
}

/// Through all states.
pub struct Walk<'w> {
    pub world: &'w World,
    expected: Expected,
    pub wire: Capture,
    /// Sees what Docker's resolver asks from the host.
    outside: Capture,
    prober: Prober,
    stays: Vec<Stay>,
    /// States that were passed without a stay since the last one.
    pub passed: Vec<State>,
}

impl<'w> Walk<'w> {
    pub fn begin(world: &'w World, expected: Expected) -> Self {
        Self {
            world,
            expected,
            wire: world.capture(),
            outside: world.capture_on("wan"),
            prober: world.probe_by_all_ways(),
            stays: Vec::new(),
            passed: Vec::new(),
        }
    }

    /// Whether there is a kill switch.
    pub fn is_sealed(&self) -> bool {
        matches!(self.expected, Expected::Table { .. })
    }

    /// Stays in this state until everything was tried, and what may leave was seen.
    #[track_caller]
    pub fn stay(&mut self, state: State, from: Instant) {
        let mut wanted = self.expected.wanted(state);
        let begun = Instant::now();
        self.prober.wait_for_rounds(1);
        let settled = Instant::now();
        self.prober.wait_for_rounds(TRIES);
        loop {
            for (at, probe) in self.probes() {
                if at >= from {
                    wanted.remove(&probe);
                }
            }
            if wanted.is_empty() {
                break;
            }
            let waited = begun.elapsed();
            assert!(waited < SOON, "{state}: {} not seen", names(&wanted));
            self.prober.wait_for_rounds(1);
        }
        self.stays.push(Stay {
            state,
            passed: std::mem::take(&mut self.passed),
            from,
            settled,
            to: Instant::now(),
        });
    }

    /// All probes that were outside, and when.
    fn probes(&self) -> Vec<(Instant, Probe)> {
        let seen = |packets: Vec<Packet>, by_resolver| {
            let probes = packets
                .into_iter()
                .filter_map(|packet| Some((packet.at, packet.probe()?)));
            probes.filter(move |(_, probe)| probe.kind.is_resolvers() == by_resolver)
        };
        let wire = seen(self.wire.packets_and_arp(), false);
        wire.chain(seen(self.outside.packets(), true)).collect()
    }

    /// The states that a probe may be of which was outside at this moment.
    fn states_of(&self, probe: Probe, at: Instant) -> Vec<State> {
        let begin = |stay: &Stay| match probe.kind.is_resolvers() {
            true => stay.settled,
            false => stay.from,
        };
        let within = |stay: &&Stay| begin(stay) <= at && at < stay.to;
        if let Some(stay) = self.stays.iter().find(within) {
            return vec![stay.state];
        }
        let before = self.stays.iter().rev().find(|stay| stay.to <= at);
        let after = self.stays.iter().find(|stay| at < begin(stay));
        let passed = after.iter().flat_map(|stay| stay.passed.clone());
        let ends = before.into_iter().chain(after).map(|stay| stay.state);
        ends.chain(passed).collect()
    }

    /// Nothing else has left than what may, in the states and between them.
    pub fn judge(&self) {
        let mut leaks: BTreeMap<Probe, BTreeSet<State>> = BTreeMap::new();
        for (at, probe) in self.probes() {
            let states = self.states_of(probe, at);
            let may = |state: &State| self.expected.cell(probe, *state) == Cell::All;
            if !states.iter().any(may) {
                leaks.entry(probe).or_default().extend(states);
            }
        }
        assert_eq!(leaks, BTreeMap::new());
        let closed = self.stays[2].from;
        if let Expected::Table { table, .. } = &self.expected {
            // Where the program was made to connect to is nobody's that may be.
            let believed = |stay: &&Stay| table.cell_of("hosts", stay.state) != Cell::Nothing;
            assert_eq!(self.stays.iter().filter(believed).count(), 2);
        }
        let ours = ours(self.world);
        let others = self
            .wire
            .leaks_since(closed, |packet| packet.probe().is_some() || ours(packet));
        assert_eq!(others, [], "of nobody's that is known");
    }
}

fn names(probes: &BTreeSet<Probe>) -> String {
    let names: Vec<String> = probes.iter().map(Probe::to_string).collect();
    names.join(", ")
}
