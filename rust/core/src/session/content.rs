//! The content of messages: DATA and BDAT.

use super::input::Reader;
use super::replies::{self, Canned};
use super::table::State;
use super::{Event, Pending, Phase, Session, Verdict};
use crate::command::{Command, Verb, parse_command};
use crate::data::{ChunkDecoder, DataDecoder, Flaw, Progress};
use crate::params::Body;
use crate::reply::Reply;

/// Content over the limit is read to its end so that the sender sees the reply, but not past this many times
/// the limit (HOSTILE 37, 38).
const PATIENCE: u64 = 10;

impl Session {
    pub(super) fn start_data(&mut self, reply: Option<&Reply>, more: bool) -> Option<Event> {
        if more && !self.config.settings.early_input {
            // Whoever could not have seen our 354 is not talking to us (HOSTILE 23).
            return Some(self.close_with(Verdict::Canned(replies::EARLY_INPUT), "content before 354"));
        }
        // Only 3yz asks for content; the driver may word it, not change it.
        let reply = reply.filter(|reply| reply.code() / 100 == 3);
        self.say(Verdict::Canned(replies::START_CONTENT), reply);
        let settings = &self.config.settings;
        let decoder = DataDecoder::new(settings.newlines, settings.limits.message_size);
        self.phase = Phase::Data(Box::new(decoder));
        None
    }

    pub(super) fn read_data(&mut self, reader: &mut Reader<'_>) -> Option<Event> {
        let Phase::Data(decoder) = &mut self.phase else { return None };
        match decoder.feed(reader.rest()) {
            Progress::More => {
                reader.skip_all();
                None
            }
            Progress::Overrun => {
                reader.skip_all();
                Some(
                    self.close_with(
                        Verdict::Canned(replies::CONTENT_TOO_LARGE),
                        "content far over the limit",
                    ),
                )
            }
            Progress::End { consumed } => {
                reader.skip(consumed);
                match std::mem::replace(&mut self.phase, Phase::Command) {
                    Phase::Data(decoder) => self.content_done(decoder.finish()),
                    _ => None,
                }
            }
        }
    }

    fn content_done(&mut self, content: Result<Vec<u8>, Flaw>) -> Option<Event> {
        let flaw = match content {
            Ok(data) => {
                let mut message =
                    self.transaction.take().map(|transaction| transaction.message).unwrap_or_default();
                message.data = data;
                return Some(self.wait_for(Pending::Message, Event::Message(Box::new(message))));
            }
            Err(Flaw::BareNewline) => {
                let verdict = Verdict::Canned(replies::CONTENT_BARE_NEWLINE);
                return Some(self.close_with(verdict, "bare newline in content"));
            }
            Err(Flaw::Nul) => replies::CONTENT_NUL,
            Err(Flaw::TooLarge) => replies::CONTENT_TOO_LARGE,
        };
        let event = self.refuse(Verdict::Canned(flaw), b"");
        if !self.closed() {
            self.reset();
        }
        event
    }

    pub(super) fn message_answered(&mut self, reply: Option<&Reply>) -> Option<Event> {
        self.reset();
        self.idle_commands = 0;
        self.say(Verdict::Canned(replies::MESSAGE_OK), reply)
    }

    /// BDAT: its octets follow whatever we think of the command, and are read before it is answered, or they
    /// would run as commands (HOSTILE 44).
    pub(super) fn bdat(&mut self, line: &[u8]) -> Option<Event> {
        let parsed = parse_command(line, self.config.settings.strict);
        let command = match parsed {
            Ok(command) => command,
            // How many octets follow is not known, so nothing behind it can be read (HOSTILE 42).
            Err(error) => return Some(self.close_with(Verdict::Error(error), "bad chunk size")),
        };
        if let Some(refusal) = self.out_of_turn(Verb::Bdat) {
            return self.discard(size_of(&command), refusal);
        }
        let asked = self.decides(Verb::Bdat) && self.state == State::Rcpt;
        if asked {
            return Some(self.raise(command.into_owned(), line, Verdict::Canned(replies::CHUNK_OK)));
        }
        self.start_chunk(&command)
    }

