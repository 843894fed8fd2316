//! MAIL and RCPT as lines, checked before an octet of them is sent.

use super::offers::Offers;
use crate::address::parse_path;
use crate::command::MAX_PARAMETERS;
use crate::error::{Error, ErrorKind, Result};

/// What a message asks of the server beside its addresses, as the driver gives it.
#[derive(Clone, Debug, Default)]
pub struct Envelope<'a> {
    /// Empty: the null reverse-path.
    pub mail_from: &'a str,
    pub params: Vec<(&'a str, &'a str)>,
    pub recipients: Vec<(&'a str, Vec<(&'a str, &'a str)>)>,
    /// Octets of content that is not given whole, where they are known.
    pub size: Option<u64>,
    /// Whether the content has octets over 127.
    pub eight_bit: bool,
}

/// Why a message cannot go to this server; nothing of it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsendable {
    /// An argument is not one.
    Bad(Error),
    /// The server lacks this extension.
    NotOffered(&'static str),
    /// More octets than the server takes.
    TooLarge { size: u64, most: u64 },
    /// No recipients.
    NoRecipient,
}

impl From<Error> for Unsendable {
    fn from(error: Error) -> Self {
        Self::Bad(error)
    }
}

/// The lines of MAIL and of each RCPT, one behind the other.
#[derive(Debug, Default)]
pub struct Lines {
    octets: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    pub fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.octets[start..self.ends[index]]
    }

    fn end(&mut self) {
        self.octets.extend_from_slice(b"\r\n");
        self.ends.push(self.octets.len());
    }
}

impl Envelope<'_> {
    /// Whether the content is BODY=BINARYMIME.
    pub fn is_binary(&self) -> bool {
        self.param("BODY").is_some_and(|body| body.eq_ignore_ascii_case("BINARYMIME"))
    }

    fn param(&self, keyword: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(keyword)).map(|(_, value)| *value)
    }

    /// The lines for a server that offers so much and content of so many octets, with SIZE, BODY and SMTPUTF8 added where they help.
    pub fn lines(&self, offers: &Offers, size: Option<u64>) -> Result<Lines, Unsendable> {
        if self.recipients.is_empty() {
            return Err(Unsendable::NoRecipient);
        }
        let mut lines = Lines::default();
        lines.octets.reserve(128 + self.recipients.len() * 48);
        self.mail_line(offers, size, &mut lines)?;
        for (recipient, params) in &self.recipients {
            lines.octets.extend_from_slice(b"RCPT TO:<");
            if recipient.is_empty() {
                return Err(Error::new(ErrorKind::Empty, 0).into());
            }
            put_path(recipient, &mut lines.octets)?;
            put_params(params, offers, &mut lines.octets)?;
            lines.end();
        }
        Ok(lines)
    }

    fn is_ascii(&self) -> bool {
        let plain = |text: &str, params: &[(&str, &str)]| {
            text.is_ascii() && params.iter().all(|(_, value)| value.is_ascii())
        };
        plain(self.mail_from, &self.params)
            && self.recipients.iter().all(|(recipient, params)| plain(recipient, params))
    }

    fn mail_line(&self, offers: &Offers, size: Option<u64>, lines: &mut Lines) -> Result<(), Unsendable> {
        let out = &mut lines.octets;
        out.extend_from_slice(b"MAIL FROM:<");
        put_path(self.mail_from, out)?;
        put_params(&self.params, offers, out)?;
        if let (Some(size), Some(most)) = (size, offers.size) {
            if size > most {
                return Err(Unsendable::TooLarge { size, most });
            }
            if self.param("SIZE").is_none() {
                out.extend_from_slice(format!(" SIZE={size}").as_bytes());
            }
        }
        let binary = self.is_binary();
        if binary && !offers.binary {
            return Err(Unsendable::NotOffered("BINARYMIME"));
        }
        if self.eight_bit && !binary {
            if !offers.eight_bit {
                return Err(Unsendable::NotOffered("8BITMIME"));
            }
            if self.param("BODY").is_none() {
                out.extend_from_slice(b" BODY=8BITMIME");
            }
        }
        if self.param("SMTPUTF8").is_none() && !self.is_ascii() {
            if !offers.utf8 {
                return Err(Unsendable::NotOffered("SMTPUTF8"));
            }
            out.extend_from_slice(b" SMTPUTF8");
        }
        lines.end();
        Ok(())
    }
}

/// The address and its closing bracket, behind the opening one.
fn put_path(address: &str, out: &mut Vec<u8>) -> Result<()> {
    let bracket = out.len() - 1;
    out.extend_from_slice(address.as_bytes());
    out.push(b'>');
    match parse_path(&out[bracket..]) {
        // Servers know addresses that break the grammar (two dots in a row), and only they can tell. What must not
        // pass is an address that ends the path, or the line, early.
        Err(error) if !is_harmless(address) => Err(Error { offset: error.offset.saturating_sub(1), ..error }),
        _ => Ok(()),
    }
}

fn is_harmless(address: &str) -> bool {
    let special = |character: char| {
        character.is_control() || character.is_whitespace() || matches!(character, '<' | '>' | '"' | '\\')
    };
    !address.contains(special)
}

fn put_params(params: &[(&str, &str)], offers: &Offers, out: &mut Vec<u8>) -> Result<(), Unsendable> {
    // With SIZE, BODY and SMTPUTF8 no more than a server takes.
    if params.len() + 3 > MAX_PARAMETERS {
        return Err(Error::new(ErrorKind::TooManyParameters, 0).into());
    }
    for (index, &(key, value)) in params.iter().enumerate() {
        let known = key.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
        if !known || key.is_empty() || key.starts_with('-') {
            return Err(Error::new(ErrorKind::BadParameter, 0).into());
        }
        if params[..index].iter().any(|(other, _)| other.eq_ignore_ascii_case(key)) {
            return Err(Error::new(ErrorKind::DuplicateParameter, 0).into());
        }
        // RFC 5321 4.1.2, esmtp-value; and UTF-8 in ORCPT (RFC 6533).
        if let Some(offset) = value.bytes().position(|octet| octet <= b' ' || octet == b'=' || octet == 127) {
            return Err(Error::new(ErrorKind::BadValue, offset).into());
        }
        if let Some(extension) = needs(key, value).filter(|extension| !offers.has(extension)) {
            return Err(Unsendable::NotOffered(extension));
        }
        out.push(b' ');
        out.extend_from_slice(key.as_bytes());
        if !value.is_empty() {
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
        }
    }
    Ok(())
}

/// The extension that brings a parameter, of those that the client knows.
fn needs(key: &str, value: &str) -> Option<&'static str> {
    const NEEDS: [(&str, &str); 9] = [
        ("SIZE", "SIZE"),
        ("BODY", "8BITMIME"),
        ("SMTPUTF8", "SMTPUTF8"),
        ("RET", "DSN"),
        ("ENVID", "DSN"),
        ("NOTIFY", "DSN"),
        ("ORCPT", "DSN"),
        ("AUTH", "AUTH"),
        ("REQUIRETLS", "REQUIRETLS"),
    ];
    if key.eq_ignore_ascii_case("BODY") && value.eq_ignore_ascii_case("BINARYMIME") {
        return Some("BINARYMIME");
    }
    NEEDS.iter().find(|(keyword, _)| keyword.eq_ignore_ascii_case(key)).map(|&(_, extension)| extension)
}
