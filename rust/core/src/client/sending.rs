//! A transaction of the client's: MAIL, RCPT, DATA or BDAT, the content, and RSET behind one that ended early.

use super::content::{ContentEncoder, Framing};
use super::envelope::Envelope;
use super::table::{Act, Asked};
use super::transaction::{Stage, Transaction};
use super::{Client, Event, Phase, Refused};
use crate::error::{ErrorKind, Result};
use crate::reply::Reply;

/// Commands of a group that wait for replies: few enough that neither side's buffers fill while the other writes, or
/// a client that blocks would wait for ever.
const WINDOW: usize = 100;

impl Client {
    /// Begins a transaction. Content that is not given here is asked for by [`Event::Content`].
    pub fn mail(&mut self, envelope: &Envelope, content: Option<&[u8]>) -> Result<(), Refused> {
        self.check_turn()?;
        // Chunks are one round trip less than DATA, and no dots; but several of them, one at a time, are more.
        let chunks = self.offers.chunking && (self.offers.pipelining || content.is_some());
        let framing = match (envelope.is_binary(), chunks) {
            (true, _) => Framing::Binary,
            (false, true) => Framing::Chunks,
            (false, false) => Framing::Dots,
        };
        let mut encoder = ContentEncoder::new(framing, self.settings.newlines);
        let mut whole = None;
        if let Some(content) = content {
            encoder.encode(content, true, whole.insert(Vec::new()))?;
        }
        let size = if content.is_some() { Some(encoder.size()) } else { envelope.size };
        let lines = envelope.lines(&self.offers, size)?;
        self.transaction = Some(Box::new(Transaction::new(lines, encoder, whole)));
        self.go_on();
        Ok(())
    }

    /// Whether the transaction under way asks for content.
    pub fn wants_content(&self) -> bool {
        let Some(transaction) = &self.transaction else { return false };
        let all_held = transaction.held.as_ref().is_some_and(|(_, last)| *last);
        self.phase != Phase::Closed && transaction.stage == Stage::Content && !all_held
    }

    /// Gives a piece of the content; `last` ends it. Where none is wanted any more it is dropped: the server may have
    /// refused the rest. After an error the session is over, for the content cannot be ended.
    pub fn content(&mut self, piece: &[u8], last: bool) -> Result<()> {
        if !self.wants_content() {
            return Ok(());
        }
        let must_wait = self.chunk_must_wait();
        let Some(transaction) = &mut self.transaction else { return Ok(()) };
        if must_wait {
            let (held, ends) = transaction.held.get_or_insert_default();
            held.extend_from_slice(piece);
            *ends = last;
            return Ok(());
        }
        self.give(piece, last)
    }

    /// Does the same without a copy of the piece: gives the place in the output where the driver has to send it. None
    /// where it cannot go as it is, and nothing is done: give it by [`Client::content`].
    pub fn pass_content(&mut self, piece: &[u8], last: bool) -> Option<usize> {
        if !self.wants_content() || self.chunk_must_wait() {
            return None;
        }
        let transaction = self.transaction.as_mut()?;
        let before = self.output.len();
        let place = transaction.encoder.pass(piece, last, &mut self.output)?;
        let framing = transaction.encoder.framing();
        note_content(&mut self.transcript, framing, &self.output[before..], piece.len(), last);
        self.content_given(last);
        Some(place)
    }

    /// The next chunk may not go before the reply to the last; a file is small beside a message lost.
    fn chunk_must_wait(&self) -> bool {
        let binary = |transaction: &Transaction| transaction.encoder.framing() == Framing::Binary;
        !self.offers.pipelining && !self.asked.is_empty() && self.transaction.as_deref().is_some_and(binary)
    }

