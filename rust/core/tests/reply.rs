//! Replies: framing, hostile servers (HOSTILE 81), and what EHLO says.

use proptest::prelude::*;
use smtpx_core::error::{ErrorKind, ErrorKind::*};
use smtpx_core::reply::{Reply, ReplyDecoder, ServerInfo, parse_reply};

fn reply(code: u16, lines: &[&str]) -> Reply {
    Reply::new(code, lines.iter().map(|&line| line.to_owned()).collect()).unwrap()
}

fn encoded(reply: &Reply) -> Vec<u8> {
    let mut out = Vec::new();
    reply.encode(&mut out);
    out
}

fn refused(raw: &[u8]) -> (ErrorKind, usize) {
    parse_reply(raw).map_err(|error| (error.kind, error.offset)).unwrap_err()
}

#[test]
fn a_reply_is_framed_by_hyphens_and_a_space() {
    assert_eq!(encoded(&reply(250, &["one", "two"])), b"250-one\r\n250 two\r\n");
    assert_eq!(encoded(&reply(354, &["go"])), b"354 go\r\n");
    assert_eq!(encoded(&reply(559, &[])), b"559 \r\n");
}

#[test]
fn encoding_appends() {
    let mut out = b"250 a\r\n".to_vec();
    reply(221, &["b"]).encode(&mut out);
    assert_eq!(out, b"250 a\r\n221 b\r\n");
}

#[test]
fn an_enhanced_code_stands_on_every_line() {
    let lines = vec!["one".to_owned(), "two".to_owned()];
    let enhanced = Reply::with_enhanced(250, "2.1.5", lines).unwrap();
    assert_eq!(encoded(&enhanced), b"250-2.1.5 one\r\n250 2.1.5 two\r\n");
    assert_eq!(enhanced.enhanced(), Some("2.1.5"));
    for bad in ["", "2.1", "3.1.5", "2.1.5.6", "2.1234.1", "2..1", "2.1.x", "2.1.5 "] {
        let error = Reply::with_enhanced(250, bad, vec![]).unwrap_err();
        assert_eq!(error.kind, BadEnhancedCode, "{bad}");
    }
    assert_eq!(reply(250, &["5.7.1"]).enhanced(), Some("5.7.1"));
    assert_eq!(reply(250, &["10.0.0.1 greets"]).enhanced(), None);
    assert_eq!(reply(250, &[""]).enhanced(), None);
}

#[test]
fn codes_are_those_of_the_rfc() {
    for code in [200, 259, 354, 421, 559] {
        assert!(Reply::new(code, vec![]).is_ok(), "{code}");
    }
    for code in [0, 25, 100, 199, 260, 399, 560, 600, 999, 2500] {
        assert_eq!(Reply::new(code, vec![]).unwrap_err().kind, BadReplyCode, "{code}");
    }
}

#[test]
fn a_line_of_a_reply_holds_no_other_reply() {
    for text in ["a\r\n250 b", "a\r", "\n", "a\0"] {
        assert_eq!(
            Reply::new(250, vec!["first".to_owned(), text.to_owned()]).unwrap_err().kind,
            BadReplyText
        );
    }
}

#[test]
fn one_whole_reply_is_parsed() {
    assert_eq!(parse_reply(b"250-one\r\n250 two\r\n"), Ok(reply(250, &["one", "two"])));
    assert_eq!(parse_reply(b"250 one"), Ok(reply(250, &["one"])));
    assert_eq!(parse_reply(b"250\r\n"), Ok(reply(250, &[""])));
    assert_eq!(parse_reply(b"250-\r\n250\r\n"), Ok(reply(250, &["", ""])));
    assert_eq!(parse_reply(b"250 \xff\r\n"), Ok(reply(250, &["\u{fffd}"])));
    assert_eq!(parse_reply(b"250   a  \r\n"), Ok(reply(250, &["  a  "])));
}

#[test]
fn what_is_not_one_whole_reply_is_refused() {
    assert_eq!(refused(b""), (IncompleteReply, 0));
    assert_eq!(refused(b"250-one\r\n"), (IncompleteReply, 9));
    assert_eq!(refused(b"250-one"), (IncompleteReply, 7));
    assert_eq!(refused(b"250 one\r\n250 two\r\n"), (TrailingReply, 9));
    assert_eq!(refused(b"250 one\r\n\r\n"), (TrailingReply, 9));
    assert_eq!(refused(b"250 one\n"), (BadReplyText, 7));
    assert_eq!(refused(b"250 one\r"), (BadReplyText, 7));
    assert_eq!(refused(b"250-one\n250 two\r\n"), (BadReplyText, 7));
    assert_eq!(refused(b"250 a\rb\r\n"), (BadReplyText, 5));
    assert_eq!(refused(b"250 a\0b\r\n"), (BadReplyText, 5));
    assert_eq!(refused(b"250-one\r\n251 two\r\n"), (MixedReplyCodes, 9));
    for bad in [
        &b"999 x\r\n"[..],
        b"25 x\r\n",
        b"2500 x\r\n",
        b"250_x\r\n",
        b"\r\n",
        b"+OK\r\n",
        b" 250 x\r\n",
        b"100 x\r\n",
    ] {
        assert_eq!(refused(bad), (BadReplyCode, 0), "{bad:?}");
    }
}

