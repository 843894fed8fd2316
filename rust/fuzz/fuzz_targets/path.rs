//! A path parses or is refused; its canonical form parses to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpx_core::address::{parse_path, scan_path};

fuzz_target!(|input: &[u8]| {
    for strict in [false, true] {
        if let Ok((_, consumed)) = scan_path(input, strict) {
            assert!(consumed <= input.len());
        }
    }
    if let Ok(address) = parse_path(input) {
        let path = format!("<{}>", address.as_str());
        let again = parse_path(path.as_bytes());
        assert_eq!(again, Ok(address));
    }
});
