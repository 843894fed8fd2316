//! The banner and hello.

use smtpx_core::client::{Client, Settings, Waiting};
use smtpx_core::error::ErrorKind;

use crate::peer::{ALL, NOTHING, Peer, ehlo, settings};

#[test]
fn the_banner_is_answered_with_ehlo_and_its_reply_ends_the_greeting() {
    let mut peer = Peer::fresh();
    assert_eq!(peer.client.waiting(), Waiting::Banner);
    assert!(!peer.client.idle());
    assert_eq!(peer.hear("220-mx.example\r\n220 welcome\r\n"), "");
    assert_eq!(peer.sent(), "EHLO me.example\r\n");
    assert_eq!(peer.client.waiting(), Waiting::Command);
    assert_eq!(peer.hear(&ehlo(ALL)), "reply 250");
    assert_eq!(peer.client.waiting(), Waiting::Nothing);
    assert!(peer.client.idle() && peer.client.offers().pipelining && peer.client.offers().chunking);
    assert_eq!(peer.client.offers().size, Some(1000));
}

#[test]
fn ehlo_refused_for_good_is_said_again_as_helo() {
    let mut peer = Peer::fresh();
    peer.hear("220 mx\r\n");
    peer.sent();
    assert_eq!(peer.hear("500 what?\r\n"), "");
    assert_eq!(peer.sent(), "HELO me.example\r\n");
    assert_eq!(peer.hear("250 mx\r\n"), "reply 250");
    assert!(peer.client.idle() && !peer.client.offers().pipelining);
}

#[test]
fn helo_refused_ends_the_greeting() {
    let mut peer = Peer::fresh();
    assert_eq!(peer.hear("220 mx\r\n"), "");
    assert_eq!(peer.hear("500 no\r\n"), "");
    assert_eq!(peer.hear("550 no\r\n"), "reply 550");
}

#[test]
fn ehlo_refused_for_now_is_not_said_again() {
    let mut peer = Peer::fresh();
    peer.hear("220 mx\r\n");
    peer.sent();
    assert_eq!(peer.hear("451 later\r\n"), "reply 451");
    assert_eq!(peer.sent(), "");
}

#[test]
fn lmtp_says_lhlo_and_has_no_older_hello() {
    let mut peer = Peer::with(Settings { lmtp: true, ..settings() });
    peer.hear("220 mx\r\n");
    assert_eq!(peer.sent(), "LHLO me.example\r\n");
    assert_eq!(peer.hear("500 what?\r\n"), "reply 500");
    assert_eq!(peer.sent(), "");
}

#[test]
fn h81_a_banner_that_refuses_ends_the_session() {
    for code in [450, 554, 521] {
        let mut peer = Peer::fresh();
        assert_eq!(peer.hear(&format!("{code} no\r\n")), format!("reply {code}"));
        assert!(peer.client.closed());
        assert_eq!(peer.sent(), "");
        assert!(peer.client.command(b"NOOP").is_err());
    }
}

#[test]
fn a_banner_of_421_is_a_farewell() {
    let mut peer = Peer::fresh();
    assert_eq!(peer.hear("421 too busy\r\n"), "reply 421");
    assert!(peer.client.closed());
    assert_eq!(peer.client.farewell().map(smtpx_core::reply::Reply::code), Some(421));
}

#[test]
fn a_banner_that_asks_for_more_is_no_banner() {
    assert_eq!(Peer::fresh().hear("354 go on\r\n"), "error OddReply");
}

#[test]
fn another_ehlo_of_the_drivers_replaces_what_was_offered() {
    let mut peer = Peer::greeted(ALL);
    peer.client.command(b"ehlo other.example").expect("idle");
    assert_eq!(peer.sent(), "ehlo other.example\r\n");
    assert_eq!(peer.hear(&ehlo(NOTHING)), "reply 250");
    assert!(!peer.client.offers().pipelining);
}

#[test]
fn a_size_that_is_no_number_is_no_limit() {
    for (line, most) in
        [("SIZE", u64::MAX), ("SIZE 0", u64::MAX), ("SIZE lots", u64::MAX), ("SIZE 7", 7), ("size 7", 7)]
    {
        assert_eq!(Peer::greeted(&[line]).client.offers().size, Some(most), "{line}");
    }
}

#[test]
fn binarymime_without_chunking_is_no_offer() {
    assert!(!Peer::greeted(&["BINARYMIME"]).client.offers().binary);
    assert!(Peer::greeted(&["BINARYMIME", "CHUNKING"]).client.offers().binary);
}

#[test]
fn h84_a_local_name_that_is_none_makes_no_session() {
    for name in
        ["", "a b", "a\r\nQUIT", "a\n", "a\0", "a\u{85}b", "m\u{fc}ller.example", "[1.2.3]", "-a", "a."]
    {
        let made = Client::new(Settings { local_name: name.to_owned(), ..settings() }, false);
        assert!(made.is_err(), "{name:?}");
    }
    let made = Client::new(Settings { local_name: "b\u{fc}cher.example".to_owned(), ..settings() }, false);
    assert_eq!(made.err().map(|error| (error.kind, error.offset)), Some((ErrorKind::BadDomain, 1)));
    for name in ["localhost", "my_pc", "[192.0.2.1]", "[IPv6:2001:db8::1]", "xn--bcher-kva.example"] {
        assert!(Client::new(Settings { local_name: name.to_owned(), ..settings() }, false).is_ok(), "{name}");
    }
}
