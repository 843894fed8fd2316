//! Commands of the driver's own, and calls out of turn.

use proptest::prelude::*;
use smtpx_core::client::envelope::Unsendable;
use smtpx_core::client::{OutOfTurn, Refused};

use crate::peer::{ALL, NOTHING, Peer};

#[test]
fn one_reply_ends_a_command_whatever_it_is() {
    for code in [200, 250, 354, 450, 550] {
        let mut peer = Peer::greeted(NOTHING);
        peer.client.command(b"XFOO bar").expect("idle");
        assert_eq!(peer.sent(), "XFOO bar\r\n");
        assert_eq!(peer.hear(&format!("{code} so\r\n")), format!("reply {code}"));
        assert!(peer.client.idle());
    }
}

#[test]
fn quit_ends_the_session() {
    let mut peer = Peer::greeted(NOTHING);
    peer.client.command(b"quit").expect("idle");
    assert_eq!(peer.hear("221 bye\r\n"), "reply 221");
    assert!(peer.client.closed() && peer.client.farewell().is_none());
}

#[test]
fn h84_octets_that_end_a_line_are_refused() {
    for line in [&b"NOOP\r\n"[..], b"NOOP\nRSET", b"NOOP\rRSET", b"NO\0OP", b"\r\n"] {
        let mut peer = Peer::greeted(NOTHING);
        assert!(
            matches!(peer.client.command(line), Err(Refused::Unsendable(Unsendable::Bad(_)))),
            "{line:?}"
        );
        assert_eq!(peer.sent(), "");
        assert!(peer.client.idle());
    }
}

#[test]
fn an_empty_command_is_refused() {
    for line in [&b""[..], b" ", b" NOOP", b"\tNOOP"] {
        assert!(Peer::greeted(NOTHING).client.command(line).is_err(), "{line:?}");
    }
}

#[test]
fn what_is_more_than_a_command_and_a_reply_has_methods_of_its_own() {
    for line in
        [&b"DATA"[..], b"data ", b"Data\t", b"BDAT 4 LAST", b"STARTTLS", b"starttls x", b"AUTH PLAIN x"]
    {
        let mut peer = Peer::greeted(ALL);
        assert!(matches!(peer.client.command(line), Err(Refused::OutOfTurn(_))), "{line:?}");
        assert_eq!(peer.sent(), "");
    }
}

#[test]
fn an_exchange_begins_only_when_the_last_has_ended() {
    let mut peer = Peer::greeted(&["AUTH PLAIN", "STARTTLS"]);
    peer.client.command(b"NOOP").expect("idle");
    peer.sent();
    assert!(matches!(peer.client.command(b"NOOP"), Err(Refused::OutOfTurn(_))));
    assert!(matches!(peer.client.auth("PLAIN", None), Err(Refused::OutOfTurn(_))));
    assert!(matches!(peer.client.starttls(), Err(Refused::OutOfTurn(_))));
    assert!(matches!(peer.try_mail(&["b@y.example"], None), Err(Refused::OutOfTurn(_))));
    assert!(matches!(peer.client.tls_started(), Err(OutOfTurn(_))));
    assert_eq!(peer.sent(), "");
    assert!(Peer::fresh().client.command(b"NOOP").is_err(), "the banner is due");
}

#[test]
fn content_that_nobody_asked_for_is_dropped() {
    let mut peer = Peer::greeted(NOTHING);
    assert_eq!(peer.give("x", true), "");
    peer.mail_to_one(None);
    peer.sent();
    assert_eq!(peer.give("x", true), "");
    assert!(!peer.client.wants_content());
}

#[test]
fn nothing_is_said_or_heard_when_the_session_is_over() {
    let mut peer = Peer::greeted(NOTHING);
    assert_eq!(peer.lost(), None);
    assert!(peer.client.closed() && !peer.client.idle());
    assert!(peer.client.command(b"NOOP").is_err());
    assert_eq!(peer.hear("250 ok\r\n"), "");
    assert_eq!(peer.sent(), "");
}

proptest! {
    #[test]
    fn h84_no_command_whatever_is_two_lines(line in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut peer = Peer::greeted(NOTHING);
        let begun = peer.client.command(&line);
        let sent = peer.client.take_output();
        match begun {
            Ok(()) => prop_assert_eq!(sent, [&line[..], b"\r\n"].concat()),
            Err(_) => prop_assert!(sent.is_empty() && peer.client.idle()),
        }
        let breaks = line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0));
        prop_assert!(!(breaks && begun.is_ok()));
    }
}
