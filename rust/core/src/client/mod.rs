//! The client's side of a session (RFC 5321, RFC 2033) as a state machine: it is told what to do and what was read,
//! and gives octets to send and what came of it.
//!
//! One exchange at a time. A whole transaction is one: pipelined in groups where the server offers it (RFC 2920), by
//! BDAT where it offers that (RFC 3030), and with an outcome for each recipient whatever happens to it.

pub mod content;
pub mod envelope;
pub mod offers;
mod sending;
mod table;
mod transaction;

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::address::valid_domain;
use crate::error::{Error, ErrorKind, Result};
use crate::reply::{Reply, ReplyDecoder};
use content::Newlines;
use envelope::Unsendable;
use offers::Offers;
use table::{Act, Asked, act};
pub use transaction::{Outcome, Outcomes};
use transaction::{Stage, Transaction};

/// What the driver is told.
#[derive(Debug)]
pub enum Event {
    /// The exchange ended with this reply.
    Reply(Reply),
    /// A step of AUTH: answer with [`Client::respond`].
    Challenge(Vec<u8>),
    /// The server is ready for TLS: shake hands, then call [`Client::tls_started`].
    Handshake,
    /// The content may go: give it by [`Client::content`].
    Content,
    /// The transaction is over.
    Done(Outcomes),
}

/// What all sessions of a driver share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name in EHLO: a domain or an address literal.
    pub local_name: String,
    /// LMTP: LHLO, and a reply for each recipient at the end (RFC 2033).
    pub lmtp: bool,
    pub newlines: Newlines,
    /// Octets of a reply's line, CRLF included, and of a whole reply.
    pub max_line: usize,
    pub max_reply: usize,
}

/// Which of RFC 5321 4.5.3.2's timeouts runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    Nothing,
    Banner,
    Command,
    DataInit,
    DataBlock,
    DataEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// A challenge waits for the driver.
    Challenged,
    /// STARTTLS was answered with 220.
    Handshake,
    Closed,
}

/// The driver called out of turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfTurn(pub &'static str);

/// Why an exchange was not begun; nothing of it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    OutOfTurn(OutOfTurn),
    Unsendable(Unsendable),
}

impl From<Unsendable> for Refused {
    fn from(reason: Unsendable) -> Self {
        Self::Unsendable(reason)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Unsendable(Unsendable::Bad(error))
    }
}

impl From<OutOfTurn> for Refused {
    fn from(error: OutOfTurn) -> Self {
        Self::OutOfTurn(error)
    }
}

/// One session.
pub struct Client {
    settings: Settings,
    phase: Phase,
    /// The replies that are due, in their order.
    asked: VecDeque<Asked>,
    decoder: ReplyDecoder,
    output: Vec<u8>,
    offers: Offers,
    tls: bool,
    authenticated: bool,
    transaction: Option<Box<Transaction>>,
    /// Whole replies so far.
    replies: u64,
    farewell: Option<Reply>,
    transcript: Option<Vec<(char, String)>>,
}

impl Client {
    /// A session that waits for the banner; `tls`: the connection is in TLS from its start. The error is the local
    /// name's.
    pub fn new(settings: Settings, tls: bool) -> Result<Self> {
        valid_domain(settings.local_name.as_bytes())?;
        // EHLO comes before SMTPUTF8: a name is in its A-label form there (RFC 6531 3.7.1).
        if let Some(offset) = settings.local_name.bytes().position(|octet| !octet.is_ascii()) {
            return Err(Error::new(ErrorKind::BadDomain, offset));
        }
        Ok(Self {
            phase: Phase::Open,
            asked: VecDeque::from([Asked::Banner]),
            decoder: ReplyDecoder::new(settings.max_line, settings.max_reply),
            output: Vec::new(),
            offers: Offers::default(),
            tls,
            authenticated: false,
            transaction: None,
            replies: 0,
            farewell: None,
            transcript: None,
            settings,
        })
    }

    /// Keeps a transcript from now on: each line in and out, without secrets and content.
    pub fn keep_transcript(&mut self) {
        self.transcript.get_or_insert_default();
    }

