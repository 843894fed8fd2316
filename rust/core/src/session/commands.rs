//! Command lines: read, held against the table, examined, decided, and carried out.

use std::ops::ControlFlow;

use memchr::{memchr, memchr2, memmem, memrchr};

use super::input::Reader;
use super::replies::{self, Canned};
use super::table::{Rule, State, next, rule};
use super::{Event, LONGEST_LINE, Phase, Session, Transaction, Verdict};
use crate::command::{Command, Verb, owned, parse_arguments, unknown};
use crate::data::Newlines;
use crate::params::{Body, MailParams, Offered, mail_params, rcpt_params};
use crate::reply::Reply;

/// A TLS record of the handshake type: the first octet of a `ClientHello` (RFC 8446 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

impl Session {
    /// Reads a line, of a command or of AUTH; breaks off until it is whole.
    pub(super) fn read_line(&mut self, reader: &mut Reader<'_>) -> ControlFlow<(), Option<Event>> {
        if !self.spoken {
            self.spoken = true;
            // It would wait for an answer that never comes, with no line end for us to see (HOSTILE 32).
            if reader.rest()[0] == TLS_HANDSHAKE {
                reader.skip_all();
                let event = self.close_with(Verdict::Canned(replies::WRONG_PROTOCOL), "TLS on a plain port");
                return ControlFlow::Continue(Some(event));
            }
        }
        let auth = matches!(self.phase, Phase::Auth);
        let line = reader.line();
        let at_hand = line.unwrap_or_else(|| reader.rest());
        if let Some(refusal) = self.too_long(at_hand, auth) {
            // The address of a request can be as long as its author likes, and what is behind it is no better.
            if !auth && has_http_method(at_hand) {
                reader.skip_all();
                return ControlFlow::Continue(Some(self.close_on_http()));
            }
            self.phase = Phase::LongLine { refusal, dropped: 0, after_cr: false };
            return ControlFlow::Continue(None);
        }
        let Some(line) = line else { return ControlFlow::Break(()) };
        reader.skip(line.len());
        ControlFlow::Continue(match self.unended(line) {
            Ok(line) if auth => self.auth_line(line),
            Ok(line) => self.command_line(line, !reader.is_empty()),
            Err(BadLine::Ambiguous) => {
                // Where two servers see different lines, one runs as commands what the other takes for text
                // (HOSTILE 19).
                Some(self.close_with(Verdict::Canned(replies::BARE_NEWLINE), "bare newline in a command"))
            }
            Err(BadLine::Control) => {
                self.phase = Phase::Command;
                self.refuse(Verdict::Canned(replies::CONTROL_IN_LINE), if auth { b"" } else { line })
            }
        })
    }

    fn too_long(&self, line: &[u8], auth: bool) -> Option<Canned> {
        let limits = &self.config.settings.limits;
        if line.len() <= limits.command_line {
            return None;
        }
        if !auth && Verb::of(line) != Some(Verb::Auth) {
            return Some(replies::LINE_TOO_LONG);
        }
        (line.len() > limits.auth_line).then_some(replies::AUTH_TOO_LONG)
    }

    /// Drops a line that is too long up to its end, so that its tail is never read as a command.
    pub(super) fn read_long_line(&mut self, reader: &mut Reader<'_>) -> Option<Event> {
        let Phase::LongLine { refusal, mut dropped, mut after_cr } = self.phase else { return None };
        let lf_ends = self.config.settings.newlines == Newlines::Normalize;
        while let Some(end) = memchr(b'\n', reader.rest()) {
            let after_cr_here = if end == 0 { after_cr } else { reader.rest()[end - 1] == b'\r' };
            dropped += end + 1;
            after_cr = false;
            reader.skip(end + 1);
            if after_cr_here || lf_ends {
                self.phase = Phase::Command;
                return self.refuse(Verdict::Canned(refusal), b"");
            }
        }
        if let Some(last) = reader.rest().last() {
            after_cr = *last == b'\r';
        }
        dropped += reader.rest().len();
        reader.skip_all();
        if dropped > LONGEST_LINE {
            return Some(self.close_with(Verdict::Canned(refusal), "line without end"));
        }
        self.phase = Phase::LongLine { refusal, dropped, after_cr };
        None
    }

