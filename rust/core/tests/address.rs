//! The grammar of addresses (HOSTILE 18, 24-29, 34a, 34b), row by row and on random input.

use proptest::prelude::*;
use smtpx_core::address::{Address, parse_mailbox, parse_path, scan_path, valid_domain};
use smtpx_core::error::ErrorKind::{self, *};

fn path(input: &str) -> Result<String, (ErrorKind, usize)> {
    parse_path(input.as_bytes()).map(Address::into_string).map_err(|error| (error.kind, error.offset))
}

fn mailbox(input: &str) -> Result<String, (ErrorKind, usize)> {
    parse_mailbox(input.as_bytes()).map(Address::into_string).map_err(|error| (error.kind, error.offset))
}

#[test]
fn a_path_is_its_mailbox() {
    assert_eq!(path("<joe@c.org>"), Ok("joe@c.org".into()));
    assert_eq!(path("<Joe.M-x+tag@C.Org>"), Ok("Joe.M-x+tag@C.Org".into()));
    assert_eq!(path("<!#$%&'*+-/=?^_`{|}~@c>"), Ok("!#$%&'*+-/=?^_`{|}~@c".into()));
    assert_eq!(path("<>"), Ok(String::new()));
    assert_eq!(path("<local>"), Ok("local".into()));
    assert_eq!(path("<\"a b\">"), Ok("\"a b\"".into()));
}

#[test]
fn a_path_stands_in_brackets_and_alone() {
    assert_eq!(path(""), Err((Empty, 0)));
    assert_eq!(path("a@b"), Err((MissingBracket, 0)));
    assert_eq!(path("<a@b"), Err((MissingBracket, 4)));
    assert_eq!(path("<a"), Err((MissingBracket, 2)));
    assert_eq!(path("<"), Err((MissingBracket, 1)));
    assert_eq!(path("<a@b>x"), Err((TrailingJunk, 5)));
    assert_eq!(path("<>>"), Err((TrailingJunk, 2)));
    assert_eq!(path("<<a@b>>"), Err((BadLocalPart, 1)));
    assert_eq!(path("< a@b>"), Err((BadLocalPart, 1)));
    assert_eq!(path("<a@b >"), Err((BadDomain, 4)));
}

#[test]
fn dots_of_a_local_part_stand_single_and_inside() {
    for input in ["<.a@b>", "<a.@b>", "<a..b@c>", "<@>", "<a b@c>", "<a,b@c>"] {
        assert!(path(input).is_err(), "{input}");
    }
}

#[test]
fn h24_a_long_local_part_is_taken() {
    let address = format!("{}@c.org", "a".repeat(300));
    assert_eq!(path(&format!("<{address}>")), Ok(address));
}

#[test]
fn h24_a_label_has_63_octets_and_a_domain_255() {
    let label = "a".repeat(63);
    assert!(path(&format!("<a@{label}>")).is_ok());
    assert_eq!(path(&format!("<a@{label}a>")), Err((LabelTooLong, 3)));
    let longest = [label.as_str(); 4].join(".");
    assert_eq!(longest.len(), 255);
    assert!(path(&format!("<a@{longest}>")).is_ok());
    assert_eq!(path(&format!("<a@{longest}.b>")), Err((DomainTooLong, 3)));
}

#[test]
fn labels_of_a_domain_are_letters_digits_and_inner_hyphens() {
    assert_eq!(path("<a@1-2.x--y.3com>"), Ok("a@1-2.x--y.3com".into()));
    for domain in ["", ".", "b.", ".b", "b..c", "-b", "b-", "c.-b", "a_b", "b@c", "b:c"] {
        assert!(path(&format!("<a@{domain}>")).is_err(), "{domain}");
    }
}

