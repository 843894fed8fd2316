//! The trace line that a message gets on its way (RFC 5321 4.4), and how many it has already.
//!
//! Texts are UTF-8, or nearly: nothing is known of their octets, and nothing in them adds a line, a word or a comment.

use std::net::IpAddr;

use memchr::memchr_iter;

/// Characters of what others gave.
const MAX_WORD: usize = 255;
/// Below the 998 of a header line (RFC 5322 2.1.1).
const MAX_PATH: usize = 900;
/// Octets of a header that are looked at. Hosts add their lines on top: a message that goes round has many within this.
const MAX_SCAN: usize = 256 * 1024;

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
/// By the month's number, modulo 12.
const MONTHS: [&str; 12] =
    ["Dec", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov"];

/// Whom the message came from.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// What it called itself.
    pub helo: &'a [u8],
    /// Its address, as the system gave it; what is none is left out.
    pub host: Option<&'a [u8]>,
    pub esmtp: bool,
    pub tls: bool,
    pub authenticated: bool,
    /// Protocol and cipher, or nothing.
    pub tls_info: &'a [u8],
}

/// A moment of the calendar, and the zone that it is of as RFC 5322 3.3 writes it.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub zone: &'a str,
}

/// What a trace line says.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    pub client: Option<Client<'a>>,
    pub by: &'a [u8],
    pub id: &'a [u8],
    /// Whether the message came with SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// The only one: with several the line would show each of them the others, blind copies too (RFC 5321 7.6).
    pub recipient: Option<&'a [u8]>,
    pub received: Moment<'a>,
}

impl Trace<'_> {
    /// The field, folded, its CRLF included.
    pub fn line(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(b"Received: ");
        if let Some(client) = &self.client {
            out.extend_from_slice(b"from ");
            put_word(&mut out, client.helo);
            put_literal(&mut out, client.host);
            out.extend_from_slice(b"\r\n ");
        }
        out.extend_from_slice(b"by ");
        put_word(&mut out, self.by);
        self.put_protocol(&mut out);
        out.extend_from_slice(b" id ");
        put_word(&mut out, self.id);
        if let Some(client) = self.client.filter(|client| !client.tls_info.is_empty()) {
            out.extend_from_slice(b" (");
            put_safe(&mut out, client.tls_info, b"._ -");
            out.push(b')');
        }
        if let Some(path) = self.recipient.filter(|path| fits(path, self.utf8)) {
            out.extend_from_slice(b"\r\n for <");
            out.extend_from_slice(path);
            out.push(b'>');
        }
        out.extend_from_slice(b";\r\n ");
        put_date(&mut out, &self.received);
        out.extend_from_slice(b"\r\n");
        out
    }

    /// The word of the IANA registry of mail transmission types (RFC 3848, RFC 6531 4.3).
    fn put_protocol(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b" with ");
        let Some(client) = self.client.filter(|client| client.esmtp) else {
            return out.extend_from_slice(b"SMTP");
        };
        out.extend_from_slice(if self.utf8 { b"UTF8SMTP" } else { b"ESMTP" });
        out.extend_from_slice(if client.tls { b"S" } else { b"" });
        out.extend_from_slice(if client.authenticated { b"A" } else { b"" });
    }
}

fn put_word(out: &mut Vec<u8>, text: &[u8]) {
    let start = out.len();
    put_safe(out, text, b"._:[]-");
    if out.len() == start {
        out.extend_from_slice(b"unknown");
    }
}

/// Letters, digits and what else is `safe`, as they are; each other character is "_".
fn put_safe(out: &mut Vec<u8>, text: &[u8], safe: &[u8]) {
    let kept = |octet: u8| octet.is_ascii_alphanumeric() || safe.contains(&octet);
    let characters = text.iter().copied().filter(|octet| !is_continuation(*octet)).take(MAX_WORD);
    out.extend(characters.map(|octet| if kept(octet) { octet } else { b'_' }));
}

const fn is_continuation(octet: u8) -> bool {
    octet & 0xc0 == 0x80
}

fn put_literal(out: &mut Vec<u8>, host: Option<&[u8]>) {
    let Some(host) = host.and_then(|host| host.split(|octet| *octet == b'%').next()) else { return };
    let address = std::str::from_utf8(host).ok().and_then(|host| host.parse::<IpAddr>().ok());
    let literal = match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => format!(" ([{address}])"),
        Some(IpAddr::V6(address)) => format!(" ([IPv6:{address}])"),
        None => return,
    };
    out.extend_from_slice(literal.as_bytes());
}

fn fits(path: &[u8], utf8: bool) -> bool {
    path.iter().filter(|octet| !is_continuation(**octet)).count() <= MAX_PATH
        && !path.iter().any(u8::is_ascii_control)
        && (utf8 || path.is_ascii())
}

fn put_date(out: &mut Vec<u8>, moment: &Moment<'_>) {
    let Moment { year, month, day, hour, minute, second, zone } = moment;
    let text = format!(
        "{}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} {zone}",
        DAYS[weekday(*year, *month, *day)],
        MONTHS[usize::from(*month) % 12],
    );
    out.extend_from_slice(text.as_bytes());
}

/// Sakamoto's: 0 is Sunday.
fn weekday(year: u16, month: u8, day: u8) -> usize {
    const BEFORE: [usize; 12] = [4, 0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2];
    // A leap day counts from March on; 400 years are whole weeks.
    let year = usize::from(year) + 400 - usize::from(month < 3);
    (year + year / 4 - year / 100 + year / 400 + BEFORE[usize::from(month) % 12] + usize::from(day)) % 7
}

/// How many `Received:` fields the header of a message has, in its first 256 KiB.
pub fn count_received(content: &[u8]) -> usize {
    let content = &content[..content.len().min(MAX_SCAN)];
    let lines = memchr_iter(b'\n', content).map(|end| content.split_at(end + 1));
    std::iter::once((&b"\r\n"[..], content))
        .chain(lines)
        .take_while(|(before, line)| !(before.ends_with(b"\r\n") && line.starts_with(b"\r\n")))
        .filter(|(_, line)| is_received(line))
        .count()
}

fn is_received(line: &[u8]) -> bool {
    const NAME: &[u8] = b"received";
    let Some((name, rest)) = line.split_at_checked(NAME.len()) else { return false };
    name.eq_ignore_ascii_case(NAME)
        && rest.iter().find(|octet| !matches!(octet, b' ' | b'\t')).is_some_and(|octet| *octet == b':')
}
