//! The server's side of an SMTP session, without I/O: octets in; events out, and octets to send.
//!
//! [`Session::receive`] takes what was read, answers what needs no decision, and stops at the first event that
//! does. [`Session::answer`] gives the decision and goes on from the backlog, so that a pipelined group of
//! commands is answered in one write. Feeding an octet at a time gives the same as feeding all at once.

pub mod config;
pub mod replies;
pub mod table;

mod auth;
mod commands;
mod content;
mod input;

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::command::{Command, Param, Verb};
use crate::data::{ChunkDecoder, DataDecoder};
use crate::error::Error;
use crate::params::MailParams;
use crate::reply::Reply;
use config::Config;
use content::DiscardReply;
use input::{Backlog, Reader};
use replies::Canned;
use table::State;

/// A line longer than this is not waited out to its end: the connection is closed (HOSTILE 17).
const LONGEST_LINE: usize = 1 << 20;

/// What the driver is told; all but `Close` owe one answer.
#[derive(Debug)]
pub enum Event {
    /// A command that the driver decides, and the reply it gets unless the driver gives another.
    Command { command: Command<'static>, line: Vec<u8>, default: Reply },
    /// A step of AUTH (RFC 4954): the initial response, or an answer to a challenge, decoded.
    Auth { mechanism: String, initial: bool, response: Option<Vec<u8>> },
    /// A whole message.
    Message(Box<Message>),
    /// A line that the session refuses, where the driver asked to word refusals.
    Refusal { line: Vec<u8>, default: Reply },
    /// Send what is due, then close; why, in a word for the log.
    Close { reason: &'static str },
}

/// A message with its envelope.
#[derive(Debug, Default)]
pub struct Message {
    pub mail_from: String,
    pub params: Vec<Param<'static>>,
    pub recipients: Vec<String>,
    pub rcpt_params: Vec<Vec<Param<'static>>>,
    pub data: Vec<u8>,
}

/// The driver called out of turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfTurn(pub &'static str);

/// How the octets at hand are read.
enum Phase {
    /// Before our banner.
    Silent,
    Command,
    /// The answer to a challenge.
    Auth,
    /// A line that is too long, up to its end.
    LongLine {
        refusal: Canned,
        dropped: usize,
        after_cr: bool,
    },
    Data(Box<DataDecoder>),
    Chunk {
        last: bool,
    },
    /// The octets of a chunk that was refused; its reply comes behind them.
    Discard {
        left: u64,
        refusal: DiscardReply,
    },
    /// STARTTLS was answered with 220.
    Handshake,
    Closed,
}

/// What waits for the driver's answer.
#[derive(Debug)]
enum Pending {
    Command { command: Command<'static>, verdict: Verdict },
    Auth,
    Message,
    Refusal(Verdict),
}

/// A reply that the session gives unless the driver words another.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    Canned(Canned),
    Helo,
    Ehlo,
    Error(Error),
}

/// The transaction under way.
#[derive(Default)]
struct Transaction {
    message: Message,
    typed: MailParams,
    chunks: Option<Box<ChunkDecoder>>,
    declared: u64,
}

/// One session.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Session {
    config: Arc<Config>,
    state: State,
    phase: Phase,
    pending: Option<Pending>,
    backlog: Backlog,
    output: Vec<u8>,
    transaction: Option<Box<Transaction>>,
    mechanism: String,
    helo: String,
    esmtp: bool,
    tls: bool,
    authenticated: bool,
    spoken: bool,
    errors: u32,
    idle_commands: u32,
    refused_recipients: u32,
    auth_failures: u32,
    transactions: u64,
}

impl Session {
    pub fn new(config: Arc<Config>, tls: bool) -> Self {
        let mut session = Self {
            config,
            state: State::Greeted,
            phase: Phase::Silent,
            pending: None,
            backlog: Backlog::default(),
            output: Vec::new(),
            transaction: None,
            mechanism: String::new(),
            helo: String::new(),
            esmtp: false,
            tls,
            authenticated: false,
            spoken: false,
            errors: 0,
            idle_commands: 0,
            refused_recipients: 0,
            auth_failures: 0,
            transactions: 0,
        };
        session.state = session.unspoken();
        session
    }

    /// Gives the banner: ours, or the driver's; one of 4yz or 5yz ends the session.
    pub fn start(&mut self, reply: Option<&Reply>) -> Result<Option<Event>, OutOfTurn> {
        if !matches!(self.phase, Phase::Silent) {
            return Err(OutOfTurn("start() is called once, before anything else"));
        }
        if !self.backlog.is_empty() && !self.config.settings.early_input {
            // Who talks before the banner is no mail server, and what it said is not run (HOSTILE 23).
            self.backlog.clear();
            return Ok(Some(
                self.close_with(Verdict::Canned(replies::EARLY_INPUT), "input before the banner"),
            ));
        }
        self.phase = Phase::Command;
        match reply {
            Some(reply) => {
                reply.encode(&mut self.output);
                if reply.code() >= 400 {
                    return Ok(Some(self.close("refused at connect")));
                }
            }
            None => self.output.extend_from_slice(&self.config.banner.bytes),
        }
        Ok(self.resume())
    }

