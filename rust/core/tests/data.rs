//! Content framing (HOSTILE 1-15, 37-46): row by row, against a naive model, and at every split.

use proptest::prelude::*;
use smtpx_core::data::{
    ChunkDecoder, DataDecoder, Flaw, Newlines, Progress, count_bare_newlines, dot_stuff, dot_unstuff,
};

const NO_LIMIT: usize = usize::MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    More,
    End { consumed: usize, content: Result<Vec<u8>, Flaw> },
    Overrun,
}

fn decode<'a>(newlines: Newlines, limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = DataDecoder::new(newlines, limit);
    let mut fed = 0;
    for piece in pieces {
        match decoder.feed(piece) {
            Progress::More => fed += piece.len(),
            Progress::End { consumed } => {
                return Outcome::End { consumed: fed + consumed, content: decoder.finish() };
            }
            Progress::Overrun => return Outcome::Overrun,
        }
    }
    Outcome::More
}

/// Whole, in every two pieces, and octet by octet: the same outcome, which is returned.
fn at_every_split(newlines: Newlines, limit: usize, input: &[u8]) -> Outcome {
    let whole = decode(newlines, limit, [input]);
    for split in 0..=input.len() {
        let (head, tail) = input.split_at(split);
        assert_eq!(decode(newlines, limit, [head, tail]), whole, "{input:?} split at {split}");
    }
    assert_eq!(decode(newlines, limit, input.chunks(1)), whole, "{input:?} by octet");
    whole
}

fn ends(consumed: usize, content: Result<&[u8], Flaw>) -> Outcome {
    Outcome::End { consumed, content: content.map(<[u8]>::to_vec) }
}

const TAIL: &[u8] = b"RCPT TO:<victim@b>\r\n";

/// `trick` inside a message: never its end. Refused at the real end, or (`normal`) stored.
fn not_an_end(trick: &[u8], normal: Result<&[u8], Flaw>) {
    let message = [b"a", trick, TAIL, b".\r\n", b"QUIT\r\n"].concat();
    let end = message.len() - b"QUIT\r\n".len();
    assert_eq!(at_every_split(Newlines::Reject, NO_LIMIT, &message), ends(end, Err(Flaw::BareNewline)));
    let normal = normal.map(|trick| [b"a", trick, TAIL].concat());
    assert_eq!(
        at_every_split(Newlines::Normalize, NO_LIMIT, &message),
        ends(end, normal.as_deref().map_err(|&flaw| flaw))
    );
}

#[test]
fn h01_lf_dot_lf() {
    not_an_end(b"\n.\n", Ok(b"\r\n.\r\n"));
}

#[test]
fn h02_lf_dot_crlf() {
    not_an_end(b"\n.\r\n", Ok(b"\r\n.\r\n"));
}

#[test]
fn h03_crlf_dot_lf() {
    not_an_end(b"\r\n.\n", Ok(b"\r\n\r\n"));
}

#[test]
fn h04_cr_dot_cr() {
    not_an_end(b"\r.\r", Ok(b"\r\n.\r\n"));
}

#[test]
fn h05_crlf_dot_cr() {
    not_an_end(b"\r\n.\r", Ok(b"\r\n\r\n"));
}

#[test]
fn h06_cr_dot_crlf() {
    not_an_end(b"\r.\r\n", Ok(b"\r\n.\r\n"));
}

#[test]
fn h07_cr_crlf_dot_crlf_is_an_end_and_refused() {
    for newlines in [Newlines::Reject, Newlines::Normalize] {
        let refused = Err(Flaw::BareNewline);
        assert_eq!(at_every_split(newlines, NO_LIMIT, b"a\r\r\n.\r\nQUIT\r\n"), ends(7, refused));
        assert_eq!(at_every_split(newlines, NO_LIMIT, b"\r\r\n.\r\nQUIT\r\n"), ends(6, refused));
        assert_eq!(at_every_split(newlines, NO_LIMIT, b"\r\n.\r\r\n.\r\n"), ends(9, refused));
    }
    let inside = b"a\r\r\nb\r\n.\r\n";
    assert_eq!(at_every_split(Newlines::Normalize, NO_LIMIT, inside), ends(10, Ok(b"a\r\n\r\nb\r\n")));
}

#[test]
fn h08_crlf_dot_cr_crlf() {
    not_an_end(b"\r\n.\r\r\n", Ok(b"\r\n\r\n\r\n"));
}