    /// The line without its end.
    fn unended<'a>(&self, line: &'a [u8]) -> Result<&'a [u8], BadLine> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let (text, ended) = line.strip_suffix(b"\r").map_or((line, false), |text| (text, true));
        if ended && memchr2(b'\r', 0, text).is_none() {
            return Ok(text);
        }
        let bare_cr = memchr(b'\r', text).is_some();
        if self.config.settings.newlines == Newlines::Reject && (bare_cr || !ended) {
            return Err(BadLine::Ambiguous);
        }
        if bare_cr {
            return Err(BadLine::Control);
        }
        Ok(text)
    }

    fn command_line(&mut self, line: &[u8], more: bool) -> Option<Event> {
        let Some(verb) = Verb::of(line) else {
            if is_http(line) {
                return Some(self.close_on_http());
            }
            return self.refuse(Verdict::Error(unknown(line)), line);
        };
        if verb == Verb::Bdat {
            return self.bdat(line);
        }
        if let Some(refusal) = self.out_of_turn(verb) {
            return self.refuse(Verdict::Canned(refusal), line);
        }
        let command = match parse_arguments(verb, line, self.config.settings.strict) {
            Ok(command) => command,
            Err(error) => return self.refuse_command(verb, Verdict::Error(error), line),
        };
        if verb == Verb::Auth {
            return self.auth(&command, line);
        }
        if leads_nowhere(verb) {
            self.idle_commands += 1;
            if self.idle_commands >= self.config.settings.limits.idle_commands && !self.state.has_recipient()
            {
                return Some(self.close_with(Verdict::Canned(replies::TOO_MANY_COMMANDS), "command flood"));
            }
        }
        let verdict = match self.examine(&command) {
            Ok(verdict) => verdict,
            Err(Verdict::Canned(replies::TOO_MANY_RECIPIENTS)) => {
                // The client sends these later; it made no error (RFC 5321 4.5.3.1.10; HOSTILE 31).
                self.send(Verdict::Canned(replies::TOO_MANY_RECIPIENTS));
                return None;
            }
            Err(refusal) => return self.refuse_command(verb, refusal, line),
        };
        if self.decides(verb) || verb == Verb::Starttls {
            return Some(self.raise(command.into_owned(), line, verdict));
        }
        self.carry_out(command, verdict, None, more)
    }

    fn close_on_http(&mut self) -> Event {
        self.close_with(Verdict::Canned(replies::WRONG_PROTOCOL), "HTTP on an SMTP port")
    }

    fn refuse_command(&mut self, verb: Verb, refusal: Verdict, line: &[u8]) -> Option<Event> {
        if verb == Verb::Rcpt {
            return self.refuse_recipient().or_else(|| self.word_refusal(refusal, line));
        }
        self.refuse(refusal, line)
    }

    /// Recipients have a count of their own, whoever refuses them: a list with many bad ones among the good is no
    /// client out of its mind (HOSTILE 33).
    fn refuse_recipient(&mut self) -> Option<Event> {
        if self.state == State::Mail {
            self.state = State::Refused;
        }
        self.refused_recipients += 1;
        if self.refused_recipients < self.config.settings.limits.refused_recipients
            || self.state.has_recipient()
        {
            return None;
        }
        // A dictionary attack on the addresses.
        Some(self.close_with(Verdict::Canned(replies::TOO_MANY_REFUSED), "too many refused"))
    }

    /// What the table, and what is offered at all, says against the verb.
    pub(super) fn out_of_turn(&self, verb: Verb) -> Option<Canned> {
        let settings = &self.config.settings;
        match verb {
            Verb::Auth if settings.mechanisms.is_empty() => return Some(replies::NOT_OFFERED),
            Verb::Auth if self.authenticated => return Some(replies::BAD_SEQUENCE),
            Verb::Starttls if self.tls => return Some(replies::BAD_SEQUENCE),
            Verb::Starttls if !settings.starttls => return Some(replies::NOT_OFFERED),
            _ => {}
        }
        match rule(self.state, verb) {
            Rule::Do => None,
            Rule::Sequence => Some(replies::BAD_SEQUENCE),
            Rule::NeedTls => Some(replies::NEED_TLS),
            Rule::Encrypt => Some(replies::ENCRYPT_FIRST),
            Rule::NeedAuth => Some(replies::NEED_AUTH),
            Rule::NoRecipient => Some(replies::NO_RECIPIENT),
        }
    }

    /// The reply that the command gets unless the driver words another, or the refusal.
    fn examine(&mut self, command: &Command) -> Result<Verdict, Verdict> {
        let canned = match command.verb {
            Verb::Helo => return Ok(Verdict::Helo),
            Verb::Ehlo => return Ok(Verdict::Ehlo),
            Verb::Mail => {
                let typed = self.examine_mail(command)?;
                self.transaction = Some(Box::new(Transaction { typed, ..Transaction::default() }));
                replies::SENDER_OK
            }
            Verb::Rcpt => {
                self.examine_rcpt(command)?;
                replies::RECIPIENT_OK
            }
            Verb::Data if self.body() == Body::BinaryMime => {
                return Err(Verdict::Canned(replies::BINARY_NEEDS_BDAT));
            }
            Verb::Data => replies::START_CONTENT,
            Verb::Vrfy | Verb::Expn => replies::CANNOT_VERIFY,
            Verb::Help => replies::HELP,
            Verb::Noop => replies::NOOP,
            Verb::Quit => replies::BYE,
            Verb::Starttls => replies::START_TLS,
            Verb::Rset | Verb::Auth | Verb::Bdat => replies::RESET,
        };
        Ok(Verdict::Canned(canned))
    }

    fn examine_mail(&self, command: &Command) -> Result<MailParams, Verdict> {
        let typed = mail_params(&command.params, &self.offered()).map_err(Verdict::Error)?;
        let limit = self.config.settings.limits.message_size as u64;
        if typed.size.is_some_and(|size| size > limit) {
            return Err(Verdict::Canned(replies::SENDER_TOO_LARGE));
        }
        if !command.arg.is_ascii() && !typed.smtputf8 {
            return Err(Verdict::Canned(replies::SENDER_NEEDS_UTF8));
        }
        if !command.arg.is_empty() && !is_qualified(&command.arg) {
            return Err(Verdict::Canned(replies::SENDER_UNQUALIFIED));
        }
        Ok(typed)
    }

    fn examine_rcpt(&self, command: &Command) -> Result<(), Verdict> {
        rcpt_params(&command.params, &self.offered()).map_err(Verdict::Error)?;
        if !is_qualified(&command.arg) {
            return Err(Verdict::Canned(replies::RECIPIENT_UNQUALIFIED));
        }
        let Some(transaction) = &self.transaction else { return Err(Verdict::Canned(replies::BAD_SEQUENCE)) };
        if !command.arg.is_ascii() && !transaction.typed.smtputf8 {
            return Err(Verdict::Canned(replies::RECIPIENT_NEEDS_UTF8));
        }
        if !transaction.typed.smtputf8 && command.params.iter().any(|param| !param.value.is_ascii()) {
            return Err(Verdict::Canned(replies::PARAMETER_NEEDS_UTF8));
        }
        if transaction.message.recipients.len() >= self.config.settings.limits.recipients {
            return Err(Verdict::Canned(replies::TOO_MANY_RECIPIENTS));
        }
        Ok(())
    }

    fn offered(&self) -> Offered<'_> {
        let settings = &self.config.settings;
        Offered {
            dsn: settings.dsn,
            auth: settings.auth_offered(self.tls),
            mail_extra: &settings.mail_params,
            rcpt_extra: &settings.rcpt_params,
        }
    }

    pub(super) fn body(&self) -> Body {
        self.transaction.as_ref().map_or(Body::default(), |transaction| transaction.typed.body)
    }

    /// The driver's decision on a command that it was asked about.
    pub(super) fn decided(
        &mut self,
        command: Command<'_>,
        verdict: Verdict,
        reply: Option<&Reply>,
    ) -> Option<Event> {
        match reply {
            Some(refusal) if refusal.code() >= 400 => self.turned_down(&command, verdict, refusal),
            _ => self.carry_out(command, verdict, reply, !self.backlog.is_empty()),
        }
    }

    fn turned_down(&mut self, command: &Command, verdict: Verdict, refusal: &Reply) -> Option<Event> {
        match command.verb {
            // HELO, VRFY and EXPN count as idle (HOSTILE 33).
            Verb::Mail | Verb::Data | Verb::Starttls => {
                if command.verb == Verb::Mail {
                    self.transaction = None;
                }
                if let Some(event) = self.count_error() {
                    return Some(event);
                }
            }
            Verb::Rcpt => {
                if let Some(event) = self.refuse_recipient() {
                    return Some(event);
                }
            }
            Verb::Bdat => return self.turn_down_chunk(command, refusal),
            Verb::Quit => {
                self.say(verdict, Some(refusal));
                return Some(self.close("quit"));
            }
            _ => {}
        }
        self.say(verdict, Some(refusal))
    }

    /// Does what the command asks; `more` tells of octets already here behind it.
    fn carry_out(
        &mut self,
        command: Command<'_>,
        verdict: Verdict,
        reply: Option<&Reply>,
        more: bool,
    ) -> Option<Event> {
        match command.verb {
            Verb::Data => return self.start_data(reply, more),
            Verb::Bdat => return self.start_chunk(&command),
            _ => {}
        }
        let event = self.say(verdict, reply);
        let verb = command.verb;
        self.state = next(self.state, verb, self.resting());
        match verb {
            Verb::Helo | Verb::Ehlo => {
                self.helo = command.arg.into_owned();
                self.esmtp = verb == Verb::Ehlo;
                self.transaction = None;
            }
            Verb::Rset => self.transaction = None,
            Verb::Mail => {
                self.transactions += 1;
                if let Some(transaction) = &mut self.transaction {
                    transaction.message.mail_from = command.arg.into_owned();
                    transaction.message.params = owned(command.params);
                }
            }
            Verb::Rcpt => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.message.recipients.push(command.arg.into_owned());
                    transaction.message.rcpt_params.push(owned(command.params));
                }
            }
            Verb::Starttls => {
                // What came behind STARTTLS in clear text must not run inside TLS (CVE-2011-0411; HOSTILE 60).
                self.backlog.clear();
                self.phase = Phase::Handshake;
            }
            Verb::Quit => return Some(self.close("quit")),
            _ => {}
        }
        event
    }
}