#[test]
fn h25_quotes_are_kept_where_needed_only() {
    assert_eq!(path("<\"joe\"@c.org>"), Ok("joe@c.org".into()));
    assert_eq!(path("<\"j.o.e\"@c.org>"), Ok("j.o.e@c.org".into()));
    assert_eq!(path("<\"\\j\\o\\e\"@c.org>"), Ok("joe@c.org".into()));
    assert_eq!(path("<\"a@b\"@example.com>"), Ok("\"a@b\"@example.com".into()));
    assert_eq!(path("<\"\"@example.com>"), Ok("\"\"@example.com".into()));
    assert_eq!(path("<\"a..b\"@c>"), Ok("\"a..b\"@c".into()));
    assert_eq!(path("<\"\\a \\\"\\\\(>\"@c>"), Ok("\"a \\\"\\\\(>\"@c".into()));
}

#[test]
fn a_quoted_string_closes_and_is_printable() {
    assert_eq!(path("<\"a@b>"), Err((UnclosedQuote, 1)));
    assert_eq!(path("<\"a\\"), Err((UnclosedQuote, 1)));
    assert_eq!(path("<\"a\tb\"@c>"), Err((Control, 3)));
    assert_eq!(path("<\"a\\\nb\"@c>"), Err((Control, 4)));
    assert_eq!(path("<\"a\"b@c>"), Err((BadLocalPart, 4)));
    assert_eq!(path("<b\"a\"@c>"), Err((BadLocalPart, 2)));
}

#[test]
fn h25_a_comment_is_refused_in_a_path() {
    assert_eq!(path("<(x)a@b>"), Err((CommentInPath, 1)));
    assert_eq!(path("<a(x)@b>"), Err((CommentInPath, 2)));
    assert_eq!(path("<a@b(x)>"), Err((CommentInPath, 4)));
}

#[test]
fn h25_comments_are_stripped_from_a_mailbox() {
    assert_eq!(mailbox("j(x)oe@c.org"), Ok("joe@c.org".into()));
    assert_eq!(mailbox("(a(b(c)))joe(\\))@(d)c(e).org(f)"), Ok("joe@c.org".into()));
    assert_eq!(mailbox(" joe\t@ c.org "), Ok("joe@c.org".into()));
    assert_eq!(mailbox("(a) joe . x (b) @ c . org"), Ok("joe.x@c.org".into()));
    assert_eq!(mailbox("\"(x)\"@c.org"), Ok("\"(x)\"@c.org".into()));
    assert_eq!(mailbox("(\u{e9})joe@c.org"), Ok("joe@c.org".into()));
    assert_eq!(mailbox("(x) local"), Ok("local".into()));
}

#[test]
fn a_mailbox_without_its_comments_obeys_the_grammar() {
    assert_eq!(mailbox(""), Err((Empty, 0)));
    assert_eq!(mailbox("(x)"), Err((Empty, 3)));
    assert_eq!(mailbox("j oe@c.org"), Err((BadLocalPart, 2)));
    assert_eq!(mailbox("joe@c org"), Err((BadLocalPart, 6)));
    assert_eq!(mailbox("(joe@c.org"), Err((UnclosedComment, 0)));
    assert_eq!(mailbox("joe@c.org)"), Err((BadDomain, 9)));
    assert_eq!(mailbox("(a\r\n b)joe@c.org"), Err((Control, 2)));
    assert_eq!(mailbox("(\\\0)joe@c.org"), Err((Control, 2)));
    assert_eq!(mailbox("<joe@c.org>"), Err((BadLocalPart, 0)));
    assert_eq!(mailbox("a@[127.(x)0.0.1]"), Err((BadLiteral, 2)));
    assert_eq!(mailbox("(x)joe@-c"), Err((BadDomain, 7)));
}

#[test]
fn h26_address_literals_are_taken_as_written() {
    for literal in [
        "[127.0.0.1]",
        "[IPv6:::1]",
        "[ipv6:2001:DB8::1]",
        "[IPv6:::]",
        "[IPv6:1:2:3:4:5:6:7:8]",
        "[IPv6:::ffff:192.0.2.1]",
        "[IPv6:1:2:3:4:5:6:192.0.2.1]",
        "[IPv6:1::3:4:5:6:7]",
    ] {
        assert_eq!(path(&format!("<a@{literal}>")), Ok(format!("a@{literal}")));
    }
}