#[test]
fn h09_two_bare_newlines_dot_crlf() {
    not_an_end(b"\n\n.\r\n", Ok(b"\r\n\r\n.\r\n"));
    not_an_end(b"\n\r.\r\n", Ok(b"\r\n\r\n.\r\n"));
}

#[test]
fn h10_nul_makes_no_end() {
    for trick in [&b"\r\n.\0\r\n"[..], b"\r\n\0.\r\n"] {
        let message = [b"a", trick, TAIL, b".\r\n"].concat();
        for newlines in [Newlines::Reject, Newlines::Normalize] {
            assert_eq!(at_every_split(newlines, NO_LIMIT, &message), ends(message.len(), Err(Flaw::Nul)));
        }
    }
    not_an_end(b"\r\n.\r\0\n", Err(Flaw::Nul));
}

#[test]
fn h11_a_bare_newline_anywhere() {
    not_an_end(b"\n", Ok(b"\r\n"));
    not_an_end(b"\r", Ok(b"\r\n"));
    not_an_end(b"\r\n\n", Ok(b"\r\n\r\n"));
    not_an_end(b"\n\r\n", Ok(b"\r\n\r\n"));
    not_an_end(b"\r\rx\r\n", Ok(b"\r\n\r\nx\r\n"));
}

#[test]
fn h12_a_dot_at_once_is_an_empty_message() {
    assert_eq!(at_every_split(Newlines::Reject, NO_LIMIT, b".\r\n"), ends(3, Ok(b"")));
    assert_eq!(at_every_split(Newlines::Reject, NO_LIMIT, b"\r\n.\r\n"), ends(5, Ok(b"\r\n")));
    assert_eq!(at_every_split(Newlines::Reject, NO_LIMIT, b"..\r\n.\r\n"), ends(7, Ok(b".\r\n")));
}

#[test]
fn h13_one_dot_is_removed() {
    let message = b"a\r\n..\r\n.x\r\n...\r\nb.\r\n. \r\n.\r\n";
    let content = b"a\r\n.\r\nx\r\n..\r\nb.\r\n \r\n";
    assert_eq!(at_every_split(Newlines::Reject, NO_LIMIT, message), ends(message.len(), Ok(content)));
}

#[test]
fn h15_what_is_behind_the_end_is_left() {
    assert_eq!(at_every_split(Newlines::Reject, NO_LIMIT, b"a\r\n.\r\n\n.\nMAIL"), ends(6, Ok(b"a\r\n")));
}

#[test]
fn h37_content_over_the_limit_is_read_to_its_end() {
    let message = b"0123456\r\n.\r\n";
    assert_eq!(at_every_split(Newlines::Reject, 9, message), ends(12, Ok(b"0123456\r\n")));
    assert_eq!(at_every_split(Newlines::Reject, 8, message), ends(12, Err(Flaw::TooLarge)));
    let stuffed = b"..2345\r\n.\r\n";
    assert_eq!(at_every_split(Newlines::Reject, 7, stuffed), ends(11, Ok(b".2345\r\n")));
}

#[test]
fn h38_ten_times_the_limit_is_an_overrun() {
    let line = b"01234567\r\n";
    let end = b".\r\n";
    let ten = [line.repeat(2), end.to_vec()].concat();
    assert_eq!(at_every_split(Newlines::Reject, 2, &ten), ends(23, Err(Flaw::TooLarge)));
    let over = [b"x".to_vec(), ten].concat();
    assert_eq!(at_every_split(Newlines::Reject, 2, &over), Outcome::Overrun);
}

#[test]
fn h40_long_lines_are_content() {
    let content = [b"x".repeat(100_000), b"\r\n".to_vec()].concat();
    let message = [content.as_slice(), b".\r\n"].concat();
    assert_eq!(decode(Newlines::Reject, NO_LIMIT, [message.as_slice()]), ends(message.len(), Ok(&content)));
}

#[test]
fn a_bare_newline_weighs_more_than_size_and_size_more_than_nul() {
    assert_eq!(at_every_split(Newlines::Reject, 3, b"\0\nabcdef\r\n.\r\n"), ends(13, Err(Flaw::BareNewline)));
    assert_eq!(at_every_split(Newlines::Reject, 3, b"\0abcdef\r\n.\r\n"), ends(12, Err(Flaw::TooLarge)));
}

