//! MAIL, RCPT, DATA, BDAT: what is said when, and what refusals do.

use smtpx_core::client::Waiting;

use crate::peer::{ALL, MAIL, NOTHING, PIPELINING, Peer, RCPT};

#[test]
fn without_pipelining_each_command_waits_for_the_reply_to_the_last() {
    let mut peer = Peer::greeted(NOTHING);
    peer.mail(&["b@y.example", "c@y.example"], Some("hi\r\n"));
    for (sent, reply) in [
        (MAIL, "250 ok\r\n"),
        (RCPT, "250 ok\r\n"),
        ("RCPT TO:<c@y.example>\r\n", "250 ok\r\n"),
        ("DATA\r\n", "354 go\r\n"),
    ] {
        assert_eq!(peer.sent(), sent);
        assert_eq!(peer.hear(reply), "");
    }
    assert_eq!(peer.sent(), "hi\r\n.\r\n");
    assert_eq!(peer.hear("250 kept\r\n"), "done Accepted:250 Accepted:250");
    assert!(peer.client.idle());
}

#[test]
fn with_pipelining_the_envelope_and_data_go_together() {
    let mut peer = Peer::greeted(PIPELINING);
    peer.mail_to_one(Some("hi\r\n"));
    assert_eq!(peer.sent(), format!("{MAIL}{RCPT}DATA\r\n"));
    assert_eq!(peer.hear("250 ok\r\n250 ok\r\n354 go\r\n"), "");
    assert_eq!(peer.sent(), "hi\r\n.\r\n");
    assert_eq!(peer.hear("250 kept\r\n"), "done Accepted:250");
}

#[test]
fn with_chunking_the_content_goes_along_with_its_envelope() {
    let mut peer = Peer::greeted(&["PIPELINING", "CHUNKING"]);
    peer.mail_to_one(Some(".hi\r\n"));
    assert_eq!(peer.sent(), format!("{MAIL}{RCPT}BDAT 5 LAST\r\n.hi\r\n"));
    assert_eq!(peer.hear("250 ok\r\n250 ok\r\n250 kept\r\n"), "done Accepted:250");
}

#[test]
fn with_chunking_alone_the_content_waits_for_the_recipients() {
    let mut peer = Peer::greeted(&["CHUNKING"]);
    peer.mail_to_one(Some("hi\r\n"));
    assert_eq!(peer.sent(), MAIL);
    peer.hear("250 ok\r\n");
    assert_eq!(peer.sent(), RCPT);
    assert_eq!(peer.hear("250 ok\r\n"), "");
    assert_eq!(peer.sent(), "BDAT 4 LAST\r\nhi\r\n");
    assert_eq!(peer.hear("250 kept\r\n"), "done Accepted:250");
}

