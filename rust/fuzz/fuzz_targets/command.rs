//! A command line parses or is refused within itself; what strict takes, lenient takes alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpx_core::command::{Verb, parse_command};
use smtpx_core::params::{Offered, mail_params, rcpt_params};

fuzz_target!(|line: &[u8]| {
    let lenient = parse_command(line, false);
    match &lenient {
        Ok(command) => {
            assert_eq!(Some(command.verb), Verb::of(line));
            for offers in [false, true] {
                let offered = Offered { dsn: offers, auth: offers, mail_extra: &[], rcpt_extra: &[] };
                let _ = mail_params(&command.params, &offered);
                let _ = rcpt_params(&command.params, &offered);
            }
        }
        Err(error) => assert!(error.offset <= line.len()),
    }
    if let Ok(command) = parse_command(line, true) {
        assert_eq!(lenient, Ok(command));
    }
});