/// The replies in front of an error, and the error; the same at every split.
fn decode(input: &[u8]) -> (Vec<Reply>, Result<usize, ErrorKind>) {
    let run = |pieces: Vec<&[u8]>| {
        let mut decoder = ReplyDecoder::new(20, 50);
        let mut replies = Vec::new();
        let result = pieces.into_iter().try_for_each(|piece| decoder.feed(piece, &mut replies));
        (replies, result.map(|()| decoder.buffered()).map_err(|error| (error.kind, error.offset)))
    };
    let whole = run(vec![input]);
    for split in 0..=input.len() {
        let (head, tail) = input.split_at(split);
        assert_eq!(run(vec![head, tail]), whole);
    }
    assert_eq!(run(input.chunks(1).collect()), whole);
    (whole.0, whole.1.map_err(|(kind, _)| kind))
}

#[test]
fn replies_are_decoded_as_they_come() {
    assert_eq!(decode(b""), (vec![], Ok(0)));
    let input = b"220 hi\r\n250-a\r\n250 b\r\n250-c\r\n25";
    assert_eq!(decode(input), (vec![reply(220, &["hi"]), reply(250, &["a", "b"])], Ok(9)));
}

#[test]
fn h81_a_broken_reply_is_an_error_behind_the_good_ones() {
    let good = vec![reply(220, &["hi"])];
    for (broken, kind) in [
        (&b"999 x\r\n"[..], BadReplyCode),
        (b"250-a\r\n550 b\r\n", MixedReplyCodes),
        (b"250 a\0\r\n", BadReplyText),
        (b"250 a\r\r\n", BadReplyText),
        (b"250 a\n", BadReplyText),
    ] {
        assert_eq!(decode(&[b"220 hi\r\n", broken].concat()), (good.clone(), Err(kind)), "{broken:?}");
    }
}

#[test]
fn h81_endless_replies_are_bounded() {
    assert_eq!(decode(b"250 56789012345678\r\n"), (vec![reply(250, &["56789012345678"])], Ok(0)));
    assert_eq!(decode(b"250 567890123456789\r\n"), (vec![], Err(ReplyLineTooLong)));
    assert_eq!(decode(&b"250-5678\r\n".repeat(5)), (vec![], Ok(50)));
    assert_eq!(decode(&b"250-5678\r\n".repeat(6)), (vec![], Err(ReplyTooLong)));
    let last_line_over_both = [b"250-5678\r\n".repeat(4), b"250 ".to_vec(), b"x".repeat(30)].concat();
    assert_eq!(decode(&last_line_over_both), (vec![], Err(ReplyTooLong)));
}

#[test]
fn h81_after_an_error_all_is_refused_and_nothing_held() {
    let mut decoder = ReplyDecoder::new(20, 50);
    let mut replies = Vec::new();
    let error = decoder.feed(b"250-a\r\n250-b\r\n999 c\r\n", &mut replies).unwrap_err();
    assert_eq!((error.offset, decoder.buffered()), (14, 0));
    assert_eq!(decoder.feed(b"250 ok\r\n", &mut replies), Err(error));
    assert_eq!(replies, []);
}

fn info(lines: &[&str]) -> ServerInfo {
    ServerInfo::from_reply(&reply(250, lines))
}

fn extensions(expected: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    expected.iter().map(|&(keyword, params)| (keyword.to_owned(), owned(params))).collect()
}

#[test]
fn a_server_tells_its_name_and_its_extensions() {
    let server = info(&["mx.example.org at your service", "size 1000", "PIPELINING", "", "X-a  b C "]);
    assert_eq!((server.domain.as_str(), server.info.as_str()), ("mx.example.org", "at your service"));
    assert_eq!(
        server.extensions,
        extensions(&[("SIZE", &["1000"]), ("PIPELINING", &[]), ("X-A", &["b", "C"])])
    );
    assert_eq!(info(&["mx"]), ServerInfo { domain: "mx".to_owned(), ..ServerInfo::default() });
    assert_eq!(info(&[""]), ServerInfo::default());
}

#[test]
fn the_old_form_of_auth_is_merged() {
    let merged = extensions(&[("AUTH", &["LOGIN", "PLAIN", "XOAUTH2"]), ("HELP", &[])]);
    assert_eq!(info(&["mx", "AUTH=LOGIN PLAIN", "HELP", "AUTH plain XOAUTH2"]).extensions, merged);
    assert_eq!(info(&["mx", "AUTH LOGIN PLAIN", "HELP", "auth=XOAUTH2", "AUTH="]).extensions, merged);
}

proptest! {
    #[test]
    fn any_octets_decode_alike_at_every_split(
        input in r"(250[- ][a\r\n]{0,3}\r\n|25[0-1][ -]?\r\n|[\x00-\xff]{0,4}|354 go\r\n){0,6}",
    ) {
        let _ = decode(input.as_bytes());
    }

    #[test]
    fn what_is_encoded_parses_back(code in 200..259u16, lines in proptest::collection::vec("[^\r\n\0]{0,12}", 1..5)) {
        let reply = Reply::new(code, lines).unwrap();
        prop_assert_eq!(parse_reply(&encoded(&reply)), Ok(reply));
    }

    #[test]
    fn any_octets_parse_or_are_refused_within(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
        match parse_reply(&raw) {
            Ok(reply) => { ServerInfo::from_reply(&reply); }
            Err(error) => prop_assert!(error.offset <= raw.len()),
        }
    }
}
