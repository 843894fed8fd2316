//! AUTH (RFC 4954): its steps, and what the transcript keeps of them.

use smtpx_core::client::Refused;
use smtpx_core::client::envelope::Unsendable;

use crate::peer::{ALL, NOTHING, PIPELINING, Peer};

fn peer() -> Peer {
    let mut peer = Peer::greeted(&["AUTH PLAIN LOGIN"]);
    peer.client.keep_transcript();
    peer
}

fn transcript(peer: &mut Peer) -> Vec<String> {
    peer.client.take_transcript().into_iter().map(|(direction, line)| format!("{direction} {line}")).collect()
}

#[test]
fn an_initial_response_goes_with_the_command() {
    let mut peer = peer();
    peer.client.auth("PLAIN", Some(b"\0joe\0secret")).expect("offered");
    assert_eq!(peer.sent(), "AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n");
    assert_eq!(peer.hear("235 welcome\r\n"), "reply 235");
    assert!(peer.client.authenticated() && peer.client.idle());
}

#[test]
fn an_empty_initial_response_is_an_equals_sign_and_none_is_nothing() {
    let mut peer = peer();
    peer.client.auth("EXTERNAL", Some(b"")).expect("offered");
    assert_eq!(peer.sent(), "AUTH EXTERNAL =\r\n");
    peer.hear("535 no\r\n");
    peer.client.auth("EXTERNAL", None).expect("offered");
    assert_eq!(peer.sent(), "AUTH EXTERNAL\r\n");
}

#[test]
fn challenges_are_decoded_and_answered_in_base64() {
    let mut peer = peer();
    peer.client.auth("LOGIN", None).expect("offered");
    peer.sent();
    assert_eq!(peer.hear("334 VXNlcm5hbWU6\r\n"), "challenge Username:");
    assert!(!peer.client.idle());
    peer.client.respond(Some(b"joe")).expect("a challenge waits");
    assert_eq!(peer.sent(), "am9l\r\n");
    assert_eq!(peer.hear("334\r\n"), "challenge ");
    peer.client.respond(Some(b"")).expect("a challenge waits");
    assert_eq!(peer.sent(), "\r\n");
    assert_eq!(peer.hear("235 welcome\r\n"), "reply 235");
    assert!(peer.client.authenticated());
}

#[test]
fn a_login_given_up_is_a_star() {
    let mut peer = peer();
    peer.client.auth("LOGIN", None).expect("offered");
    peer.sent();
    peer.hear("334 VXNlcm5hbWU6\r\n");
    peer.client.respond(None).expect("a challenge waits");
    assert_eq!(peer.sent(), "*\r\n");
    assert_eq!(peer.hear("501 cancelled\r\n"), "reply 501");
    assert!(peer.client.idle() && !peer.client.authenticated());
}

#[test]
fn a_login_refused_leaves_the_session_as_it_was() {
    for code in [454, 535, 538] {
        let mut peer = peer();
        peer.client.auth("PLAIN", Some(b"x")).expect("offered");
        assert_eq!(peer.hear(&format!("{code} no\r\n")), format!("reply {code}"));
        assert!(peer.client.idle() && !peer.client.authenticated());
    }
}

#[test]
fn a_challenge_that_is_no_base64_ends_the_session() {
    for challenge in ["334 %%%\r\n", "334 abc\r\n", "334 go ahead\r\n"] {
        let mut peer = peer();
        peer.client.auth("LOGIN", None).expect("offered");
        assert_eq!(peer.hear(challenge), "error OddReply", "{challenge:?}");
        assert!(peer.client.closed());
    }
}

#[test]
fn auth_that_is_not_offered_is_not_tried() {
    let mut peer = Peer::greeted(PIPELINING);
    let refused = peer.client.auth("PLAIN", None);
    assert_eq!(refused, Err(Refused::Unsendable(Unsendable::NotOffered("AUTH"))));
    assert_eq!(peer.sent(), "");
}

#[test]
fn h84_a_mechanism_that_is_no_word_is_refused() {
    for name in ["", "PLAIN x", "PLAIN\r\nRSET", "A\0", "\u{e9}", "A=B"] {
        let mut peer = peer();
        assert!(
            matches!(peer.client.auth(name, None), Err(Refused::Unsendable(Unsendable::Bad(_)))),
            "{name:?}"
        );
        assert_eq!(peer.sent(), "");
        assert!(peer.client.idle());
    }
}

#[test]
fn an_answer_out_of_turn_is_told_so() {
    let mut peer = peer();
    assert!(peer.client.respond(Some(b"x")).is_err());
    peer.client.auth("LOGIN", None).expect("offered");
    assert!(peer.client.respond(Some(b"x")).is_err());
    assert!(peer.client.auth("LOGIN", None).is_err());
}

#[test]
fn the_transcript_has_no_secrets() {
    let mut peer = peer();
    peer.client.auth("PLAIN", Some(b"\0joe\0secret")).expect("offered");
    peer.hear("334 c2VjcmV0\r\n");
    peer.client.respond(Some(b"secret")).expect("a challenge waits");
    peer.hear("334 c2VjcmV0\r\n");
    peer.client.respond(None).expect("a challenge waits");
    peer.hear("535 5.7.8 no\r\n");
    assert_eq!(
        transcript(&mut peer),
        ["> AUTH PLAIN ***", "< 334 ***", "> ***", "< 334 ***", "> *", "< 535 5.7.8 no"]
    );
    assert_eq!(transcript(&mut peer), [""; 0], "lines are told once");
}

#[test]
fn the_transcript_has_no_content() {
    let mut peer = Peer::greeted(PIPELINING);
    peer.client.keep_transcript();
    peer.mail_to_one(None);
    peer.hear("250-one\r\n250 two\r\n250 ok\r\n354 go\r\n");
    peer.give("secret", false);
    peer.give("secret", true);
    peer.hear("250 kept\r\n");
    assert_eq!(
        transcript(&mut peer),
        [
            "> MAIL FROM:<a@x.example>",
            "> RCPT TO:<b@y.example>",
            "> DATA",
            "< 250-one",
            "< 250 two",
            "< 250 ok",
            "< 354 go",
            "> <6 octets of content>",
            "> <8 octets of content>",
            "> .",
            "< 250 kept",
        ]
    );
}

#[test]
fn the_transcript_has_the_commands_of_chunks() {
    let mut peer = Peer::greeted(ALL);
    peer.client.keep_transcript();
    peer.mail_to_one(None);
    peer.hear("250 ok\r\n250 ok\r\n");
    transcript(&mut peer);
    peer.give("secret\r\n", false);
    peer.give("", true);
    assert_eq!(transcript(&mut peer), ["> BDAT 8", "> <8 octets of content>", "> BDAT 0 LAST"]);
}

#[test]
fn no_transcript_is_kept_unasked() {
    let mut peer = Peer::greeted(NOTHING);
    peer.client.command(b"NOOP").expect("idle");
    peer.hear("250 ok\r\n");
    assert_eq!(transcript(&mut peer), [""; 0]);
}
