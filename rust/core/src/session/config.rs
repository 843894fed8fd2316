//! What all sessions of one listener share, made once.

use crate::command::Verb;
use crate::data::Newlines;
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

/// How a session behaves. [`Config::frozen`] checks the words.
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
    pub mail_params: Vec<String>,
    pub rcpt_params: Vec<String>,
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
            mail_params: Vec::new(),
            rcpt_params: Vec::new(),
            newlines: Newlines::Reject,
            early_input: false,
            strict: false,
            limits: Limits::default(),
        }
    }
}

/// A setting that cannot work: its name, what stands there, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSetting(pub String);

/// What the session says of itself; said twice, clients would believe the one or the other.
const BUILT_IN: [&str; 11] = [
    "PIPELINING",
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "CHUNKING",
    "BINARYMIME",
    "SIZE",
    "STARTTLS",
    "AUTH",
    "DSN",
    "HELP",
];

impl Settings {
    /// Finds the first word that would break the framing of a reply, or that no client could use.
    fn check(&self) -> Result<(), BadSetting> {
        let printable = |text: &str| !text.chars().any(char::is_control);
        if self.hostname.is_empty()
            || self.hostname.contains(char::is_whitespace)
            || !printable(&self.hostname)
        {
            return bad("hostname", &self.hostname, "write one word, the server's domain name");
        }
        if !printable(&self.greeting) {
            return bad("greeting", &self.greeting, "write one line, without control characters");
        }
        if let Some(name) = self.mechanisms.iter().find(|name| !is_mechanism(name)) {
            return bad("mechanisms", name, "write 1 to 20 of A-Z, 0-9, '-' and '_' (RFC 4422 3.1)");
        }
        for (setting, keywords) in [("mail_params", &self.mail_params), ("rcpt_params", &self.rcpt_params)] {
            if let Some(keyword) = keywords.iter().find(|keyword| !is_keyword(keyword)) {
                return bad(setting, keyword, "write letters, digits and inner '-' (RFC 5321 4.1.2)");
            }
        }
        for line in &self.extensions {
            let (keyword, params) = line.split_once(' ').map_or((line.as_str(), None), |(a, b)| (a, Some(b)));
            let words = |params: &str| {
                params
                    .split(' ')
                    .all(|word| !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_graphic()))
            };
            if !is_keyword(keyword) || !params.is_none_or(words) {
                let mend =
                    "write a keyword, then words of printable ASCII, one space between (RFC 5321 4.1.1.1)";
                return bad("extensions", line, mend);
            }
            if BUILT_IN.iter().any(|own| own.eq_ignore_ascii_case(keyword)) {
                return bad(
                    "extensions",
                    line,
                    "leave it out: the session offers it by itself where it applies",
                );
            }
        }
        Ok(())
    }

    pub fn auth_offered(&self, tls: bool) -> bool {
        !self.mechanisms.is_empty() && (tls || !self.tls_required)
    }
}

fn bad(setting: &str, value: &str, mend: &str) -> Result<(), BadSetting> {
    Err(BadSetting(format!("{setting}: {value:?}: {mend}")))
}

fn is_mechanism(name: &str) -> bool {
    let fits =
        |octet: u8| octet.is_ascii_uppercase() || octet.is_ascii_digit() || matches!(octet, b'-' | b'_');
    (1..=20).contains(&name.len()) && name.bytes().all(fits)
}

/// ehlo-keyword and esmtp-keyword are the same.
fn is_keyword(word: &str) -> bool {
    !word.is_empty()
        && !word.starts_with('-')
        && word.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}

/// A reply and its bytes on the wire.
#[derive(Debug)]
pub struct Framed {
    pub reply: Reply,
    pub bytes: Vec<u8>,
}

impl Framed {
    /// The lines are of settings that were checked.
    fn new(code: u16, lines: Vec<String>) -> Self {
        let reply = Reply::new(code, lines).expect("checked settings frame well");
        let mut bytes = Vec::new();
        reply.encode(&mut bytes);
        Self { reply, bytes }
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
    /// Where a word would break the framing of a reply, or is one that no client could use.
    pub fn frozen(settings: Settings) -> Result<Self, BadSetting> {
        settings.check()?;
        let banner = format!("{} {}", settings.hostname, settings.greeting);
        Ok(Self {
            banner: Framed::new(220, vec![banner.trim_end().to_owned()]),
            helo: Framed::new(250, vec![settings.hostname.clone()]),
            ehlo_plain: Framed::new(250, ehlo_lines(&settings, false)),
            ehlo_tls: Framed::new(250, ehlo_lines(&settings, true)),
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
