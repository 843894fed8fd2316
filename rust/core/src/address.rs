//! Paths, mailboxes and domains (RFC 5321 4.1.2 and 4.1.3, RFC 6531 3.3) to one canonical form.
//!
//! Canonical: quoted-pairs undone, quotes kept only where the content is not a dot-string, source routes dropped,
//! comments stripped; letters keep their case. `%` and `!` mean nothing here: nothing is ever routed on them.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::error::{Error, ErrorKind, Result};

const MAX_LABEL: usize = 63;
const MAX_DOMAIN: usize = 255;

/// What an octet may be part of.
const ATOM: u8 = 1; // atext of RFC 5321, or any octet of UTF-8
const LABEL: u8 = 2; // a letter, a digit, a hyphen, or any octet of UTF-8
const QUOTED: u8 = 4; // needs no backslash in a quoted string
const HOST: u8 = 8; // LABEL and the underscore

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut octet = 0u8;
    loop {
        let utf8 = octet >= 0x80;
        let alphanumeric = octet.is_ascii_alphanumeric();
        if utf8 || alphanumeric || octet == b'-' {
            table[octet as usize] |= LABEL | HOST;
        }
        if octet == b'_' {
            table[octet as usize] |= HOST;
        }
        if utf8
            || alphanumeric
            || matches!(
                octet,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'/'
                    | b'='
                    | b'?'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'{'
                    | b'|'
                    | b'}'
                    | b'~'
            )
        {
            table[octet as usize] |= ATOM;
        }
        if utf8 || matches!(octet, b' '..=b'~') && !matches!(octet, b'"' | b'\\') {
            table[octet as usize] |= QUOTED;
        }
        if octet == u8::MAX {
            return table;
        }
        octet += 1;
    }
}

/// Where the octets of `class` that stand at `start` end.
fn run(input: &[u8], start: usize, class: u8) -> usize {
    let rest = input.get(start..).unwrap_or_default();
    start + rest.iter().position(|&octet| CLASS[octet as usize] & class == 0).unwrap_or(rest.len())
}

/// A canonical address: `local@domain`, `local` alone, or the empty null reverse-path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address<'a>(Cow<'a, str>);

impl<'a> Address<'a> {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0.into_owned()
    }

    /// Borrowed where the input is in canonical form already, as it mostly is.
    pub fn into_text(self) -> Cow<'a, str> {
        self.0
    }

    /// The null reverse-path, `<>`.
    pub fn is_null(&self) -> bool {
        self.0.is_empty()
    }

    pub fn domain(&self) -> Option<&str> {
        // A domain holds no quote: with one at the end, an `@` stands inside the local part.
        if self.0.ends_with('"') {
            return None;
        }
        self.0.rsplit_once('@').map(|(_, domain)| domain)
    }

    pub fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }
}

/// The path of MAIL and RCPT, `<...>` and nothing else. A source route is dropped, `<>` is null, `<local>` allowed.
pub fn parse_path(input: &[u8]) -> Result<Address<'_>> {
    let (address, end) = scan_path(input, true)?;
    if end == input.len() { Ok(address) } else { Err(Error::new(ErrorKind::TrailingJunk, end)) }
}

/// The path that `input` starts with, and its octets. Unless `strict`, an address without brackets that ends at a
/// space is taken too: old scripts and devices send it.
pub fn scan_path(input: &[u8], strict: bool) -> Result<(Address<'_>, usize)> {
    match input.first() {
        Some(b'<') => {}
        None => return Err(Error::new(ErrorKind::Empty, 0)),
        Some(_) if strict => return Err(Error::new(ErrorKind::MissingBracket, 0)),
        Some(_) => return mailbox(input, 0, |next| matches!(next, None | Some(b' '))),
    }
    if input.get(1) == Some(&b'>') {
        return Ok((Address(Cow::Borrowed("")), 2));
    }
    let start = if input.get(1) == Some(&b'@') { skip_route(input, 1)? } else { 1 };
    let (address, end) = mailbox(input, start, |next| next == Some(&b'>'))?;
    Ok((address, end + 1))
}

/// An address as people write it, without brackets: comments (nested too) and the white space around words are
/// stripped (RFC 5322 3.2.2 and 4.4), also a comment within a word: `j(x)oe@c.org`. Folded lines are not unfolded.
pub fn parse_mailbox(input: &[u8]) -> Result<Address<'_>> {
    if memchr::memchr3(b'(', b' ', b'\t', input).is_none() {
        return whole_mailbox(input);
    }
    let (bare, origins) = strip_comments(input)?;
    match whole_mailbox(&bare) {
        Ok(Address(text)) => Ok(Address(Cow::Owned(text.into_owned()))),
        Err(error) => {
            let offset = origins.get(error.offset).copied().unwrap_or(input.len());
            Err(Error { offset, ..error })
        }
    }
}

