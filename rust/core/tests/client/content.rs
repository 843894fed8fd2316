//! Content: its framing, and content in pieces.

use proptest::prelude::*;
use smtpx_core::client::content::{ContentEncoder, Framing, Newlines};
use smtpx_core::client::envelope::Envelope;
use smtpx_core::client::{Settings, Waiting};
use smtpx_core::command::{Verb, parse_command};
use smtpx_core::data::{self, ChunkDecoder, DataDecoder, Progress};
use smtpx_core::error::ErrorKind;

use crate::peer::{ALL, MAIL, NOTHING, PIPELINING, Peer, RCPT, settings};

/// Every bare CR or LF a CRLF, and a CRLF at the end.
fn fixed(content: &[u8]) -> Vec<u8> {
    let mut fixed = Vec::new();
    let mut octets = content.iter().peekable();
    while let Some(&octet) = octets.next() {
        match octet {
            b'\r' => {
                octets.next_if_eq(&&b'\n');
                fixed.extend_from_slice(b"\r\n");
            }
            b'\n' => fixed.extend_from_slice(b"\r\n"),
            _ => fixed.push(octet),
        }
    }
    if !fixed.is_empty() && !fixed.ends_with(b"\r\n") {
        fixed.extend_from_slice(b"\r\n");
    }
    fixed
}

fn encoded(framing: Framing, newlines: Newlines, pieces: &[&[u8]]) -> Result<Vec<u8>, ErrorKind> {
    let mut encoder = ContentEncoder::new(framing, newlines);
    let mut out = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        encoder.encode(piece, index + 1 == pieces.len(), &mut out).map_err(|error| error.kind)?;
    }
    Ok(out)
}

/// The same, without a copy of the pieces that can go as they are; and how many of them could.
fn passed(framing: Framing, pieces: &[&[u8]]) -> (Vec<u8>, usize) {
    let mut encoder = ContentEncoder::new(framing, Newlines::Fix);
    let (mut sent, mut count) = (Vec::new(), 0);
    for (index, piece) in pieces.iter().enumerate() {
        let last = index + 1 == pieces.len();
        let mut out = Vec::new();
        if let Some(place) = encoder.pass(piece, last, &mut out) {
            out.splice(place..place, piece.iter().copied());
            count += 1;
        } else {
            encoder.encode(piece, last, &mut out).expect("fixed");
        }
        sent.extend(out);
    }
    (sent, count)
}

#[test]
fn what_needs_no_change_is_passed() {
    let plain: &[&[u8]] = &[b"Subject: x\r\n", b"\r\n a.b .\r\n", b"no end"];
    assert_eq!(passed(Framing::Dots, plain), (b"Subject: x\r\n\r\n a.b .\r\nno end\r\n.\r\n".to_vec(), 3));
    assert_eq!(passed(Framing::Chunks, &[b"a\r\n.", b"."]).1, 2);
    assert_eq!(passed(Framing::Binary, &[b"\n.\r", b"\n"]).1, 2);
}

#[test]
fn what_needs_a_change_is_not_passed() {
    for piece in [&b".a\r\n"[..], b"a\r\n.", b"a\nb", b"a\rb", b"a\r", b"\n", b""] {
        assert_eq!(passed(Framing::Dots, &[piece]).1, 0, "{piece:?}");
    }
    // A dot, or an LF, is what the octet in the piece before it makes of it.
    assert_eq!(passed(Framing::Dots, &[b"a\r\n", b".b\r\n"]).1, 1);
    assert_eq!(passed(Framing::Dots, &[b"a", b".b\r\n"]).1, 2);
    assert_eq!(passed(Framing::Chunks, &[b"a\r", b"\nb\r\n"]).1, 0);
    // Also where two blocks of a large piece meet.
    for at in 16_380..16_390 {
        let mut piece = vec![b'x'; at];
        piece.extend_from_slice(b"\r\n.");
        assert_eq!(passed(Framing::Dots, &[&piece]).1, 0);
        piece.splice(at..at + 2, *b"x\n");
        assert_eq!(passed(Framing::Chunks, &[&piece]).1, 0);
    }
}

