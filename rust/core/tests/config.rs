//! Settings of any text: refused by their name, or framed as one reply.

use std::sync::Arc;

use proptest::prelude::*;
use smtpx_core::session::Session;
use smtpx_core::session::config::{BadSetting, Config, Settings};

fn refused(change: impl FnOnce(&mut Settings)) -> String {
    let mut settings = Settings::new("mx.example.org");
    change(&mut settings);
    let BadSetting(message) = Config::frozen(settings).expect_err("a bad setting");
    message
}

#[test]
fn a_setting_is_refused_by_its_name() {
    assert!(refused(|s| s.hostname = "a b".to_owned()).starts_with("hostname: \"a b\": "));
    assert!(refused(|s| s.greeting = "a\rb".to_owned()).starts_with("greeting: "));
    assert!(refused(|s| s.mechanisms = vec!["plain".to_owned()]).starts_with("mechanisms: \"plain\": "));
    assert!(refused(|s| s.extensions = vec!["X\0".to_owned()]).starts_with("extensions: "));
    assert!(refused(|s| s.mail_params = vec!["A=".to_owned()]).starts_with("mail_params: "));
    assert!(refused(|s| s.rcpt_params = vec!["-".to_owned()]).starts_with("rcpt_params: "));
}

proptest! {
    #[test]
    fn any_words_are_refused_or_make_a_reply_of_their_lines(
        hostname in any::<String>(),
        greeting in any::<String>(),
        mechanism in "[A-Z0-9_-]{0,21}|.*",
        extension in "[A-Za-z0-9 -]{0,9}|.*",
    ) {
        let mut settings = Settings::new(&hostname);
        settings.greeting = greeting;
        settings.mechanisms = vec![mechanism];
        settings.extensions = vec![extension.clone()];
        if let Ok(config) = Config::frozen(settings) {
            let mut session = Session::new(Arc::new(config), true);
            prop_assert!(matches!(session.start(None), Ok(None)));
            let banner = String::from_utf8(session.take_output()).expect("text");
            prop_assert_eq!(banner.matches('\n').count(), 1);
            session.receive(b"EHLO me\r\n");
            let ehlo = String::from_utf8(session.take_output()).expect("text");
            prop_assert!(ehlo.lines().all(|line| line.starts_with("250")));
            let offered = ehlo.lines().any(|line| line[4..] == extension);
            prop_assert!(offered);
        }
    }

    #[test]
    fn words_that_fit_are_taken(
        hostname in "[a-z]{1,9}\\.[a-z]{2,3}",
        mechanism in "[A-Z0-9_-]{1,20}",
        extension in "X[A-Za-z0-9-]{0,9}( [!-~]{1,5}){0,3}",
    ) {
        let mut settings = Settings::new(&hostname);
        settings.mechanisms = vec![mechanism];
        settings.extensions = vec![extension];
        prop_assert!(Config::frozen(settings).is_ok());
    }
}
