//! The session as its driver sees it: any octets, however they are split.

use std::sync::Arc;

use proptest::prelude::*;
use smtpx_core::command::Verb;
use smtpx_core::data::Newlines;
use smtpx_core::reply::Reply;
use smtpx_core::session::config::{Config, Settings};
use smtpx_core::session::{Event, OutOfTurn, Session};

/// Settings under which what comes early is taken, so that a stream means the same however it is split.
fn settings(newlines: Newlines) -> Settings {
    let mut settings = Settings::new("mx.example.org");
    settings.newlines = newlines;
    settings.early_input = true;
    settings.mechanisms = vec!["PLAIN".to_owned()];
    settings.dsn = true;
    settings.limits.message_size = 200;
    settings.limits.command_line = 64;
    settings.limits.auth_line = 96;
    settings
}

/// Plays the driver: answers each event the same way, and writes down all that happened.
fn play<'a>(settings: &Settings, reads: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Vec<u8>) {
    let config = Arc::new(Config::frozen(settings.clone()).expect("settings of a test"));
    let mut session = Session::new(config, false);
    let mut story = Vec::new();
    assert!(session.start(None).expect("starts once").is_none());
    for read in reads {
        let mut event = session.receive(read);
        while let Some(happened) = event {
            if matches!(happened, Event::Close { .. }) {
                story.push(format!("{happened:?}"));
                break;
            }
            let refuses = story.len() % 3 == 2;
            story.push(format!("{happened:?}"));
            let refusal = refuses.then(|| Reply::new(550, vec!["5.7.1 No".to_owned()]).expect("a reply"));
            event = match happened {
                Event::Auth { initial: true, response: None, .. } => {
                    session.challenge(b"").expect("AUTH waits")
                }
                _ => session.answer(refusal.as_ref()).expect("an event waits"),
            };
        }
    }
    assert!(session.closed() || session.buffered() <= 4096, "the backlog is bounded");
    (story, session.take_output())
}

/// Pieces that sessions are made of, whole and broken.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            &b"EHLO me.example\r\n"[..], b"HELO x\r\n", b"MAIL FROM:<a@b.example>\r\n", b"MAIL FROM:<> SIZE=3\r\n",
            b"RCPT TO:<c@d.example>\r\n", b"RCPT TO:<Postmaster> NOTIFY=NEVER\r\n", b"DATA\r\n", b"x\r\n.\r\n",
            b"..dot\r\n.\r\n", b".\r\n", b"\r\n", b"\n", b"\r", b".", b"BDAT 3\r\nabc", b"BDAT 5 LAST\r\nabcde",
            b"BDAT 0 LAST\r\n", b"RSET\r\n", b"NOOP\r\n", b"AUTH PLAIN\r\n", b"AUTH PLAIN AGEAYg==\r\n", b"*\r\n",
            b"QUIT\r\n", b"VRFY joe\r\n", b"NONSENSE\r\n", b"MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n",
        ]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..12),
        1 => prop::collection::vec(prop::sample::select(b"x .\r\n\0".to_vec()), 0..120),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn newlines() -> impl Strategy<Value = Newlines> {
    prop::sample::select(vec![Newlines::Reject, Newlines::Normalize])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_octet_at_a_time_gives_the_same_events_and_replies_as_all_at_once(
        stream in stream(), newlines in newlines(), decide in any::<u16>(), errors in any::<bool>(),
    ) {
        let mut settings = settings(newlines);
        settings.decide = decide & !Verb::Starttls.bit();
        settings.decide_errors = errors;
        let whole = play(&settings, std::iter::once(&stream[..]));
        let octets = play(&settings, stream.chunks(1));
        prop_assert_eq!(whole, octets);
    }

    #[test]
    fn any_split_gives_the_same(stream in stream(), newlines in newlines(), size in 1_usize..40) {
        let settings = settings(newlines);
        let whole = play(&settings, std::iter::once(&stream[..]));
        prop_assert_eq!(whole, play(&settings, stream.chunks(size)));
    }

    #[test]
    fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..400), newlines in newlines()) {
        play(&settings(newlines), octets.chunks(7));
    }
}

#[test]
fn a_driver_that_calls_out_of_turn_is_told_so() {
    let config = Arc::new(Config::frozen(settings(Newlines::Reject)).expect("settings of a test"));
    let mut session = Session::new(config, false);
    assert!(matches!(session.answer(None), Err(OutOfTurn(_))));
    assert!(session.start(None).is_ok());
    assert!(matches!(session.start(None), Err(OutOfTurn(_))));
    assert!(matches!(session.challenge(b""), Err(OutOfTurn(_))));
    assert!(matches!(session.tls_started(), Err(OutOfTurn(_))));
}
