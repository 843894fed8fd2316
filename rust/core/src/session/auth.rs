//! AUTH (RFC 4954): its lines and its base64. What a mechanism means by them is the driver's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::replies;
use super::{Event, Pending, Phase, Session, Verdict};
use crate::command::Command;
use crate::reply::Reply;

impl Session {
    pub(super) fn auth(&mut self, command: &Command, line: &[u8]) -> Option<Event> {
        if !self.config.settings.mechanisms.iter().any(|offered| offered.eq_ignore_ascii_case(&command.arg)) {
            return self.refuse(Verdict::Canned(replies::UNKNOWN_MECHANISM), line);
        }
        command.arg.as_ref().clone_into(&mut self.mechanism);
        let response = match command.param.as_ref() {
            "" => None,
            "=" => Some(Vec::new()),
            encoded => match STANDARD.decode(encoded) {
                Ok(response) => Some(response),
                Err(_) => return self.refuse(Verdict::Canned(replies::BAD_BASE64), b"AUTH"),
            },
        };
        Some(self.raise_auth(true, response))
    }

    /// The answer to a challenge.
    pub(super) fn auth_line(&mut self, line: &[u8]) -> Option<Event> {
        self.phase = Phase::Command;
        if line == b"*" {
            return self.refuse(Verdict::Canned(replies::AUTH_CANCELLED), line);
        }
        match STANDARD.decode(line) {
            Ok(response) => Some(self.raise_auth(false, Some(response))),
            // The line may be a password in another coding: it goes into no event.
            Err(_) => self.refuse(Verdict::Canned(replies::BAD_BASE64), b""),
        }
    }

    fn raise_auth(&mut self, initial: bool, response: Option<Vec<u8>>) -> Event {
        let mechanism = self.mechanism.clone();
        self.wait_for(Pending::Auth, Event::Auth { mechanism, initial, response })
    }

    pub(super) fn send_challenge(&mut self, octets: &[u8]) {
        let line = format!("334 {}\r\n", STANDARD.encode(octets));
        self.output.extend_from_slice(line.as_bytes());
        self.phase = Phase::Auth;
    }

    /// 235 logs in; 535 is a failed login, and the last that is let pass ends the session (HOSTILE 59).
    pub(super) fn auth_answered(&mut self, reply: Option<&Reply>) -> Option<Event> {
        let code = reply.map_or(535, Reply::code);
        if code != 235 && code != 535 {
            if let Some(event) = self.count_error() {
                return Some(event);
            }
        }
        let event = self.say(Verdict::Canned(replies::BAD_CREDENTIAL), reply);
        if code == 235 {
            self.authenticated = true;
            self.state = self.resting();
        } else if code == 535 {
            self.auth_failures += 1;
            if self.auth_failures >= self.config.settings.limits.auth_failures {
                return Some(self.close("too many failed logins"));
            }
        }
        event
    }
}
