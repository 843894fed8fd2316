//! One message on its way: where it stands, and what became of each recipient.

use super::content::ContentEncoder;
use super::envelope::Lines;
use crate::reply::Reply;

/// What became of a message for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2yz: the server has it.
    Accepted,
    /// 4yz, or the connection ended before all of the content was sent.
    Temporary,
    /// 5yz.
    Permanent,
    /// The connection ended between the end of the content and the reply, or there were more replies than commands:
    /// sent again it may arrive twice.
    Unknown,
}

impl Outcome {
    fn of(code: u16) -> Self {
        match code {
            200..=299 => Self::Accepted,
            500.. => Self::Permanent,
            _ => Self::Temporary,
        }
    }
}

/// The outcomes in the order of the recipients, and the replies that told them.
#[derive(Debug, Default)]
pub struct Outcomes {
    pub replies: Vec<Reply>,
    /// Each with the index of its reply.
    pub of: Vec<(Outcome, Option<usize>)>,
}

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// MAIL, RCPT and DATA.
    Envelope,
    /// Content is being given.
    Content,
    /// All of it was; what the server makes of it is not known yet.
    Sent,
    /// It will not be taken; replies may still be due.
    Failed,
    /// RSET.
    Reset,
    /// No reply is due any more, here and on the server.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Admitted,
    Known(Outcome, usize),
}

#[derive(Debug)]
pub(super) struct Transaction {
    pub lines: Lines,
    /// The next of the lines to send.
    pub next: usize,
    pub stage: Stage,
    pub encoder: ContentEncoder,
    /// The content, framed, until it is sent; none is asked of the driver then.
    pub whole: Option<Vec<u8>>,
    /// Content that waits for the reply to a chunk, and whether its end is in it.
    pub held: Option<(Vec<u8>, bool)>,
    /// DATA was sent, or content is.
    pub begun: bool,
    /// MAIL was accepted, and the end of the content not answered, which ends the transaction there whatever it said.
    pub open: bool,
    /// All of the content was given.
    pub sent: bool,
    fates: Vec<Fate>,
    /// Recipients whose RCPT was answered, and whose content was (LMTP).
    answered: usize,
    settled: usize,
    replies: Vec<Reply>,
    /// The first of them that one too many would put in doubt.
    certain: usize,
    /// Octets of them.
    kept: usize,
}

impl Transaction {
    pub fn new(lines: Lines, encoder: ContentEncoder, whole: Option<Vec<u8>>) -> Self {
        let recipients = lines.count() - 1;
        Self {
            lines,
            next: 0,
            stage: Stage::Envelope,
            encoder,
            whole,
            held: None,
            begun: false,
            sent: false,
            open: false,
            fates: vec![Fate::Open; recipients],
            answered: 0,
            settled: 0,
            replies: Vec::new(),
            certain: 0,
            kept: 0,
        }
    }

    /// Recipients that were accepted, and whose fate is open.
    pub fn admitted(&self) -> usize {
        self.fates.iter().filter(|fate| **fate == Fate::Admitted).count()
    }

    /// The reply to the next RCPT.
    pub fn answer_recipient(&mut self, reply: Reply) {
        let index = self.answered;
        self.answered += 1;
        match self.fates.get(index) {
            Some(Fate::Open) if reply.code() < 300 => self.fates[index] = Fate::Admitted,
            Some(Fate::Open) => self.know(index, reply),
            _ => {}
        }
    }

    /// LMTP's reply for the next of the accepted recipients (RFC 2033 4.2).
    pub fn answer_content(&mut self, reply: Reply) {
        let admitted = |fate: &Fate| *fate == Fate::Admitted;
        if let Some(at) = self.fates[self.settled..].iter().position(admitted) {
            self.settled += at + 1;
            self.know(self.settled - 1, reply);
        }
    }

    /// One reply for all whose fate is not known: the end of the content's, or a refusal of the whole.
    pub fn settle(&mut self, reply: Reply) {
        let (outcome, index) = (Outcome::of(reply.code()), self.replies.len());
        for fate in &mut self.fates {
            if !matches!(fate, Fate::Known(..)) {
                *fate = Fate::Known(outcome, index);
            }
        }
        self.keep(reply);
    }

    /// No command but DATA is answered by 354: where that is in its place, the replies before it are too.
    pub fn vouched(&mut self) {
        self.certain = self.replies.len();
    }

    /// A server that counts wrong: nothing is known that its replies told, but what one vouched for.
    pub fn doubt(&mut self) {
        for fate in &mut self.fates {
            if matches!(fate, Fate::Known(_, index) if *index >= self.certain) {
                *fate = Fate::Open;
            }
        }
    }

    /// More text than honest servers have to say: a line of 512 octets (RFC 5321 4.5.3.1.5) a recipient, and one reply
    /// as large as any.
    pub fn flooded(&self, max_reply: usize) -> bool {
        self.kept > max_reply.saturating_add(512 * self.fates.len())
    }

    fn keep(&mut self, reply: Reply) {
        self.kept += reply.lines().iter().map(|line| line.len() + 6).sum::<usize>();
        self.replies.push(reply);
    }

    fn know(&mut self, index: usize, reply: Reply) {
        self.fates[index] = Fate::Known(Outcome::of(reply.code()), self.replies.len());
        self.keep(reply);
    }

    /// What is known, and of the rest what its end here makes of it.
    pub fn outcomes(self) -> Outcomes {
        let otherwise = if self.sent { Outcome::Unknown } else { Outcome::Temporary };
        let of = self.fates.into_iter().map(|fate| match fate {
            Fate::Known(outcome, index) => (outcome, Some(index)),
            Fate::Open | Fate::Admitted => (otherwise, None),
        });
        Outcomes { of: of.collect(), replies: self.replies }
    }
}