/// What a server makes of it, with nothing behind its end.
fn of_data(octets: &[u8]) -> Result<Vec<u8>, data::Flaw> {
    let mut decoder = DataDecoder::new(data::Newlines::Reject, usize::MAX);
    assert_eq!(decoder.feed(octets), Progress::End { consumed: octets.len() });
    decoder.finish()
}

fn of_chunks(mut octets: &[u8], binary: bool) -> Result<Vec<u8>, data::Flaw> {
    let mut decoder = ChunkDecoder::new(binary, usize::MAX);
    loop {
        let end = octets.windows(2).position(|pair| pair == b"\r\n").expect("a line of BDAT");
        let command = parse_command(&octets[..end], true).expect("a command");
        assert_eq!(command.verb, Verb::Bdat);
        let size: u64 = command.arg.parse().expect("a size");
        octets = &octets[end + 2..];
        decoder.start_chunk(size);
        octets = &octets[decoder.feed(octets)..];
        assert_eq!(decoder.remaining(), 0);
        if command.param == "LAST" {
            assert_eq!(octets, b"");
            return decoder.finish();
        }
        assert_ne!(size, 0, "an empty chunk that is not the last");
    }
}

fn cut<'a>(content: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (content.len() + 1)).collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for place in places {
        pieces.push(&content[from..place]);
        from = place;
    }
    pieces.push(&content[from..]);
    pieces
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(prop::sample::select(b"ab.\r\n\xe9".to_vec()), 0..60),
        prop::collection::vec(
            prop::sample::select(vec![
                &b"line\r\n"[..],
                b".\r\n",
                b"..\r\n",
                b"\n.\n",
                b"\r.\r",
                b"x",
                b"\r\r\n"
            ]),
            0..20
        )
        .prop_map(|pieces| pieces.concat()),
        // Around the encoder's blocks.
        (16_370_usize..16_400, prop::collection::vec(prop::sample::select(b".\r\n".to_vec()), 0..12))
            .prop_map(|(length, tail)| [vec![b'x'; length], tail].concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_a_server_decodes_is_the_content_with_its_newlines_fixed(
        content in content(), cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let pieces = cut(&content, &cuts);
        let dots = encoded(Framing::Dots, Newlines::Fix, &pieces).expect("fixed");
        prop_assert_eq!(of_data(&dots), Ok(fixed(&content)));
        let whole = encoded(Framing::Dots, Newlines::Fix, &[&content]).expect("fixed");
        prop_assert_eq!(dots, whole);
        let chunks = encoded(Framing::Chunks, Newlines::Fix, &pieces).expect("fixed");
        prop_assert_eq!(of_chunks(&chunks, false), Ok(fixed(&content)));
        let binary = encoded(Framing::Binary, Newlines::Strict, &pieces).expect("binary has no newlines");
        prop_assert_eq!(of_chunks(&binary, true), Ok(content));
    }

    #[test]
    fn what_is_passed_is_what_is_encoded(
        content in content(), cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let pieces = cut(&content, &cuts);
        for framing in [Framing::Dots, Framing::Chunks, Framing::Binary] {
            let encoded = encoded(framing, Newlines::Fix, &pieces).expect("fixed");
            prop_assert_eq!(passed(framing, &pieces).0, encoded);
        }
    }

    #[test]
    fn strict_takes_what_has_nothing_to_fix_and_no_other(
        content in content(), cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let pieces = cut(&content, &cuts);
        let clean = fixed(&content) == content || fixed(&content) == [&content[..], b"\r\n"].concat() && !content.ends_with(b"\r");
        for framing in [Framing::Dots, Framing::Chunks] {
            let strict = encoded(framing, Newlines::Strict, &pieces);
            if clean {
                prop_assert_eq!(strict, encoded(framing, Newlines::Fix, &pieces));
            } else {
                prop_assert_eq!(strict, Err(ErrorKind::BareNewline));
            }
        }
    }
}

