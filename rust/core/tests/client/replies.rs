//! Replies that are none, that nobody asked for, or that mean nothing here.

use crate::peer::{ALL, NOTHING, PIPELINING, Peer, settings};

#[test]
fn h81_what_is_no_reply_ends_the_session() {
    for (octets, error) in [
        ("999 hm\r\n", "BadReplyCode"),
        ("199 hm\r\n", "BadReplyCode"),
        ("SSH-2.0-x\r\n", "BadReplyCode"),
        ("250 a\n", "BadReplyText"),
        ("250 a\0b\r\n", "BadReplyText"),
        ("250-a\r\n251 b\r\n", "MixedReplyCodes"),
    ] {
        let mut peer = Peer::greeted(NOTHING);
        peer.client.command(b"NOOP").expect("idle");
        assert_eq!(peer.hear(octets), format!("error {error}"), "{octets:?}");
        assert!(peer.client.closed());
        assert_eq!(peer.hear("250 ok\r\n"), "");
        assert_eq!(peer.lost(), None);
    }
}

#[test]
fn h81_a_reply_without_end_is_not_kept() {
    let mut peer = Peer::fresh();
    assert_eq!(peer.hear(&"2".repeat(settings().max_line + 1)), "error ReplyLineTooLong");
    let mut peer = Peer::fresh();
    let mut heard = String::new();
    for _ in 0..1000 {
        heard = peer.hear("220-mx.example\r\n");
        if !heard.is_empty() {
            break;
        }
    }
    assert_eq!(heard, "error ReplyTooLong");
}

#[test]
fn h81_a_book_for_each_recipient_is_not_kept() {
    let recipients = vec!["b@y.example"; 40];
    let book = "550-no\r\n".repeat(500) + "550 no\r\n";
    let mut peer = Peer::greeted(PIPELINING);
    peer.mail(&recipients, Some("hi\r\n"));
    assert_eq!(peer.hear("250 ok\r\n"), "");
    let heard: Vec<String> = (0..40).map(|_| peer.hear(&book)).collect();
    assert!(heard.contains(&"error ReplyTooLong".to_owned()), "{heard:?}");
    assert!(
        peer.lost().is_some_and(|fates| fates.starts_with("Permanent:550") && fates.ends_with("Temporary:-"))
    );
}

#[test]
fn a_line_for_each_recipient_is() {
    let recipients = vec!["b@y.example"; 40];
    let mut peer = Peer::greeted(PIPELINING);
    peer.mail(&recipients, Some("hi\r\n"));
    assert_eq!(peer.hear("250 ok\r\n"), "");
    for _ in 0..40 {
        assert_eq!(peer.hear(&format!("550 {}\r\n", "x".repeat(500))), "");
    }
}

#[test]
fn a_reply_that_nobody_asked_for_ends_the_session() {
    let mut peer = Peer::greeted(NOTHING);
    assert_eq!(peer.hear("250 ok\r\n"), "error UnaskedReply");
    assert!(peer.client.closed());
}

#[test]
fn one_while_a_challenge_waits_ends_the_session() {
    let mut peer = Peer::greeted(&["AUTH PLAIN"]);
    peer.client.auth("PLAIN", None).expect("offered");
    assert_eq!(peer.hear("334 \r\n235 welcome?\r\n"), "error UnaskedReply");
    assert!(!peer.client.authenticated());
}

#[test]
fn one_between_chunks_ends_the_session() {
    let mut peer = Peer::greeted(ALL);
    peer.mail_to_one(None);
    assert_eq!(peer.hear("250 ok\r\n250 ok\r\n"), "content");
    assert_eq!(peer.hear("250 what?\r\n"), "error UnaskedReply");
    assert_eq!(peer.lost().as_deref(), Some("Temporary:-"));
}

#[test]
fn a_reply_of_the_wrong_class_ends_the_session() {
    let odd = "354 hm\r\n";
    for asked in ["EHLO", "MAIL", "RCPT", "content"] {
        let mut peer = Peer::greeted(NOTHING);
        let fate = if asked == "EHLO" {
            peer = Peer::fresh();
            peer.hear("220 mx\r\n");
            None
        } else {
            peer.mail_to_one(Some("hi\r\n"));
            let before = ["MAIL", "RCPT", "DATA", "content"].iter().position(|step| *step == asked);
            for reply in ["250 ok\r\n", "250 ok\r\n", "354 go\r\n"].iter().take(before.unwrap_or(0)) {
                peer.hear(reply);
            }
            // The end of the content was sent, and nothing that can be understood came back.
            Some(if asked == "content" { "Unknown:-" } else { "Temporary:-" })
        };
        assert_eq!(peer.hear(odd), "error OddReply", "{asked}");
        assert_eq!(peer.lost().as_deref(), fate, "{asked}");
    }
}