#[test]
fn blocks_meet_without_a_seam() {
    for padding in (16 * 1024 - 12)..(16 * 1024 + 4) {
        for seam in
            [&b"\r\n..\r\n"[..], b"\r\n.x\r\n", b"\r\n.\r\nQUIT\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0"]
        {
            let message = [&b"x".repeat(padding), seam, b"tail\r\n.\r\n"].concat();
            for newlines in [Newlines::Reject, Newlines::Normalize] {
                assert_eq!(
                    decode(newlines, NO_LIMIT, [message.as_slice()]),
                    model(newlines, NO_LIMIT, &message)
                );
            }
        }
    }
}

/// The rules again, as simply as they can be said: cut at CRLF, look at each line.
fn model(newlines: Newlines, limit: usize, input: &[u8]) -> Outcome {
    let mut content = Vec::new();
    let mut bare = false;
    let mut at = 0;
    loop {
        let Some(length) = input[at..].windows(2).position(|pair| pair == b"\r\n") else {
            return Outcome::More;
        };
        let line = &input[at..at + length];
        if line == b"." {
            bare &= newlines == Newlines::Reject;
            bare |= input[..at].ends_with(b"\r\r\n");
            let consumed = at + 3;
            let over = content.len() > limit;
            if content.len() > limit.saturating_mul(10) {
                return Outcome::Overrun;
            }
            let nul = content.contains(&0);
            let flaw = if bare {
                Some(Flaw::BareNewline)
            } else if over {
                Some(Flaw::TooLarge)
            } else {
                nul.then_some(Flaw::Nul)
            };
            return Outcome::End { consumed, content: flaw.map_or(Ok(content), Err) };
        }
        for &octet in line.strip_prefix(b".").unwrap_or(line) {
            if octet == b'\r' || octet == b'\n' {
                bare = true;
                content.extend(b"\r\n");
            } else {
                content.push(octet);
            }
        }
        content.extend(b"\r\n");
        at += length + 2;
    }
}

fn chunks(binary: bool, limit: usize, pieces: &[&[u8]]) -> Result<Vec<u8>, Flaw> {
    let mut decoder = ChunkDecoder::new(binary, limit);
    for piece in pieces {
        decoder.start_chunk(piece.len() as u64);
        assert_eq!(decoder.feed(piece), piece.len());
        assert_eq!(decoder.remaining(), 0);
    }
    decoder.finish()
}

#[test]
fn h41_a_chunk_takes_its_octets_and_no_more() {
    let mut decoder = ChunkDecoder::new(false, NO_LIMIT);
    decoder.start_chunk(5);
    assert_eq!(decoder.feed(b"ab"), 2);
    assert_eq!(decoder.remaining(), 3);
    assert_eq!(decoder.feed(b"cdeRSET\r\n"), 3);
    assert_eq!(decoder.remaining(), 0);
    assert_eq!(decoder.feed(b"RSET\r\n"), 0);
    assert_eq!(decoder.size(), 5);
    assert_eq!(decoder.finish(), Ok(b"abcde".to_vec()));
    assert_eq!(chunks(false, NO_LIMIT, &[b""]), Ok(vec![]));
}

#[test]
fn h46_dots_in_chunks_are_content() {
    assert_eq!(chunks(false, NO_LIMIT, &[b".\r\n..\r\n.\r\n"]), Ok(b".\r\n..\r\n.\r\n".to_vec()));
}

#[test]
fn h46_bare_newlines_in_chunks_are_normalised() {
    assert_eq!(chunks(false, NO_LIMIT, &[b"a\nb\rc\r\n\r"]), Ok(b"a\r\nb\r\nc\r\n\r\n".to_vec()));
    assert_eq!(chunks(false, NO_LIMIT, &[b"\r\r\n\n"]), Ok(b"\r\n\r\n\r\n".to_vec()));
}

#[test]
fn h46_a_crlf_over_two_chunks_is_one() {
    assert_eq!(chunks(false, NO_LIMIT, &[b"a\r", b"\nb"]), Ok(b"a\r\nb".to_vec()));
    assert_eq!(chunks(false, NO_LIMIT, &[b"a\r", b"", b"b"]), Ok(b"a\r\nb".to_vec()));
}

#[test]
fn h46_binarymime_is_byte_exact() {
    assert_eq!(chunks(true, NO_LIMIT, &[b"\0\r\r", b"\n\n.\r"]), Ok(b"\0\r\r\n\n.\r".to_vec()));
}

#[test]
fn chunks_have_the_flaws_of_content() {
    assert_eq!(chunks(false, NO_LIMIT, &[b"a\0b"]), Err(Flaw::Nul));
    assert_eq!(chunks(false, 3, &[b"\0a", b"bc"]), Err(Flaw::TooLarge));
    assert_eq!(chunks(true, 3, &[b"ab", b"cd"]), Err(Flaw::TooLarge));
    assert_eq!(chunks(true, 4, &[b"ab", b"cd"]), Ok(b"abcd".to_vec()));
}