#[test]
fn h85_strict_says_where_the_bare_newline_is() {
    for (content, offset) in [("ab\ncd", 2), ("ab\rcd", 2), ("a\r\nb\r", 4), ("\n", 0), ("a\r\r\n", 1)] {
        for split in 0..=content.len() {
            let (head, tail) = content.as_bytes().split_at(split);
            let mut encoder = ContentEncoder::new(Framing::Dots, Newlines::Strict);
            let mut out = Vec::new();
            let error =
                encoder.encode(head, false, &mut out).and_then(|()| encoder.encode(tail, true, &mut out));
            assert_eq!(error.map_err(|error| error.offset), Err(offset), "{content:?} split at {split}");
        }
    }
}

#[test]
fn empty_content_is_a_dot_or_a_last_chunk_of_nothing() {
    assert_eq!(encoded(Framing::Dots, Newlines::Strict, &[b""]).as_deref(), Ok(&b".\r\n"[..]));
    assert_eq!(encoded(Framing::Chunks, Newlines::Strict, &[b""]).as_deref(), Ok(&b"BDAT 0 LAST\r\n"[..]));
}

#[test]
fn h85_strict_refuses_whole_content_before_an_octet_is_sent() {
    let mut peer = Peer::greeted_with(Settings { newlines: Newlines::Strict, ..settings() }, ALL);
    assert!(peer.try_mail(&["b@y.example"], Some("a\nb\r\n")).is_err());
    assert_eq!(peer.sent(), "");
    assert!(peer.client.idle());
    peer.mail_to_one(Some("a\r\nb\r\n"));
}

#[test]
fn h85_strict_in_a_later_piece_ends_the_session_and_nothing_is_accepted() {
    for offers in [PIPELINING, ALL] {
        let mut peer = Peer::greeted_with(Settings { newlines: Newlines::Strict, ..settings() }, offers);
        peer.mail_to_one(None);
        peer.sent();
        peer.hear("250 ok\r\n");
        peer.hear("250 ok\r\n");
        peer.hear(if offers == PIPELINING { "354 go\r\n" } else { "" });
        assert!(peer.client.wants_content());
        peer.give("fine\r\n", false);
        assert!(peer.client.content(b"half a line\nand", false).is_err());
        assert_eq!(peer.sent(), "", "half a piece");
        assert!(peer.client.closed() && !peer.client.wants_content());
        assert_eq!(peer.give("rest\r\n", true), "");
        assert_eq!(peer.lost().as_deref(), Some("Temporary:-"));
    }
}

#[test]
fn content_in_pieces_is_asked_for_once_behind_354() {
    let mut peer = Peer::greeted(PIPELINING);
    peer.mail_to_one(None);
    assert!(!peer.client.wants_content());
    assert_eq!(peer.sent(), format!("{MAIL}{RCPT}DATA\r\n"));
    assert_eq!(peer.hear("250 ok\r\n250 ok\r\n354 go\r\n"), "content");
    assert!(peer.client.wants_content());
    assert_eq!(peer.give("one\r", false), "one");
    assert_eq!(peer.give("\n.two", false), "\r\n..two");
    assert_eq!(peer.give("", true), "\r\n.\r\n");
    assert!(!peer.client.wants_content());
    assert_eq!(peer.hear("250 kept\r\n"), "done Accepted:250");
}

#[test]
fn content_in_pieces_is_chunks_that_do_not_wait() {
    let mut peer = Peer::greeted(ALL);
    peer.mail_to_one(None);
    assert_eq!(peer.sent(), format!("{MAIL}{RCPT}"), "large content waits for the recipients");
    assert_eq!(peer.hear("250 ok\r\n250 ok\r\n"), "content");
    assert_eq!(peer.give("one\r\n", false), "BDAT 5\r\none\r\n");
    assert_eq!(peer.client.waiting(), Waiting::DataBlock);
    assert_eq!(peer.give("\r", false), "", "no chunk of nothing");
    assert_eq!(peer.give("", false), "");
    assert_eq!(peer.give("\n.two\r\n", true), "BDAT 8 LAST\r\n\r\n.two\r\n");
    assert_eq!(peer.client.waiting(), Waiting::DataBlock);
    assert_eq!(peer.hear("250 1\r\n"), "");
    assert_eq!(peer.client.waiting(), Waiting::DataEnd);
    assert_eq!(peer.hear("250 kept\r\n"), "done Accepted:250");
}

