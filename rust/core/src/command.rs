//! One command line to a typed command (RFC 5321 4.1, RFC 3030, RFC 3207, RFC 4954).

use std::borrow::Cow;

use crate::address::{scan_path, valid_domain};
use crate::error::{Error, ErrorKind, Result};

/// No sender comes near; it keeps the search for duplicates linear in the line.
pub(crate) const MAX_PARAMETERS: usize = 64;

/// The commands, by the bit of `CommandKind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Verb {
    Helo = 2,
    Ehlo = 4,
    Auth = 8,
    Mail = 16,
    Rcpt = 32,
    Data = 64,
    Rset = 128,
    Vrfy = 256,
    Expn = 512,
    Help = 1024,
    Noop = 2048,
    Quit = 4096,
    Starttls = 8192,
    Bdat = 16384,
}

impl Verb {
    pub const ALL: [Verb; 14] = [
        Verb::Helo,
        Verb::Ehlo,
        Verb::Auth,
        Verb::Mail,
        Verb::Rcpt,
        Verb::Data,
        Verb::Rset,
        Verb::Vrfy,
        Verb::Expn,
        Verb::Help,
        Verb::Noop,
        Verb::Quit,
        Verb::Starttls,
        Verb::Bdat,
    ];

    /// The place in [`Verb::ALL`], for tables.
    pub fn index(self) -> usize {
        self.bit().trailing_zeros() as usize - 1
    }

    pub fn bit(self) -> u16 {
        self as u16
    }

    pub fn name(self) -> &'static str {
        match self {
            Verb::Helo => "HELO",
            Verb::Ehlo => "EHLO",
            Verb::Auth => "AUTH",
            Verb::Mail => "MAIL",
            Verb::Rcpt => "RCPT",
            Verb::Data => "DATA",
            Verb::Rset => "RSET",
            Verb::Vrfy => "VRFY",
            Verb::Expn => "EXPN",
            Verb::Help => "HELP",
            Verb::Noop => "NOOP",
            Verb::Quit => "QUIT",
            Verb::Starttls => "STARTTLS",
            Verb::Bdat => "BDAT",
        }
    }

    /// The verb that starts `line`, ended by a space, CR, LF or the line's end. Looks at nine octets at most, so it
    /// serves on lines too long to parse.
    pub fn of(line: &[u8]) -> Option<Verb> {
        let ends = |at: usize| matches!(line.get(at), None | Some(b' ' | b'\r' | b'\n'));
        if let Some(letters) = line.first_chunk::<4>().filter(|_| ends(4)) {
            return Some(match &letters.map(|octet| octet.to_ascii_uppercase()) {
                b"HELO" => Verb::Helo,
                b"EHLO" => Verb::Ehlo,
                b"AUTH" => Verb::Auth,
                b"MAIL" => Verb::Mail,
                b"RCPT" => Verb::Rcpt,
                b"DATA" => Verb::Data,
                b"RSET" => Verb::Rset,
                b"VRFY" => Verb::Vrfy,
                b"EXPN" => Verb::Expn,
                b"HELP" => Verb::Help,
                b"NOOP" => Verb::Noop,
                b"QUIT" => Verb::Quit,
                b"BDAT" => Verb::Bdat,
                _ => return None,
            });
        }
        let starttls = line.first_chunk::<8>().filter(|_| ends(8))?;
        starttls.eq_ignore_ascii_case(b"STARTTLS").then_some(Verb::Starttls)
    }
}

/// An ESMTP parameter: the keyword in upper case, the value as it came ("" for none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    pub key: Cow<'a, str>,
    pub value: Cow<'a, str>,
}

/// Parameters that outlive their line.
pub fn owned(params: Vec<Param<'_>>) -> Vec<Param<'static>> {
    let owned = |Param { key, value }: Param<'_>| Param {
        key: Cow::Owned(key.into_owned()),
        value: Cow::Owned(value.into_owned()),
    };
    params.into_iter().map(owned).collect()
}

