//! MAIL and RCPT as lines: what the server must offer, and what must not pass.

use proptest::prelude::*;
use smtpx_core::client::Refused;
use smtpx_core::client::envelope::{Envelope, Unsendable};
use smtpx_core::client::offers::Offers;
use smtpx_core::command::parse_command;
use smtpx_core::error::ErrorKind;

use crate::peer::{ALL, NOTHING, Peer};

fn to_one<'a>(params: &[(&'a str, &'a str)]) -> Envelope<'a> {
    Envelope {
        mail_from: "a@x.example",
        params: params.to_vec(),
        recipients: vec![("b@y.example", Vec::new())],
        ..Envelope::default()
    }
}

/// The first line, or why not.
fn mail_line(offers: &[&str], envelope: &Envelope<'_>) -> Result<String, Unsendable> {
    let mut peer = Peer::greeted(offers);
    match peer.client.mail(envelope, None) {
        Ok(()) => Ok(peer.sent().split("\r\n").next().expect("a line").to_owned()),
        Err(Refused::Unsendable(reason)) => {
            assert_eq!(peer.sent(), "");
            assert!(peer.client.idle());
            Err(reason)
        }
        Err(Refused::OutOfTurn(reason)) => panic!("{reason:?}"),
    }
}

fn line(offers: &[&str], envelope: &Envelope<'_>) -> String {
    mail_line(offers, envelope).expect("a line of a test")
}

