//! 421: the server leaves, at any step (RFC 5321 3.8).

use crate::peer::{ALL, NOTHING, PIPELINING, Peer};

fn gone(peer: &Peer) -> bool {
    peer.client.closed() && peer.client.farewell().is_some_and(|reply| reply.code() == 421)
}

#[test]
fn as_the_reply_to_hello() {
    let mut peer = Peer::fresh();
    peer.hear("220 mx\r\n");
    assert_eq!(peer.hear("421 bye\r\n"), "reply 421");
    assert!(gone(&peer));
}

#[test]
fn as_the_reply_to_a_command() {
    let mut peer = Peer::greeted(NOTHING);
    peer.client.command(b"NOOP").expect("idle");
    assert_eq!(peer.hear("421 bye\r\n"), "reply 421");
    assert!(gone(&peer));
    assert!(peer.client.command(b"NOOP").is_err());
}

#[test]
fn between_exchanges_there_is_no_event() {
    let mut peer = Peer::greeted(NOTHING);
    assert_eq!(peer.hear("421 idle too long\r\n"), "");
    assert!(gone(&peer));
    assert_eq!(peer.hear("250 ok\r\n"), "", "nothing is read behind it");
}

#[test]
fn behind_the_end_of_an_exchange_in_the_same_read() {
    let mut peer = Peer::greeted(PIPELINING);
    peer.mail_to_one(Some("hi\r\n"));
    peer.hear("250 ok\r\n250 ok\r\n354 go\r\n");
    assert_eq!(peer.hear("250 kept\r\n421 bye\r\n"), "done Accepted:250");
    assert!(gone(&peer));
}

#[test]
fn in_place_of_a_challenge_answered_or_not() {
    let mut peer = Peer::greeted(&["AUTH LOGIN"]);
    peer.client.auth("LOGIN", None).expect("offered");
    assert_eq!(peer.hear("334 VXNlcm5hbWU6\r\n"), "challenge Username:");
    assert_eq!(peer.hear("421 too slow\r\n"), "reply 421");
    assert!(gone(&peer));
    assert!(peer.client.respond(Some(b"joe")).is_err());
    let mut peer = Peer::greeted(&["AUTH LOGIN"]);
    peer.client.auth("LOGIN", None).expect("offered");
    assert_eq!(peer.hear("334 VXNlcm5hbWU6\r\n421 bye\r\n"), "reply 421");
}

#[test]
fn as_the_reply_to_starttls() {
    let mut peer = Peer::greeted(&["STARTTLS"]);
    peer.client.starttls().expect("offered");
    assert_eq!(peer.hear("421 bye\r\n"), "reply 421");
    assert!(gone(&peer));
}

#[test]
fn as_the_reply_to_quit() {
    let mut peer = Peer::greeted(NOTHING);
    peer.client.command(b"QUIT").expect("idle");
    assert_eq!(peer.hear("421 bye\r\n"), "reply 421");
    assert!(gone(&peer));
}

/// The replies of a transaction to two, with DATA and with BDAT, cut short by a 421.
#[test]
fn at_every_step_of_a_transaction_what_was_not_known_is_temporary() {
    for (offers, good) in [
        (PIPELINING, &["250 ok\r\n", "250 ok\r\n", "550 who?\r\n", "354 go\r\n"][..]),
        (ALL, &["250 ok\r\n", "250 ok\r\n", "550 who?\r\n"]),
    ] {
        for step in 0..=good.len() {
            let mut peer = Peer::greeted(offers);
            peer.mail(&["b@y.example", "c@y.example"], Some("hi\r\n"));
            for reply in &good[..step] {
                assert_eq!(peer.hear(reply), "");
            }
            let second = if step < 3 { "Temporary:421" } else { "Permanent:550" };
            assert_eq!(
                peer.hear("421 bye\r\n421 bye\r\n250 what?\r\n"),
                format!("done Temporary:421 {second}")
            );
            assert!(gone(&peer));
            assert_eq!(peer.lost(), None);
        }
    }
}

#[test]
fn while_content_is_given() {
    for offers in [NOTHING, ALL] {
        let mut peer = Peer::greeted(offers);
        peer.mail_to_one(None);
        peer.hear("250 ok\r\n");
        peer.hear("250 ok\r\n");
        peer.hear(if offers == ALL { "" } else { "354 go\r\n" });
        assert!(peer.client.wants_content());
        assert_eq!(peer.hear("421 bye\r\n"), "done Temporary:421", "also where no reply was due");
        assert!(gone(&peer) && !peer.client.wants_content());
        assert_eq!(peer.give("rest\r\n", true), "");
    }
}

#[test]
fn in_place_of_the_reset() {
    let mut peer = Peer::greeted(NOTHING);
    peer.mail_to_one(Some("hi\r\n"));
    peer.hear("250 ok\r\n");
    peer.hear("550 who?\r\n");
    assert_eq!(peer.hear("421 bye\r\n"), "done Permanent:550");
    assert!(gone(&peer));
}