#[test]
fn content_in_pieces_for_nobody_is_not_asked_for() {
    let mut peer = Peer::greeted(ALL);
    peer.mail_to_one(None);
    peer.sent();
    assert_eq!(peer.hear("250 ok\r\n550 who?\r\n"), "");
    assert_eq!(peer.sent(), "RSET\r\n");
}

#[test]
fn without_pipelining_pieces_go_by_data_rather_than_chunk_by_chunk() {
    let mut peer = Peer::greeted(&["CHUNKING"]);
    peer.mail_to_one(None);
    peer.hear("250 ok\r\n");
    peer.sent();
    assert_eq!(peer.hear("250 ok\r\n"), "");
    assert_eq!(peer.sent(), "DATA\r\n");
    assert_eq!(peer.hear("354 go\r\n"), "content");
}

#[test]
fn binary_pieces_without_pipelining_go_one_chunk_at_a_time() {
    let mut peer = Peer::greeted(&["CHUNKING", "BINARYMIME"]);
    let envelope = Envelope {
        mail_from: "a@x.example",
        params: vec![("BODY", "BINARYMIME")],
        recipients: vec![("b@y.example", Vec::new())],
        ..Envelope::default()
    };
    peer.client.mail(&envelope, None).expect("offered");
    peer.hear("250 ok\r\n");
    peer.sent();
    assert_eq!(peer.hear("250 ok\r\n"), "content");
    assert_eq!(peer.give("1\n", false), "BDAT 2\r\n1\n");
    assert_eq!(peer.give("2\n", false), "");
    assert_eq!(peer.give("3\n", true), "");
    assert!(!peer.client.wants_content());
    assert_eq!(peer.client.waiting(), Waiting::DataBlock);
    assert_eq!(peer.hear("250 1\r\n"), "");
    assert_eq!(peer.sent(), "BDAT 4 LAST\r\n2\n3\n");
    assert_eq!(peer.hear("250 kept\r\n"), "done Accepted:250");
}

#[test]
fn a_chunk_refused_mid_stream_stops_the_rest() {
    let mut peer = Peer::greeted(ALL);
    peer.mail_to_one(None);
    peer.sent();
    peer.hear("250 ok\r\n250 ok\r\n");
    peer.give("one\r\n", false);
    peer.give("two\r\n", false);
    assert_eq!(peer.hear("452 full\r\n"), "");
    assert!(!peer.client.wants_content());
    assert_eq!(peer.give("three\r\n", true), "", "what is not wanted is dropped");
    assert_eq!(peer.hear("503 no\r\n"), "");
    assert_eq!(peer.sent(), "RSET\r\n");
    assert_eq!(peer.hear("250 ok\r\n"), "done Temporary:452");
}

#[test]
fn a_chunk_refused_and_the_last_accepted_all_the_same_is_refused() {
    let mut peer = Peer::greeted(ALL);
    peer.mail_to_one(None);
    peer.sent();
    peer.hear("250 ok\r\n250 ok\r\n");
    peer.give("one\r\n", false);
    peer.give("two\r\n", true);
    assert_eq!(peer.hear("452 full\r\n250 kept half?\r\n"), "done Temporary:452");
}

#[test]
fn a_refusal_inside_the_content_of_data_ends_the_session() {
    for (reply, fate) in [("552 too large\r\n", "Permanent:552"), ("452 full\r\n", "Temporary:452")] {
        let mut peer = Peer::greeted(NOTHING);
        peer.mail_to_one(None);
        peer.hear("250 ok\r\n");
        peer.hear("250 ok\r\n");
        assert_eq!(peer.hear("354 go\r\n"), "content");
        peer.give("half", false);
        assert_eq!(peer.hear(reply), format!("done {fate}"));
        assert!(peer.client.closed() && !peer.client.wants_content());
        assert_eq!(peer.give("rest", true), "");
    }
}

#[test]
fn an_acceptance_inside_the_content_of_data_is_none() {
    let mut peer = Peer::greeted(NOTHING);
    peer.mail_to_one(None);
    for reply in ["250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
        peer.hear(reply);
    }
    peer.give("half", false);
    assert_eq!(peer.hear("250 kept\r\n"), "error OddReply");
    assert_eq!(peer.lost().as_deref(), Some("Temporary:-"));
}