    /// The lines since the last call; `>` was sent, `<` came.
    pub fn take_transcript(&mut self) -> Vec<(char, String)> {
        self.transcript.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes what was read. On an error the session is over: the driver closes, and asks [`Client::lost`] what became
    /// of a message that was under way.
    pub fn receive(&mut self, octets: &[u8]) -> Result<Option<Event>> {
        match self.phase {
            Phase::Closed => return Ok(None),
            // What comes in clear text behind the reply to STARTTLS is somebody else's (CVE-2011-0411).
            Phase::Handshake if !octets.is_empty() => return Err(self.fail(ErrorKind::InjectedReply)),
            Phase::Open | Phase::Challenged | Phase::Handshake => {}
        }
        let sent = self.transaction.as_ref().is_some_and(|transaction| transaction.sent);
        let step = self.read(octets, sent);
        if step.is_err() {
            // What came into the output in this read does not leave.
            self.phase = Phase::Closed;
            self.output.clear();
            if let Some(transaction) = &mut self.transaction {
                transaction.sent = sent;
            }
        }
        step
    }

    fn read(&mut self, octets: &[u8], sent: bool) -> Result<Option<Event>> {
        // What is asked in this read has not left: nobody can have answered it.
        let mut due = self.asked.len();
        let mut replies = Vec::new();
        let fed = self.decoder.feed(octets, &mut replies);
        let mut event = None;
        for reply in replies {
            if self.phase == Phase::Closed {
                return Ok(event);
            }
            self.note_reply(&reply);
            self.replies += 1;
            if matches!(event, Some(Event::Handshake)) {
                return Err(self.fail(ErrorKind::InjectedReply));
            }
            if due == 0 && reply.code() != 421 {
                return self.superfluous(event, sent);
            }
            due = due.saturating_sub(1);
            event = self.heard(reply)?.or(event);
        }
        let more = fed.is_err() || self.decoder.buffered() > 0;
        match fed {
            _ if self.phase == Phase::Closed || !more => {}
            _ if self.phase == Phase::Handshake => return Err(self.fail(ErrorKind::InjectedReply)),
            Err(error) if due > 0 => return Err(error),
            Ok(()) if due > 0 || self.decoder.may_become(421) => {}
            _ => return self.superfluous(event, sent),
        }
        let over = |transaction: &mut Box<Transaction>| transaction.stage == Stage::Over;
        Ok(self.transaction.take_if(over).map(|transaction| Event::Done(transaction.outcomes())).or(event))
    }

    /// The connection ended, or the driver gave it up: what became of the message under way.
    pub fn lost(&mut self) -> Option<Outcomes> {
        self.phase = Phase::Closed;
        self.asked.clear();
        self.output = Vec::new();
        self.transaction.take().map(|transaction| transaction.outcomes())
    }

    /// Sends a command of the driver's own, which one reply answers.
    pub fn command(&mut self, line: &[u8]) -> Result<(), Refused> {
        self.check_turn()?;
        if let Some(offset) = line.iter().position(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
            return Err(Error::new(ErrorKind::BadOctet, offset).into());
        }
        let verb =
            line.split(|octet| matches!(octet, b' ' | b'\t')).next().unwrap_or_default().to_ascii_uppercase();
        let asked = match verb.as_slice() {
            b"" => return Err(Error::new(ErrorKind::MissingArgument, 0).into()),
            b"DATA" | b"BDAT" | b"STARTTLS" | b"AUTH" => {
                return Err(OutOfTurn(
                    "DATA, BDAT, STARTTLS and AUTH are more than a command and a reply: use their methods",
                )
                .into());
            }
            b"EHLO" | b"LHLO" | b"HELO" => Asked::Helo,
            b"QUIT" => Asked::Quit,
            _ => Asked::Command,
        };
        self.say(line, asked);
        Ok(())
    }

    /// Asks for TLS (RFC 3207).
    pub fn starttls(&mut self) -> Result<(), Refused> {
        self.check_turn()?;
        if self.tls {
            return Err(OutOfTurn("the session is in TLS already").into());
        }
        if !self.offers.has("STARTTLS") {
            return Err(Unsendable::NotOffered("STARTTLS").into());
        }
        self.say(b"STARTTLS", Asked::StartTls);
        Ok(())
    }

    /// The handshake is done: what was learnt before it is forgotten (RFC 3207 4.2), and hello said anew.
    pub fn tls_started(&mut self) -> Result<(), OutOfTurn> {
        if self.phase != Phase::Handshake {
            return Err(OutOfTurn("no STARTTLS was answered with 220"));
        }
        self.phase = Phase::Open;
        self.tls = true;
        self.authenticated = false;
        self.offers = Offers::default();
        self.greet();
        Ok(())
    }

    /// Begins AUTH (RFC 4954); base64 is done here.
    pub fn auth(&mut self, mechanism: &str, initial: Option<&[u8]>) -> Result<(), Refused> {
        self.check_turn()?;
        if !self.offers.has("AUTH") {
            return Err(Unsendable::NotOffered("AUTH").into());
        }
        let named = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
        if mechanism.is_empty() || !mechanism.bytes().all(named) {
            return Err(Error::new(ErrorKind::BadOctet, 0).into());
        }
        let mut line = format!("AUTH {mechanism}");
        self.note('>', &[line.as_str(), if initial.is_some() { " ***" } else { "" }]);
        match initial {
            None => {}
            // An empty one has a form of its own.
            Some([]) => line.push_str(" ="),
            Some(initial) => {
                line.push(' ');
                STANDARD.encode_string(initial, &mut line);
            }
        }
        self.put(line.as_bytes(), Asked::Auth);
        Ok(())
    }

    /// Answers a challenge; None gives up.
    pub fn respond(&mut self, response: Option<&[u8]>) -> Result<(), OutOfTurn> {
        if self.phase != Phase::Challenged {
            return Err(OutOfTurn("no challenge waits for an answer"));
        }
        self.phase = Phase::Open;
        let line = response.map_or("*".to_owned(), |response| STANDARD.encode(response));
        self.note('>', &[if response.is_some() { "***" } else { "*" }]);
        self.put(line.as_bytes(), Asked::Auth);
        Ok(())
    }

    /// The octets to send; gone once they are taken.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// The same without giving the memory away, for a driver that copies.
    pub fn drain_output<T>(&mut self, copy: impl FnOnce(&[u8]) -> T) -> T {
        let copied = copy(&self.output);
        self.output.clear();
        // A kept connection that rests keeps no large buffer; between two pieces of content it saves the system's work.
        if self.output.capacity() > 64 << 10 && self.transaction.is_none() {
            self.output = Vec::new();
        }
        copied
    }

    pub fn waiting(&self) -> Waiting {
        let content =
            self.transaction.as_ref().is_some_and(|transaction| transaction.stage == Stage::Content);
        match self.asked.front() {
            _ if content => Waiting::DataBlock,
            None => Waiting::Nothing,
            Some(Asked::Banner) => Waiting::Banner,
            Some(Asked::Data) => Waiting::DataInit,
            Some(Asked::Content | Asked::LastChunk) => Waiting::DataEnd,
            Some(Asked::Chunk) => Waiting::DataBlock,
            Some(_) => Waiting::Command,
        }
    }

    /// Whole replies so far: octets that complete none are no progress.
    pub fn replies(&self) -> u64 {
        self.replies
    }

    pub fn offers(&self) -> &Offers {
        &self.offers
    }

    pub fn tls(&self) -> bool {
        self.tls
    }

    pub fn authenticated(&self) -> bool {
        self.authenticated
    }

    /// Whether an exchange may begin.
    pub fn idle(&self) -> bool {
        self.rests() && self.decoder.buffered() == 0
    }

    /// Nothing more can be said: the driver closes. So it is behind half a farewell, or its rest would pass for a reply.
    pub fn closed(&self) -> bool {
        self.phase == Phase::Closed || self.rests() && self.decoder.buffered() > 0
    }

    fn rests(&self) -> bool {
        self.phase == Phase::Open && self.asked.is_empty() && self.transaction.is_none()
    }

    /// The 421 with which the server ended the session.
    pub fn farewell(&self) -> Option<&Reply> {
        self.farewell.as_ref()
    }

    fn check_turn(&self) -> Result<(), OutOfTurn> {
        if self.idle() {
            return Ok(());
        }
        Err(OutOfTurn(if self.closed() {
            "the session is over: make a new one"
        } else {
            "an exchange is under way: wait for its end"
        }))
    }

    /// Goes by the reply that was due; gives what the driver has to know.
    fn heard(&mut self, reply: Reply) -> Result<Option<Event>> {
        let asked = self.asked.pop_front();
        if reply.code() == 421 {
            let under_way = asked.is_some() || self.phase == Phase::Challenged;
            return Ok(self.dismissed(reply, under_way));
        }
        // A server that counts wrong.
        let Some(asked) = asked else { return Err(self.fail(ErrorKind::UnaskedReply)) };
        match act(asked, reply.code()) {
            Act::Hello => {
                self.greet();
                Ok(None)
            }
            Act::HelloOld if !self.settings.lmtp => {
                let line = format!("HELO {}", self.settings.local_name);
                self.say(line.as_bytes(), Asked::Helo);
                Ok(None)
            }
            Act::Learn => {
                self.offers = Offers::of(&reply);
                Ok(Some(Event::Reply(reply)))
            }
            Act::Close => {
                self.phase = Phase::Closed;
                Ok(Some(Event::Reply(reply)))
            }
            Act::Secure => {
                self.phase = Phase::Handshake;
                Ok(Some(Event::Handshake))
            }
            Act::Challenge => {
                let challenge = STANDARD.decode(reply.lines()[0].trim());
                let challenge = challenge.map_err(|_| self.fail(ErrorKind::OddReply))?;
                self.phase = Phase::Challenged;
                Ok(Some(Event::Challenge(challenge)))
            }
            Act::End | Act::HelloOld => {
                self.authenticated |= asked == Asked::Auth && reply.code() < 300;
                Ok(Some(Event::Reply(reply)))
            }
            Act::Odd => Err(self.fail(ErrorKind::OddReply)),
            of_message => self.heard_of_message(of_message, asked, reply),
        }
    }

    fn greet(&mut self) {
        let verb = if self.settings.lmtp { "LHLO" } else { "EHLO" };
        let line = format!("{verb} {}", self.settings.local_name);
        self.say(line.as_bytes(), Asked::Ehlo);
    }

    fn say(&mut self, line: &[u8], asked: Asked) {
        self.note('>', &[&String::from_utf8_lossy(line)]);
        self.put(line, asked);
    }

    fn put(&mut self, line: &[u8], asked: Asked) {
        self.output.extend_from_slice(line);
        self.output.extend_from_slice(b"\r\n");
        self.asked.push_back(asked);
    }

    /// The server leaves, whatever it was asked (RFC 5321 3.8); that ends the exchange that is under way.
    fn dismissed(&mut self, reply: Reply, under_way: bool) -> Option<Event> {
        self.farewell = Some(reply.clone());
        let transaction = self.transaction.take();
        self.lost();
        match transaction {
            Some(mut transaction) => {
                transaction.settle(reply);
                Some(Event::Done(transaction.outcomes()))
            }
            None => under_way.then_some(Event::Reply(reply)),
        }
    }

    /// The server answers more than it was asked: which reply belongs to which command is known no more. That ends the
    /// session, and undoes what was told of a message that was sent; what came of another exchange stands.
    fn superfluous(&mut self, event: Option<Event>, sent: bool) -> Result<Option<Event>> {
        self.phase = Phase::Closed;
        match &mut self.transaction {
            Some(transaction) if sent => transaction.doubt(),
            None if matches!(event, Some(Event::Reply(_))) => return Ok(event),
            _ => {}
        }
        Err(Error::new(ErrorKind::UnaskedReply, 0))
    }

    fn fail(&mut self, kind: ErrorKind) -> Error {
        self.phase = Phase::Closed;
        Error::new(kind, 0)
    }

    fn note(&mut self, direction: char, parts: &[&str]) {
        if let Some(transcript) = &mut self.transcript {
            transcript.push((direction, parts.concat()));
        }
    }

    fn note_reply(&mut self, reply: &Reply) {
        let Some(transcript) = &mut self.transcript else { return };
        // A challenge is half of what guessing a password off line takes.
        let secret = self.asked.front() == Some(&Asked::Auth) && reply.code() / 100 == 3;
        let last = reply.lines().len() - 1;
        for (index, line) in reply.lines().iter().enumerate() {
            let separator = if index == last { ' ' } else { '-' };
            let text = if secret { "***" } else { line };
            transcript.push(('<', format!("{}{separator}{text}", reply.code())));
        }
    }
}
