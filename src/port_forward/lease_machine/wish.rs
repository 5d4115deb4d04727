//! What the user wants done now, whatever is due: another port, or the port bound again. It is
//! granted or denied once, by the first answer that tells.

use super::LeaseMachine;
use crate::failure::Failure;
use crate::pia::lease::Lease;
use crate::port_forward::step::{Effect, LeaseWish, OpenWish};

impl LeaseMachine {
    /// Asks for this, in place of what was asked for before.
    pub fn wish(&mut self, wish: LeaseWish) {
        self.open_wish = Some(OpenWish { wish, lease: None });
    }

    /// Whether a lease is wanted for it, now.
    pub(super) fn wishes_lease(&self) -> bool {
        self.open_wish.as_ref().is_some_and(|open| match open.wish {
            LeaseWish::NewPort => open.lease.is_none(),
            LeaseWish::Rebind => self.current.is_none(),
        })
    }

    /// Whether the lease in use is to be bound for it, now.
    pub(super) fn wishes_binding(&self) -> bool {
        let open = self.open_wish.as_ref();
        open.is_some_and(|open| open.wish == LeaseWish::Rebind)
    }

    /// This lease was got. Whether it is that of the new port.
    pub(super) fn note_wished(&mut self, lease: &Lease) -> bool {
        match &mut self.open_wish {
            Some(open) if open.wish == LeaseWish::NewPort => {
                open.lease = Some(lease.clone());
                true
            }
            _ => false,
        }
    }

    /// This lease was bound.
    pub(super) fn grant(&mut self, lease: &Lease, effects: &mut Vec<Effect>) {
        if self.tells(lease) {
            self.open_wish = None;
            effects.push(Effect::Granted { port: lease.port });
        }
    }

    /// This lease could not be bound. A new port that is denied is not taken later.
    pub(super) fn deny_binding(&mut self, lease: &Lease, why: &Failure, effects: &mut Vec<Effect>) {
        if !self.tells(lease) {
            return;
        }
        if self.successor.as_ref() == Some(lease) && !self.server.is_on_trial {
            self.successor = None;
        }
        self.deny(why, effects);
    }

    /// No lease, or no token for one, could be had.
    pub(super) fn deny_lease(&mut self, why: &Failure, effects: &mut Vec<Effect>) {
        if self.wishes_lease() {
            self.deny(why, effects);
        }
    }

    fn deny(&mut self, why: &Failure, effects: &mut Vec<Effect>) {
        let denied = self.open_wish.take().map(|open| open.wish);
        if denied == Some(LeaseWish::NewPort) && self.announced.is_some() {
            // It is not tried again, and the port that there is does not fail.
            effects.retain(|effect| !matches!(effect, Effect::Failing { .. }));
        }
        let why = why.text.clone();
        effects.push(Effect::Denied { why });
    }

    /// Whether what becomes of this lease is what becomes of the wish.
    fn tells(&self, lease: &Lease) -> bool {
        self.open_wish.as_ref().is_some_and(|open| match open.wish {
            LeaseWish::NewPort => open.lease.as_ref() == Some(lease),
            LeaseWish::Rebind => true,
        })
    }
}
