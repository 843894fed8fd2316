//! LMTP: a reply for each accepted recipient (RFC 2033 4.2).

use crate::peer::{ALL, NOTHING, PIPELINING, Peer};

const THREE: [&str; 3] = ["b@y.example", "c@y.example", "d@y.example"];

#[test]
fn each_accepted_recipient_has_its_own_reply_to_the_content() {
    let mut peer = Peer::greeted_lmtp(PIPELINING);
    peer.mail(&THREE, Some("hi\r\n"));
    peer.hear("250 ok\r\n250 ok\r\n550 who?\r\n250 ok\r\n354 go\r\n");
    peer.sent();
    assert_eq!(peer.hear("452 full\r\n"), "");
    assert_eq!(peer.hear("250 kept\r\n"), "done Temporary:452 Permanent:550 Accepted:250");
    assert!(peer.client.idle());
}

#[test]
fn chunks_wait_for_the_recipients_for_their_replies_are_counted() {
    let mut peer = Peer::greeted_lmtp(ALL);
    peer.mail(&THREE, Some("hi\r\n"));
    assert!(peer.sent().ends_with("RCPT TO:<d@y.example>\r\n"));
    assert_eq!(peer.hear("250 ok\r\n250 ok\r\n550 who?\r\n250 ok\r\n"), "");
    assert_eq!(peer.sent(), "BDAT 4 LAST\r\nhi\r\n");
    assert_eq!(peer.hear("250 kept\r\n550 no\r\n"), "done Accepted:250 Permanent:550 Permanent:550");
}

#[test]
fn the_connection_lost_between_the_replies_leaves_the_rest_unknown() {
    let mut peer = Peer::greeted_lmtp(PIPELINING);
    peer.mail(&THREE, Some("hi\r\n"));
    peer.hear("250 ok\r\n250 ok\r\n550 who?\r\n250 ok\r\n354 go\r\n");
    peer.hear("250 kept\r\n");
    assert_eq!(peer.lost().as_deref(), Some("Accepted:250 Permanent:550 Unknown:-"));
}

#[test]
fn a_farewell_between_the_replies_is_the_answer_for_the_rest() {
    let mut peer = Peer::greeted_lmtp(PIPELINING);
    peer.mail(&THREE, Some("hi\r\n"));
    peer.hear("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    peer.hear("250 kept\r\n");
    assert_eq!(peer.hear("421 bye\r\n"), "done Accepted:250 Temporary:421 Temporary:421");
}

#[test]
fn data_accepted_for_nobody_is_a_server_that_waits_for_ever() {
    let mut peer = Peer::greeted_lmtp(PIPELINING);
    peer.mail(&["b@y.example"], Some("hi\r\n"));
    assert_eq!(peer.hear("250 ok\r\n550 who?\r\n354 go\r\n"), "error OddReply");
    assert_eq!(peer.lost().as_deref(), Some("Permanent:550"));
}

#[test]
fn a_chunk_refused_behind_the_last_ends_the_session_for_nobody_can_count_the_replies() {
    let mut peer = Peer::greeted_lmtp(ALL);
    peer.mail(&THREE, None);
    assert_eq!(peer.hear("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n"), "content");
    peer.give("one\r\n", false);
    peer.give("two\r\n", true);
    assert_eq!(peer.hear("452 full\r\n"), "done Temporary:452 Temporary:452 Temporary:452");
    assert!(peer.client.closed());
}

#[test]
fn a_chunk_refused_before_the_last_is_followed_by_a_reset() {
    let mut peer = Peer::greeted_lmtp(ALL);
    peer.mail(&["b@y.example"], None);
    peer.hear("250 ok\r\n250 ok\r\n");
    peer.sent();
    peer.give("one\r\n", false);
    assert_eq!(peer.hear("452 full\r\n"), "");
    assert_eq!(peer.sent(), "RSET\r\n");
    assert_eq!(peer.hear("250 ok\r\n"), "done Temporary:452");
}

#[test]
fn a_refusal_inside_the_content_is_of_one_recipient() {
    let mut peer = Peer::greeted_lmtp(NOTHING);
    peer.mail(&["b@y.example", "c@y.example"], None);
    for _ in 0..3 {
        peer.hear("250 ok\r\n");
    }
    assert_eq!(peer.hear("354 go\r\n"), "content");
    peer.give("half", false);
    assert_eq!(peer.hear("552 too large\r\n"), "done Permanent:552 Temporary:-");
    assert!(peer.client.closed());
}
