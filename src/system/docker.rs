//! What Docker gives to each container of a user-defined network.

use std::net::Ipv4Addr;

/// Its resolver, which asks the host's name servers from the host or from inside the container.
pub const DOCKER_RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
