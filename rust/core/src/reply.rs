//! Replies (RFC 5321 4.2): to bytes, and from the bytes of a server that may be hostile.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, ErrorKind, Result};

/// A code and one line of text or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    /// `code` is `[2-5][0-5][0-9]`. No lines are one empty line. CR, LF or NUL in a line would be another reply to the
    /// peer: refused; the offset is that in its line.
    pub fn new(code: u16, mut lines: Vec<String>) -> Result<Self> {
        if !is_code(code) {
            return Err(Error::new(ErrorKind::BadReplyCode, 0));
        }
        for line in &lines {
            if let Some(at) = memchr::memchr3(b'\r', b'\n', 0, line.as_bytes()) {
                return Err(Error::new(ErrorKind::BadReplyText, at));
            }
        }
        if lines.is_empty() {
            lines.push(String::new());
        }
        Ok(Self { code, lines })
    }

    /// The same with the enhanced code (RFC 2034) in front of every line.
    pub fn with_enhanced(code: u16, enhanced: &str, mut lines: Vec<String>) -> Result<Self> {
        if !is_enhanced(enhanced) {
            return Err(Error::new(ErrorKind::BadEnhancedCode, 0));
        }
        if lines.is_empty() {
            lines.push(String::new());
        }
        for line in &mut lines {
            line.insert(0, ' ');
            line.insert_str(0, enhanced);
        }
        Self::new(code, lines)
    }

    pub fn code(&self) -> u16 {
        self.code
    }

    /// At least one, without code and CRLF.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Appends the reply as it goes over the wire.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let [high, low] = [self.code / 100, self.code % 100];
        let digit = |value: u16| b'0' + (value % 10) as u8;
        let code = [digit(high), digit(low / 10), digit(low)];
        let last = self.lines.len() - 1;
        out.reserve(self.lines.iter().map(|line| line.len() + 6).sum());
        for (index, line) in self.lines.iter().enumerate() {
            out.extend_from_slice(&code);
            out.push(if index == last { b' ' } else { b'-' });
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The enhanced code at the start of the first line, as `2.1.5`.
    pub fn enhanced(&self) -> Option<&str> {
        let word = self.lines[0].split(' ').next()?;
        is_enhanced(word).then_some(word)
    }
}

const fn is_code(code: u16) -> bool {
    matches!(code, 200..=259 | 300..=359 | 400..=459 | 500..=559)
}

/// `class.subject.detail` (RFC 3463 2).
fn is_enhanced(word: &str) -> bool {
    let number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit());
    let mut parts = word.split('.');
    matches!(parts.next(), Some("2" | "4" | "5"))
        && parts.next().is_some_and(number)
        && parts.next().is_some_and(number)
        && parts.next().is_none()
}

/// One whole reply and nothing behind it; its last CRLF may be missing.
pub fn parse_reply(raw: &[u8]) -> Result<Reply> {
    let mut partial = Partial::default();
    let mut at = 0;
    while at < raw.len() {
        let end = memchr::memchr(b'\n', &raw[at..]).map(|newline| at + newline + 1);
        let line = match end {
            Some(end) => strip_newline(&raw[at..end]),
            None => Ok(&raw[at..]),
        };
        let reply = line.and_then(|line| partial.line(line)).map_err(|error| error_at(error, at))?;
        at = end.unwrap_or(raw.len());
        if let Some(reply) = reply {
            return if at == raw.len() { Ok(reply) } else { Err(Error::new(ErrorKind::TrailingReply, at)) };
        }
    }
    Err(Error::new(ErrorKind::IncompleteReply, at))
}

/// The lines so far of a reply that is not whole.
#[derive(Default)]
struct Partial {
    code: u16,
    lines: Vec<String>,
}

impl Partial {
    /// Takes a line without its CRLF; the reply, when it is the last.
    fn line(&mut self, line: &[u8]) -> Result<Option<Reply>> {
        let bad_code = Error::new(ErrorKind::BadReplyCode, 0);
        let (code, text, last) = match line {
            [a, b, c] => ([a, b, c], &[][..], true),
            [a, b, c, b' ', text @ ..] => ([a, b, c], text, true),
            [a, b, c, b'-', text @ ..] => ([a, b, c], text, false),
            _ => return Err(bad_code),
        };
        let mut value = 0;
        for digit in code {
            if !digit.is_ascii_digit() {
                return Err(bad_code);
            }
            value = value * 10 + u16::from(digit - b'0');
        }
        if !is_code(value) {
            return Err(bad_code);
        }
        if !self.lines.is_empty() && value != self.code {
            return Err(Error::new(ErrorKind::MixedReplyCodes, 0));
        }
        if let Some(at) = memchr::memchr3(b'\r', b'\n', 0, text) {
            return Err(Error::new(ErrorKind::BadReplyText, at + 4));
        }
        self.code = value;
        self.lines.push(String::from_utf8_lossy(text).into_owned());
        Ok(last.then(|| Reply { code: value, lines: std::mem::take(&mut self.lines) }))
    }
}

