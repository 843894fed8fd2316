//! HOSTILE 79: what became of each recipient when the connection is lost, at every step, whatever the replies before it.

use crate::peer::{ALL, NOTHING, PIPELINING, Peer};

const TWO: [&str; 2] = ["b@y.example", "c@y.example"];

fn word(code: u16) -> String {
    let outcome = match code {
        200..=299 => "Accepted",
        500.. => "Permanent",
        _ => "Temporary",
    };
    format!("{outcome}:{code}")
}

/// What must be told where the codes came for MAIL, two RCPT, DATA (unless `group`) and the end of the content, and
/// then nothing more. `group`: the content went along with the envelope.
fn expected(codes: &[u16], group: bool) -> String {
    let refused = |at: usize| codes.get(at).copied().filter(|code| *code >= 400);
    let ahead = if group { refused(0) } else { refused(0).or_else(|| refused(3)) };
    let end = codes.get(if group { 3 } else { 4 });
    let of = |rcpt: usize| {
        let own = if refused(0).is_none() { refused(rcpt) } else { None };
        match (own.or(ahead), end) {
            (Some(code), _) | (None, Some(&code)) => word(code),
            (None, None) if group || codes.len() == 4 => "Unknown:-".to_owned(),
            (None, None) => "Temporary:-".to_owned(),
        }
    };
    format!("{} {}", of(1), of(2))
}

fn each_story(group: bool, mut check: impl FnMut(&[u16])) {
    let answers = [250, 450, 550];
    let of_data = [354, 450, 550];
    let steps = if group { 4 } else { 5 };
    for mut number in 0..3_usize.pow(steps) {
        let mut codes = Vec::new();
        for step in 0..steps {
            let choices = if step == 3 && !group { of_data } else { answers };
            codes.push(choices[number % 3]);
            number /= 3;
        }
        check(&codes);
    }
}

/// Hears these replies and loses the connection, unless the transaction is over before.
fn told(offers: &[&str], codes: &[u16]) -> String {
    let mut peer = Peer::greeted(offers);
    peer.mail(&TWO, Some("hi\r\n"));
    for code in codes {
        let heard = peer.hear(&format!("{code} so\r\n"));
        if let Some(fates) = heard.strip_prefix("done ") {
            return fates.to_owned();
        }
        assert_eq!(heard, "");
    }
    peer.lost().expect("a message under way")
}

#[test]
fn h79_by_data_in_one_group() {
    each_story(false, |codes| {
        for heard in 0..=codes.len() {
            let codes = &codes[..heard];
            // DATA answered 354 for nobody is answered again, with the end of nothing.
            assert_eq!(told(PIPELINING, codes), expected(codes, false), "{codes:?}");
        }
    });
}

#[test]
fn h79_by_bdat_in_one_group() {
    each_story(true, |codes| {
        for heard in 0..=codes.len() {
            let codes = &codes[..heard];
            assert_eq!(told(ALL, codes), expected(codes, true), "{codes:?}");
        }
    });
}

#[test]
fn h79_command_by_command() {
    let replies = ["250 ok\r\n", "250 ok\r\n", "550 who?\r\n", "354 go\r\n"];
    for (heard, fates) in [
        (0, "Temporary:- Temporary:-"),
        (1, "Temporary:- Temporary:-"),
        (2, "Temporary:- Temporary:-"),
        (3, "Temporary:- Permanent:550"),
        (4, "Unknown:- Permanent:550"),
    ] {
        let mut peer = Peer::greeted(NOTHING);
        peer.mail(&TWO, Some("hi\r\n"));
        for reply in &replies[..heard] {
            assert_eq!(peer.hear(reply), "");
        }
        assert_eq!(peer.lost().as_deref(), Some(fates), "behind {heard} replies");
        assert_eq!(peer.lost(), None, "told once");
    }
}

#[test]
fn h79_in_pieces_it_is_unknown_only_behind_the_last() {
    for offers in [NOTHING, ALL] {
        for pieces in 0..=3 {
            let mut peer = Peer::greeted(offers);
            peer.mail(&TWO, None);
            for reply in ["250 ok\r\n", "250 ok\r\n", "550 who?\r\n"] {
                peer.hear(reply);
            }
            peer.hear(if offers == ALL { "" } else { "354 go\r\n" });
            for piece in 1..=pieces {
                peer.give("line\r\n", piece == 3);
            }
            let first = if pieces == 3 { "Unknown:-" } else { "Temporary:-" };
            assert_eq!(peer.lost(), Some(format!("{first} Permanent:550")));
            assert_eq!(peer.give("line\r\n", true), "");
        }
    }
}

#[test]
fn h79_in_the_reset_all_is_known() {
    let mut peer = Peer::greeted(NOTHING);
    peer.mail(&["b@y.example"], Some("hi\r\n"));
    peer.hear("250 ok\r\n");
    peer.hear("450 later\r\n");
    assert_eq!(peer.sent().matches("RSET").count(), 1);
    assert_eq!(peer.lost().as_deref(), Some("Temporary:450"));
}

#[test]
fn what_is_lost_is_not_sent() {
    let mut peer = Peer::greeted(PIPELINING);
    peer.mail(&TWO, Some("hi\r\n"));
    peer.lost();
    assert_eq!(peer.sent(), "");
}