fn lacks(offers: &[&str], envelope: &Envelope<'_>) -> &'static str {
    match mail_line(offers, envelope) {
        Err(Unsendable::NotOffered(extension)) => extension,
        other => panic!("{other:?}"),
    }
}

#[test]
fn size_is_told_where_it_is_offered_and_known() {
    let envelope = Envelope { size: Some(7), ..to_one(&[]) };
    assert_eq!(line(&["SIZE 7"], &envelope), "MAIL FROM:<a@x.example> SIZE=7");
    assert_eq!(line(&["SIZE"], &envelope), "MAIL FROM:<a@x.example> SIZE=7");
    assert_eq!(line(NOTHING, &envelope), "MAIL FROM:<a@x.example>");
    assert_eq!(line(&["SIZE 7"], &to_one(&[])), "MAIL FROM:<a@x.example>");
}

#[test]
fn the_size_of_whole_content_is_counted_as_the_server_counts_it() {
    for (content, size) in [("", 0), (".\r\n", 3), ("a\n.\nb", 9), ("a\rb\r", 6), ("a\r\n", 3)] {
        for offers in [&["SIZE"][..], &["SIZE", "PIPELINING", "CHUNKING"]] {
            let mut peer = Peer::greeted(offers);
            peer.mail_to_one(Some(content));
            let line = format!("MAIL FROM:<a@x.example> SIZE={size}\r\n");
            assert!(peer.sent().starts_with(&line), "{content:?}");
        }
    }
    let mut peer = Peer::greeted(&["SIZE 4"]);
    assert!(matches!(
        peer.try_mail(&["b@y.example"], Some("a\nb\n")),
        Err(Refused::Unsendable(Unsendable::TooLarge { size: 6, most: 4 }))
    ));
}

#[test]
fn a_size_of_the_drivers_own_stays() {
    let envelope = Envelope { size: Some(7), ..to_one(&[("SIZE", "9")]) };
    assert_eq!(line(&["SIZE 7"], &envelope), "MAIL FROM:<a@x.example> SIZE=9");
    assert_eq!(lacks(NOTHING, &envelope), "SIZE");
}

#[test]
fn more_than_the_server_takes_is_not_begun() {
    let envelope = Envelope { size: Some(8), ..to_one(&[]) };
    assert_eq!(mail_line(&["SIZE 7"], &envelope), Err(Unsendable::TooLarge { size: 8, most: 7 }));
    assert!(mail_line(&["SIZE 0"], &envelope).is_ok());
}

#[test]
fn eight_bit_content_needs_8bitmime() {
    let envelope = Envelope { eight_bit: true, ..to_one(&[]) };
    assert_eq!(line(&["8BITMIME"], &envelope), "MAIL FROM:<a@x.example> BODY=8BITMIME");
    assert_eq!(lacks(NOTHING, &envelope), "8BITMIME");
    let envelope = Envelope { eight_bit: true, ..to_one(&[("body", "8bitmime")]) };
    assert_eq!(line(&["8BITMIME"], &envelope), "MAIL FROM:<a@x.example> body=8bitmime");
}

#[test]
fn binary_content_needs_binarymime_and_chunking_and_no_more() {
    let envelope = Envelope { eight_bit: true, ..to_one(&[("BODY", "BINARYMIME")]) };
    assert_eq!(line(&["BINARYMIME", "CHUNKING"], &envelope), "MAIL FROM:<a@x.example> BODY=BINARYMIME");
    assert_eq!(lacks(&["BINARYMIME", "8BITMIME"], &envelope), "BINARYMIME");
    assert_eq!(lacks(&["CHUNKING", "8BITMIME"], &envelope), "BINARYMIME");
}

#[test]
fn h69_addresses_beyond_ascii_need_smtputf8_and_others_do_not_say_it() {
    let joerg = "j\u{f6}rg@x.example";
    for envelope in [
        Envelope { mail_from: joerg, ..to_one(&[]) },
        Envelope { recipients: vec![("b@y.example", vec![]), (joerg, vec![])], ..to_one(&[]) },
        Envelope { recipients: vec![("b@y.example", vec![("ORCPT", "utf-8;j\u{f6}rg")])], ..to_one(&[]) },
    ] {
        assert!(line(&["SMTPUTF8", "DSN"], &envelope).ends_with("> SMTPUTF8"));
        assert_eq!(lacks(&["DSN"], &envelope), "SMTPUTF8");
    }
    assert_eq!(line(ALL, &to_one(&[])), "MAIL FROM:<a@x.example>");
    assert_eq!(line(ALL, &to_one(&[("SMTPUTF8", "")])), "MAIL FROM:<a@x.example> SMTPUTF8");
}

#[test]
fn parameters_need_the_extension_that_brings_them() {
    for (key, value, extension) in [
        ("RET", "HDRS", "DSN"),
        ("ENVID", "17", "DSN"),
        ("AUTH", "<>", "AUTH"),
        ("SMTPUTF8", "", "SMTPUTF8"),
        ("BODY", "8BITMIME", "8BITMIME"),
        ("requiretls", "", "REQUIRETLS"),
    ] {
        assert_eq!(lacks(NOTHING, &to_one(&[(key, value)])), extension, "{key}");
        assert!(mail_line(&[extension], &to_one(&[(key, value)])).is_ok(), "{key}");
    }
    let envelope = Envelope { recipients: vec![("b@y.example", vec![("NOTIFY", "NEVER")])], ..to_one(&[]) };
    assert_eq!(lacks(NOTHING, &envelope), "DSN");
    assert!(mail_line(NOTHING, &to_one(&[("XOWN", "1")])).is_ok(), "what the client does not know passes");
}

#[test]
fn a_message_to_nobody_is_not_begun() {
    let envelope = Envelope { recipients: Vec::new(), ..to_one(&[]) };
    assert_eq!(mail_line(ALL, &envelope), Err(Unsendable::NoRecipient));
}

#[test]
fn the_null_reverse_path_is_a_sender_and_no_recipient() {
    assert_eq!(line(NOTHING, &Envelope { mail_from: "", ..to_one(&[]) }), "MAIL FROM:<>");
    let envelope = Envelope { recipients: vec![("", Vec::new())], ..to_one(&[]) };
    assert!(matches!(mail_line(NOTHING, &envelope), Err(Unsendable::Bad(_))));
}

#[test]
fn addresses_that_servers_may_know_pass_though_they_break_the_grammar() {
    for address in ["a..b@y.example", "a.@y.example", "Postmaster", "a@b@c", "a,b@y.example", "a@y_z.example"]
    {
        let envelope = Envelope { recipients: vec![(address, Vec::new())], ..to_one(&[]) };
        assert!(mail_line(NOTHING, &envelope).is_ok(), "{address}");
    }
    assert_eq!(
        line(NOTHING, &Envelope { mail_from: "\"a > b\"@x.example", ..to_one(&[]) }),
        "MAIL FROM:<\"a > b\"@x.example>"
    );
}

#[test]
fn h84_addresses_that_end_the_path_or_the_line_do_not_pass() {
    for address in [
        "a@x.example\r\nRSET",
        "a@x.example\n",
        "a\r@x.example",
        "a\0@x.example",
        "a@x.example> SIZE=1",
        "a@x.example>",
        "<a@x.example>",
        "> SIZE=1 <",
        "a b@x.example",
        "a\t@x.example",
        "\"a@x.example",
        "\"a\"\r\n\"@x.example",
        "\"a\\\r\n\"@x.example",
        "x\\\"> NOTIFY=NEVER \"@x.example",
        "x\"> NOTIFY=NEVER \"@x.example",
        "a@\"> NOTIFY=NEVER \"",
        "a\u{7f}@x.example",
        "a\u{85}@x.example>",
        "a\u{2028}b..c@x.example",
    ] {
        let from = Envelope { mail_from: address, ..to_one(&[]) };
        let to = Envelope { recipients: vec![("b@y.example", vec![]), (address, vec![])], ..to_one(&[]) };
        for envelope in [from, to] {
            match mail_line(&["SMTPUTF8", "DSN"], &envelope) {
                Err(Unsendable::Bad(error)) => {
                    assert!(error.enhanced.starts_with("5.1"), "{address:?}: {error:?}");
                }
                other => panic!("{address:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn h84_parameters_that_are_more_than_one_word_do_not_pass() {
    for (key, value, kind) in [
        ("", "", ErrorKind::BadParameter),
        ("A B", "", ErrorKind::BadParameter),
        ("A=B", "", ErrorKind::BadParameter),
        ("A\r\nRSET", "", ErrorKind::BadParameter),
        ("-A", "", ErrorKind::BadParameter),
        ("\u{e9}", "", ErrorKind::BadParameter),
        ("A", "b c", ErrorKind::BadValue),
        ("A", "b\r\nRSET", ErrorKind::BadValue),
        ("A", "b\n", ErrorKind::BadValue),
        ("A", "b\0", ErrorKind::BadValue),
        ("A", "b=c", ErrorKind::BadValue),
        ("A", "\u{7f}", ErrorKind::BadValue),
    ] {
        let of_mail = to_one(&[(key, value)]);
        let of_rcpt = Envelope { recipients: vec![("b@y.example", vec![(key, value)])], ..to_one(&[]) };
        for envelope in [of_mail, of_rcpt] {
            match mail_line(ALL, &envelope) {
                Err(Unsendable::Bad(error)) => assert_eq!(error.kind, kind, "{key:?}={value:?}"),
                other => panic!("{key:?}={value:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_parameter_given_twice_does_not_pass() {
    let twice = mail_line(ALL, &to_one(&[("XA", "1"), ("xa", "2")]));
    assert!(matches!(twice, Err(Unsendable::Bad(error)) if error.kind == ErrorKind::DuplicateParameter));
}

/// Text that tries to be more than it should.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => prop::collection::vec(prop::sample::select("ab@.>< \"\\\r\n\0\t=;:,()[]-\u{e9}\u{85}".chars().collect::<Vec<_>>()), 0..16)
            .prop_map(|characters| characters.into_iter().collect()),
        1 => any::<String>(),
        3 => prop::sample::select(vec!["a@x.example", "", "\"q q\"@x.example", "j\u{f6}rg@x.example", "SIZE", "NOTIFY", "1"])
            .prop_map(str::to_owned),
    ]
}

fn offers() -> Offers {
    Peer::greeted(&["SIZE", "8BITMIME", "SMTPUTF8", "DSN", "AUTH", "REQUIRETLS", "CHUNKING", "BINARYMIME"])
        .client
        .offers()
        .clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn h84_whatever_the_arguments_each_line_is_one_command_with_these_parameters(
        mail_from in hostile(), recipient in hostile(),
        keys in prop::collection::vec((hostile(), hostile()), 0..3), size in any::<Option<u64>>(), eight_bit in any::<bool>(),
    ) {
        let params: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let envelope = Envelope {
            mail_from: &mail_from, params: params.clone(), recipients: vec![(&recipient, params.clone())], size, eight_bit,
        };
        let Ok(lines) = envelope.lines(&offers(), size) else { return Ok(()) };
        prop_assert_eq!(lines.count(), 2);
        for index in 0..2 {
            let line = lines.get(index);
            let text = line.strip_suffix(b"\r\n").expect("ends with CRLF");
            prop_assert!(!text.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)));
            match parse_command(line, true) {
                Ok(command) => {
                    let mut found: Vec<(String, String)> = command.params.iter()
                        .map(|param| (param.key.to_string(), param.value.to_string())).collect();
                    found.truncate(params.len());
                    let given: Vec<(String, String)> = params.iter()
                        .map(|(key, value)| (key.to_ascii_uppercase(), (*value).to_owned())).collect();
                    prop_assert_eq!(found, given);
                }
                // Addresses that break the grammar pass, but only as addresses.
                Err(error) => prop_assert!(error.enhanced.starts_with("5.1"), "{:?}: {:?}", text, error),
            }
        }
    }
}

#[test]
fn a_client_takes_no_more_parameters_than_a_server() {
    let keys: Vec<String> = (0..62).map(|number| format!("X{number}")).collect();
    let params: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "1")).collect();
    let mut envelope =
        Envelope { size: Some(1), eight_bit: true, mail_from: "j\u{f6}rg@x.example", ..to_one(&params) };
    assert!(
        matches!(mail_line(ALL, &envelope), Err(Unsendable::Bad(error)) if error.kind == ErrorKind::TooManyParameters)
    );
    envelope.params.pop();
    assert_eq!(
        parse_command(line(ALL, &envelope).as_bytes(), true).map(|command| command.params.len()),
        Ok(64)
    );
}
