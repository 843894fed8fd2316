//! The transitions of the server's side of the protocol: every State x Verb in one table.
//!
//! A cell says what a command meets in a state before anything else about it is looked at. What a command that
//! is let through does to the state is in [`next`], below the table.

use crate::command::Verb;

/// Where a session stands between two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// In clear text where policy asks for TLS first (RFC 8314; HOSTILE 62a).
    Cleartext,
    /// Greeted by us, no HELO or EHLO yet.
    Greeted,
    /// Said hello, where policy asks for AUTH first.
    Anonymous,
    /// No transaction.
    Ready,
    /// A sender, no recipient yet.
    Mail,
    /// A sender, and recipients that were all refused.
    Refused,
    /// A sender and at least one recipient.
    Rcpt,
    /// Inside a series of BDAT chunks (RFC 3030).
    Chunks,
    /// A chunk was refused: only RSET or EHLO lead out.
    ChunkFailed,
}

/// What the table says of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Let through.
    Do,
    /// 503: out of sequence.
    Sequence,
    /// 530: STARTTLS first.
    NeedTls,
    /// 538: the mechanism would show the password.
    Encrypt,
    /// 530: AUTH first.
    NeedAuth,
    /// 554: no recipient was accepted.
    NoRecipient,
}

const STATES: usize = 9;

/// Short names, so that the table can be read as one.
mod cell {
    use super::Rule;
    pub const Y: Rule = Rule::Do;
    pub const S: Rule = Rule::Sequence;
    pub const T: Rule = Rule::NeedTls;
    pub const E: Rule = Rule::Encrypt;
    pub const A: Rule = Rule::NeedAuth;
    pub const N: Rule = Rule::NoRecipient;
}
use cell::{A, E, N, S, T, Y};

#[rustfmt::skip]
const TABLE: [[Rule; Verb::ALL.len()]; STATES] = [
    //               HELO EHLO AUTH MAIL RCPT DATA RSET VRFY EXPN HELP NOOP QUIT STLS BDAT
    /* Cleartext   */ [Y,   Y,   E,   T,   T,   T,   Y,   T,   T,   Y,   Y,   Y,   Y,   T],
    /* Greeted     */ [Y,   Y,   S,   S,   S,   S,   Y,   Y,   Y,   Y,   Y,   Y,   Y,   S],
    /* Anonymous   */ [Y,   Y,   Y,   A,   S,   S,   Y,   Y,   Y,   Y,   Y,   Y,   Y,   S],
    /* Ready       */ [Y,   Y,   Y,   Y,   S,   S,   Y,   Y,   Y,   Y,   Y,   Y,   Y,   S],
    /* Mail        */ [Y,   Y,   S,   S,   Y,   S,   Y,   Y,   Y,   Y,   Y,   Y,   S,   S],
    /* Refused     */ [Y,   Y,   S,   S,   Y,   N,   Y,   Y,   Y,   Y,   Y,   Y,   S,   N],
    /* Rcpt        */ [Y,   Y,   S,   S,   Y,   Y,   Y,   Y,   Y,   Y,   Y,   Y,   S,   Y],
    /* Chunks      */ [Y,   Y,   S,   S,   S,   S,   Y,   Y,   Y,   Y,   Y,   Y,   S,   Y],
    /* ChunkFailed */ [Y,   Y,   S,   S,   S,   S,   Y,   Y,   Y,   Y,   Y,   Y,   S,   S],
];

/// What `verb` meets in `state`.
pub fn rule(state: State, verb: Verb) -> Rule {
    TABLE[state as usize][verb.index()]
}

/// The state after a command of `verb` was accepted; `hello` is the state that a session rests in between
/// transactions under its policy. DATA, and BDAT's last chunk, end in `hello` once the message is answered.
pub fn next(state: State, verb: Verb, hello: State) -> State {
    match verb {
        // RSET before HELO does not stand in for it.
        Verb::Rset if state == State::Greeted => State::Greeted,
        Verb::Helo | Verb::Ehlo | Verb::Rset => hello,
        Verb::Mail => State::Mail,
        Verb::Rcpt => State::Rcpt,
        Verb::Bdat => State::Chunks,
        _ => state,
    }
}

impl State {
    /// Whether a sender has been accepted and the message not yet answered.
    pub fn in_transaction(self) -> bool {
        self >= State::Mail
    }

    /// Whether a recipient has been accepted: such a transaction is never cut for errors (HOSTILE 33).
    pub fn has_recipient(self) -> bool {
        self >= State::Rcpt
    }

    /// The name that the Python side shows.
    pub fn name(self) -> &'static str {
        match self {
            State::Cleartext => "cleartext",
            State::Greeted => "greeted",
            State::Anonymous => "anonymous",
            State::Ready => "ready",
            State::Mail => "mail",
            State::Refused => "refused",
            State::Rcpt => "rcpt",
            State::Chunks => "chunks",
            State::ChunkFailed => "chunk-failed",
        }
    }
}

impl PartialOrd for State {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some((*self as u8).cmp(&(*other as u8)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quit_and_noop_are_let_through_everywhere() {
        for row in TABLE {
            assert_eq!(row[Verb::Quit.index()], Rule::Do);
            assert_eq!(row[Verb::Noop.index()], Rule::Do);
        }
    }

    #[test]
    fn content_is_taken_only_behind_an_accepted_recipient() {
        for (state, row) in TABLE.iter().enumerate() {
            let behind_rcpt = state == State::Rcpt as usize;
            assert_eq!(row[Verb::Data.index()] == Rule::Do, behind_rcpt);
            let in_chunks = state == State::Chunks as usize;
            assert_eq!(row[Verb::Bdat.index()] == Rule::Do, behind_rcpt || in_chunks);
        }
    }
}