#[test]
fn stuffing_doubles_a_dot_behind_a_crlf_only() {
    assert_eq!(dot_stuff(b".a\r\n.\r\nb.\r\n..\n.\r.\r\n"), b"..a\r\n..\r\nb.\r\n...\n.\r.\r\n");
    assert_eq!(dot_stuff(b""), b"");
    assert_eq!(dot_unstuff(b"..x\r\n"), b".x\r\n");
    assert_eq!(dot_unstuff(b".\r\n.\r\nx\n.y"), b"\r\n\r\nx\n.y");
}

/// Octets that matter, and some that do not.
#[test]
fn bare_newlines_are_counted() {
    for (octets, count) in [
        (&b""[..], 0),
        (b"a\r\n\r\nb", 0),
        (b"\n", 1),
        (b"\r", 1),
        (b"\r\r\n", 1),
        (b"\n\r", 2),
        (b"a\nb\rc\r\n\n", 3),
    ] {
        assert_eq!(count_bare_newlines(octets), count, "{octets:?}");
    }
    // Also where two blocks meet, and where a block is full of them.
    for at in 250..260 {
        let line = [&vec![b'x'; at][..], b"\r\n\n"].concat();
        assert_eq!(count_bare_newlines(&line.repeat(3)), 3);
        assert_eq!(count_bare_newlines(&vec![b'\n'; at]), at);
    }
}

fn tricky(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(&b"\r\n"[..]),
        3 => Just(&b"."[..]),
        2 => Just(&b"\r"[..]),
        2 => Just(&b"\n"[..]),
        1 => Just(&b"\0"[..]),
        3 => Just(&b"x"[..]),
        2 => Just(&b"\r\n.\r\n"[..]),
        2 => Just(&b"a line of text\r\n"[..]),
    ];
    proptest::collection::vec(piece, 0..longest).prop_map(|pieces| pieces.concat())
}

/// The same with few flaws, so that most of it goes the fast way.
fn mostly_clean(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        20 => Just(&b"a line of text\r\n"[..]),
        10 => Just(&b"..a dotted line\r\n"[..]),
        10 => Just(&b".x\r\n"[..]),
        1 => Just(&b".\r\n"[..]),
        1 => Just(&b"\r"[..]),
    ];
    proptest::collection::vec(piece, 0..longest).prop_map(|pieces| pieces.concat())
}

const LIMITS: [usize; 4] = [0, 3, 20, NO_LIMIT];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn h14_any_split_gives_the_same(input in tricky(12)) {
        for newlines in [Newlines::Reject, Newlines::Normalize] {
            for limit in LIMITS {
                at_every_split(newlines, limit, &input);
            }
        }
    }

    #[test]
    fn the_fast_way_and_the_naive_model_agree(input in prop_oneof![tricky(24), mostly_clean(24)]) {
        for newlines in [Newlines::Reject, Newlines::Normalize] {
            for limit in LIMITS {
                let outcome = decode(newlines, limit, [input.as_slice()]);
                // The model knows of an overrun at the end only.
                if outcome != Outcome::Overrun || limit == NO_LIMIT {
                    prop_assert_eq!(outcome, model(newlines, limit, &input));
                } else {
                    prop_assert!(matches!(model(newlines, limit, &input), Outcome::Overrun | Outcome::More));
                }
            }
        }
    }

    #[test]
    fn chunks_at_any_split_give_the_same(input in tricky(12), size in 1..5usize, limit in prop_oneof![Just(9usize), Just(NO_LIMIT)]) {
        for binary in [false, true] {
            let pieces: Vec<&[u8]> = input.chunks(size).collect();
            prop_assert_eq!(chunks(binary, limit, &pieces), chunks(binary, limit, &[&input]));
        }
    }

    #[test]
    fn what_is_stuffed_comes_back(content in tricky(24)) {
        prop_assert_eq!(dot_unstuff(&dot_stuff(&content)), content);
    }

    #[test]
    fn stuffed_content_holds_no_end_and_decodes_to_itself(lines in proptest::collection::vec("[.ax]{0,4}", 0..12)) {
        let content: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
        let sent = [dot_stuff(&content).as_slice(), b".\r\n"].concat();
        prop_assert_eq!(decode(Newlines::Reject, NO_LIMIT, [sent.as_slice()]), ends(sent.len(), Ok(&content)));
    }
}
