//! Whether packets find into a tunnel that stands. One that was set down carries nothing, and the
//! kernel takes its routes away with that and does not put them back when it is set up again. Then
//! whoever is bound to the interface finds in, as the program's own questions do, and nobody else.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::container::{Container, HookRuns};
use crate::system::{paths, route};
use crate::wireguard::routing_rules;
use crate::wireguard::show::{self, LinkState};

/// What is not as wg-quick has made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    Interface,
    /// The interface is there, and down.
    Link,
    /// The interface is up, and the default route by it is not there.
    Route,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Interface => "is gone",
            Self::Link => "is down",
            Self::Route => "has lost its default route",
        };
        write!(f, "{} {what}", paths::INTERFACE)
    }
}

/// The way into the tunnel of one interface.
pub struct WayIn {
    /// The tunnel's mark, and its routing table.
    mark: u32,
    hooks: Arc<HookRuns>,
    expected: Mutex<Expected>,
}

/// What is there unless somebody has taken it away.
struct Expected {
    /// How many stages of hooks had been run beside it by then; `None` while one ran.
    after: Option<usize>,
    /// Hooks may want other routes, or none.
    route: bool,
    /// The link has been down since the route was seen last: what is missing then is what the
    /// kernel took away.
    was_down: bool,
}

impl WayIn {
    /// Of an interface that wg-quick has just made.
    pub(super) fn new(container: &Container) -> Self {
        let hooks = Arc::clone(&container.hook_runs);
        let after = hooks.count();
        Self {
            mark: container.mark,
            hooks,
            expected: Mutex::new(Expected {
                after,
                route: true,
                was_down: false,
            }),
        }
    }

    /// What keeps packets from finding into the tunnel, read without a process.
    pub fn lack(&self) -> Option<Lack> {
        match show::link() {
            LinkState::Gone => Some(Lack::Interface),
            LinkState::Down => {
                self.expected().was_down = true;
                Some(Lack::Link)
            }
            LinkState::Up => self.lacks_route().then_some(Lack::Route),
        }
    }

    /// What is missing at the end of hooks is what they wished.
    pub fn note_wishes(&self) {
        self.lack();
    }

    /// The rule that leads to it does not stand alone where somebody has another configuration.
    fn lacks_route(&self) -> bool {
        let before = self.hooks.count();
        let is_there = route::has_default(self.mark, paths::INTERFACE).unwrap_or(true);
        let after = self.hooks.count().filter(|_| before.is_some());
        let mut expected = self.expected();
        if before != after {
            return false;
        }
        let was_down = expected.was_down && !is_there;
        if after.is_none() || after != expected.after {
            expected.after = after;
            expected.route = is_there || was_down && expected.route;
        }
        expected.was_down = was_down;
        !is_there && expected.route && routing_rules::lead_into_tunnel(self.mark)
    }

    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mark of the tunnel's own packets.
    pub fn mark(&self) -> u32 {
        self.mark
    }
}
