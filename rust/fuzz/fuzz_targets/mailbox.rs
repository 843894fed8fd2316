//! A mailbox parses or is refused; its canonical form parses to itself, also as a path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpx_core::address::{parse_mailbox, parse_path};

fuzz_target!(|input: &[u8]| {
    if let Ok(address) = parse_mailbox(input) {
        let path = format!("<{}>", address.as_str());
        assert_eq!(parse_path(path.as_bytes()).as_ref(), Ok(&address));
        assert_eq!(parse_mailbox(address.as_str().as_bytes()).as_ref(), Ok(&address));
    }
});
