//! Typed values of the parameters of MAIL and RCPT, against what the session offers.

use crate::command::Param;
use crate::error::{Error, ErrorKind, Result};

/// RFC 3461 4.4 and 4.2.
const MAX_ENVID: usize = 100;
const MAX_ORCPT: usize = 500;

/// What the reply to EHLO promised; the rest is unknown. The extra keywords, in upper case, are those that custom
/// extensions claim: their values are for the extensions to judge.
#[derive(Clone, Copy, Debug)]
pub struct Offered<'a> {
    pub dsn: bool,
    pub auth: bool,
    pub mail_extra: &'a [String],
    pub rcpt_extra: &'a [String],
}

/// `BODY=` (RFC 6152, RFC 3030).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    #[default]
    SevenBit,
    EightBitMime,
    BinaryMime,
}

/// `RET=` (RFC 3461 4.3): how much of the message a DSN returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    Full,
    Hdrs,
}

/// `NOTIFY=` (RFC 3461 4.1): when a DSN is wanted; all false is `NEVER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    pub success: bool,
    pub failure: bool,
    pub delay: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParams {
    /// Octets; what does not fit is the largest.
    pub size: Option<u64>,
    pub body: Body,
    pub smtputf8: bool,
    pub ret: Option<Ret>,
    /// Decoded.
    pub envid: Option<String>,
    /// Decoded; `<>` where the client does not know who sent.
    pub auth: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptParams {
    pub notify: Option<Notify>,
    /// The address type as it came, and the decoded address.
    pub orcpt: Option<(String, String)>,
}

const BAD_VALUE: Error = Error::new(ErrorKind::BadValue, 0);
const BAD_XTEXT: Error = Error::new(ErrorKind::BadXtext, 0);

/// The values of MAIL's parameters; UTF-8 in one needs `SMTPUTF8` beside it.
pub fn mail_params(params: &[Param], offered: &Offered) -> Result<MailParams> {
    let mut mail = MailParams::default();
    for Param { key, value } in params {
        match key.as_ref() {
            "SIZE" => mail.size = Some(size(value)?),
            "BODY" => mail.body = body(value)?,
            "SMTPUTF8" if value.is_empty() => mail.smtputf8 = true,
            "SMTPUTF8" => return Err(BAD_VALUE),
            "RET" if offered.dsn => mail.ret = Some(ret(value)?),
            "ENVID" if offered.dsn => {
                if value.len() > MAX_ENVID {
                    return Err(BAD_VALUE);
                }
                mail.envid = Some(printable(decode_xtext(value)?)?);
            }
            "AUTH" if offered.auth => mail.auth = Some(printable(decode_xtext(value)?)?),
            _ => claimed(key, offered.mail_extra)?,
        }
    }
    if !mail.smtputf8 && params.iter().any(|param| !param.value.is_ascii()) {
        return Err(Error::new(ErrorKind::BadOctet, 0));
    }
    Ok(mail)
}

/// The values of RCPT's parameters. UTF-8 in one needs `SMTPUTF8` at MAIL, which only the session knows.
pub fn rcpt_params(params: &[Param], offered: &Offered) -> Result<RcptParams> {
    let mut rcpt = RcptParams::default();
    for Param { key, value } in params {
        match key.as_ref() {
            "NOTIFY" if offered.dsn => rcpt.notify = Some(notify(value)?),
            "ORCPT" if offered.dsn => rcpt.orcpt = Some(orcpt(value)?),
            _ => claimed(key, offered.rcpt_extra)?,
        }
    }
    Ok(rcpt)
}

fn claimed(key: &str, extra: &[String]) -> Result<()> {
    if extra.iter().any(|keyword| keyword == key) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::UnknownParameter, 0))
}

/// One to twenty digits (RFC 1870 3).
fn size(value: &str) -> Result<u64> {
    if !(1..=20).contains(&value.len()) || !value.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(BAD_VALUE);
    }
    // Twenty digits can be over 64 bits: as good as the largest.
    Ok(value.parse().unwrap_or(u64::MAX))
}

