//! STARTTLS (RFC 3207), and what comes in clear text behind it.

use smtpx_core::client::envelope::Unsendable;
use smtpx_core::client::{Client, Refused};

use crate::peer::{NOTHING, Peer, ehlo, settings};

fn asked() -> Peer {
    let mut peer = Peer::greeted(&["STARTTLS", "PIPELINING", "AUTH PLAIN", "SPOOFED"]);
    peer.client.starttls().expect("offered");
    assert_eq!(peer.sent(), "STARTTLS\r\n");
    peer
}

#[test]
fn behind_the_handshake_hello_is_said_anew_and_what_was_offered_is_forgotten() {
    let mut peer = asked();
    assert_eq!(peer.hear("220 go\r\n"), "handshake");
    assert_eq!(peer.sent(), "");
    assert!(!peer.client.tls() && !peer.client.idle());
    peer.client.tls_started().expect("the handshake is due");
    assert!(peer.client.tls() && !peer.client.offers().has("SPOOFED"));
    assert_eq!(peer.sent(), "EHLO me.example\r\n");
    assert_eq!(peer.hear(&ehlo(&["SIZE 5"])), "reply 250");
    let offers = peer.client.offers();
    assert!(!offers.pipelining && !offers.has("AUTH") && !offers.has("SPOOFED") && offers.has("SIZE"));
}

#[test]
fn a_login_in_clear_text_is_forgotten_too() {
    let mut peer = Peer::greeted(&["STARTTLS", "AUTH PLAIN"]);
    peer.client.auth("PLAIN", Some(b"x")).expect("offered");
    peer.hear("235 ok\r\n");
    assert!(peer.client.authenticated());
    peer.client.starttls().expect("offered");
    peer.hear("220 go\r\n");
    peer.client.tls_started().expect("the handshake is due");
    assert!(!peer.client.authenticated());
}

#[test]
fn h82_octets_behind_the_220_in_the_same_read_are_injected() {
    for injected in ["250 ok\r\n", "2", "\n", "rubbish\r\n", "421 bye\r\n", "250-a\r\n"] {
        let mut peer = asked();
        assert_eq!(peer.hear(&format!("220 go\r\n{injected}")), "error InjectedReply", "{injected:?}");
        assert!(peer.client.closed());
        assert!(peer.client.tls_started().is_err());
    }
}

#[test]
fn h82_octets_behind_the_220_in_the_next_read_are_injected() {
    for injected in ["250 ok\r\n", "2", "\n"] {
        let mut peer = asked();
        assert_eq!(peer.hear("220 go\r\n"), "handshake");
        assert_eq!(peer.hear(""), "", "nothing is no octets");
        assert_eq!(peer.hear(injected), "error InjectedReply", "{injected:?}");
        assert!(peer.client.tls_started().is_err());
    }
}

#[test]
fn h82_replies_ahead_of_starttls_are_not_replies_to_it() {
    let mut peer = Peer::greeted(&["STARTTLS"]);
    assert_eq!(peer.hear("220 go\r\n"), "error UnaskedReply");
    assert!(peer.client.starttls().is_err());
}

#[test]
fn h82_starttls_refused_is_a_reply_and_the_session_is_in_clear_text() {
    for code in [454, 501, 554] {
        let mut peer = asked();
        assert_eq!(peer.hear(&format!("{code} no\r\n")), format!("reply {code}"));
        assert!(!peer.client.tls() && peer.client.idle());
        assert!(peer.client.tls_started().is_err());
    }
}

#[test]
fn starttls_answered_354_is_out_of_order() {
    assert_eq!(asked().hear("354 hm\r\n"), "error OddReply");
}

#[test]
fn h82_starttls_that_is_not_offered_is_not_asked_for() {
    let mut peer = Peer::greeted(NOTHING);
    let refused = peer.client.starttls();
    assert_eq!(refused, Err(Refused::Unsendable(Unsendable::NotOffered("STARTTLS"))));
    assert_eq!(peer.sent(), "");
}

#[test]
fn starttls_inside_tls_is_out_of_turn() {
    let mut peer = Peer { client: Client::new(settings(), true).expect("settings of a test") };
    peer.hear("220 mx\r\n");
    peer.hear(&ehlo(&["STARTTLS"]));
    assert!(matches!(peer.client.starttls(), Err(Refused::OutOfTurn(_))));
}

#[test]
fn a_connection_lost_in_the_handshake_takes_no_message_with_it() {
    let mut peer = asked();
    peer.hear("220 go\r\n");
    assert_eq!(peer.lost(), None);
    assert!(peer.client.closed());
}
