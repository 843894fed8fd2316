//! The framing of content: DATA with its dots (RFC 5321 4.5.2), and BDAT (RFC 3030).
//!
//! Only CRLF ends a line and only CRLF "." CRLF ends a message. Every other reading of a CR, an LF or a dot is how
//! one message is made to look like two to the next server (SMTP smuggling); so a bare CR or LF is refused, or stored
//! as a CRLF, but is never a place where content ends.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// What a bare CR or LF in DATA is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newlines {
    /// A flaw.
    Reject,
    /// A line end: stored as CRLF.
    Normalize,
}

/// Why content is refused, at its real end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// 554 5.6.0, and close.
    BareNewline,
    /// 554 5.6.0.
    Nul,
    /// 552 5.3.4.
    TooLarge,
}

/// What a decoder has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of the input is consumed and the end is not in it.
    More,
    /// The content ended; what lies behind `consumed` octets are commands.
    End { consumed: usize },
    /// Ten times the limit, and no end: 552 5.3.4 and close at once.
    Overrun,
}

const OVERRUN: usize = 10;

/// Small enough that a block stays in the first-level cache for the passes over it, and that a flaw makes only its
/// surroundings slow.
const BLOCK: usize = 16 * 1024;

static DOT_LINE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n."));

/// Content and its size; once it has a flaw nothing of it is held.
struct Content {
    octets: Vec<u8>,
    size: usize,
    limit: usize,
    bare_newline: bool,
    nul: bool,
}

impl Content {
    const fn new(limit: usize) -> Self {
        Self { octets: Vec::new(), size: 0, limit, bare_newline: false, nul: false }
    }

    const fn flaw(&self) -> Option<Flaw> {
        if self.bare_newline {
            Some(Flaw::BareNewline)
        } else if self.size > self.limit {
            Some(Flaw::TooLarge)
        } else if self.nul {
            Some(Flaw::Nul)
        } else {
            None
        }
    }

    fn put(&mut self, octets: &[u8]) {
        self.size = self.size.saturating_add(octets.len());
        if self.flaw().is_none() {
            self.octets.extend_from_slice(octets);
        } else {
            self.octets = Vec::new();
        }
    }

    fn put_text(&mut self, octet: u8) {
        self.nul |= octet == 0;
        self.put(&[octet]);
    }

    fn finish(self) -> Result<Vec<u8>, Flaw> {
        self.flaw().map_or(Ok(self.octets), Err)
    }
}

/// Where in a line the next octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Behind a CRLF, or at the very start. `doubled`: behind CR CR LF.
    Start {
        doubled: bool,
    },
    /// Behind a dot at the start of a line; not kept so far.
    Dot {
        doubled: bool,
    },
    /// Behind a dot and a CR.
    DotCr {
        doubled: bool,
    },
    Text,
    /// Behind a CR that may become a CRLF. `doubled`: the octet before it was a CR too.
    Cr {
        doubled: bool,
    },
}

/// Incremental: takes content as it arrives, finds its end, takes the dots off. Any split of the input gives the same.
pub struct DataDecoder {
    newlines: Newlines,
    content: Content,
    overrun: usize,
    place: Place,
}

impl DataDecoder {
    /// `limit`: octets of content, dots taken off.
    pub const fn new(newlines: Newlines, limit: usize) -> Self {
        Self {
            newlines,
            content: Content::new(limit),
            overrun: limit.saturating_mul(OVERRUN),
            place: Place::Start { doubled: false },
        }
    }

    /// Octets of content so far.
    pub const fn size(&self) -> usize {
        self.content.size
    }

    pub fn feed(&mut self, input: &[u8]) -> Progress {
        let mut at = 0;
        while at < input.len() {
            let block = &input[at..input.len().min(at + BLOCK)];
            let (consumed, ended) = if self.within_line(block[0]) {
                match clean_lines(block) {
                    Some(clean) => self.take_clean(clean),
                    None => self.take_any(block),
                }
            } else {
                self.take_any(&block[..1])
            };
            at += consumed;
            if self.content.size > self.overrun {
                return Progress::Overrun;
            }
            if ended {
                return Progress::End { consumed: at };
            }
        }
        Progress::More
    }