fn body(value: &str) -> Result<Body> {
    for (name, body) in
        [("7BIT", Body::SevenBit), ("8BITMIME", Body::EightBitMime), ("BINARYMIME", Body::BinaryMime)]
    {
        if value.eq_ignore_ascii_case(name) {
            return Ok(body);
        }
    }
    Err(BAD_VALUE)
}

fn ret(value: &str) -> Result<Ret> {
    for (name, ret) in [("FULL", Ret::Full), ("HDRS", Ret::Hdrs)] {
        if value.eq_ignore_ascii_case(name) {
            return Ok(ret);
        }
    }
    Err(BAD_VALUE)
}

fn notify(value: &str) -> Result<Notify> {
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(notify);
    }
    for word in value.split(',') {
        if word.eq_ignore_ascii_case("SUCCESS") {
            notify.success = true;
        } else if word.eq_ignore_ascii_case("FAILURE") {
            notify.failure = true;
        } else if word.eq_ignore_ascii_case("DELAY") {
            notify.delay = true;
        } else {
            return Err(BAD_VALUE);
        }
    }
    Ok(notify)
}

fn orcpt(value: &str) -> Result<(String, String)> {
    let (kind, address) = value.split_once(';').ok_or(BAD_VALUE)?;
    let atom = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&octet);
    if value.len() > MAX_ORCPT || kind.is_empty() || !kind.bytes().all(atom) || address.is_empty() {
        return Err(BAD_VALUE);
    }
    let utf8 = kind.eq_ignore_ascii_case("utf-8");
    let address = if utf8 { decode_unitext(address) } else { decode_xtext(address) }?;
    Ok((kind.to_owned(), printable(address)?))
}

/// Decoded text ends up in headers of a DSN: no control may come in by its encoding (RFC 3461 4.4 forbids them).
fn printable(text: String) -> Result<String> {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if text.contains(breaks) { Err(BAD_VALUE) } else { Ok(text) }
}

/// xtext (RFC 3461 4): `+`, `=` and all that is not printable ASCII as `+XX`; text beyond ASCII by the octets of its
/// UTF-8.
pub fn encode_xtext(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut xtext = String::with_capacity(text.len());
    for octet in text.bytes() {
        if matches!(octet, b'!'..=b'~') && !matches!(octet, b'+' | b'=') {
            xtext.push(char::from(octet));
        } else {
            xtext.push('+');
            xtext.push(char::from(HEX[usize::from(octet >> 4)]));
            xtext.push(char::from(HEX[usize::from(octet & 15)]));
        }
    }
    xtext
}

/// The inverse of [`encode_xtext`]. Hexadecimal digits in lower case are taken too.
pub fn decode_xtext(value: &str) -> Result<String> {
    let mut text = Vec::with_capacity(value.len());
    let mut octets = value.bytes().enumerate();
    while let Some((at, octet)) = octets.next() {
        let bad = Error::new(ErrorKind::BadXtext, at);
        match octet {
            b'+' => {
                let mut digit = || octets.next().and_then(|(_, octet)| char::from(octet).to_digit(16));
                let (high, low) = (digit().ok_or(bad)?, digit().ok_or(bad)?);
                text.push(u8::try_from(high * 16 + low).map_err(|_| bad)?);
            }
            b'=' => return Err(bad),
            b'!'..=b'~' => text.push(octet),
            _ => return Err(bad),
        }
    }
    String::from_utf8(text).map_err(|_| BAD_XTEXT)
}

/// The address of ORCPT with the type `utf-8` (RFC 6533 3): as it is, or with characters as `\x{HEX}`.
fn decode_unitext(value: &str) -> Result<String> {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let (hex, behind) =
            rest[at..].strip_prefix("\\x{").and_then(|escape| escape.split_once('}')).ok_or(BAD_XTEXT)?;
        if !(1..=6).contains(&hex.len()) || !hex.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return Err(BAD_XTEXT);
        }
        let character = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32).ok_or(BAD_XTEXT)?;
        text.push(character);
        rest = behind;
    }
    if value.contains(['+', '=']) {
        return Err(BAD_XTEXT);
    }
    text.push_str(rest);
    Ok(text)
}