/// A domain or an address literal. An underscore is tolerated: Windows machines greet with it (HELO, EHLO).
pub fn valid_domain(input: &[u8]) -> Result<()> {
    let end = domain(input, 0, HOST)?;
    if end < input.len() {
        return Err(unexpected(input, end, ErrorKind::BadDomain));
    }
    text(input, 0, end).map(drop)
}

fn whole_mailbox(input: &[u8]) -> Result<Address<'_>> {
    if input.is_empty() {
        return Err(Error::new(ErrorKind::Empty, 0));
    }
    mailbox(input, 0, |next| next.is_none()).map(|(address, _)| address)
}

/// `local-part ["@" domain]` from `start`, and where it ends; `closes` says what may stand there.
fn mailbox(input: &[u8], start: usize, closes: impl Fn(Option<&u8>) -> bool) -> Result<(Address<'_>, usize)> {
    let (rewritten, local_end) = match input.get(start) {
        Some(b'"') => quoted_string(input, start)?,
        _ => (None, dot_string(input, start)?),
    };
    let mut end = local_end;
    let mut expected = ErrorKind::BadLocalPart;
    if input.get(local_end) == Some(&b'@') {
        end = domain(input, local_end + 1, LABEL)?;
        expected = ErrorKind::BadDomain;
    }
    if !closes(input.get(end)) {
        return Err(unexpected(input, end, expected));
    }
    let address = match rewritten {
        None => Cow::Borrowed(text(input, start, end)?),
        Some(local) => Cow::Owned(local + text(input, local_end, end)?),
    };
    Ok((Address(address), end))
}

/// The canonical form of a quoted string, None where it stands there, and where it ends.
fn quoted_string(input: &[u8], start: usize) -> Result<(Option<String>, usize)> {
    let mut at = run(input, start + 1, QUOTED);
    if input.get(at) == Some(&b'"') {
        let content = text(input, start + 1, at)?;
        let plain = dot_string(content.as_bytes(), 0) == Ok(content.len());
        return Ok((plain.then(|| content.to_owned()), at + 1));
    }
    let mut content = input[start + 1..at].to_vec();
    loop {
        let end = run(input, at, QUOTED);
        content.extend_from_slice(&input[at..end]);
        at = end;
        match input.get(at) {
            Some(b'"') => break,
            Some(b'\\') => match input.get(at + 1) {
                Some(&octet @ b' '..=b'~') => {
                    content.push(octet);
                    at += 2;
                }
                Some(_) => return Err(unexpected(input, at + 1, ErrorKind::BadLocalPart)),
                None => return Err(Error::new(ErrorKind::UnclosedQuote, start)),
            },
            Some(_) => return Err(Error::new(ErrorKind::Control, at)),
            None => return Err(Error::new(ErrorKind::UnclosedQuote, start)),
        }
    }
    text(input, start, at)?;
    let content = String::from_utf8(content).map_err(|_| Error::new(ErrorKind::BadUtf8, start))?;
    if dot_string(content.as_bytes(), 0) == Ok(content.len()) {
        return Ok((Some(content), at + 1));
    }
    let mut quoted = String::with_capacity(content.len() + 2);
    quoted.push('"');
    for character in content.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    Ok((Some(quoted), at + 1))
}

/// Atoms with single dots between them, and where they end.
fn dot_string(input: &[u8], start: usize) -> Result<usize> {
    let mut at = start;
    loop {
        let atom = at;
        at = run(input, at, ATOM);
        if at == atom {
            return Err(unexpected(input, at, ErrorKind::BadLocalPart));
        }
        if input.get(at) != Some(&b'.') {
            return Ok(at);
        }
        at += 1;
    }
}