    /// Takes what was read. While an answer is owed, or before `start`, it only keeps it.
    pub fn receive(&mut self, octets: &[u8]) -> Option<Event> {
        match self.phase {
            Phase::Closed | Phase::Handshake => return None,
            _ if self.pending.is_some() || matches!(self.phase, Phase::Silent) => {
                self.backlog.push(octets);
                return None;
            }
            _ => {}
        }
        if self.backlog.is_empty() {
            if matches!(self.phase, Phase::Command) {
                // Replies are about as long as the commands that they answer.
                self.output.reserve(octets.len().min(4096));
            }
            let mut reader = Reader::new(octets);
            let event = self.advance(&mut reader);
            self.backlog = Backlog::rest(&reader);
            event
        } else {
            self.backlog.push(octets);
            self.resume()
        }
    }

    /// Answers the event that waits: the default, or `reply`.
    pub fn answer(&mut self, reply: Option<&Reply>) -> Result<Option<Event>, OutOfTurn> {
        let Some(pending) = self.pending.take() else {
            return Err(OutOfTurn("no event waits for an answer"));
        };
        let event = match pending {
            Pending::Command { command, verdict } => self.decided(command, verdict, reply),
            Pending::Auth => self.auth_answered(reply),
            Pending::Message => self.message_answered(reply),
            Pending::Refusal(verdict) => self.say(verdict, reply),
        };
        Ok(event.or_else(|| self.resume()))
    }

    /// Answers an AUTH event with a challenge (RFC 4954 4).
    pub fn challenge(&mut self, octets: &[u8]) -> Result<Option<Event>, OutOfTurn> {
        if !matches!(self.pending, Some(Pending::Auth)) {
            return Err(OutOfTurn("only an AUTH event is answered with a challenge"));
        }
        self.pending = None;
        self.send_challenge(octets);
        Ok(self.resume())
    }

    /// The driver's handshake is done: all that was learnt before it is forgotten (RFC 3207 4.2).
    pub fn tls_started(&mut self) -> Result<(), OutOfTurn> {
        if !matches!(self.phase, Phase::Handshake) {
            return Err(OutOfTurn("no STARTTLS was answered with 220"));
        }
        self.tls = true;
        self.helo.clear();
        self.esmtp = false;
        self.authenticated = false;
        self.spoken = false;
        self.backlog.clear();
        self.transaction = None;
        self.phase = Phase::Command;
        self.state = self.unspoken();
        Ok(())
    }

    /// Ends the session from the driver's side: a 421 at stop or at a timeout.
    pub fn shut(&mut self, reply: Option<&Reply>) {
        if !matches!(self.phase, Phase::Closed | Phase::Handshake) {
            if let Some(reply) = reply {
                reply.encode(&mut self.output);
            }
        }
        self.close("shut down");
    }

    /// The octets to send; gone once they are taken.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// The same without giving the memory away, for a driver that copies.
    pub fn drain_output<T>(&mut self, copy: impl FnOnce(&[u8]) -> T) -> T {
        let copied = copy(&self.output);
        self.output.clear();
        // An idle session keeps no large buffer: ten thousand of them are held.
        if self.output.capacity() > 1024 {
            self.output = Vec::new();
        }
        copied
    }

    pub fn state(&self) -> &'static str {
        match self.phase {
            Phase::Silent => "silent",
            Phase::Data(_) | Phase::Chunk { .. } | Phase::Discard { .. } => "data",
            Phase::Auth => "auth",
            Phase::Handshake => "handshake",
            Phase::Closed => "closed",
            _ => self.state.name(),
        }
    }

    /// Whether an event waits for its answer.
    pub fn owes_answer(&self) -> bool {
        self.pending.is_some()
    }

    pub fn closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    pub fn in_transaction(&self) -> bool {
        self.state.in_transaction()
    }

    pub fn tls(&self) -> bool {
        self.tls
    }

    pub fn helo(&self) -> &str {
        &self.helo
    }

    pub fn esmtp(&self) -> bool {
        self.esmtp
    }

    pub fn authenticated(&self) -> bool {
        self.authenticated
    }

    /// Octets that wait to be read.
    pub fn buffered(&self) -> usize {
        self.backlog.len()
    }

    /// Accepted MAIL commands so far.
    pub fn transactions(&self) -> u64 {
        self.transactions
    }

    /// Refused commands so far.
    pub fn errors(&self) -> u32 {
        self.errors
    }

    /// Failed logins so far.
    pub fn auth_failures(&self) -> u32 {
        self.auth_failures
    }

