//! HOSTILE 79: a server that counts wrong. With one reply too many, which of them belongs to which command is not known:
//! what was sent may have arrived or not, what was not sent is not.

use crate::peer::{ALL, NOTHING, PIPELINING, Peer};

const CHUNKING: &[&str] = &["CHUNKING"];
const TWO: [&str; 2] = ["b@y.example", "c@y.example"];

/// What becomes of the message when the last reads are these, the last of them one reply too much.
fn undone(mut peer: Peer, reads: &[&str]) -> String {
    let (last, before) = reads.split_last().expect("a read");
    for read in before {
        assert_eq!(peer.hear(read), "");
    }
    peer.sent();
    assert!(peer.hear(last).starts_with("error "), "{reads:?}");
    assert!(peer.client.closed() && !peer.client.idle());
    assert_eq!(peer.sent(), "", "nothing more is said");
    let told = peer.lost().expect("a message under way");
    assert_eq!(peer.lost(), None);
    told
}

fn mail(offers: &[&str]) -> Peer {
    let mut peer = Peer::greeted(offers);
    peer.mail(&TWO, Some("hi\r\n"));
    peer
}

fn lmtp(offers: &[&str]) -> Peer {
    let mut peer = Peer::greeted_lmtp(offers);
    peer.mail(&TWO, Some("hi\r\n"));
    peer
}

const UNKNOWN: &str = "Unknown:- Unknown:-";
const TEMPORARY: &str = "Temporary:- Temporary:-";

#[test]
fn h79_behind_a_group_with_bdat_nothing_is_known_that_was_told() {
    let group = "250 ok\r\n250 ok\r\n250 ok\r\n";
    assert_eq!(undone(mail(ALL), &[&format!("{group}250 what?\r\n451 not stored\r\n")]), UNKNOWN);
    assert_eq!(undone(mail(ALL), &[group, "250 kept\r\n250 what?\r\n"]), UNKNOWN);
    // Was it the second recipient who is refused, or the content?
    let refused = "250 ok\r\n250 ok\r\n550 who?\r\n";
    assert_eq!(undone(mail(ALL), &[&format!("{refused}250 kept\r\n250 what?\r\n")]), UNKNOWN);
    assert_eq!(undone(mail(ALL), &[&format!("{group}550 no\r\n250 kept\r\n")]), UNKNOWN);
}

#[test]
fn h79_behind_the_reset_nothing_is_known_either() {
    let reads = ["250 ok\r\n250 ok\r\n250 ok\r\n550 who?\r\n", "250 kept?\r\n250 reset\r\n"];
    assert_eq!(undone(mail(ALL), &reads), UNKNOWN);
}

#[test]
fn h79_354_in_its_place_vouches_for_the_recipients_before_it() {
    for offers in [NOTHING, PIPELINING] {
        let reads = ["250 ok\r\n", "250 ok\r\n", "550 who?\r\n", "354 go\r\n", "451 no\r\n250 kept\r\n"];
        assert_eq!(undone(mail(offers), &reads), "Unknown:- Permanent:550");
    }
}

#[test]
fn h79_what_is_no_reply_or_half_of_one_is_one_too_many() {
    for more in ["nonsense\r\n", "999 hm\r\n", "250 half\r\n\n", "451 not", "422", "421-bye\r\n250"] {
        let mut reads = vec!["250 ok\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"];
        let last = format!("250 kept\r\n{more}");
        reads.push(&last);
        assert_eq!(undone(mail(PIPELINING), &reads), UNKNOWN, "{more:?}");
    }
}

