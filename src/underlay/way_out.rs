//! Whether anything at all can leave this network namespace.

use super::interfaces::{self, AttachedNetwork, DefaultRoute};

/// Why nothing can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoWayOut {
    NoLink,
    NoRoute,
}

impl NoWayOut {
    /// As the kernel has it now; `None` where it cannot be read as well.
    pub fn look() -> Option<Self> {
        Self::judge(
            &interfaces::attached_networks().ok()?,
            &interfaces::default_routes().ok()?,
        )
    }

    /// Pure, as the facts are arguments.
    pub fn judge(attached: &[AttachedNetwork], routes: &[DefaultRoute]) -> Option<Self> {
        match (attached, routes) {
            (_, [_, ..]) => None,
            ([], []) => Some(Self::NoLink),
            ([_, ..], []) => Some(Self::NoRoute),
        }
    }

    /// What the user can do.
    pub fn cure(self) -> &'static str {
        match self {
            Self::NoLink => "attach the container to a network (it may have `network_mode: none`)",
            Self::NoRoute => "attach the container to a network that is not `internal`",
        }
    }
}

impl std::fmt::Display for NoWayOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoLink => {
                "there is no link: no network interface but lo has an address, so nothing can be \
                 reached"
            }
            Self::NoRoute => "there is no default route, so nothing can be reached",
        })
    }
}
