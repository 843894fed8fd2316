//! Content on its way out: line ends mended or refused, dots doubled (RFC 5321 4.5.2), chunks counted (RFC 3030).

use crate::data::{clean_lines, dot_stuff_into};
use crate::error::{Error, ErrorKind, Result};

/// Small enough that a block stays in the first-level cache for the passes over it.
const BLOCK: usize = 16 * 1024;

/// What becomes of a bare CR or LF: the next server may take one for a line end (SMTP smuggling).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newlines {
    /// It becomes CRLF.
    Fix,
    /// It is an error.
    Strict,
}

/// How content goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// DATA: dots doubled, a dot at the end.
    Dots,
    /// BDAT: by its size.
    Chunks,
    /// BDAT of BODY=BINARYMIME: byte-exact.
    Binary,
}

/// Incremental: content as it comes, octets for the wire; any split of the input is the same content to the server.
#[derive(Debug)]
pub struct ContentEncoder {
    framing: Framing,
    newlines: Newlines,
    /// Whether the next octet begins a line.
    line_start: bool,
    /// A CR is the last octet so far, and not written: the next may be its LF.
    cr: bool,
    taken: usize,
    /// Octets of the content as the server counts them: newlines mended, dots not doubled (RFC 1870 3).
    size: u64,
}

impl ContentEncoder {
    pub const fn new(framing: Framing, newlines: Newlines) -> Self {
        Self { framing, newlines, line_start: true, cr: false, taken: 0, size: 0 }
    }

    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// Octets of the content so far, as SIZE tells them.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends `input`, framed; `last` ends the content, with a CRLF where text has none.
    pub fn encode(&mut self, input: &[u8], last: bool, out: &mut Vec<u8>) -> Result<()> {
        match self.framing {
            Framing::Dots => {
                out.reserve(input.len() + input.len() / 64 + 8);
                self.text(input, last, out)?;
                if last {
                    out.extend_from_slice(b".\r\n");
                }
            }
            Framing::Chunks => {
                let start = out.len();
                out.reserve(input.len() + 40);
                self.text(input, last, out)?;
                frame(start, last, out);
            }
            Framing::Binary => {
                let start = out.len();
                out.reserve(input.len() + 32);
                out.extend_from_slice(input);
                self.size += input.len() as u64;
                frame(start, last, out);
            }
        }
        Ok(())
    }

    /// Where `input` can go as it is, appends what goes around it alone, for a driver that sends it without a copy;
    /// gives the place in `out` where it belongs. None where it needs a change, and nothing is done.
    pub fn pass(&mut self, input: &[u8], last: bool, out: &mut Vec<u8>) -> Option<usize> {
        let text = self.framing != Framing::Binary;
        if input.is_empty() || text && (self.cr || !self.is_plain(input)) {
            return None;
        }
        self.taken += input.len();
        self.size += input.len() as u64;
        self.line_start = input.ends_with(b"\r\n");
        let end: &[u8] = if last && text && !self.line_start { b"\r\n" } else { b"" };
        self.size += end.len() as u64;
        if self.framing != Framing::Dots {
            out.extend_from_slice(&chunk_command(input.len() + end.len(), last));
        }
        let place = out.len();
        out.extend_from_slice(end);
        if self.framing == Framing::Dots && last {
            out.extend_from_slice(b".\r\n");
        }
        Some(place)
    }

    /// Whether it has no newline to mend, and no dot to double.
    fn is_plain(&self, input: &[u8]) -> bool {
        let dots = self.framing == Framing::Dots;
        let first = match input.first() {
            Some(b'\n') => false,
            Some(b'.') => !(dots && self.line_start),
            _ => true,
        };
        // What the last octet is, if it is a CR, the next piece tells.
        first
            && !input.ends_with(b"\r")
            && (0..input.len()).step_by(BLOCK).all(|start| {
                let block = &input[start..input.len().min(start + BLOCK + 1)];
                // No branch inside: compiled to vector instructions.
                let flaws = block.iter().zip(&block[1..]).fold(0, |flaws, (&before, &octet)| {
                    let bare = u8::from((octet == b'\n') != (before == b'\r'));
                    let dot = u8::from(dots) & u8::from(before == b'\n') & u8::from(octet == b'.');
                    flaws | bare | dot
                });
                flaws == 0
            })
    }

    fn text(&mut self, input: &[u8], last: bool, out: &mut Vec<u8>) -> Result<()> {
        let mut at = 0;
        while at < input.len() {
            let block = &input[at..input.len().min(at + BLOCK)];
            // The octet behind a CR that is held back goes alone, and a block with a bare newline line by line.
            if let Some(clean) = clean_lines(block).filter(|_| !self.cr) {
                self.clean(clean, out);
                at += clean.len();
            } else {
                let slow = if self.cr { &block[..1] } else { block };
                self.any(slow, self.taken + at, out)?;
                at += slow.len();
            }
        }
        self.taken += input.len();
        if last {
            if self.cr {
                self.bare(self.taken - 1)?;
                self.end_line(out);
            }
            if !self.line_start {
                self.end_line(out);
            }
        }
        Ok(())
    }

    fn clean(&mut self, clean: &[u8], out: &mut Vec<u8>) {
        if self.framing == Framing::Dots {
            dot_stuff_into(clean, self.line_start, out);
        } else {
            out.extend_from_slice(clean);
        }
        self.size += clean.len() as u64;
        self.line_start = clean.ends_with(b"\r\n");
    }

    /// `offset` is that of the block in the content.
    fn any(&mut self, block: &[u8], offset: usize, out: &mut Vec<u8>) -> Result<()> {
        let mut at = 0;
        while at < block.len() {
            let octet = block[at];
            if self.cr {
                self.end_line(out);
                if octet == b'\n' {
                    at += 1;
                    continue;
                }
                self.bare(offset + at - 1)?;
            }
            match octet {
                b'\r' => self.cr = true,
                b'\n' => {
                    self.bare(offset + at)?;
                    self.end_line(out);
                }
                _ => {
                    if octet == b'.' && self.line_start && self.framing == Framing::Dots {
                        out.push(b'.');
                    }
                    let text = &block[at..];
                    let text = &text[..memchr::memchr2(b'\r', b'\n', text).unwrap_or(text.len())];
                    out.extend_from_slice(text);
                    self.size += text.len() as u64;
                    self.line_start = false;
                    at += text.len();
                    continue;
                }
            }
            at += 1;
        }
        Ok(())
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
        self.size += 2;
        self.cr = false;
        self.line_start = true;
    }

    fn bare(&self, offset: usize) -> Result<()> {
        match self.newlines {
            Newlines::Fix => Ok(()),
            Newlines::Strict => Err(Error::new(ErrorKind::BareNewline, offset)),
        }
    }
}

/// Puts the command in front of the chunk that starts at `start`: its size is known only now.
fn frame(start: usize, last: bool, out: &mut Vec<u8>) {
    let size = out.len() - start;
    if size == 0 && !last {
        return; // no chunk is sent for nothing, nor a reply awaited
    }
    out.splice(start..start, chunk_command(size, last));
}

fn chunk_command(size: usize, last: bool) -> Vec<u8> {
    let end = if last { " LAST" } else { "" };
    format!("BDAT {size}{end}\r\n").into_bytes()
}
