//! Any octets: no panic, and the same story however they are split. The first octet chooses the settings.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use smtpx_core::command::Verb;
use smtpx_core::data::Newlines;
use smtpx_core::session::config::{Config, Settings};
use smtpx_core::session::{Event, Session};

fn play<'a>(config: &Arc<Config>, reads: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Vec<u8>) {
    let mut session = Session::new(Arc::clone(config), false);
    let mut story = Vec::new();
    assert!(matches!(session.start(None), Ok(None)));
    for read in reads {
        let mut event = session.receive(read);
        while let Some(happened) = event {
            story.push(format!("{happened:?}"));
            event = match happened {
                Event::Close { .. } => break,
                Event::Auth { initial: true, response: None, .. } => session.challenge(b"").unwrap(),
                _ => session.answer(None).unwrap(),
            };
        }
    }
    (story, session.take_output())
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, stream)) = input.split_first() else { return };
    let mut settings = Settings::new("mx.example.org");
    // What comes before our 354 depends on the split, unless it is taken.
    settings.early_input = true;
    settings.dsn = true;
    settings.limits.message_size = 100;
    settings.limits.command_line = 64;
    settings.limits.auth_line = 96;
    settings.newlines = if choice & 1 == 0 { Newlines::Reject } else { Newlines::Normalize };
    settings.strict = choice & 2 != 0;
    settings.auth_required = choice & 4 != 0;
    settings.decide_errors = choice & 8 != 0;
    if choice & 16 != 0 {
        settings.decide = !Verb::Starttls.bit();
    }
    if choice & 32 != 0 {
        settings.mechanisms = vec!["PLAIN".to_owned()];
    }
    let config = Arc::new(Config::frozen(settings).unwrap());
    let whole = play(&config, std::iter::once(stream));
    assert_eq!(whole, play(&config, stream.chunks(1)));
    assert_eq!(whole, play(&config, stream.chunks(usize::from(*choice) + 2)));
});
