//! The table of docs/security.md: by which ways what leaves in which state of the program.

use std::fmt;
use std::fs;
use std::path::Path;

use super::prober::Probe;

/// What the program is doing, or has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    BeforeStart,
    /// Pre-up hooks run.
    PreUp,
    Bootstrap,
    Connected,
    Reconnecting,
    /// The start has failed, and waits to be tried again.
    Blocked,
    Stopping,
    Stopped,
    Killed,
}

impl State {
    /// In the order of the table's columns.
    pub const ALL: [Self; 9] = [
        Self::BeforeStart,
        Self::PreUp,
        Self::Bootstrap,
        Self::Connected,
        Self::Reconnecting,
        Self::Blocked,
        Self::Stopping,
        Self::Stopped,
        Self::Killed,
    ];
}

impl fmt::Display for State {
    /// The column's title.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeStart => "before",
            Self::PreUp => "pre-up",
            Self::Bootstrap => "bootstrap",
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Blocked => "blocked",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
        })
    }
}

/// Whether a way leads out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// `0`: no packet leaves.
    Nothing,
    /// `all`: each one leaves.
    All,
    /// `limit`: what is there at the start is believed.
    Limit,
}

/// Ways that have the same cells.
#[derive(Clone, Debug)]
pub struct Row {
    pub ways: Vec<String>,
    pub who: String,
    pub cells: Vec<Cell>,
}

/// What the cells of some rows depend on.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// There is a chain at the network card.
    pub chain: bool,
    /// `LOCAL_NETWORK` has an IPv6 range.
    pub ipv6_lan: bool,
}

impl Setup {
    /// Every one.
    pub fn every() -> impl Iterator<Item = Self> {
        let both = [true, false];
        both.into_iter()
            .flat_map(move |chain| both.map(|ipv6_lan| Self { chain, ipv6_lan }))
    }
}

/// The whole table.
#[derive(Clone, Debug)]
pub struct Table(pub Vec<Row>);

impl Table {
    /// As the page has it.
    ///
    /// # Panics
    /// Where the page or the table is not as it should be.
    pub fn read() -> Self {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/security.md");
        let page = fs::read_to_string(page).expect("the page is there");
        let (_, rest) = page
            .split_once("<!-- ways out -->")
            .expect("the table begins");
        let (table, _) = rest
            .split_once("<!-- end of ways out -->")
            .expect("the table ends");
        let mut rows = table.lines().filter(|line| line.starts_with("| "));
        let titles: Vec<String> = State::ALL.map(|state| state.to_string()).into();
        assert_eq!(columns(rows.next().expect("titles"))[2..], titles);
        Self(rows.map(Row::parse).collect())
    }

    /// What is expected of a probe.
    #[track_caller]
    pub fn cell(&self, probe: Probe, state: State, setup: Setup) -> Cell {
        let mut rows = self.0.iter().filter(|row| row.is_of(probe, setup));
        let row = rows
            .next()
            .unwrap_or_else(|| panic!("the table has no {probe}"));
        assert!(rows.next().is_none(), "the table has {probe} twice");
        row.cells[state as usize]
    }

    /// What is expected of a way that is no probe's.
    #[track_caller]
    pub fn cell_of(&self, way: &str, state: State) -> Cell {
        let mut rows = self.0.iter();
        let row = rows.find(|row| row.ways.iter().any(|name| name == way));
        row.unwrap_or_else(|| panic!("the table has no {way}"))
            .cells[state as usize]
    }
}

impl Row {
    fn parse(line: &str) -> Self {
        let [ways, who, cells @ ..] = &columns(line)[..] else {
            panic!("too short: {line}");
        };
        let cell = |cell: &String| match cell.as_str() {
            "0" => Cell::Nothing,
            "all" => Cell::All,
            "limit" => Cell::Limit,
            _ => panic!("what is {cell:?}?"),
        };
        let cells: Vec<Cell> = cells.iter().map(cell).collect();
        assert_eq!(cells.len(), State::ALL.len(), "{line}");
        Self {
            ways: ways
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect(),
            who: who.clone(),
            cells,
        }
    }

    /// `NET_RAW` stands where that is needed; `no chain` or `chain` where it depends on that, and
    /// likewise with `IPv6 LAN`.
    fn is_of(&self, probe: Probe, setup: Setup) -> bool {
        let fits = |word: &str, is_there: bool| {
            !self.who.contains(word) || self.who.contains(&format!("no {word}")) != is_there
        };
        self.ways.contains(&way(probe))
            && fits("chain", setup.chain)
            && fits("IPv6 LAN", setup.ipv6_lan)
            && (probe.is_possible() || !self.who.contains("NET_RAW"))
    }
}

/// `udp marked`: the probe without its sender; what is sent plainly has one word.
pub fn way(probe: Probe) -> String {
    let sender = format!(" {:?}", probe.sender).to_lowercase();
    let text = probe.to_string();
    let way = text.trim_end_matches(&sender);
    way.trim_end_matches(" routed").to_owned()
}

fn columns(line: &str) -> Vec<String> {
    let cells = line.trim().trim_matches('|').split('|');
    cells.map(|cell| cell.trim().to_owned()).collect()
}