    pub fn finish(self) -> Result<Vec<u8>, Flaw> {
        self.content.finish()
    }

    /// Whether `next` stands where it is plain text, unless it ends a line: then whole blocks can be judged.
    const fn within_line(&self, next: u8) -> bool {
        match self.place {
            Place::Text => true,
            Place::Start { .. } => next != b'.',
            Place::Dot { .. } | Place::DotCr { .. } | Place::Cr { .. } => false,
        }
    }

    /// The fast way: whole runs from dot line to dot line.
    fn take_clean(&mut self, block: &[u8]) -> (usize, bool) {
        let mut kept = 0;
        for line_end in DOT_LINE.find_iter(block) {
            let dot = line_end + 2;
            self.content.put(&block[kept..dot]);
            kept = dot + 1;
            match block.get(kept) {
                // In clean lines an LF follows.
                Some(b'\r') => return (kept + 2, true),
                Some(_) => {}
                None => {
                    self.place = Place::Dot { doubled: false };
                    return (kept, false);
                }
            }
        }
        self.content.put(&block[kept..]);
        self.place = if block.ends_with(b"\r\n") { Place::Start { doubled: false } } else { Place::Text };
        (block.len(), false)
    }

    /// The exact way: octet by octet where one matters, the text between them in runs.
    fn take_any(&mut self, block: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while at < block.len() {
            let rest = &block[at..];
            let run = match self.place {
                Place::Text => memchr::memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len()),
                _ => 0,
            };
            if run > 0 {
                self.content.put(&rest[..run]);
                at += run;
            } else {
                at += 1;
                if self.step(rest[0]) {
                    return (at, true);
                }
            }
        }
        (at, false)
    }

    /// Takes one octet; true at the end of the content.
    fn step(&mut self, octet: u8) -> bool {
        self.place = match (self.place, octet) {
            (Place::Start { doubled }, b'.') => Place::Dot { doubled },
            (Place::Dot { doubled }, b'\r') => Place::DotCr { doubled },
            (Place::DotCr { doubled }, b'\n') => {
                // Behind CR CR LF servers differ on whether this is the end. The next one must not get to say.
                self.content.bare_newline |= doubled;
                return true;
            }
            (Place::Cr { doubled }, b'\n') => {
                self.content.put(b"\r\n");
                Place::Start { doubled }
            }
            (Place::Cr { .. } | Place::DotCr { .. }, _) => {
                self.bare_newline();
                if octet == b'\r' { Place::Cr { doubled: true } } else { self.text(octet) }
            }
            (Place::Start { .. } | Place::Text, b'\r') => Place::Cr { doubled: false },
            (Place::Start { .. } | Place::Dot { .. } | Place::Text, _) => self.text(octet),
        };
        false
    }

    fn text(&mut self, octet: u8) -> Place {
        if octet == b'\n' {
            self.bare_newline();
        } else {
            self.content.put_text(octet);
        }
        Place::Text
    }

    fn bare_newline(&mut self) {
        self.content.bare_newline |= self.newlines == Newlines::Reject;
        self.content.put(b"\r\n");
    }
}

/// Incremental: the content of all BDAT chunks of one transaction. The sizes frame it, so dots are content and a bare
/// CR or LF cannot smuggle: without BINARYMIME it is stored as a CRLF whatever DATA does with one.
pub struct ChunkDecoder {
    binary: bool,
    content: Content,
    remaining: u64,
    /// A CR is the last octet so far; the next chunk may start with its LF.
    cr: bool,
}

impl ChunkDecoder {
    /// `binary`: BODY=BINARYMIME, byte-exact, NUL allowed. `limit`: octets of content.
    pub const fn new(binary: bool, limit: usize) -> Self {
        Self { binary, content: Content::new(limit), remaining: 0, cr: false }
    }

    pub const fn start_chunk(&mut self, size: u64) {
        self.remaining = size;
    }

    /// Octets that the chunk still lacks.
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Octets of content so far.
    pub const fn size(&self) -> usize {
        self.content.size
    }