#[test]
fn no_more_than_a_hundred_commands_wait_for_replies() {
    let recipients: Vec<String> = (0..250).map(|number| format!("r{number}@y.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    for offers in [PIPELINING, ALL] {
        let mut peer = Peer::greeted(offers);
        peer.mail(&recipients, Some(""));
        let mut replies = 0;
        let mut commands = 0;
        let mut most = 0;
        loop {
            commands += peer.sent().matches('\n').count();
            most = most.max(commands - replies);
            if commands >= 252 {
                break;
            }
            replies += 1;
            assert_eq!(peer.hear("250 ok\r\n"), "");
        }
        assert_eq!(most, 100);
        assert_eq!(replies, 152);
    }
}

#[test]
fn mail_refused_refuses_all_recipients_and_needs_no_reset() {
    let mut peer = Peer::greeted(PIPELINING);
    peer.mail(&["b@y.example", "c@y.example"], Some("hi\r\n"));
    peer.sent();
    let replies = "550 not you\r\n503 no mail\r\n503 no mail\r\n503 no mail\r\n";
    assert_eq!(peer.hear(replies), "done Permanent:550 Permanent:550");
    assert_eq!(peer.sent(), "");
    assert!(peer.client.idle());
}

#[test]
fn mail_refused_without_pipelining_sends_no_recipient() {
    let mut peer = Peer::greeted(NOTHING);
    peer.mail_to_one(Some("hi\r\n"));
    peer.sent();
    assert_eq!(peer.hear("451 later\r\n"), "done Temporary:451");
    assert_eq!(peer.sent(), "");
}

#[test]
fn mail_refused_sends_no_more_of_a_long_list() {
    let recipients = vec!["b@y.example"; 300];
    let mut peer = Peer::greeted(PIPELINING);
    peer.mail(&recipients, Some("hi\r\n"));
    assert_eq!(peer.sent().matches("RCPT").count(), 99);
    assert_eq!(peer.hear("550 no\r\n"), "");
    assert_eq!(peer.sent(), "");
    assert_eq!(peer.hear(&"503 no\r\n".repeat(98)), "");
    assert!(peer.hear("503 no\r\n").starts_with("done Permanent:550"));
}

#[test]
fn all_recipients_refused_and_data_too_is_followed_by_a_reset() {
    let mut peer = Peer::greeted(PIPELINING);
    peer.mail(&["b@y.example", "c@y.example"], Some("hi\r\n"));
    peer.sent();
    assert_eq!(peer.hear("250 ok\r\n550 who?\r\n450 later\r\n554 nobody\r\n"), "");
    assert_eq!(peer.sent(), "RSET\r\n");
    assert!(!peer.client.idle());
    assert_eq!(peer.hear("250 ok\r\n"), "done Permanent:550 Temporary:450");
    assert!(peer.client.idle());
}

#[test]
fn all_recipients_refused_without_pipelining_sends_no_data() {
    let mut peer = Peer::greeted(NOTHING);
    peer.mail_to_one(Some("hi\r\n"));
    peer.hear("250 ok\r\n");
    peer.sent();
    assert_eq!(peer.hear("550 who?\r\n"), "");
    assert_eq!(peer.sent(), "RSET\r\n");
    assert_eq!(peer.hear("250 ok\r\n"), "done Permanent:550");
}

#[test]
fn data_accepted_for_nobody_gets_no_content() {
    for end in ["250 ok\r\n", "554 no valid recipients\r\n"] {
        let mut peer = Peer::greeted(PIPELINING);
        peer.mail_to_one(Some("secret\r\n"));
        peer.sent();
        assert_eq!(peer.hear("250 ok\r\n550 who?\r\n354 go\r\n"), "");
        assert_eq!(peer.sent(), ".\r\n");
        assert_eq!(peer.client.waiting(), Waiting::DataEnd);
        assert_eq!(peer.hear(end), "done Permanent:550");
        assert!(peer.client.idle());
    }
}

#[test]
fn h80_some_refused_and_the_others_delivered() {
    let mut peer = Peer::greeted(PIPELINING);
    peer.mail(&["b@y.example", "c@y.example", "d@y.example"], Some("hi\r\n"));
    peer.sent();
    peer.hear("250 ok\r\n250 ok\r\n550 who?\r\n251 forwards\r\n354 go\r\n");
    assert_eq!(peer.sent(), "hi\r\n.\r\n");
    assert_eq!(peer.hear("250 kept\r\n"), "done Accepted:250 Permanent:550 Accepted:250");
}

#[test]
fn data_refused_refuses_those_that_were_accepted_and_is_followed_by_a_reset() {
    let mut peer = Peer::greeted(PIPELINING);
    peer.mail(&["b@y.example", "c@y.example"], Some("hi\r\n"));
    peer.sent();
    assert_eq!(peer.hear("250 ok\r\n550 who?\r\n250 ok\r\n451 disk full\r\n"), "");
    assert_eq!(peer.sent(), "RSET\r\n");
    assert_eq!(peer.hear("250 ok\r\n"), "done Permanent:550 Temporary:451");
}

#[test]
fn data_answered_250_is_out_of_order() {
    let mut peer = Peer::greeted(PIPELINING);
    peer.mail_to_one(Some("hi\r\n"));
    assert_eq!(peer.hear("250 ok\r\n250 ok\r\n250 kept?\r\n"), "error OddReply");
    assert_eq!(peer.lost().as_deref(), Some("Temporary:-"));
}

#[test]
fn content_refused_needs_no_reset() {
    for (code, fate) in [(451, "Temporary:451"), (552, "Permanent:552")] {
        let mut peer = Peer::greeted(PIPELINING);
        peer.mail_to_one(Some("hi\r\n"));
        peer.hear("250 ok\r\n250 ok\r\n354 go\r\n");
        peer.sent();
        assert_eq!(peer.hear(&format!("{code} no\r\n")), format!("done {fate}"));
        assert_eq!(peer.sent(), "");
        assert!(peer.client.idle());
    }
}

#[test]
fn a_last_chunk_refused_is_followed_by_a_reset() {
    let mut peer = Peer::greeted(ALL);
    peer.mail_to_one(Some("hi\r\n"));
    peer.sent();
    assert_eq!(peer.hear("250 ok\r\n250 ok\r\n552 no\r\n"), "");
    assert_eq!(peer.sent(), "RSET\r\n");
    assert_eq!(peer.hear("250 ok\r\n"), "done Permanent:552");
}

#[test]
fn a_group_with_bdat_whose_recipients_are_all_refused() {
    let mut peer = Peer::greeted(ALL);
    peer.mail_to_one(Some("hi\r\n"));
    peer.sent();
    assert_eq!(peer.hear("250 ok\r\n450 later\r\n554 nobody\r\n"), "");
    assert_eq!(peer.sent(), "RSET\r\n");
    assert_eq!(peer.hear("250 ok\r\n"), "done Temporary:450");
}

#[test]
fn a_group_with_bdat_whose_sender_is_refused_is_never_accepted() {
    let mut peer = Peer::greeted(ALL);
    peer.mail_to_one(Some("hi\r\n"));
    peer.sent();
    assert_eq!(peer.hear("550 no\r\n503 no\r\n"), "");
    assert_eq!(peer.hear("250 kept?\r\n"), "done Permanent:550");
}

#[test]
fn the_reply_to_the_reset_does_not_matter() {
    for reply in ["250 ok\r\n", "354 hm\r\n", "451 no\r\n", "550 no\r\n"] {
        let mut peer = Peer::greeted(NOTHING);
        peer.mail_to_one(Some("hi\r\n"));
        peer.hear("250 ok\r\n");
        peer.hear("550 who?\r\n");
        assert_eq!(peer.hear(reply), "done Permanent:550");
    }
}

#[test]
fn one_transaction_behind_another() {
    let mut peer = Peer::greeted(PIPELINING);
    for _ in 0..3 {
        peer.mail_to_one(Some("hi\r\n"));
        assert_eq!(peer.sent(), format!("{MAIL}{RCPT}DATA\r\n"));
        peer.hear("250 ok\r\n250 ok\r\n354 go\r\n");
        assert_eq!(peer.sent(), "hi\r\n.\r\n");
        assert_eq!(peer.hear("250 kept\r\n"), "done Accepted:250");
    }
}

#[test]
fn each_step_has_its_timeout() {
    let mut peer = Peer::greeted(PIPELINING);
    peer.mail_to_one(None);
    assert_eq!(peer.client.waiting(), Waiting::Command);
    peer.hear("250 ok\r\n250 ok\r\n");
    assert_eq!(peer.client.waiting(), Waiting::DataInit);
    assert_eq!(peer.hear("354 go\r\n"), "content");
    assert_eq!(peer.client.waiting(), Waiting::DataBlock);
    peer.give("hi\r\n", true);
    assert_eq!(peer.client.waiting(), Waiting::DataEnd);
    peer.hear("250 kept\r\n");
    assert_eq!(peer.client.waiting(), Waiting::Nothing);
}