/// Why a line is not one.
enum BadLine {
    /// A bare CR or LF, where those are refused.
    Ambiguous,
    /// A CR inside.
    Control,
}

fn leads_nowhere(verb: Verb) -> bool {
    matches!(verb, Verb::Helo | Verb::Ehlo | Verb::Rset | Verb::Noop | Verb::Vrfy | Verb::Expn | Verb::Help)
}

/// Has a domain, or is the one name that needs none (RFC 5321 4.5.1).
fn is_qualified(address: &str) -> bool {
    // An "@" of a quoted local part is followed by the closing quote, a domain has none.
    memrchr(b'@', address.as_bytes()).is_some() && !address.ends_with('"')
        || address.eq_ignore_ascii_case("postmaster")
}

/// A browser made to talk to us carries the commands of an attacker in its body (cross-protocol request forgery).
fn is_http(line: &[u8]) -> bool {
    has_http_method(line) && memmem::find(line, b" HTTP/").is_some()
}

/// `PRI` begins HTTP/2 (RFC 9113 3.4).
fn has_http_method(line: &[u8]) -> bool {
    const METHODS: [&[u8]; 10] =
        [b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"PATCH", b"TRACE", b"PRI"];
    let method = line.split(|octet| *octet == b' ').next().unwrap_or_default();
    METHODS.contains(&method)
}