    pub(super) fn start_chunk(&mut self, command: &Command) -> Option<Event> {
        let settings = &self.config.settings;
        let limit = settings.limits.message_size;
        let size = size_of(command);
        let binary = self.body() == Body::BinaryMime;
        let Some(transaction) = &mut self.transaction else {
            return self.discard(size, replies::BAD_SEQUENCE);
        };
        transaction.declared = transaction.declared.saturating_add(size);
        if transaction.declared > limit as u64 {
            transaction.chunks = None;
            self.state = State::ChunkFailed;
            return self.discard(size, replies::CONTENT_TOO_LARGE);
        }
        transaction
            .chunks
            .get_or_insert_with(|| Box::new(ChunkDecoder::new(binary, limit)))
            .start_chunk(size);
        self.state = State::Chunks;
        let last = !command.param.is_empty();
        if size == 0 {
            return self.chunk_done(last);
        }
        self.phase = Phase::Chunk { last };
        None
    }

    pub(super) fn read_chunk(&mut self, reader: &mut Reader<'_>) -> Option<Event> {
        let Phase::Chunk { last } = self.phase else { return None };
        let chunks = self.transaction.as_mut().and_then(|transaction| transaction.chunks.as_mut())?;
        reader.skip(chunks.feed(reader.rest()));
        if chunks.remaining() == 0 { self.chunk_done(last) } else { None }
    }

    fn chunk_done(&mut self, last: bool) -> Option<Event> {
        self.phase = Phase::Command;
        if !last {
            self.send(Verdict::Canned(replies::CHUNK_OK));
            return None;
        }
        let chunks = self.transaction.as_mut().and_then(|transaction| transaction.chunks.take())?;
        self.content_done(chunks.finish())
    }

    pub(super) fn turn_down_chunk(&mut self, command: &Command, refusal: &Reply) -> Option<Event> {
        self.state = State::ChunkFailed;
        self.start_discard(size_of(command), DiscardReply::Worded(refusal.clone()))
    }

    fn discard(&mut self, size: u64, refusal: Canned) -> Option<Event> {
        self.start_discard(size, DiscardReply::Ours(refusal))
    }

    fn start_discard(&mut self, size: u64, refusal: DiscardReply) -> Option<Event> {
        if size > PATIENCE.saturating_mul(self.config.settings.limits.message_size as u64) {
            match refusal {
                DiscardReply::Ours(canned) => self.send(Verdict::Canned(canned)),
                DiscardReply::Worded(reply) => reply.encode(&mut self.output),
            }
            return Some(self.close("chunk far over the limit"));
        }
        if size == 0 {
            return self.discarded(refusal);
        }
        self.phase = Phase::Discard { left: size, refusal };
        None
    }

    pub(super) fn read_discard(&mut self, reader: &mut Reader<'_>) -> Option<Event> {
        let Phase::Discard { left, .. } = &mut self.phase else { return None };
        let here = usize::try_from(*left).unwrap_or(usize::MAX).min(reader.rest().len());
        *left -= here as u64;
        let done = *left == 0;
        reader.skip(here);
        if !done {
            return None;
        }
        match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Discard { refusal, .. } => self.discarded(refusal),
            _ => None,
        }
    }

    fn discarded(&mut self, refusal: DiscardReply) -> Option<Event> {
        match refusal {
            DiscardReply::Ours(canned) => self.refuse(Verdict::Canned(canned), b"BDAT"),
            DiscardReply::Worded(reply) => {
                self.count_error().or_else(|| self.say(Verdict::Canned(replies::BAD_SEQUENCE), Some(&reply)))
            }
        }
    }
}

/// What a refused chunk is answered with, once its octets are read.
#[derive(Debug)]
pub(super) enum DiscardReply {
    Ours(Canned),
    Worded(Reply),
}

/// The parser lets only digits that fit through.
fn size_of(command: &Command) -> u64 {
    command.arg.parse().unwrap_or(u64::MAX)
}
