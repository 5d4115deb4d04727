//! What is open although it should be closed, told to whoever wants to know whenever it changes.

use std::fmt;

use super::apply::{Firewall, Sealing};
use super::wire;

/// What the kill switch cannot close, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Openings {
    /// IPv6, with the cure.
    pub not_blocked: Option<String>,
    /// Frames that a program writes by itself, with what to do about it.
    pub frames_pass: Option<String>,
}

impl Openings {
    /// Of the rules in force. Where nothing is to be `sealed`, nothing is open that should not be.
    pub(super) fn of(firewall: &Firewall, sealed: bool) -> Self {
        if !sealed {
            return Self::default();
        }
        let lacks_chain = firewall
            .lacks_chain
            .then_some("a new interface has no filter yet, which is tried again");
        Self {
            not_blocked: match firewall.sealing() {
                Sealing::Whole => None,
                Sealing::WithoutIpv6(why) => Some(why.clone()),
            },
            frames_pass: firewall
                .frames_pass()
                .or(lacks_chain)
                .map(wire::consequence),
        }
    }
}

/// Who is told of them.
pub(super) struct OpeningsListener {
    told: Openings,
    tell: Box<dyn Fn(&Openings) + Send>,
}

impl OpeningsListener {
    /// Is told of these, and of others later.
    pub fn new(openings: Openings, tell: impl Fn(&Openings) + Send + 'static) -> Self {
        tell(&openings);
        Self {
            told: openings,
            tell: Box::new(tell),
        }
    }

    /// These are the openings now.
    pub fn tell(&mut self, openings: Openings) {
        if openings != self.told {
            (self.tell)(&openings);
            self.told = openings;
        }
    }
}

impl fmt::Debug for OpeningsListener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OpeningsListener")
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}