/// Only CRLF ends a line.
fn strip_newline(line: &[u8]) -> Result<&[u8]> {
    line.strip_suffix(b"\r\n").ok_or(Error::new(ErrorKind::BadReplyText, line.len().saturating_sub(1)))
}

fn error_at(error: Error, at: usize) -> Error {
    Error { offset: at + error.offset, ..error }
}

/// Incremental: bytes of a server in, whole replies out, memory bounded. After an error it refuses all: what a broken
/// stream says next belongs to no command.
pub struct ReplyDecoder {
    max_line: usize,
    max_reply: usize,
    line: Vec<u8>,
    partial: Partial,
    /// Octets of the whole lines in `partial`.
    taken: usize,
    poison: Option<Error>,
}

impl ReplyDecoder {
    /// The limits are octets with CRLF.
    pub fn new(max_line: usize, max_reply: usize) -> Self {
        Self { max_line, max_reply, line: Vec::new(), partial: Partial::default(), taken: 0, poison: None }
    }

    /// Octets of a reply that is not whole.
    pub fn buffered(&self) -> usize {
        self.taken + self.line.len()
    }

    /// Whether the reply that is not whole can have this code.
    pub fn may_become(&self, code: u16) -> bool {
        (self.partial.lines.is_empty() || self.partial.code == code)
            && self.line.iter().zip(code.to_string().as_bytes()).all(|(one, other)| one == other)
    }

    /// Appends the replies that `input` completes to `out`, also those in front of an error. An error's offset counts
    /// from the start of its reply.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<Reply>) -> Result<()> {
        if let Some(error) = self.poison {
            return Err(error);
        }
        self.take(input, out).inspect_err(|&error| {
            self.line = Vec::new();
            self.partial = Partial::default();
            self.taken = 0;
            self.poison = Some(error);
        })
    }

    fn take(&mut self, input: &[u8], out: &mut Vec<Reply>) -> Result<()> {
        let mut rest = input;
        while let Some(newline) = memchr::memchr(b'\n', rest) {
            let (end, behind) = rest.split_at(newline + 1);
            rest = behind;
            self.check_limits(self.line.len() + end.len())?;
            let whole;
            let line = if self.line.is_empty() {
                end
            } else {
                self.line.extend_from_slice(end);
                whole = std::mem::take(&mut self.line);
                &whole
            };
            let reply = strip_newline(line)
                .and_then(|line| self.partial.line(line))
                .map_err(|error| error_at(error, self.taken))?;
            self.taken += line.len();
            if let Some(reply) = reply {
                out.push(reply);
                self.taken = 0;
            }
        }
        self.check_limits(self.line.len() + rest.len())?;
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// Names the limit that is crossed first: where the input was split must not matter.
    fn check_limits(&self, line: usize) -> Result<()> {
        let room = self.max_reply.saturating_sub(self.taken);
        if line > self.max_line && self.max_line <= room {
            return Err(Error::new(ErrorKind::ReplyLineTooLong, self.taken + self.max_line));
        }
        if line > room {
            return Err(Error::new(ErrorKind::ReplyTooLong, self.max_reply));
        }
        Ok(())
    }
}

/// What a server says of itself in its reply to EHLO or HELO.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ServerInfo {
    pub domain: String,
    /// What follows the domain in the first line.
    pub info: String,
    /// Keywords in upper case with their parameters as they came, in the server's order.
    pub extensions: Vec<(String, Vec<String>)>,
}

impl ServerInfo {
    /// A keyword given twice is one with the parameters of both; so is `AUTH=PLAIN` beside `AUTH PLAIN`, a form from
    /// before RFC 2554 that servers send for old clients.
    pub fn from_reply(reply: &Reply) -> Self {
        let (domain, info) = reply.lines[0].split_once(' ').unwrap_or((&reply.lines[0], ""));
        let mut extensions: Vec<(String, Vec<String>)> = Vec::new();
        let mut places = HashMap::new();
        let mut seen = HashSet::new();
        for line in &reply.lines[1..] {
            let mut words = line.split_ascii_whitespace();
            let Some(first) = words.next() else { continue };
            let mut keyword = first.to_ascii_uppercase();
            let mut old_form = None;
            if keyword.starts_with("AUTH=") {
                old_form = first.get("AUTH=".len()..).filter(|mechanism| !mechanism.is_empty());
                keyword.truncate("AUTH".len());
            }
            let place = *places.entry(keyword.clone()).or_insert_with(|| {
                extensions.push((keyword, Vec::new()));
                extensions.len() - 1
            });
            for word in old_form.into_iter().chain(words) {
                if seen.insert((place, word.to_ascii_uppercase())) {
                    extensions[place].1.push(word.to_owned());
                }
            }
        }
        Self { domain: domain.to_owned(), info: info.to_owned(), extensions }
    }
}
