//! The replies that the session gives by itself, framed ahead of time.

use crate::reply::Reply;

/// One whole reply line, CRLF included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canned(pub(super) &'static str);

impl Canned {
    pub fn code(self) -> u16 {
        self.0.bytes().take(3).fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
    }

    pub fn text(self) -> &'static str {
        self.0[4..].trim_end()
    }

    pub fn reply(self) -> Reply {
        let lines = vec![self.text().to_owned()];
        Reply::new(self.code(), lines).unwrap_or_else(|_| unreachable!("a canned reply is well formed"))
    }
}

pub const RESET: Canned = Canned("250 2.0.0 OK\r\n");
pub const NOOP: Canned = Canned("250 2.0.0 OK\r\n");
pub const SENDER_OK: Canned = Canned("250 2.1.0 Sender OK\r\n");
pub const RECIPIENT_OK: Canned = Canned("250 2.1.5 Recipient OK\r\n");
pub const MESSAGE_OK: Canned = Canned("250 2.0.0 Message accepted\r\n");
pub const CHUNK_OK: Canned = Canned("250 2.0.0 Chunk accepted\r\n");
pub const START_CONTENT: Canned = Canned("354 End data with <CR><LF>.<CR><LF>\r\n");
pub const BYE: Canned = Canned("221 2.0.0 Bye\r\n");
pub const START_TLS: Canned = Canned("220 2.0.0 Ready to start TLS\r\n");
pub const HELP: Canned = Canned("214 2.0.0 See RFC 5321 for the commands; EHLO lists the extensions\r\n");
/// The same for every name, known or not: no address can be harvested (HOSTILE 34).
pub const CANNOT_VERIFY: Canned =
    Canned("252 2.5.0 Cannot verify; send the message and delivery will be attempted\r\n");

pub const LINE_TOO_LONG: Canned = Canned("500 5.5.2 Line too long\r\n");
pub const AUTH_TOO_LONG: Canned = Canned("500 5.5.6 Authentication exchange line is too long\r\n");
pub const BARE_NEWLINE: Canned = Canned("500 5.5.2 A line must end in CRLF\r\n");
pub const CONTROL_IN_LINE: Canned = Canned("501 5.5.2 Control character in the command\r\n");
pub const BAD_SEQUENCE: Canned = Canned("503 5.5.1 Bad sequence of commands\r\n");
pub const BINARY_NEEDS_BDAT: Canned = Canned("503 5.5.1 BODY=BINARYMIME needs BDAT\r\n");
pub const NEED_TLS: Canned = Canned("530 5.7.0 Must issue a STARTTLS command first\r\n");
pub const NEED_AUTH: Canned = Canned("530 5.7.0 Authentication required\r\n");
pub const ENCRYPT_FIRST: Canned = Canned("538 5.7.11 Encryption required for the requested mechanism\r\n");
pub const NO_RECIPIENT: Canned = Canned("554 5.5.1 No valid recipients\r\n");
pub const NOT_OFFERED: Canned = Canned("502 5.5.1 Command not implemented\r\n");
pub const UNKNOWN_MECHANISM: Canned = Canned("504 5.5.4 Authentication mechanism not offered\r\n");
pub const AUTH_CANCELLED: Canned = Canned("501 5.7.0 Authentication cancelled\r\n");
pub const BAD_BASE64: Canned = Canned("501 5.5.2 Cannot decode the base64 response\r\n");
pub const BAD_CREDENTIAL: Canned = Canned("535 5.7.8 Authentication credentials invalid\r\n");

pub const SENDER_TOO_LARGE: Canned = Canned("552 5.3.4 Message size exceeds the limit\r\n");
pub const SENDER_NEEDS_UTF8: Canned = Canned("550 5.6.7 A non-ASCII sender needs the SMTPUTF8 parameter\r\n");
pub const SENDER_UNQUALIFIED: Canned = Canned("501 5.1.7 The sender needs a domain\r\n");
pub const RECIPIENT_NEEDS_UTF8: Canned =
    Canned("553 5.6.7 A non-ASCII recipient needs the SMTPUTF8 parameter\r\n");
pub const RECIPIENT_UNQUALIFIED: Canned = Canned("501 5.1.3 The recipient needs a domain\r\n");
pub const PARAMETER_NEEDS_UTF8: Canned =
    Canned("501 5.5.4 A non-ASCII value needs the SMTPUTF8 parameter\r\n");
pub const TOO_MANY_RECIPIENTS: Canned = Canned("452 4.5.3 Too many recipients\r\n");

pub const CONTENT_BARE_NEWLINE: Canned =
    Canned("554 5.6.0 Bare CR or LF in the message; lines end in CRLF\r\n");
pub const CONTENT_NUL: Canned = Canned("554 5.6.0 NUL in the message\r\n");
pub const CONTENT_TOO_LARGE: Canned = Canned("552 5.3.4 Message size exceeds the limit\r\n");
pub const EARLY_INPUT: Canned = Canned("554 5.5.0 Input before it was asked for\r\n");
pub const WRONG_PROTOCOL: Canned = Canned("554 5.7.0 This is an SMTP server\r\n");
pub const TOO_MANY_ERRORS: Canned = Canned("421 4.7.0 Too many errors\r\n");
pub const TOO_MANY_COMMANDS: Canned = Canned("421 4.7.0 Too many commands without a message\r\n");
pub const TOO_MANY_REFUSED: Canned = Canned("421 4.7.0 Too many refused recipients\r\n");