    fn resume(&mut self) -> Option<Event> {
        if self.pending.is_some() || self.backlog.is_empty() {
            return None;
        }
        let backlog = self.backlog.take();
        let mut reader = backlog.reader();
        let event = self.advance(&mut reader);
        let (at, searched) = (reader.at(), reader.searched());
        self.backlog = backlog.advanced(at, searched);
        event
    }

    /// Reads on until an event is raised or the octets run out.
    fn advance(&mut self, reader: &mut Reader<'_>) -> Option<Event> {
        while !reader.is_empty() {
            let event = match self.phase {
                Phase::Command | Phase::Auth => match self.read_line(reader) {
                    ControlFlow::Continue(event) => event,
                    ControlFlow::Break(()) => return None,
                },
                Phase::LongLine { .. } => self.read_long_line(reader),
                Phase::Data(_) => self.read_data(reader),
                Phase::Chunk { .. } => self.read_chunk(reader),
                Phase::Discard { .. } => self.read_discard(reader),
                Phase::Silent => return None,
                Phase::Handshake | Phase::Closed => {
                    reader.skip_all();
                    return None;
                }
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// The state of a session that has said no HELO or EHLO.
    fn unspoken(&self) -> State {
        if self.config.settings.tls_required && !self.tls { State::Cleartext } else { State::Greeted }
    }

    /// The state between transactions of one that has.
    fn resting(&self) -> State {
        let settings = &self.config.settings;
        if settings.tls_required && !self.tls {
            State::Cleartext
        } else if settings.auth_required && !self.authenticated {
            State::Anonymous
        } else {
            State::Ready
        }
    }

    fn reset(&mut self) {
        self.transaction = None;
        if self.state != State::Greeted {
            self.state = self.resting();
        }
        self.phase = Phase::Command;
    }

    /// Sends the driver's reply, or ours; a 421 of the driver's ends the session (RFC 5321 3.8).
    fn say(&mut self, verdict: Verdict, reply: Option<&Reply>) -> Option<Event> {
        let Some(reply) = reply else {
            self.send(verdict);
            return None;
        };
        reply.encode(&mut self.output);
        (reply.code() == 421).then(|| self.close("ended by the handler"))
    }

    fn send(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Canned(canned) => self.output.extend_from_slice(canned.0.as_bytes()),
            Verdict::Helo => self.output.extend_from_slice(&self.config.helo.bytes),
            Verdict::Ehlo => self.output.extend_from_slice(&self.config.ehlo(self.tls).bytes),
            Verdict::Error(error) => {
                let line = format!("{} {} {}\r\n", error.code, error.enhanced, error.text());
                self.output.extend_from_slice(line.as_bytes());
            }
        }
    }

    fn worded(&self, verdict: Verdict) -> Reply {
        match verdict {
            Verdict::Canned(canned) => canned.reply(),
            Verdict::Helo => self.config.helo.reply.clone(),
            Verdict::Ehlo => self.config.ehlo(self.tls).reply.clone(),
            Verdict::Error(error) => error_reply(error),
        }
    }

    /// Refuses a line: counted as an error, and the end of a session that makes too many (HOSTILE 33).
    fn refuse(&mut self, verdict: Verdict, line: &[u8]) -> Option<Event> {
        self.count_error().or_else(|| self.word_refusal(verdict, line))
    }

    /// Sends a refusal, once the driver has worded it if it wants to.
    fn word_refusal(&mut self, verdict: Verdict, line: &[u8]) -> Option<Event> {
        if self.config.settings.decide_errors {
            self.pending = Some(Pending::Refusal(verdict));
            return Some(Event::Refusal { line: line.to_vec(), default: self.worded(verdict) });
        }
        self.send(verdict);
        None
    }

    fn count_error(&mut self) -> Option<Event> {
        self.errors += 1;
        if self.errors < self.config.settings.limits.errors || self.state.has_recipient() {
            return None;
        }
        Some(self.close_with(Verdict::Canned(replies::TOO_MANY_ERRORS), "too many errors"))
    }

    fn close_with(&mut self, verdict: Verdict, reason: &'static str) -> Event {
        self.send(verdict);
        self.close(reason)
    }

    fn close(&mut self, reason: &'static str) -> Event {
        self.phase = Phase::Closed;
        self.pending = None;
        self.transaction = None;
        self.backlog.clear();
        Event::Close { reason }
    }

    fn raise(&mut self, command: Command<'static>, line: &[u8], verdict: Verdict) -> Event {
        let event =
            Event::Command { command: command.clone(), line: line.to_vec(), default: self.worded(verdict) };
        self.wait_for(Pending::Command { command, verdict }, event)
    }

    fn wait_for(&mut self, pending: Pending, event: Event) -> Event {
        self.pending = Some(pending);
        event
    }

    fn decides(&self, verb: Verb) -> bool {
        self.config.decides(verb)
    }
}

fn error_reply(error: Error) -> Reply {
    Reply::with_enhanced(error.code, error.enhanced, vec![error.text().to_owned()])
        .expect("an error's reply is well formed")
}
