//! What all sessions of one listener share, made once.

use crate::command::Verb;
use crate::data::Newlines;
use crate::error::{Error, ErrorKind};
use crate::reply::Reply;

/// Limits of one session; the defaults are those of docs/hostile-input.md.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Octets of content (RFC 1870).
    pub message_size: usize,
    /// Accepted recipients of a message.
    pub recipients: usize,
    /// Octets of a command line, CRLF included.
    pub command_line: usize,
    /// Octets of an AUTH line or of an answer to its challenge.
    pub auth_line: usize,
    /// Refused commands a connection.
    pub errors: u32,
    /// Commands that lead nowhere (NOOP, RSET, VRFY ...) in a row without a message.
    pub idle_commands: u32,
    /// Refused recipients a connection.
    pub refused_recipients: u32,
    /// Failed logins a connection.
    pub auth_failures: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: 32 << 20,
            recipients: 1000,
            command_line: 2048,
            auth_line: 12_288,
            errors: 20,
            idle_commands: 100,
            refused_recipients: 1000,
            auth_failures: 3,
        }
    }
}

/// How a session behaves. Strings must hold no CR, LF or NUL; [`Config::frozen`] checks it.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Settings {
    pub hostname: String,
    /// What follows the host name in the banner.
    pub greeting: String,
    /// Bits of the verbs that the driver decides ([`Verb::bit`]).
    pub decide: u16,
    /// Whether the driver may word the refusals that the session makes by itself.
    pub decide_errors: bool,
    pub starttls: bool,
    pub tls_required: bool,
    pub auth_required: bool,
    /// SASL mechanisms offered, strongest first; none: AUTH is not offered.
    pub mechanisms: Vec<String>,
    /// Whether DSN (RFC 3461) is offered.
    pub dsn: bool,
    /// Lines that custom extensions add to the EHLO reply.
    pub extensions: Vec<String>,
    /// Keywords that custom extensions add to MAIL and to RCPT, in upper case.
    pub mail_extra: Vec<String>,
    pub rcpt_extra: Vec<String>,
    pub newlines: Newlines,
    /// Whether content that comes before our 354 is taken.
    pub early_input: bool,
    /// Whether the lenient forms of paths are refused (HOSTILE 34a).
    pub strict: bool,
    pub limits: Limits,
}

impl Settings {
    pub fn new(hostname: &str) -> Self {
        Self {
            hostname: hostname.to_owned(),
            greeting: "ESMTP smtpx".to_owned(),
            decide: 0,
            decide_errors: false,
            starttls: false,
            tls_required: false,
            auth_required: false,
            mechanisms: Vec::new(),
            dsn: false,
            extensions: Vec::new(),
            mail_extra: Vec::new(),
            rcpt_extra: Vec::new(),
            newlines: Newlines::Reject,
            early_input: false,
            strict: false,
            limits: Limits::default(),
        }
    }
}

/// A reply and its bytes on the wire.
#[derive(Debug)]
pub struct Framed {
    pub reply: Reply,
    pub bytes: Vec<u8>,
}

impl Framed {
    fn new(code: u16, lines: Vec<String>) -> Result<Self, Error> {
        let reply = Reply::new(code, lines)?;
        let mut bytes = Vec::new();
        reply.encode(&mut bytes);
        Ok(Self { reply, bytes })
    }
}

/// Settings with the replies that follow from them, framed.
#[derive(Debug)]
pub struct Config {
    pub settings: Settings,
    pub banner: Framed,
    pub helo: Framed,
    ehlo_plain: Framed,
    ehlo_tls: Framed,
}

impl Config {
    /// Freezes the settings.
    ///
    /// # Errors
    /// Where a text of the settings holds a CR, LF or NUL and so would break the framing of a reply; or the host
    /// name is no one word, so that the banner would give another.
    pub fn frozen(settings: Settings) -> Result<Self, Error> {
        let word = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
        if !word(&settings.hostname) {
            return Err(Error::new(ErrorKind::BadDomain, 0));
        }
        let banner = format!("{} {}", settings.hostname, settings.greeting);
        Ok(Self {
            banner: Framed::new(220, vec![banner.trim_end().to_owned()])?,
            helo: Framed::new(250, vec![settings.hostname.clone()])?,
            ehlo_plain: Framed::new(250, ehlo_lines(&settings, false))?,
            ehlo_tls: Framed::new(250, ehlo_lines(&settings, true))?,
            settings,
        })
    }

    pub fn ehlo(&self, tls: bool) -> &Framed {
        if tls { &self.ehlo_tls } else { &self.ehlo_plain }
    }

    pub fn decides(&self, verb: Verb) -> bool {
        self.settings.decide & verb.bit() != 0
    }
}

impl Settings {
    pub fn auth_offered(&self, tls: bool) -> bool {
        !self.mechanisms.is_empty() && (tls || !self.tls_required)
    }
}

fn ehlo_lines(settings: &Settings, tls: bool) -> Vec<String> {
    let mut lines = vec![settings.hostname.clone()];
    lines.extend(
        ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "BINARYMIME"]
            .map(str::to_owned),
    );
    lines.push(format!("SIZE {}", settings.limits.message_size));
    if settings.starttls && !tls {
        lines.push("STARTTLS".to_owned());
    }
    if settings.auth_offered(tls) {
        lines.push(format!("AUTH {}", settings.mechanisms.join(" ")));
    }
    if settings.dsn {
        lines.push("DSN".to_owned());
    }
    lines.extend(settings.extensions.iter().cloned());
    lines.push("HELP".to_owned());
    lines
}
