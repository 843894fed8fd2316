//! The octets that came and were not yet read, and where lines end in them.

use memchr::memchr;

/// Octets kept between two reads.
#[derive(Debug, Default)]
pub struct Backlog {
    octets: Vec<u8>,
    start: usize,
    /// Octets behind `start` that are known to hold no LF: a line that comes an octet at a time is searched once.
    searched: usize,
}

impl Backlog {
    pub fn len(&self) -> usize {
        self.octets.len() - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn push(&mut self, octets: &[u8]) {
        // What was read is dropped when it outweighs what is left, so that moving it costs O(1) an octet.
        if self.start > self.len() {
            self.octets.drain(..self.start);
            self.start = 0;
        }
        self.octets.extend_from_slice(octets);
    }

    /// Gives the octets away for reading; [`Backlog::keep`] takes the rest back.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub fn reader(&self) -> Reader<'_> {
        Reader { octets: &self.octets[self.start..], at: 0, searched: self.searched }
    }

    /// Keeps what a reader of `self` left.
    pub fn advanced(mut self, at: usize, searched: usize) -> Self {
        self.start += at;
        self.searched = searched;
        if self.is_empty() { Self::default() } else { self }
    }

    /// Keeps what a reader of octets that are not ours left.
    pub fn rest(reader: &Reader<'_>) -> Self {
        if reader.octets.len() == reader.at {
            return Self::default();
        }
        Self { octets: reader.octets[reader.at..].to_vec(), start: 0, searched: reader.searched }
    }
}

/// Reads through octets; what is behind `at` is still to come.
#[derive(Debug)]
pub struct Reader<'a> {
    octets: &'a [u8],
    at: usize,
    searched: usize,
}

impl<'a> Reader<'a> {
    pub fn new(octets: &'a [u8]) -> Self {
        Self { octets, at: 0, searched: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn searched(&self) -> usize {
        self.searched
    }

    pub fn rest(&self) -> &'a [u8] {
        &self.octets[self.at..]
    }

    pub fn is_empty(&self) -> bool {
        self.at == self.octets.len()
    }

    pub fn skip(&mut self, octets: usize) {
        self.at += octets;
        self.searched = 0;
    }

    pub fn skip_all(&mut self) {
        self.skip(self.octets.len() - self.at);
    }

    /// The line at hand, its LF included, without taking it; `None` until it is whole.
    pub fn line(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest();
        if let Some(end) = memchr(b'\n', &rest[self.searched..]) {
            return Some(&rest[..=self.searched + end]);
        }
        self.searched = rest.len();
        None
    }
}
