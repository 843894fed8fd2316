//! The trace line on any input: it stays one field, and nothing panics. Its words are compared with Python's there.

use proptest::prelude::*;
use smtpx_core::trace::{Client, Moment, Trace, count_received};

const NOON: Moment<'static> =
    Moment { year: 2026, month: 1, day: 2, hour: 12, minute: 0, second: 0, zone: "+0000" };

#[test]
fn a_line_says_from_by_with_id_for_and_when() {
    let client = Client {
        helo: b"client.example",
        host: Some(b"192.0.2.1"),
        tls_info: b"TLSv1.3 X",
        esmtp: true,
        tls: true,
        authenticated: true,
    };
    let trace = Trace {
        client: Some(client),
        by: b"mx.example",
        id: b"17",
        utf8: false,
        recipient: Some(b"joe@c.org"),
        received: NOON,
    };
    let expected = "Received: from client.example ([192.0.2.1])\r\n by mx.example with ESMTPSA id 17 (TLSv1.3 X)\r\n \
                    for <joe@c.org>;\r\n Fri, 02 Jan 2026 12:00:00 +0000\r\n";
    assert_eq!(trace.line(), expected.as_bytes());
}

proptest! {
    #[test]
    fn any_octets_make_one_field(
        helo: Vec<u8>, host: Option<Vec<u8>>, tls_info: Vec<u8>, by: Vec<u8>, id: Vec<u8>, recipient: Option<Vec<u8>>,
        flags: [bool; 4],
    ) {
        let [esmtp, tls, authenticated, utf8] = flags;
        let client = Client { helo: &helo, host: host.as_deref(), tls_info: &tls_info, esmtp, tls, authenticated };
        let recipient = recipient.as_deref();
        let line = Trace { client: Some(client), by: &by, id: &id, utf8, recipient, received: NOON }.line();
        prop_assert_eq!(count_received(&line), 1);
        prop_assert!(line.split(|octet| *octet == b'\n').skip(1).all(|line| line.is_empty() || line[0] == b' '));
        prop_assert!(line.split(|octet| *octet == b'\n').all(|line| line.len() < 998 || utf8));
    }

    #[test]
    fn any_numbers_make_a_date(year: u16, month: u8, day: u8, hour: u8, minute: u8, second: u8) {
        let received = Moment { year, month, day, hour, minute, second, zone: "" };
        let trace = Trace { client: None, by: b"", id: b"", utf8: false, recipient: None, received };
        prop_assert!(trace.line().starts_with(b"Received: by unknown with SMTP id unknown;\r\n "));
    }

    #[test]
    fn any_content_has_no_more_fields_than_lines(content: Vec<u8>) {
        prop_assert!(count_received(&content) <= content.split(|octet| *octet == b'\n').count());
    }
}