/// A domain or an address literal, and where it ends.
fn domain(input: &[u8], start: usize, class: u8) -> Result<usize> {
    if input.get(start) == Some(&b'[') {
        return literal(input, start);
    }
    let mut at = start;
    loop {
        let label = at;
        at = run(input, at, class);
        if at == label {
            return Err(unexpected(input, at, ErrorKind::BadDomain));
        }
        if input[label] == b'-' || input[at - 1] == b'-' {
            return Err(Error::new(ErrorKind::BadDomain, label));
        }
        if at - label > MAX_LABEL {
            return Err(Error::new(ErrorKind::LabelTooLong, label));
        }
        if input.get(at) != Some(&b'.') {
            break;
        }
        at += 1;
    }
    if at - start > MAX_DOMAIN {
        return Err(Error::new(ErrorKind::DomainTooLong, start));
    }
    Ok(at)
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]`, and where it ends. A General-address-literal is refused: its tag must be
/// registered by a standards-track RFC (RFC 5321 4.1.3), and none but IPv6 is.
fn literal(input: &[u8], start: usize) -> Result<usize> {
    // The longest one is [IPv6:] around 45 octets: what closes later is none, and is not searched for.
    let window = &input[start..input.len().min(start + 64)];
    let bad = Error::new(ErrorKind::BadLiteral, start);
    let close = memchr::memchr(b']', window).ok_or(bad)?;
    let content = std::str::from_utf8(&window[1..close]).map_err(|_| bad)?;
    let good = match content.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => is_ipv6(&content[5..]),
        _ => content.parse::<Ipv4Addr>().is_ok(),
    };
    if good { Ok(start + close + 1) } else { Err(bad) }
}

/// As the standard library has it, but `::` stands for two groups at least (RFC 5321 4.1.3).
fn is_ipv6(content: &str) -> bool {
    if content.parse::<Ipv6Addr>().is_err() {
        return false;
    }
    let groups: usize =
        content.split(':').map(|group| if group.contains('.') { 2 } else { group.len().min(1) }).sum();
    !content.contains("::") || groups <= 6
}

/// Passes over `@host,@host:`. Each host must be well formed, and then means nothing (RFC 5321 appendix C).
fn skip_route(input: &[u8], start: usize) -> Result<usize> {
    let mut at = start;
    loop {
        if input.get(at) != Some(&b'@') {
            return Err(unexpected(input, at, ErrorKind::BadRoute));
        }
        let end = domain(input, at + 1, LABEL)?;
        text(input, at, end)?;
        at = end + 1;
        match input.get(end) {
            Some(b',') => {}
            Some(b':') => return Ok(at),
            _ => return Err(unexpected(input, end, ErrorKind::BadRoute)),
        }
    }
}

/// `input[start..end]` as text. C1 controls, U+2028 and U+2029 are refused: software that splits text at them would
/// see a second line in a header or a log.
fn text(input: &[u8], start: usize, end: usize) -> Result<&str> {
    let text = std::str::from_utf8(&input[start..end])
        .map_err(|error| Error::new(ErrorKind::BadUtf8, start + error.valid_up_to()))?;
    if !text.is_ascii() {
        let breaks = |c: char| matches!(c, '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}');
        if let Some(at) = text.find(breaks) {
            return Err(Error::new(ErrorKind::Control, start + at));
        }
    }
    Ok(text)
}

/// Names what stands at `at`, where something else (`expected`) had to.
fn unexpected(input: &[u8], at: usize, expected: ErrorKind) -> Error {
    let kind = match input.get(at) {
        None if input.first() == Some(&b'<') => ErrorKind::MissingBracket,
        Some(b'(') => ErrorKind::CommentInPath,
        Some(octet) if octet.is_ascii_control() => ErrorKind::Control,
        _ => expected,
    };
    Error::new(kind, at)
}

/// `input` without comments and the white space between words, and where each octet of it stood. Nesting is counted,
/// not recursed into: a megabyte of `(` costs one pass and no stack.
fn strip_comments(input: &[u8]) -> Result<(Vec<u8>, Vec<usize>)> {
    let mut bare = Vec::with_capacity(input.len());
    let mut origins = Vec::with_capacity(input.len());
    let mut gap = false;
    let mut at = 0;
    while let Some(&octet) = input.get(at) {
        let end = match octet {
            b' ' | b'\t' => {
                gap = true;
                at += 1;
                continue;
            }
            b'(' => {
                at = comment_end(input, at)?;
                continue;
            }
            b'"' => quote_end(input, at)?,
            b'[' => memchr::memchr(b']', &input[at..]).map_or(input.len(), |close| at + close + 1),
            _ => at + 1,
        };
        // Two words with only space between them are not one word.
        let joins = |octet: u8| matches!(octet, b'@' | b'.');
        if gap && !joins(octet) && bare.last().is_some_and(|&last| !joins(last)) {
            return Err(Error::new(ErrorKind::BadLocalPart, at));
        }
        gap = false;
        bare.extend_from_slice(&input[at..end]);
        origins.extend(at..end);
        at = end;
    }
    Ok((bare, origins))
}

fn comment_end(input: &[u8], start: usize) -> Result<usize> {
    let mut depth = 0usize;
    let mut at = start;
    while let Some(&octet) = input.get(at) {
        match octet {
            b'(' => depth += 1,
            b')' if depth == 1 => {
                text(input, start, at)?;
                return Ok(at + 1);
            }
            b')' => depth -= 1,
            b'\\' if matches!(input.get(at + 1), Some(b'(' | b')' | b'\\')) => at += 1,
            b'\t' => {}
            control if control.is_ascii_control() => return Err(Error::new(ErrorKind::Control, at)),
            _ => {}
        }
        at += 1;
    }
    Err(Error::new(ErrorKind::UnclosedComment, start))
}

fn quote_end(input: &[u8], start: usize) -> Result<usize> {
    let mut at = start + 1;
    while let Some(&octet) = input.get(at) {
        match octet {
            b'"' => return Ok(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Err(Error::new(ErrorKind::UnclosedQuote, start))
}
