//! A name server that knows a handful of names.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

use super::Shared;
use super::hub::Hub;
use super::records::Question;

/// The names of the world, the same ones outside and inside the tunnels.
#[derive(Debug, Default)]
pub struct Zone {
    names: RwLock<HashMap<String, Vec<Ipv4Addr>>>,
    truncate: AtomicBool,
    fail: AtomicBool,
}

impl Zone {
    /// Gives a name these addresses; an empty list is a name without any.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        let mut names = self.names.write().expect("no holder of this lock panics");
        names.insert(name.to_owned(), addresses.to_vec());
    }

    /// Answers by UDP say "ask again by TCP".
    pub fn truncate(&self, truncate: bool) {
        self.truncate.store(truncate, Ordering::SeqCst);
    }

    /// Answers all say SERVFAIL.
    pub fn fail(&self, fail: bool) {
        self.fail.store(fail, Ordering::SeqCst);
    }

    /// The address of a name.
    pub fn resolve(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        self.names
            .read()
            .expect("no holder of this lock panics")
            .get(name)
            .cloned()
    }

    fn answer(&self, message: &[u8], tcp: bool, note: impl Fn(String)) -> Option<Vec<u8>> {
        let query = Packet::parse(message).ok()?;
        let question = query.questions.first()?.clone();
        let name = question.qname.to_string().to_ascii_lowercase();
        note(name.clone());
        let mut reply = Packet::new_reply(query.id());
        reply.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
        let addresses = self.resolve(&name);
        if self.fail.load(Ordering::SeqCst) {
            *reply.rcode_mut() = RCODE::ServerFailure;
        } else if addresses.is_none() {
            *reply.rcode_mut() = RCODE::NameError;
        } else if !tcp && self.truncate.load(Ordering::SeqCst) {
            reply.set_flags(PacketFlag::TRUNCATION);
        } else if question.qtype == QTYPE::TYPE(TYPE::A) {
            for address in addresses.unwrap_or_default() {
                let record = RData::A(A::from(address));
                let name = question.qname.clone();
                reply
                    .answers
                    .push(ResourceRecord::new(name, CLASS::IN, 60, record));
            }
        }
        reply.questions.push(question);
        reply.build_bytes_vec().ok()
    }
}

/// Answers questions on these sockets; `through` is the CN of the server whose tunnel they are in.
pub fn serve(
    hub: &Hub,
    shared: &Arc<Shared>,
    through: Option<&str>,
    (udp, tcp): (UdpSocket, TcpListener),
) {
    let note = |shared: &Shared, through: &Option<String>, name, tcp| {
        shared.records.question(Question {
            through: through.clone(),
            name,
            tcp,
        });
    };
    let (state, cn) = (Arc::clone(shared), through.map(str::to_owned));
    let far = Arc::clone(shared);
    let round_trip = move || far.round_trip.time();
    hub.far_udp(udp, round_trip, move |message, _: SocketAddr| {
        state
            .zone
            .answer(message, false, |name| note(&state, &cn, name, false))
    });
    let (state, cn) = (Arc::clone(shared), through.map(str::to_owned));
    hub.tcp(tcp, move |stream| {
        let answer = |message: &[u8]| {
            state
                .zone
                .answer(message, true, |name| note(&state, &cn, name, true))
        };
        let _ = by_tcp(stream, answer);
    });
}

/// Messages by TCP have their length before them.
fn by_tcp(mut stream: TcpStream, answer: impl Fn(&[u8]) -> Option<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message)?;
        let Some(reply) = answer(&message) else {
            return Ok(());
        };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &reply].concat())?;
    }
}
