//! DNS messages: the question for a host's IPv4 addresses, and what an answer says. Pure; who is
//! asked, and how, is the resolver's matter.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

/// Longest chain of aliases that is followed.
const MAX_ALIASES: usize = 16;

/// Why a name server gave no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsFailure {
    Silent,
    NoSuchName,
    /// The name exists and has no IPv4 address.
    NoAddress,
    /// `SERVFAIL`, `REFUSED` and the like.
    Failure(String),
    /// Only addresses that no public host has.
    Untrue(Vec<Ipv4Addr>),
    /// The question could not be sent.
    Unreachable(String),
}

impl fmt::Display for DnsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => write!(f, "did not answer"),
            Self::NoSuchName => write!(f, "answered that there is no such name"),
            Self::NoAddress => write!(f, "answered that the name has no IPv4 address"),
            Self::Failure(code) => write!(f, "answered {code}"),
            Self::Untrue(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(Ipv4Addr::to_string).collect();
                let addresses = addresses.join(", ");
                write!(
                    f,
                    "answered {addresses}, which no public host has (a DNS filter?)"
                )
            }
            Self::Unreachable(why) => write!(f, "could not be asked ({why})"),
        }
    }
}

/// The addresses, or why there are none.
pub(super) type LookupResult = Result<Vec<Ipv4Addr>, DnsFailure>;

/// An answer to our question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Whole(LookupResult),
    /// It did not fit into a datagram: TCP brings the whole.
    Cut(LookupResult),
}

/// The question for the IPv4 addresses of `host`.
pub(super) fn question(id: u16, host: &str) -> io::Result<Vec<u8>> {
    let name = Name::new(host).map_err(io::Error::other)?;
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        name,
        QTYPE::TYPE(TYPE::A),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().map_err(io::Error::other)
}

/// Reads a packet; `None` for whatever is not an answer to this very question.
pub(super) fn read_answer(bytes: &[u8], id: u16, host: &str) -> Option<Answer> {
    let packet = Packet::parse(bytes).ok()?;
    let name = Name::new(host).ok()?;
    let [asked] = packet.questions.as_slice() else {
        return None;
    };
    let is_ours = packet.id() == id
        && packet.has_flags(PacketFlag::RESPONSE)
        && asked.qname == name
        && asked.qtype == QTYPE::TYPE(TYPE::A)
        && asked.qclass == QCLASS::CLASS(CLASS::IN);
    if !is_ours {
        return None;
    }
    let outcome = match packet.rcode() {
        RCODE::NoError => match addresses_in(&packet, name) {
            addresses if addresses.is_empty() => Err(DnsFailure::NoAddress),
            addresses => Ok(addresses),
        },
        RCODE::NameError => Err(DnsFailure::NoSuchName),
        RCODE::ServerFailure => Err(DnsFailure::Failure("SERVFAIL".to_owned())),
        RCODE::Refused => Err(DnsFailure::Failure("REFUSED".to_owned())),
        code => Err(DnsFailure::Failure(format!("{code:?}"))),
    };
    Some(if packet.has_flags(PacketFlag::TRUNCATION) {
        Answer::Cut(outcome)
    } else {
        Answer::Whole(outcome)
    })
}

/// The addresses of `name`, its aliases followed within the answer.
fn addresses_in(packet: &Packet<'_>, mut name: Name<'_>) -> Vec<Ipv4Addr> {
    for _ in 0..=MAX_ALIASES {
        let of_name = packet
            .answers
            .iter()
            .filter(|record| record.name == name && record.class == CLASS::IN);
        let mut addresses = Vec::new();
        let mut alias = None;
        for record in of_name {
            match &record.rdata {
                RData::A(address) => addresses.push(Ipv4Addr::from(address.address)),
                RData::CNAME(target) => alias = Some(target.0.clone()),
                _ => (),
            }
        }
        match alias {
            Some(target) if addresses.is_empty() => name = target.into_owned(),
            _ => return addresses,
        }
    }
    Vec::new()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, CNAME};

    pub const HOST: &str = "www.example.com";
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

    pub fn a(name: &'static str, address: Ipv4Addr) -> ResourceRecord<'static> {
        ResourceRecord::new(
            Name::new(name).unwrap(),
            CLASS::IN,
            60,
            RData::A(A {
                address: address.into(),
            }),
        )
    }

    pub fn cname(name: &'static str, target: &'static str) -> ResourceRecord<'static> {
        let target = RData::CNAME(CNAME(Name::new(target).unwrap()));
        ResourceRecord::new(Name::new(name).unwrap(), CLASS::IN, 60, target)
    }

    pub fn reply(
        question: &[u8],
        code: RCODE,
        records: Vec<ResourceRecord<'static>>,
        is_cut: bool,
    ) -> Vec<u8> {
        let question = Packet::parse(question).unwrap();
        let mut packet = Packet::new_reply(question.id());
        packet.questions = question.questions.clone();
        *packet.rcode_mut() = code;
        packet.answers = records;
        if is_cut {
            packet.set_flags(PacketFlag::TRUNCATION);
        }
        packet.build_bytes_vec().unwrap()
    }

    fn answer(code: RCODE, records: Vec<ResourceRecord<'static>>) -> Option<Answer> {
        read_answer(
            &reply(&question(1, HOST).unwrap(), code, records, false),
            1,
            HOST,
        )
    }

    #[test]
    fn aliases_are_followed_and_foreign_records_ignored() {
        let records = vec![
            a("evil.example.org", Ipv4Addr::new(6, 6, 6, 6)),
            cname("www.EXAMPLE.com", "b.example.net"),
            cname("b.example.net", "c.example.net"),
            a("c.example.net", ADDRESS),
        ];
        assert_eq!(
            answer(RCODE::NoError, records),
            Some(Answer::Whole(Ok(vec![ADDRESS])))
        );
    }

    #[test]
    fn an_alias_loop_has_no_address() {
        let records = vec![cname(HOST, "b.example.com"), cname("b.example.com", HOST)];
        assert_eq!(
            answer(RCODE::NoError, records),
            Some(Answer::Whole(Err(DnsFailure::NoAddress)))
        );
    }

    #[test]
    fn refusals_are_told_apart() {
        let failure = |code| answer(code, vec![]).unwrap();
        assert_eq!(
            failure(RCODE::NameError),
            Answer::Whole(Err(DnsFailure::NoSuchName))
        );
        assert_eq!(
            failure(RCODE::ServerFailure),
            Answer::Whole(Err(DnsFailure::Failure("SERVFAIL".into())))
        );
        assert_eq!(
            failure(RCODE::NotImplemented),
            Answer::Whole(Err(DnsFailure::Failure("NotImplemented".into())))
        );
    }

    #[test]
    fn a_question_is_no_answer() {
        assert_eq!(read_answer(&question(1, HOST).unwrap(), 1, HOST), None);
    }

    proptest! {
        #[test]
        fn any_packet_is_survived(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..64),
            at in 0..64usize,
        ) {
            prop_assert_eq!(read_answer(&bytes, 1, HOST), None);
            let records = vec![cname(HOST, "b.example.com"), a("b.example.com", ADDRESS)];
            let asked = question(1, HOST).unwrap();
            let mut whole = reply(&asked, RCODE::NoError, records, false);
            let at = at.min(whole.len());
            bytes.truncate(whole.len() - at);
            whole[at..at + bytes.len()].copy_from_slice(&bytes);
            read_answer(&whole, 1, HOST);
        }
    }
}
