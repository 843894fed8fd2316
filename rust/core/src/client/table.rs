//! What a reply means to the client: every question x class of reply in one table.
//!
//! RFC 5321 4.3.2 names the codes of each command; a client goes by the first digit alone (4.2.1).

/// What a reply that is due answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Asked {
    /// The connection itself.
    Banner,
    Ehlo,
    Helo,
    StartTls,
    Auth,
    /// A command that ends with its reply: NOOP, VRFY, what the driver wrote.
    Command,
    Quit,
    Mail,
    Rcpt,
    Data,
    /// The final dot.
    Content,
    Chunk,
    LastChunk,
    /// RSET behind a transaction that ended early.
    Reset,
}

/// What the session does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The exchange ends with this reply.
    End,
    /// The exchange and the connection end with it.
    Close,
    /// Say hello.
    Hello,
    /// Say hello in the old way: no extensions.
    HelloOld,
    /// Note what the server offers, and end.
    Learn,
    /// Have the driver shake hands.
    Secure,
    /// Have the driver answer the challenge.
    Challenge,
    /// MAIL was accepted; a chunk was: nothing changes.
    Go,
    /// The whole transaction is refused.
    Refuse,
    /// This recipient is accepted.
    Admit,
    /// This one is not.
    TurnDown,
    /// The content may go.
    Content,
    /// The fate of the message is known.
    Settle,
    /// A chunk was refused.
    Stop,
    /// The transaction is over.
    Over,
    /// No server that follows the protocol says so here.
    Odd,
}

use Act::{
    Admit, Challenge, Close, Content, End, Go, Hello, HelloOld, Learn, Odd, Over, Refuse, Secure, Settle,
    Stop, TurnDown,
};

const QUESTIONS: usize = 14;

#[rustfmt::skip]
const TABLE: [[Act; 4]; QUESTIONS] = [
    //               2yz      3yz        4yz       5yz
    /* Banner    */ [Hello,   Odd,       Close,    Close],
    /* Ehlo      */ [Learn,   Odd,       End,      HelloOld],
    /* Helo      */ [Learn,   Odd,       End,      End],
    /* StartTls  */ [Secure,  Odd,       End,      End],
    /* Auth      */ [End,     Challenge, End,      End],
    /* Command   */ [End,     End,       End,      End],
    /* Quit      */ [Close,   Close,     Close,    Close],
    /* Mail      */ [Go,      Odd,       Refuse,   Refuse],
    /* Rcpt      */ [Admit,   Odd,       TurnDown, TurnDown],
    /* Data      */ [Odd,     Content,   Refuse,   Refuse],
    /* Content   */ [Settle,  Odd,       Settle,   Settle],
    /* Chunk     */ [Go,      Odd,       Stop,     Stop],
    /* LastChunk */ [Settle,  Odd,       Stop,     Stop],
    /* Reset     */ [Over,    Over,      Over,     Over],
];

/// What a reply of `code` (200 to 559) to `asked` means.
pub fn act(asked: Asked, code: u16) -> Act {
    TABLE[asked as usize][usize::from(code / 100).saturating_sub(2).min(3)]
}