/// A command that is well formed; whether it may come now is the session's question.
///
/// `arg` is the canonical path (MAIL, RCPT), the name (HELO, EHLO), the mechanism in upper case (AUTH), the octets in
/// decimal (BDAT), or the text (VRFY, EXPN, HELP, NOOP). `param` is AUTH's initial response as it came, or BDAT's
/// `LAST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    pub verb: Verb,
    pub arg: Cow<'a, str>,
    pub param: Cow<'a, str>,
    pub params: Vec<Param<'a>>,
    /// The same as they stand in the line, for who keeps them in one piece.
    pub tail: Cow<'a, str>,
}

impl Command<'_> {
    /// For one that outlives its line.
    pub fn into_owned(self) -> Command<'static> {
        Command {
            verb: self.verb,
            arg: Cow::Owned(self.arg.into_owned()),
            param: Cow::Owned(self.param.into_owned()),
            params: owned(self.params),
            tail: Cow::Owned(self.tail.into_owned()),
        }
    }
}

/// Parses one line, with its CRLF or without. Unless `strict`, what devices and scripts really send is taken too:
/// `MAIL FROM: <a@b>`, `MAIL FROM:a@b`, more spaces than one, spaces at the end.
pub fn parse_command(line: &[u8], strict: bool) -> Result<Command<'_>> {
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    let verb = Verb::of(line);
    // A CR or LF inside would be one command to us and two to another; a NUL ends a string for whoever is
    // written in C. Inside an address it is the address's fault.
    let forbidden = match verb {
        Some(Verb::Mail | Verb::Rcpt) => memchr::memchr2(b'\r', b'\n', line),
        _ => memchr::memchr3(b'\r', b'\n', 0, line),
    };
    if let Some(at) = forbidden {
        return Err(Error::new(ErrorKind::BadOctet, at));
    }
    let verb = verb.ok_or_else(|| unknown(line))?;
    parse_arguments(verb, line, strict)
}

/// The same for a line that starts with `verb`, without its CRLF, found free of those octets.
pub fn parse_arguments(verb: Verb, line: &[u8], strict: bool) -> Result<Command<'_>> {
    let mut rest = Rest { line, at: verb.name().len(), strict };
    let none = Cow::Borrowed("");
    let mut command =
        Command { verb, arg: none.clone(), param: none.clone(), params: Vec::new(), tail: none };
    match verb {
        Verb::Mail | Verb::Rcpt => rest.envelope(&mut command).map_err(|error| nul_or(error, line))?,
        Verb::Helo | Verb::Ehlo => {
            let (at, name) = rest.word()?;
            if strict {
                valid_domain(name)
                    .map_err(|error| Error { offset: at + error.offset, ..bad_argument(error) })?;
            }
            command.arg = Cow::Borrowed(ascii(at, name)?);
            rest.end()?;
        }
        Verb::Auth => {
            let (at, mechanism) = rest.word()?;
            command.arg = uppercase(ascii(at, mechanism)?);
            let (at, response) = rest.text();
            command.param = Cow::Borrowed(ascii(at, response)?);
        }
        Verb::Bdat => rest.chunk(&mut command)?,
        Verb::Vrfy | Verb::Expn => rest.name(&mut command)?,
        Verb::Help | Verb::Noop => {
            let (at, text) = rest.text();
            command.arg = Cow::Borrowed(ascii(at, text)?);
        }
        Verb::Data | Verb::Rset | Verb::Quit | Verb::Starttls => rest.end()?,
    }
    Ok(command)
}

/// The fault of a line whose verb is none: an octet that no command has, or the verb.
pub fn unknown(line: &[u8]) -> Error {
    match line.iter().position(|&octet| octet == 0 || !octet.is_ascii()) {
        Some(at) => Error::new(ErrorKind::BadOctet, at),
        None => Error::new(ErrorKind::UnknownCommand, 0),
    }
}

/// The fault of an envelope: a NUL, unless the address itself is at fault.
fn nul_or(error: Error, line: &[u8]) -> Error {
    match memchr::memchr(0, line) {
        Some(at) if error.enhanced.starts_with("5.5") => Error::new(ErrorKind::BadOctet, at),
        _ => error,
    }
}

/// An argument that is no domain is a bad argument, not a bad mailbox.
fn bad_argument(error: Error) -> Error {
    Error { enhanced: "5.5.4", ..error }
}

/// What is left of a line; starts at its end or at a space.
struct Rest<'a> {
    line: &'a [u8],
    at: usize,
    strict: bool,
}