#[test]
fn a_farewell_or_what_may_become_one_undoes_nothing() {
    for farewell in ["421 bye\r\n", "421-bye\r\n421", "421-bye\r\n", "421 b", "42", "4"] {
        let mut peer = mail(PIPELINING);
        peer.hear("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
        assert_eq!(peer.hear(&format!("250 kept\r\n{farewell}")), "done Accepted:250 Accepted:250");
        assert!(!peer.client.idle(), "{farewell:?}");
        assert!(peer.client.command(b"NOOP").is_err());
        assert_eq!(peer.lost(), None);
    }
}

#[test]
fn half_a_farewell_on_an_idle_connection_becomes_a_whole_one() {
    let mut peer = Peer::greeted(NOTHING);
    assert_eq!(peer.hear("42"), "");
    assert!(!peer.client.idle());
    assert_eq!(peer.hear("1 bye\r\n"), "");
    assert!(peer.client.farewell().is_some());
}

#[test]
fn before_the_content_has_left_it_does_not_leave_and_nobody_has_it() {
    for reply in ["250 kept\r\n", "451 no\r\n", "552 too large\r\n", "nonsense\r\n", "25"] {
        let at_354 = format!("354 go\r\n{reply}");
        for offers in [NOTHING, PIPELINING] {
            let reads = ["250 ok\r\n", "250 ok\r\n", "250 ok\r\n", &at_354];
            assert_eq!(undone(mail(offers), &reads), TEMPORARY, "{reply:?}");
            assert_eq!(undone(lmtp(offers), &reads), TEMPORARY, "{reply:?}");
        }
        let at_rcpt = format!("250 ok\r\n{reply}");
        let reads = ["250 ok\r\n", "250 ok\r\n", &at_rcpt];
        assert_eq!(undone(mail(CHUNKING), &reads), TEMPORARY, "{reply:?}");
        assert_eq!(undone(lmtp(ALL), &reads), TEMPORARY, "{reply:?}");
    }
}

#[test]
fn before_content_in_pieces_is_given_none_is_asked_for() {
    for (offers, last) in [(NOTHING, "354 go\r\n"), (ALL, "250 ok\r\n")] {
        for reply in ["250 kept\r\n", "552 too large\r\n"] {
            let mut peer = Peer::greeted(offers);
            peer.mail_to_one(None);
            peer.hear("250 ok\r\n");
            if offers == NOTHING {
                peer.hear("250 ok\r\n");
            }
            assert_eq!(peer.hear(&format!("{last}{reply}")), "error UnaskedReply");
            assert!(!peer.client.wants_content());
            assert_eq!(peer.lost().as_deref(), Some("Temporary:-"));
        }
    }
}

#[test]
fn a_reply_to_a_command_that_has_not_left_is_not_taken_for_its_reply() {
    assert_eq!(undone(mail(NOTHING), &["250 ok\r\n250 ok\r\n"]), TEMPORARY);
    let mut peer = Peer::fresh();
    assert_eq!(peer.hear("220 mx\r\n250 mx\r\n"), "error UnaskedReply");
}

#[test]
fn a_refusal_of_what_was_not_sent_stands() {
    assert_eq!(undone(mail(NOTHING), &["550 no\r\n550 no\r\n"]), "Permanent:550 Permanent:550");
    let reads = ["250 ok\r\n", "550 who?\r\n", "250 ok\r\n", "354 go\r\n250 what?\r\n"];
    assert_eq!(undone(mail(PIPELINING), &reads), "Permanent:550 Temporary:-");
}

#[test]
fn h79_lmtp_has_a_reply_for_each_recipient_and_one_more_makes_all_unknown() {
    let reads = ["250 ok\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 a\r\n", "451 b\r\n250 c\r\n"];
    assert_eq!(undone(lmtp(PIPELINING), &reads), UNKNOWN);
    let reads = ["250 ok\r\n250 ok\r\n250 ok\r\n", "250 a\r\n250 b\r\n250 c\r\n"];
    assert_eq!(undone(lmtp(ALL), &reads), UNKNOWN);
    let reads = ["250 ok\r\n", "250 ok\r\n", "550 who?\r\n", "354 go\r\n", "250 a\r\n250 b\r\n"];
    assert_eq!(undone(lmtp(PIPELINING), &reads), "Unknown:- Permanent:550");
}

#[test]
fn behind_another_exchange_one_too_many_ends_the_session_and_undoes_nothing() {
    for more in ["250 and more\r\n", "nonsense\r\n", "25"] {
        let mut peer = Peer::greeted(NOTHING);
        peer.client.command(b"NOOP").expect("idle");
        assert_eq!(peer.hear(&format!("250 ok\r\n{more}")), "reply 250");
        assert!(peer.client.closed());
        assert_eq!(peer.lost(), None);
    }
}
