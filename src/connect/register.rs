//! Registering a fresh key at one of the candidates.

use std::time::{Duration, Instant};

use super::server_selection::candidates::Candidate;
use super::{Connector, Joined, SearchToken, is_refusal_of_token};
use crate::failure::Failure;
use crate::firewall::kill_switch::KillSwitch;
use crate::pia::credentials::Token;
use crate::pia::error::{ApiError, Remedy};
use crate::pia::registration::{self, Proof};
use crate::settings::ServerChoice;
use crate::wireguard::keys::KeyPair;

/// How long one server may take for a registration: another is better than patience.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(6);

impl Connector {
    /// Registers at the first of the candidates that takes our key. A refused token is renewed,
    /// once; servers that are merely busy are asked again, as `CURL_RETRY` says.
    pub(super) fn register(
        &mut self,
        candidates: Vec<Candidate>,
        mut search_token: SearchToken,
        kill_switch: &KillSwitch,
    ) -> Result<Joined, Failure> {
        let started = Instant::now();
        let mut tried: Vec<(String, String)> = Vec::new();
        let mut waiting = candidates;
        for round in 0..=self.retry.retries {
            let mut busy = Vec::new();
            for candidate in waiting {
                let error = match self.register_once_more_if_renewed(
                    &candidate,
                    &mut search_token,
                    kill_switch,
                )? {
                    Ok(joined) => return Ok(joined),
                    Err(error) => error,
                };
                log::warn!("{}: {error}", candidate.location);
                let server = format!(
                    "{} {} ({})",
                    candidate.location, candidate.server.cn, candidate.server.ip
                );
                // The latest reason counts.
                tried.retain(|(before, _)| *before != server);
                tried.push((server, error.kind.to_string()));
                if error.is_busy() {
                    busy.push(candidate);
                }
            }
            waiting = busy;
            let limit = self.retry.max_time;
            let enough = !limit.is_zero() && started.elapsed() + self.retry.delay >= limit;
            if waiting.is_empty() || round == self.retry.retries || enough {
                break;
            }
            self.stop.pause(self.retry.delay)?;
        }
        self.in_doubt = true;
        let tried = tried
            .iter()
            .map(|(server, why)| format!("{server}: {why}"))
            .collect::<Vec<_>>()
            .join("; ");
        Err(Failure::passing(format!(
            "no server could be registered at. Tried {tried}. If this does not pass, add other \
             locations to LOC"
        )))
    }

    pub(super) fn register_once_more_if_renewed(
        &mut self,
        candidate: &Candidate,
        search_token: &mut SearchToken,
        kill_switch: &KillSwitch,
    ) -> Result<Result<Joined, ApiError>, Failure> {
        let mut outcome = self.register_at(candidate, &search_token.token)?;
        if is_refusal_of_token(&outcome) && self.renew(search_token, kill_switch)? {
            outcome = self.register_at(candidate, &search_token.token)?;
        }
        match outcome {
            Err(error) if error.remedy() == Remedy::Stopped => Err(Failure::Stopped),
            Err(error) if matches!(error.remedy(), Remedy::LogInAgain | Remedy::GiveUp) => {
                Err(Failure::lasting(format!(
                    "{error}; a new token did not help: check the account at PIA's web site"
                )))
            }
            outcome => Ok(outcome),
        }
    }

    pub(super) fn register_at(
        &mut self,
        candidate: &Candidate,
        token: &Token,
    ) -> Result<Result<Joined, ApiError>, Failure> {
        let Candidate {
            location,
            server,
            port,
            port_forwarding,
        } = candidate;
        log::info!("Registering with {location}: {} ({})", server.cn, server.ip);
        let keys = KeyPair::generate(&self.stop)?;
        let host = self.hosts.server(server, *port)?;
        let proof = match &self.destination {
            ServerChoice::DedicatedIp(dip) => Proof::DedicatedIp {
                token: dip,
                ip: server.ip,
            },
            _ => Proof::Token(token),
        };
        let answer =
            registration::add_key(&host, proof, &keys.public, REGISTRATION_TIMEOUT, &self.stop);
        Ok(answer.map(|registration| Joined {
            location: location.clone(),
            server: server.clone(),
            port_forwarding: *port_forwarding,
            keys,
            registration,
        }))
    }
}
