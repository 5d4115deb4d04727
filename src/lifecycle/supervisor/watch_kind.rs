//! What there is to watch the server in use for.

/// Each is a thread of its own (`watches`).
#[derive(Debug, Clone, Copy)]
pub enum WatchKind {
    /// Whether it is there.
    Endpoint,
    /// How large the packets are that reach it.
    Way,
    /// What the world sees of the tunnel.
    ExitAddress,
    /// `MONITOR_*`, with `RECONNECT`.
    Monitor,
}