    /// Takes what belongs to the chunk, and says how much that is.
    pub fn feed(&mut self, input: &[u8]) -> usize {
        let length =
            usize::try_from(self.remaining).map_or(input.len(), |remaining| remaining.min(input.len()));
        self.remaining -= length as u64;
        let input = &input[..length];
        if self.binary {
            self.content.put(input);
            return length;
        }
        let mut at = 0;
        while at < length {
            let block = &input[at..length.min(at + BLOCK)];
            if self.cr {
                self.step(block[0]);
                at += 1;
            } else if let Some(clean) = clean_lines(block) {
                self.content.put(clean);
                at += clean.len();
            } else {
                for &octet in block {
                    self.step(octet);
                }
                at += block.len();
            }
        }
        length
    }

    pub fn finish(mut self) -> Result<Vec<u8>, Flaw> {
        if self.cr {
            self.content.put(b"\r\n");
        }
        self.content.finish()
    }

    fn step(&mut self, octet: u8) {
        // A CR is put when the octet behind it is known: with an LF, both are one line end.
        if self.cr || octet == b'\n' {
            self.content.put(b"\r\n");
        }
        if octet != b'\r' && octet != b'\n' {
            self.content.put_text(octet);
        }
        self.cr = octet == b'\r';
    }
}

/// `block` up to a CR at its end, if it is not empty and has neither NUL nor a CR or LF outside a CRLF.
pub(crate) fn clean_lines(block: &[u8]) -> Option<&[u8]> {
    let block = block.strip_suffix(b"\r").unwrap_or(block);
    if block.ends_with(b"\r") {
        return None;
    }
    let first = *block.first()?;
    // No branch inside: compiled to vector instructions.
    let flaws = block.iter().zip(&block[1..]).fold(
        u8::from(first == b'\n' || first == 0),
        |flaws, (&before, &octet)| {
            flaws | u8::from((octet == b'\n') != (before == b'\r')) | u8::from(octet == 0)
        },
    );
    (flaws == 0).then_some(block)
}

/// How many CRs and LFs there are outside a CRLF.
pub fn count_bare_newlines(octets: &[u8]) -> usize {
    let (Some(first), Some(last)) = (octets.first(), octets.last()) else { return 0 };
    // At most 255 pairs at once, and no branch inside: compiled to vector instructions that count in octets.
    let pairs = (0..octets.len()).step_by(255).map(|start| {
        let block = &octets[start..octets.len().min(start + 256)];
        let bare = |(&before, &octet): (&u8, &u8)| u8::from((octet == b'\n') != (before == b'\r'));
        usize::from(block.iter().zip(&block[1..]).map(bare).sum::<u8>())
    });
    pairs.sum::<usize>() + usize::from(*first == b'\n') + usize::from(*last == b'\r')
}

/// `content` as DATA sends it: a dot doubled at the start and behind each CRLF. No final dot is added.
pub fn dot_stuff(content: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(content.len() + content.len() / 64 + 1);
    dot_stuff_into(content, true, &mut stuffed);
    stuffed
}

/// Appends `content`, stuffed; `line_start` says whether its first octet begins a line.
pub(crate) fn dot_stuff_into(content: &[u8], line_start: bool, out: &mut Vec<u8>) {
    if line_start && content.first() == Some(&b'.') {
        out.push(b'.');
    }
    let mut copied = 0;
    for line_end in DOT_LINE.find_iter(content) {
        let dot = line_end + 2;
        out.extend_from_slice(&content[copied..=dot]);
        copied = dot;
    }
    out.extend_from_slice(&content[copied..]);
}

/// The inverse of [`dot_stuff`]: a dot taken off at the start and behind each CRLF.
pub fn dot_unstuff(content: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(content.len());
    let mut copied = usize::from(content.first() == Some(&b'.'));
    for line_end in DOT_LINE.find_iter(content) {
        let dot = line_end + 2;
        plain.extend_from_slice(&content[copied..dot]);
        copied = dot + 1;
    }
    plain.extend_from_slice(&content[copied..]);
    plain
}
