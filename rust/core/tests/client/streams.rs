//! Whatever a server says, however it is split.

use proptest::prelude::*;
use smtpx_core::client::Event;

use crate::peer::{ALL, NOTHING, PIPELINING, Peer, ehlo, told};

#[derive(Clone, Copy, Debug)]
enum Begin {
    Whole,
    Pieces,
    Command,
    Auth,
    Tls,
}

fn offers(index: usize) -> Vec<&'static str> {
    let offers = [NOTHING, PIPELINING, &["CHUNKING"], ALL][index % 4];
    [offers, &["AUTH LOGIN", "STARTTLS"]].concat()
}

/// A driver that begins an exchange whenever it may, and answers all that it is asked.
struct Driver {
    peer: Peer,
    begins: Vec<Begin>,
    story: Vec<String>,
}

impl Driver {
    fn new(offers: &[&str], begins: &[Begin], lmtp: bool) -> Self {
        let mut peer = if lmtp { Peer::greeted_lmtp(offers) } else { Peer::greeted(offers) };
        peer.client.keep_transcript();
        let mut driver = Self { peer, begins: begins.to_vec(), story: Vec::new() };
        driver.begin();
        driver
    }

    fn begin(&mut self) {
        while self.peer.client.idle() {
            let Some(begin) = self.begins.pop() else { break };
            match begin {
                Begin::Whole => self.peer.mail(&["b@y.example", "c@y.example"], Some(".\nhi\n")),
                Begin::Pieces => self.peer.mail(&["b@y.example", "c@y.example"], None),
                Begin::Command => self.peer.client.command(b"VRFY joe").expect("idle"),
                Begin::Auth => drop(self.peer.client.auth("LOGIN", Some(b"joe"))),
                Begin::Tls => drop(self.peer.client.starttls()),
            }
        }
        self.note();
    }

    /// Hears a read; true when the driver said something on account of it.
    fn hear(&mut self, octets: &[u8]) -> bool {
        let before = self.story.len();
        let step = self.peer.client.receive(octets);
        let failed = step.is_err();
        match &step {
            Ok(Some(Event::Challenge(_))) => self.peer.client.respond(Some(b"x")).expect("a challenge waits"),
            Ok(Some(Event::Handshake)) => self.peer.client.tls_started().expect("the handshake is due"),
            _ => {}
        }
        let wants = matches!(step, Ok(Some(Event::Content)));
        let told = told(step);
        if !told.is_empty() {
            self.story.push(told);
        }
        self.note();
        if wants {
            for (piece, last) in [(&b"one\r"[..], false), (b"\n.two", false), (b"", true)] {
                self.peer.client.content(piece, last).expect("fixed");
            }
            self.note();
        }
        if failed {
            let lost = self.peer.lost();
            self.story.push(format!("lost {lost:?}"));
        }
        self.begin();
        self.story.len() > before
    }

    fn note(&mut self) {
        let output = self.peer.client.take_output();
        if !output.is_empty() {
            self.story.push(String::from_utf8_lossy(&output).into_owned());
        }
    }

    fn end(mut self) -> Vec<String> {
        let lost = self.peer.lost();
        self.story.push(format!("lost {lost:?}"));
        self.story
    }
}

fn begins() -> impl Strategy<Value = Vec<Begin>> {
    let begin = prop::sample::select(vec![
        Begin::Whole,
        Begin::Whole,
        Begin::Pieces,
        Begin::Command,
        Begin::Auth,
        Begin::Tls,
    ]);
    prop::collection::vec(begin, 1..5)
}

fn reply() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec![
            "250 ok\r\n", "250 2.1.0 ok\r\n", "250-more\r\n250 ok\r\n", "354 go\r\n", "334 eA==\r\n", "235 ok\r\n", "220 go\r\n",
            "550 no\r\n", "450-not\r\n450 now\r\n", "451 later\r\n",
        ]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["421 bye\r\n", "999 hm\r\n", "250 x\n", "334 !\r\n", "25", "\r\n"]).prop_map(str::to_owned),
        1 => Just(ehlo(ALL)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_octet_at_a_time_is_the_same_as_whole_replies_in_their_turn(
        which in 0_usize..4, begins in begins(), replies in prop::collection::vec(reply(), 0..14), lmtp in any::<bool>(),
    ) {
        let offers = offers(which);
        let mut one_by_one = Driver::new(&offers, &begins, lmtp);
        // Replies that the client was owed before it heard the first of them.
        let mut groups = vec![String::new()];
        for reply in &replies {
            groups.last_mut().expect("a group").push_str(reply);
            if one_by_one.hear(reply.as_bytes()) {
                groups.push(String::new());
            }
        }
        let mut octets = Driver::new(&offers, &begins, lmtp);
        for reply in &replies {
            for octet in reply.as_bytes().chunks(1) {
                octets.hear(octet);
            }
        }
        let mut grouped = Driver::new(&offers, &begins, lmtp);
        for group in &groups {
            grouped.hear(group.as_bytes());
        }
        let story = one_by_one.end();
        prop_assert_eq!(&story, &octets.end());
        prop_assert_eq!(&story, &grouped.end());
    }

    #[test]
    fn no_octets_make_it_panic_or_say_more_than_it_was_told_to(
        which in 0_usize..4, begins in begins(), lmtp in any::<bool>(), size in 1_usize..60,
        pieces in prop::collection::vec(prop_oneof![3 => reply().prop_map(String::into_bytes), 1 => prop::collection::vec(any::<u8>(), 0..12)], 0..30),
    ) {
        let mut driver = Driver::new(&offers(which), &begins, lmtp);
        for read in pieces.concat().chunks(size) {
            driver.hear(read);
        }
        let said: usize = driver.end().iter().map(String::len).sum();
        prop_assert!(said < 4096, "{said} octets");
    }
}
