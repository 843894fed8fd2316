//! What is wrong with an input, where, and the reply that says so.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One defect of an input; its suggested reply and its sentence hang on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    // Addresses.
    Empty,
    MissingBracket,
    BadRoute,
    BadLocalPart,
    UnclosedQuote,
    BadDomain,
    LabelTooLong,
    DomainTooLong,
    BadLiteral,
    BadUtf8,
    Control,
    UnclosedComment,
    CommentInPath,
    TrailingJunk,
    // Commands.
    UnknownCommand,
    BadOctet,
    BadSyntax,
    MissingArgument,
    UnexpectedArgument,
    BadChunkSize,
    BadParameter,
    DuplicateParameter,
    TooManyParameters,
    // Values of parameters.
    UnknownParameter,
    BadValue,
    BadXtext,
    // Replies.
    BadReplyCode,
    MixedReplyCodes,
    BadReplyText,
    BadEnhancedCode,
    IncompleteReply,
    TrailingReply,
    ReplyLineTooLong,
    ReplyTooLong,
    UnaskedReply,
    OddReply,
    InjectedReply,
    // Content.
    BareNewline,
}

impl ErrorKind {
    const fn reply(self) -> (u16, &'static str) {
        match self {
            Self::Empty
            | Self::MissingBracket
            | Self::BadRoute
            | Self::BadLocalPart
            | Self::UnclosedQuote
            | Self::BadDomain
            | Self::LabelTooLong
            | Self::DomainTooLong
            | Self::BadLiteral
            | Self::BadUtf8
            | Self::Control
            | Self::UnclosedComment
            | Self::CommentInPath
            | Self::TrailingJunk => (501, "5.1.3"),
            Self::UnknownCommand => (500, "5.5.1"),
            Self::BadOctet => (501, "5.5.2"),
            Self::BadSyntax
            | Self::MissingArgument
            | Self::UnexpectedArgument
            | Self::BadChunkSize
            | Self::BadParameter
            | Self::DuplicateParameter
            | Self::TooManyParameters
            | Self::BadValue
            | Self::BadXtext => (501, "5.5.4"),
            Self::UnknownParameter => (555, "5.5.4"),
            // A server that breaks the protocol: the attempt failed, another may not.
            Self::BadReplyCode
            | Self::MixedReplyCodes
            | Self::BadReplyText
            | Self::BadEnhancedCode
            | Self::IncompleteReply
            | Self::TrailingReply
            | Self::ReplyLineTooLong
            | Self::ReplyTooLong
            | Self::UnaskedReply
            | Self::OddReply
            | Self::InjectedReply => (451, "4.5.0"),
            Self::BareNewline => (554, "5.6.0"),
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Empty => "the address is empty; give local@domain",
            Self::MissingBracket => "a path is written <local@domain>, with both brackets",
            Self::BadRoute => "a source route is written <@host,@host:local@domain>; leave it out",
            Self::BadLocalPart => "bad local part; put special characters in double quotes",
            Self::UnclosedQuote => "the quoted string has no closing quote",
            Self::BadDomain => {
                "bad domain; use letters, digits and inner hyphens, with single dots between labels"
            }
            Self::LabelTooLong => "a label of the domain is over 63 octets",
            Self::DomainTooLong => "the domain is over 255 octets",
            Self::BadLiteral => "bad address literal; write [192.0.2.1] or [IPv6:2001:db8::1]",
            Self::BadUtf8 => "the address is not valid UTF-8",
            Self::Control => "control characters are not allowed in an address",
            Self::UnclosedComment => "the comment has no closing parenthesis",
            Self::CommentInPath => "comments are not allowed in a path",
            Self::TrailingJunk => "unexpected text behind the closing bracket",
            Self::UnknownCommand => "unknown command",
            Self::BadOctet => "NUL, control and 8-bit characters are not allowed here",
            Self::BadSyntax => {
                "bad syntax; write MAIL FROM:<address> or RCPT TO:<address>, single spaces between parameters"
            }
            Self::MissingArgument => "the command needs an argument",
            Self::UnexpectedArgument => "too many arguments for this command",
            Self::BadChunkSize => "bad chunk size; write BDAT <octets> [LAST]",
            Self::BadParameter => "bad parameter; write KEYWORD or KEYWORD=value",
            Self::DuplicateParameter => "a parameter is given twice",
            Self::TooManyParameters => "too many parameters",
            Self::UnknownParameter => "parameter not recognized",
            Self::BadValue => "bad value of a parameter",
            Self::BadXtext => "bad xtext; encode + and = and what is not printable as +XX",
            Self::BadReplyCode => "a reply line starts with a code from 200 to 559 and a space or hyphen",
            Self::MixedReplyCodes => "all lines of a reply carry the same code",
            Self::BadReplyText => "CR, LF and NUL are not allowed in the text of a reply",
            Self::BadEnhancedCode => "an enhanced code is written class.subject.detail, as in 2.1.5",
            Self::IncompleteReply => "the reply ends before its last line",
            Self::TrailingReply => "there is more behind the last line of the reply",
            Self::ReplyLineTooLong => "a line of the reply is too long",
            Self::ReplyTooLong => "the reply is too long",
            Self::UnaskedReply => "the server sent a reply to nothing",
            Self::OddReply => "the server's reply is of a kind that does not fit the command",
            Self::InjectedReply => "the server sent more in clear text behind its reply to STARTTLS",
            Self::BareNewline => "a CR or LF stands alone; end each line with CRLF",
        }
    }
}

/// A refused input: what, at which octet of it, and the reply to suggest (RFC 5321 4.2, RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorKind,
    pub offset: usize,
    pub code: u16,
    pub enhanced: &'static str,
}

impl Error {
    pub const fn new(kind: ErrorKind, offset: usize) -> Self {
        let (code, enhanced) = kind.reply();
        Self { kind, offset, code, enhanced }
    }

    /// A short sentence for the reply and the exception.
    pub const fn text(&self) -> &'static str {
        self.kind.text()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at octet {})", self.text(), self.offset)
    }
}

impl std::error::Error for Error {}