#[test]
fn h26_bad_address_literals_are_refused() {
    for literal in [
        "[]",
        "[127.0.0]",
        "[127.0.0.256]",
        "[127.0.0.01]",
        "[127.0.0.1",
        "[::1]",
        "[IPv6:]",
        "[IPv6:1::2::3]",
        "[IPv6:12345::]",
        "[IPv6:1:2:3:4:5:6:7]",
        "[IPv6:1:2:3:4:5:6:7::]",
        "[IPv6:1:2:3:4:5::192.0.2.1]",
        "[IPv6:fe80::1%eth0]",
        "[tag:content]",
        "[ 127.0.0.1 ]",
        "[\u{e9}]",
    ] {
        assert_eq!(path(&format!("<a@{literal}>")), Err((BadLiteral, 3)), "{literal}");
    }
    assert_eq!(path("<a@[127.0.0.1]x>"), Err((BadDomain, 14)));
}

#[test]
fn h27_a_source_route_is_dropped() {
    assert_eq!(path("<@a.org,@b.org:joe@c.org>"), Ok("joe@c.org".into()));
    assert_eq!(path("<@[127.0.0.1]:\"x y\"@c.org>"), Ok("\"x y\"@c.org".into()));
    assert_eq!(path("<user%other@us>"), Ok("user%other@us".into()));
    assert_eq!(path("<other!user@us>"), Ok("other!user@us".into()));
    assert_eq!(path("<@a.org>"), Err((BadRoute, 7)));
    assert_eq!(path("<@a,b:c@d>"), Err((BadRoute, 4)));
    assert_eq!(path("<@a,:c@d>"), Err((BadRoute, 4)));
    assert_eq!(path("<@a:>"), Err((BadLocalPart, 4)));
    assert_eq!(path("<@a..b:c@d>"), Err((BadDomain, 4)));
}

#[test]
fn h28_no_control_character_gets_into_an_address() {
    for control in (0..0x20).chain([0x7f]) {
        let control = char::from(control);
        for input in [format!("<a{control}b@c>"), format!("<\"a{control}\"@c>"), format!("<a@b{control}c>")] {
            assert!(matches!(path(&input), Err((Control, _))), "{input:?}");
        }
    }
}

#[test]
fn line_breaks_of_unicode_are_controls() {
    for control in ["\u{80}", "\u{85}", "\u{9f}", "\u{2028}", "\u{2029}"] {
        assert_eq!(path(&format!("<a{control}@b>")), Err((Control, 2)));
        assert_eq!(path(&format!("<\"a{control}\"@b>")), Err((Control, 3)));
        assert_eq!(path(&format!("<a@b{control}>")), Err((Control, 4)));
    }
}

#[test]
fn h67_utf8_is_taken_in_both_parts_and_must_be_valid() {
    assert_eq!(path("<ж\u{f6}@b\u{fc}cher.example>"), Ok("ж\u{f6}@b\u{fc}cher.example".into()));
    assert_eq!(path("<\"\u{f6}\"@b>"), Ok("\u{f6}@b".into()));
    assert_eq!(path("<\"\u{f6} \"@b>"), Ok("\"\u{f6} \"@b".into()));
    for (input, offset) in
        [(&b"<a\xff@b>"[..], 2), (b"<\"a\xff\"@b>", 3), (b"<a@b\xc3>", 4), (b"<@\xff:a@b>", 2)]
    {
        let error = parse_path(input).unwrap_err();
        assert_eq!((error.kind, error.offset, error.code, error.enhanced), (BadUtf8, offset, 501, "5.1.3"));
    }
}

#[test]
fn h34a_a_bare_address_ends_at_a_space() {
    let scan =
        |input: &str, strict| scan_path(input.as_bytes(), strict).map(|(a, n)| (a.into_string(), n)).ok();
    assert_eq!(scan("a@b SIZE=1", false), Some(("a@b".to_owned(), 3)));
    assert_eq!(scan("\"a b\"@c", false), Some(("\"a b\"@c".to_owned(), 7)));
    assert_eq!(scan("<a@b> SIZE=1", true), Some(("a@b".to_owned(), 5)));
    assert_eq!(scan("a@b", true), None);
    assert_eq!(scan("a@b>", false), None);
    assert_eq!(scan("a b@c", false), Some(("a".to_owned(), 1)));
}

