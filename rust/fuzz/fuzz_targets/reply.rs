//! Replies of a hostile server: whole equals byte by byte, and what parses encodes to what parses alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpx_core::reply::{ReplyDecoder, ServerInfo, parse_reply};

fuzz_target!(|input: &[u8]| {
    let decode = |piece: usize| {
        let mut decoder = ReplyDecoder::new(64, 512);
        let mut replies = Vec::new();
        let result = input.chunks(piece).try_for_each(|chunk| decoder.feed(chunk, &mut replies));
        (replies, result.map_err(|error| error.kind))
    };
    assert_eq!(decode(input.len().max(1)), decode(1));
    if let Ok(reply) = parse_reply(input) {
        let _ = (ServerInfo::from_reply(&reply), reply.enhanced());
        let mut encoded = Vec::new();
        reply.encode(&mut encoded);
        assert_eq!(parse_reply(&encoded), Ok(reply));
    }
});