impl<'a> Rest<'a> {
    fn left(&self) -> &'a [u8] {
        &self.line[self.at..]
    }

    fn fail<T>(&self, kind: ErrorKind) -> Result<T> {
        Err(Error::new(kind, self.at))
    }

    /// Passes over the space before the next word: one when strict, any number otherwise.
    fn space(&mut self) {
        let spaces = self.left().iter().take_while(|&&octet| octet == b' ').count();
        self.at += if self.strict { spaces.min(1) } else { spaces };
    }

    fn end(&mut self) -> Result<()> {
        if !self.strict {
            self.space();
        }
        if self.at == self.line.len() {
            return Ok(());
        }
        ascii(self.at, self.left())?;
        self.fail(ErrorKind::UnexpectedArgument)
    }

    /// The next word, which must be there, and its offset.
    fn word(&mut self) -> Result<(usize, &'a [u8])> {
        self.space();
        let left = self.left();
        let word = &left[..memchr::memchr(b' ', left).unwrap_or(left.len())];
        if word.is_empty() {
            return self.fail(ErrorKind::MissingArgument);
        }
        let at = self.at;
        self.at += word.len();
        Ok((at, word))
    }

    /// All that is left without the spaces around it, and its offset.
    fn text(&mut self) -> (usize, &'a [u8]) {
        let at = self.at + self.left().iter().take_while(|&&octet| octet == b' ').count();
        let text = self.line[at..].trim_ascii_end();
        self.at = self.line.len();
        (at, text)
    }

    /// `FROM:<path>` or `TO:<path>`, then parameters.
    fn envelope(&mut self, command: &mut Command<'a>) -> Result<()> {
        let keyword: &[u8] = if command.verb == Verb::Mail { b" FROM:" } else { b" TO:" };
        match self.left().get(..keyword.len()) {
            Some(found) if found.eq_ignore_ascii_case(keyword) => self.at += keyword.len(),
            _ if self.left().trim_ascii().is_empty() => return self.fail(ErrorKind::MissingArgument),
            _ => return self.fail(ErrorKind::BadSyntax),
        }
        if !self.strict {
            self.space();
        }
        match self.left().first() {
            None => return self.fail(ErrorKind::MissingArgument),
            Some(b'<') => {}
            Some(_) if self.strict => return self.fail(ErrorKind::BadSyntax),
            Some(_) => {}
        }
        let (path, consumed) = scan_path(self.left(), self.strict).map_err(|error| Error {
            offset: self.at + error.offset,
            enhanced: if command.verb == Verb::Mail { "5.1.7" } else { error.enhanced },
            ..error
        })?;
        if command.verb == Verb::Rcpt && path.is_null() {
            return self.fail(ErrorKind::Empty);
        }
        self.at += consumed;
        command.arg = path.into_text();
        let tail = utf8(self.at, self.left())?;
        while let Some(&next) = self.left().first() {
            if next != b' ' {
                return self.fail(ErrorKind::BadSyntax);
            }
            self.space();
            if self.left().is_empty() && !self.strict {
                break;
            }
            self.parameter(tail, &mut command.params)?;
        }
        command.tail = Cow::Borrowed(tail);
        Ok(())
    }

    /// `keyword["=" value]`. The value may hold UTF-8 (RFC 6531 3.3), for the session to allow. RFC 5321 has no `=` in
    /// it; unless strict, one or two at its end pass, as of unescaped base64.
    fn parameter(&mut self, tail: &'a str, params: &mut Vec<Param<'a>>) -> Result<()> {
        let left = self.left();
        let length = run(left, KEYWORD);
        let next = left.get(length);
        if length == 0 || left[0] == b'-' || !matches!(next, None | Some(b'=' | b' ')) {
            return self.fail(ErrorKind::BadParameter);
        }
        let at = self.at;
        let keyword = self.pass(tail, length);
        if params.iter().any(|other| other.key.eq_ignore_ascii_case(keyword)) {
            return Err(Error::new(ErrorKind::DuplicateParameter, at));
        }
        if params.len() == MAX_PARAMETERS {
            return Err(Error::new(ErrorKind::TooManyParameters, at));
        }
        let mut value = "";
        if next == Some(&b'=') {
            self.at += 1;
            value = self.value(tail)?;
        }
        params.push(Param { key: uppercase(keyword), value: Cow::Borrowed(value) });
        Ok(())
    }

    fn value(&mut self, tail: &'a str) -> Result<&'a str> {
        let left = self.left();
        let core = run(left, VALUE);
        let most = if self.strict { 0 } else { 2 };
        let mut end = core;
        while end < core + most && left.get(end) == Some(&b'=') {
            end += 1;
        }
        if core == 0 || !matches!(left.get(end), None | Some(b' ')) {
            return Err(Error::new(ErrorKind::BadParameter, self.at + core));
        }
        Ok(self.pass(tail, end))
    }

    /// The next octets, which are characters of `tail`, the line's end.
    fn pass(&mut self, tail: &'a str, octets: usize) -> &'a str {
        let start = self.at - (self.line.len() - tail.len());
        self.at += octets;
        tail.get(start..start + octets).unwrap_or_default()
    }

    /// `size [LAST]` (RFC 3030 2).
    fn chunk(&mut self, command: &mut Command<'a>) -> Result<()> {
        let (at, size) = self.word()?;
        let size = utf8(at, size)?;
        // `parse` alone would take a sign.
        if !size.bytes().all(|octet| octet.is_ascii_digit()) || size.parse::<u64>().is_err() {
            return Err(Error::new(ErrorKind::BadChunkSize, at));
        }
        command.arg = Cow::Borrowed(size);
        if !self.left().trim_ascii_end().is_empty() {
            let (at, last) = self.word()?;
            if !last.eq_ignore_ascii_case(b"LAST") {
                return Err(Error::new(ErrorKind::BadChunkSize, at));
            }
            command.param = Cow::Borrowed("LAST");
        }
        self.end()
    }

    /// The name that VRFY and EXPN ask for; `SMTPUTF8` behind it is a parameter (RFC 6531 3.7.4.2).
    fn name(&mut self, command: &mut Command<'a>) -> Result<()> {
        let (at, text) = self.text();
        let mut name = utf8(at, text)?;
        if let Some(offset) = name.bytes().position(|octet| octet.is_ascii_control()) {
            return Err(Error::new(ErrorKind::BadOctet, at + offset));
        }
        if let Some((before, last)) = name.rsplit_once(' ') {
            if last.eq_ignore_ascii_case("SMTPUTF8") {
                name = before.trim_end();
                command.params.push(Param { key: Cow::Borrowed("SMTPUTF8"), value: Cow::Borrowed("") });
                command.tail = Cow::Borrowed(last);
            }
        }
        if name.is_empty() {
            return Err(Error::new(ErrorKind::MissingArgument, at));
        }
        command.arg = Cow::Borrowed(name);
        Ok(())
    }
}

const KEYWORD: u8 = 1;
const VALUE: u8 = 2;

static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut octet = 0u8;
    loop {
        if octet.is_ascii_alphanumeric() || octet == b'-' {
            table[octet as usize] |= KEYWORD;
        }
        if octet > b' ' && octet != b'=' && octet != 0x7f {
            table[octet as usize] |= VALUE;
        }
        if octet == u8::MAX {
            break table;
        }
        octet += 1;
    }
};

/// How many octets of `class` come first.
fn run(octets: &[u8], class: u8) -> usize {
    octets.iter().position(|&octet| CLASS[octet as usize] & class == 0).unwrap_or(octets.len())
}

fn uppercase(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|octet| octet.is_ascii_lowercase()) {
        Cow::Owned(text.to_ascii_uppercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// `octets` as printable ASCII, spaces and tabs.
fn ascii(at: usize, octets: &[u8]) -> Result<&str> {
    match octets.iter().position(|octet| !matches!(octet, b' '..=b'~' | b'\t')) {
        None => utf8(at, octets),
        Some(offset) => Err(Error::new(ErrorKind::BadOctet, at + offset)),
    }
}

fn utf8(at: usize, octets: &[u8]) -> Result<&str> {
    std::str::from_utf8(octets).map_err(|error| Error::new(ErrorKind::BadOctet, at + error.valid_up_to()))
}