    fn give(&mut self, piece: &[u8], last: bool) -> Result<()> {
        let Some(transaction) = &mut self.transaction else { return Ok(()) };
        let before = self.output.len();
        if let Err(error) = transaction.encoder.encode(piece, last, &mut self.output) {
            self.phase = Phase::Closed;
            self.output.clear();
            return Err(error);
        }
        // A piece may be all held back: no chunk, and no reply to it.
        if self.output.len() > before {
            let framing = transaction.encoder.framing();
            note_content(&mut self.transcript, framing, &self.output[before..], 0, last);
            self.content_given(last);
        }
        Ok(())
    }

    pub(super) fn heard_of_message(&mut self, act: Act, asked: Asked, reply: Reply) -> Result<Option<Event>> {
        let Some(transaction) = &mut self.transaction else {
            return Err(self.fail(ErrorKind::UnaskedReply));
        };
        match act {
            Act::Go => transaction.open = true,
            Act::Admit | Act::TurnDown => transaction.answer_recipient(reply),
            Act::Refuse | Act::Stop => {
                transaction.settle(reply);
                if act == Act::Stop && self.settings.lmtp && transaction.stage == Stage::Sent {
                    // How many replies it gives to the last chunk now, servers differ on.
                    return Ok(self.lost().map(Event::Done));
                }
                transaction.next = transaction.lines.count();
                transaction.stage = Stage::Failed;
            }
            Act::Content => return self.start_content(),
            Act::Settle => match transaction.stage {
                Stage::Content if reply.code() < 300 => return Err(self.fail(ErrorKind::OddReply)),
                Stage::Content => {
                    // Refused before its end: only that could end it, so the connection goes.
                    if self.settings.lmtp {
                        transaction.answer_content(reply);
                    } else {
                        transaction.settle(reply);
                    }
                    return Ok(self.lost().map(Event::Done));
                }
                _ if self.settings.lmtp && asked == Asked::Content => {
                    transaction.open = false;
                    transaction.answer_content(reply);
                }
                _ => {
                    transaction.open = false;
                    transaction.settle(reply);
                }
            },
            _ => {
                debug_assert_eq!(act, Act::Over);
                transaction.stage = Stage::Over;
                return Ok(None);
            }
        }
        if transaction.flooded(self.settings.max_reply) {
            return Err(self.fail(ErrorKind::ReplyTooLong));
        }
        Ok(self.go_on())
    }

    /// Says what can be said of the transaction, up to the next wait.
    fn go_on(&mut self) -> Option<Event> {
        let Some(transaction) = &mut self.transaction else { return None };
        let window = if self.offers.pipelining { WINDOW } else { 1 };
        let mut lines = std::mem::take(&mut transaction.lines);
        while transaction.next < lines.count() && self.asked.len() < window {
            let line = lines.get(transaction.next);
            self.asked.push_back(if transaction.next == 0 { Asked::Mail } else { Asked::Rcpt });
            self.output.extend_from_slice(line);
            transaction.next += 1;
            if let Some(transcript) = &mut self.transcript {
                transcript.push(('>', String::from_utf8_lossy(line).trim_end().to_owned()));
            }
        }
        std::mem::swap(&mut transaction.lines, &mut lines);
        let said = transaction.next == transaction.lines.count() && self.asked.len() < window;
        if transaction.stage == Stage::Envelope && said {
            let event = self.begin_content();
            if event.is_some() {
                return event;
            }
        }
        if !self.asked.is_empty() {
            return None;
        }
        if self.transaction.as_ref().is_some_and(|transaction| transaction.stage == Stage::Content) {
            self.give_held();
            return None;
        }
        self.conclude();
        None
    }

    /// Behind the last RCPT, where the window has room: DATA, or the content by BDAT, as early as the server allows.
    fn begin_content(&mut self) -> Option<Event> {
        let Some(transaction) = &mut self.transaction else { return None };
        let answered = self.asked.is_empty();
        if transaction.begun || answered && transaction.admitted() == 0 {
            return None;
        }
        if transaction.encoder.framing() == Framing::Dots {
            transaction.begun = true;
            self.say(b"DATA", Asked::Data);
            return None;
        }
        // In one group with its envelope, unless it is large: then it may all be for nothing. LMTP's replies to it
        // are as many as the accepted recipients, which are not known yet.
        let at_once = self.offers.pipelining && transaction.whole.is_some() && !self.settings.lmtp;
        if answered || at_once {
            transaction.begun = true;
            return self.give_or_ask();
        }
        None
    }

