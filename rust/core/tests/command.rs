//! Command lines (HOSTILE 18, 30, 34a, 34b, 42), row by row and on random input.

use proptest::prelude::*;
use smtpx_core::command::{Command, Verb, parse_command};
use smtpx_core::error::ErrorKind::{self, *};

fn parse(line: &str) -> Command<'_> {
    parse_command(line.as_bytes(), false).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

fn refuse(line: &[u8]) -> (ErrorKind, usize, u16, &'static str) {
    let error = parse_command(line, false).unwrap_err();
    (error.kind, error.offset, error.code, error.enhanced)
}

fn params(line: &str) -> Vec<(String, String)> {
    parse(line).params.into_iter().map(|param| (param.key.into_owned(), param.value.into_owned())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn verbs_have_their_bit_and_their_place() {
    for (index, verb) in Verb::ALL.into_iter().enumerate() {
        assert_eq!(verb.index(), index);
        assert_eq!(verb.bit(), 2 << index);
        assert_eq!(Verb::of(verb.name().as_bytes()), Some(verb));
        assert_eq!(Verb::of(format!("{} x", verb.name().to_lowercase()).as_bytes()), Some(verb));
        assert_eq!(Verb::of(format!("{}\r\n", verb.name()).as_bytes()), Some(verb));
        assert_eq!(Verb::of(format!("{}X", verb.name()).as_bytes()), None);
    }
}

#[test]
fn an_unknown_verb_is_refused() {
    for line in [&b""[..], b"\r\n", b" MAIL FROM:<a@b>", b"MAIL\tFROM:<a@b>", b"GET / HTTP/1.1", b"STARTTLSX"]
    {
        assert_eq!(refuse(line), (UnknownCommand, 0, 500, "5.5.1"));
    }
}

#[test]
fn mail_and_rcpt_carry_a_canonical_path() {
    assert_eq!(parse("MAIL FROM:<a@b.org>\r\n").arg, "a@b.org");
    assert_eq!(parse("mail from:<\"a\"@b.org>").arg, "a@b.org");
    assert_eq!(parse("MAIL FROM:<>").arg, "");
    assert_eq!(parse("RCPT TO:<@x.org:joe@c.org>").arg, "joe@c.org");
    assert_eq!(parse("RCPT TO:<Postmaster>").arg, "Postmaster");
}

#[test]
fn parameters_keep_the_case_of_their_values() {
    let line = "MAIL FROM:<a@b.org> size=10 SMTPUTF8 Body=8BitMime x-Y=<a+3Db>/;\r\n";
    assert_eq!(
        params(line),
        pairs(&[("SIZE", "10"), ("SMTPUTF8", ""), ("BODY", "8BitMime"), ("X-Y", "<a+3Db>/;")])
    );
    assert_eq!(params("RCPT TO:<a@b> ORCPT=utf-8;\u{f6}@b"), pairs(&[("ORCPT", "utf-8;\u{f6}@b")]));
    assert_eq!(params("MAIL FROM:<\"a SIZE=1\"@b>"), []);
}

#[test]
fn a_path_is_given() {
    assert_eq!(refuse(b"MAIL"), (MissingArgument, 4, 501, "5.5.4"));
    assert_eq!(refuse(b"MAIL FROM:"), (MissingArgument, 10, 501, "5.5.4"));
    assert_eq!(refuse(b"RCPT TO:  "), (MissingArgument, 10, 501, "5.5.4"));
    assert_eq!(refuse(b"MAIL TO:<a@b>"), (BadSyntax, 4, 501, "5.5.4"));
    assert_eq!(refuse(b"RCPT <a@b>"), (BadSyntax, 4, 501, "5.5.4"));
    assert_eq!(refuse(b"MAIL FROM:<a@b>SIZE=1"), (BadSyntax, 15, 501, "5.5.4"));
    assert_eq!(refuse(b"RCPT TO:<>"), (Empty, 8, 501, "5.1.3"));
}

#[test]
fn h18_an_octet_that_may_not_be_there_is_refused() {
    for line in [
        &b"NOOP \0"[..],
        b"NOOP a\rb",
        b"NOOP a\nb",
        b"NOOP\n",
        b"QUIT\r",
        b"NOOP \xc3\xa9",
        b"EHLO \xc3\xa9",
        b"HELP \x01",
        b"AUTH \xff",
        b"AUTH PLAIN \xff",
        b"VRFY \xff",
        b"MAIL FROM:<a@b> X=\xff",
        b"M\xc3\xa4IL FROM:<a@b>",
        b"\xff\xfe",
        b"NO\0OP",
        b"RSET \xc3\xa9",
        b"EHLO a \xff",
        b"BDAT 1 LAST \xff",
    ] {
        let (kind, _, code, enhanced) = refuse(line);
        assert_eq!((kind, code, enhanced), (BadOctet, 501, "5.5.2"), "{line:?}");
    }
    assert_eq!(refuse(b"MAIL FROM:<a\0@b>"), (Control, 12, 501, "5.1.7"));
    assert_eq!(refuse(b"RCPT TO:<a\0@b>"), (Control, 10, 501, "5.1.3"));
    assert_eq!(refuse(b"MAIL FROM:<a\xff@b>"), (BadUtf8, 12, 501, "5.1.7"));
    assert_eq!(refuse(b"RCPT TO:<a\xff@b>"), (BadUtf8, 10, 501, "5.1.3"));
}

#[test]
fn a_bad_address_is_a_senders_or_a_recipients() {
    assert_eq!(refuse(b"MAIL FROM:<a@[1.2]>"), (BadLiteral, 13, 501, "5.1.7"));
    assert_eq!(refuse(b"RCPT TO:<a@[1.2]>"), (BadLiteral, 11, 501, "5.1.3"));
    assert_eq!(refuse(b"MAIL FROM:<a(x)@b>"), (CommentInPath, 12, 501, "5.1.7"));
}

#[test]
fn h30_a_parameter_comes_once_and_well_formed() {
    assert_eq!(refuse(b"MAIL FROM:<a@b> SIZE=1 size=2"), (DuplicateParameter, 23, 501, "5.5.4"));
    for parameter in ["=1", "-X", "X_Y=1", "X=", "X=a=b", "X=a=b=", "X===", "\u{f6}=1", "SIZE=1\x7f"] {
        let (kind, _, code, enhanced) = refuse(format!("MAIL FROM:<a@b> {parameter}").as_bytes());
        assert_eq!((kind, code, enhanced), (BadParameter, 501, "5.5.4"), "{parameter}");
    }
}

#[test]
fn base64_may_end_a_value_unless_strict() {
    assert_eq!(params("MAIL FROM:<a@b> X=YQ=="), pairs(&[("X", "YQ==")]));
    assert!(parse_command(b"MAIL FROM:<a@b> X=YQ==", true).is_err());
}

#[test]
fn parameters_beyond_reason_are_refused_in_linear_time() {
    let keywords = (0..200_000).map(|index| format!(" X{index}"));
    let line = std::iter::once("MAIL FROM:<a@b>".to_owned()).chain(keywords).collect::<String>();
    assert_eq!(refuse(line.as_bytes()).0, TooManyParameters);
}

#[test]
fn h34a_what_devices_send_is_taken_unless_strict() {
    for line in [
        "MAIL FROM: <a@b>",
        "MAIL FROM:a@b",
        "MAIL FROM: a@b",
        "MAIL FROM:<a@b>  ",
        "MAIL FROM:<a@b>  SIZE=1",
        "RCPT TO: <a@b>",
        "RCPT TO:a@b ",
        "DATA ",
        "EHLO  host",
        "EHLO host ",
        "QUIT  ",
    ] {
        parse(line);
        let error = parse_command(line.as_bytes(), true).unwrap_err();
        assert_eq!((error.code, error.enhanced), (501, "5.5.4"), "{line}");
    }
    assert_eq!(parse("MAIL FROM:a@b SIZE=1").arg, "a@b");
}

#[test]
fn h34b_a_greeting_has_one_name() {
    assert_eq!(parse("EHLO [192.0.2.1]").arg, "[192.0.2.1]");
    assert_eq!(parse("HELO host_name").arg, "host_name");
    assert_eq!(parse("EHLO (odd)/one").arg, "(odd)/one");
    assert_eq!(refuse(b"EHLO"), (MissingArgument, 4, 501, "5.5.4"));
    assert_eq!(refuse(b"HELO "), (MissingArgument, 5, 501, "5.5.4"));
    assert_eq!(refuse(b"EHLO a b"), (UnexpectedArgument, 7, 501, "5.5.4"));
    let error = parse_command(b"EHLO a..b", true).unwrap_err();
    assert_eq!((error.kind, error.offset, error.enhanced), (BadDomain, 7, "5.5.4"));
}

#[test]
fn auth_has_a_mechanism_and_maybe_a_response() {
    let auth = |line: &str| (parse(line).arg.into_owned(), parse(line).param.into_owned());
    assert_eq!(auth("AUTH login"), ("LOGIN".to_owned(), String::new()));
    assert_eq!(auth("AUTH PLAIN AGEAYg=="), ("PLAIN".to_owned(), "AGEAYg==".to_owned()));
    assert_eq!(auth("AUTH PLAIN ="), ("PLAIN".to_owned(), "=".to_owned()));
    assert_eq!(auth("AUTH PLAIN AGEA Yg=="), ("PLAIN".to_owned(), "AGEA Yg==".to_owned()));
    assert_eq!(refuse(b"AUTH"), (MissingArgument, 4, 501, "5.5.4"));
}

#[test]
fn bdat_has_a_size_and_maybe_last() {
    let bdat = |line: &str| (parse(line).arg.into_owned(), parse(line).param.into_owned());
    assert_eq!(bdat("BDAT 0 LAST"), ("0".to_owned(), "LAST".to_owned()));
    assert_eq!(bdat("bdat 86 last\r\n"), ("86".to_owned(), "LAST".to_owned()));
    assert_eq!(bdat("BDAT 18446744073709551615"), ("18446744073709551615".to_owned(), String::new()));
}

#[test]
fn h42_a_bad_chunk_size_is_refused() {
    for line in [
        "BDAT",
        "BDAT -1",
        "BDAT +1",
        "BDAT 1e3",
        "BDAT 18446744073709551616",
        "BDAT x",
        "BDAT 1 x",
        "BDAT 1 LAST x",
        "BDAT LAST",
        "BDAT \u{661}",
    ] {
        let (_, _, code, enhanced) = refuse(line.as_bytes());
        assert_eq!((code, enhanced), (501, "5.5.4"), "{line}");
    }
}

#[test]
fn vrfy_and_expn_need_a_name() {
    assert_eq!(parse("VRFY Joe Doe <joe@c.org>").arg, "Joe Doe <joe@c.org>");
    assert_eq!(parse("EXPN list").arg, "list");
    assert_eq!(parse("VRFY \u{f6} smtputf8").arg, "\u{f6}");
    assert_eq!(params("VRFY \u{f6} smtputf8"), pairs(&[("SMTPUTF8", "")]));
    assert_eq!(parse("VRFY smtputf8").arg, "smtputf8");
    assert_eq!(refuse(b"VRFY"), (MissingArgument, 4, 501, "5.5.4"));
    assert_eq!(refuse(b"EXPN  "), (MissingArgument, 6, 501, "5.5.4"));
}

#[test]
fn noop_and_help_take_any_text() {
    assert_eq!(parse("NOOP").arg, "");
    assert_eq!(parse("NOOP a  b ").arg, "a  b");
    assert_eq!(parse("HELP MAIL").arg, "MAIL");
}

#[test]
fn commands_without_an_argument_have_none() {
    for verb in ["DATA", "RSET", "QUIT", "STARTTLS"] {
        assert_eq!(parse(verb).arg, "");
        assert_eq!(
            refuse(format!("{verb} x").as_bytes()),
            (UnexpectedArgument, verb.len() + 1, 501, "5.5.4")
        );
    }
}

proptest! {
    #[test]
    fn any_octets_parse_or_are_refused_within(verb in 0..14usize, rest in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut line = Verb::ALL[verb].name().as_bytes().to_vec();
        line.extend(rest);
        for strict in [false, true] {
            if let Err(error) = parse_command(&line, strict) {
                prop_assert!(error.offset <= line.len());
            }
        }
    }

    #[test]
    fn what_is_strictly_right_means_the_same_leniently(
        line in r"(MAIL FROM:|RCPT TO:|EHLO |BDAT |VRFY |NOOP |AUTH )[<]?[a-c@.]{0,6}[>]?( [A-C]{1,2}(=[a-c0-9=]{0,3})?){0,3} ?",
    ) {
        if let Ok(command) = parse_command(line.as_bytes(), true) {
            prop_assert_eq!(parse_command(line.as_bytes(), false), Ok(command));
        }
    }

    #[test]
    fn a_crlf_at_the_end_changes_nothing(line in r"(MAIL FROM|RCPT TO|EHLO|DATA|NOOP)[:]?[ ]?[<]?[a-c@.]{0,6}[>]?( [A-C]=[a-c0-9]){0,3}") {
        let ended = format!("{line}\r\n");
        prop_assert_eq!(parse_command(ended.as_bytes(), false), parse_command(line.as_bytes(), false));
    }
}