#[test]
fn h34b_a_greeting_name_may_have_underscores() {
    for name in ["host_name", "_x.example.org", "[192.0.2.1]", "localhost", "b\u{fc}cher.example"] {
        assert!(valid_domain(name.as_bytes()).is_ok(), "{name}");
    }
    for name in ["", "a b", "a.", "-a", "[192.0.2.1", "[192.0.2.1]x", "a\u{85}b"] {
        assert!(valid_domain(name.as_bytes()).is_err(), "{name}");
    }
}

#[test]
fn the_domain_of_an_address_is_behind_the_last_at() {
    let domain = |input: &str| parse_path(input.as_bytes()).unwrap().domain().map(str::to_owned);
    assert_eq!(domain("<a@b>"), Some("b".to_owned()));
    assert_eq!(domain("<\"a@b\"@c>"), Some("c".to_owned()));
    assert_eq!(domain("<\"a@b\">"), None);
    assert_eq!(domain("<local>"), None);
    assert_eq!(domain("<>"), None);
}

/// Quadratic work would take hours on these, recursion the stack.
#[test]
fn h29_a_megabyte_of_openings_is_one_pass() {
    const MEGABYTE: usize = 1 << 20;
    for opening in
        ["(", "\"", "\\", "\"\\", "(\\", "[", "a(", " ", "a@", "@a,", "a.", "\"\\\\", "()", "( ", "[]"]
    {
        let input = opening.repeat(MEGABYTE / opening.len());
        for closing in ["", ")", "\"@a", "]", "a@b"] {
            let _ = mailbox(&format!("{input}{closing}"));
            let _ = path(&format!("<{input}{closing}>"));
        }
    }
    let nested = format!("{}{}joe@c.org", "(".repeat(MEGABYTE), ")".repeat(MEGABYTE));
    assert_eq!(mailbox(&nested), Ok("joe@c.org".into()));
    let route = format!("<@a{}:joe@c.org>", ",@a".repeat(MEGABYTE / 3));
    assert_eq!(path(&route), Ok("joe@c.org".into()));
}

proptest! {
    #[test]
    fn any_octets_parse_or_are_refused_within(input in proptest::collection::vec(any::<u8>(), 0..64)) {
        for error in [parse_path(&input).err(), parse_mailbox(&input).err(), valid_domain(&input).err()].into_iter().flatten() {
            prop_assert!(error.offset <= input.len());
        }
    }

    #[test]
    fn a_canonical_form_is_its_own(input in r#"[ab."\\()@<>,:\[\]1 \-é]{0,16}"#) {
        if let Ok(address) = parse_mailbox(input.as_bytes()) {
            prop_assert_eq!(parse_mailbox(address.as_str().as_bytes()), Ok(address.clone()));
            let path = format!("<{}>", address.as_str());
            prop_assert_eq!(parse_path(path.as_bytes()), Ok(address));
        }
    }

    #[test]
    fn a_path_and_a_mailbox_without_comments_are_the_same(input in r#"[ab.@\\é\[\]1:"]{1,12}"#) {
        prop_assume!(!input.starts_with('@'));
        let path = format!("<{input}>");
        prop_assert_eq!(parse_path(path.as_bytes()).ok(), parse_mailbox(input.as_bytes()).ok());
    }

    #[test]
    fn any_text_can_be_a_quoted_local_part(content in "[ -~]{0,20}") {
        let quoted: String = content.chars().flat_map(|c| ['\\', c]).collect();
        let path = format!("<\"{quoted}\"@c.org>");
        let address = parse_path(path.as_bytes()).unwrap();
        let canonical = format!("<{}>", address.as_str());
        let again = parse_path(canonical.as_bytes()).unwrap();
        prop_assert_eq!(address.domain(), Some("c.org"));
        prop_assert_eq!(again, address);
    }
}