    /// DATA was answered with 354.
    fn start_content(&mut self) -> Result<Option<Event>> {
        let Some(transaction) = &mut self.transaction else { return Ok(None) };
        let admitted = transaction.admitted();
        if admitted == 0 {
            if self.settings.lmtp {
                // There would be no reply to wait for (RFC 2033 4.2).
                return Err(self.fail(ErrorKind::OddReply));
            }
            // Nobody to send it to, but the server waits for content (RFC 2920 3.1): it gets none.
            transaction.stage = Stage::Failed;
            self.say(b".", Asked::Content);
            return Ok(None);
        }
        transaction.vouched();
        let due = if self.settings.lmtp { admitted } else { 1 };
        self.asked.extend(std::iter::repeat_n(Asked::Content, due));
        Ok(self.give_or_ask())
    }

    fn give_or_ask(&mut self) -> Option<Event> {
        let Some(transaction) = &mut self.transaction else { return None };
        transaction.stage = Stage::Content;
        let Some(whole) = transaction.whole.take() else { return Some(Event::Content) };
        note_content(&mut self.transcript, transaction.encoder.framing(), &whole, 0, true);
        if self.output.is_empty() {
            self.output = whole;
        } else {
            self.output.extend_from_slice(&whole);
        }
        self.content_given(true);
        None
    }

    /// What waited for the reply to the chunk before it.
    fn give_held(&mut self) {
        let held = self.transaction.as_mut().and_then(|transaction| transaction.held.take());
        if let Some((held, last)) = held {
            let given = self.give(&held, last);
            debug_assert!(given.is_ok(), "binary content has no flaws");
        }
    }

    /// A piece of the content is in the output: what the server owes for it.
    fn content_given(&mut self, last: bool) {
        let Some(transaction) = &mut self.transaction else { return };
        if last {
            transaction.stage = Stage::Sent;
            transaction.sent = true;
        }
        if transaction.encoder.framing() == Framing::Dots {
            return; // its reply has been due since DATA's
        }
        match (last, self.settings.lmtp) {
            (false, _) => self.asked.push_back(Asked::Chunk),
            (true, false) => self.asked.push_back(Asked::LastChunk),
            (true, true) => self.asked.extend(std::iter::repeat_n(Asked::Content, transaction.admitted())),
        }
    }

    /// No reply is due: the transaction is over, here and on the server.
    fn conclude(&mut self) {
        let Some(transaction) = &mut self.transaction else { return };
        if transaction.open {
            transaction.stage = Stage::Reset;
            self.say(b"RSET", Asked::Reset);
        } else {
            transaction.stage = Stage::Over;
        }
    }
}

/// Of content the transcript has its size, beside the command of the chunk or the dot at the end. `apart`: octets of it
/// that are not in `framed`.
fn note_content(
    transcript: &mut Option<Vec<(char, String)>>,
    framing: Framing,
    framed: &[u8],
    apart: usize,
    last: bool,
) {
    let Some(transcript) = transcript else { return };
    let mut content = framed;
    if framing != Framing::Dots {
        let end = memchr::memchr(b'\n', framed).map_or(0, |newline| newline + 1);
        transcript.push(('>', String::from_utf8_lossy(&framed[..end]).trim_end().to_owned()));
        content = &framed[end..];
    } else if last {
        content = framed.strip_suffix(b".\r\n").unwrap_or(framed);
    }
    let octets = content.len() + apart;
    if octets > 0 {
        transcript.push(('>', format!("<{octets} octets of content>")));
    }
    if framing == Framing::Dots && last {
        transcript.push(('>', ".".to_owned()));
    }
}
