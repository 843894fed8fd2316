//! Typed parameters (HOSTILE 30, 36, 48, 65a, 83a) and xtext.

use proptest::prelude::*;
use smtpx_core::command::parse_command;
use smtpx_core::error::{Error, ErrorKind, ErrorKind::*};
use smtpx_core::params::{
    Body, MailParams, Notify, Offered, RcptParams, Ret, decode_xtext, encode_xtext, mail_params, rcpt_params,
};

const ALL: Offered = Offered { dsn: true, auth: true, mail_extra: &[], rcpt_extra: &[] };
const NONE: Offered = Offered { dsn: false, auth: false, mail_extra: &[], rcpt_extra: &[] };

fn mail_offered(params: &str, offered: &Offered) -> Result<MailParams, Error> {
    let line = format!("MAIL FROM:<a@b> {params}");
    let command = parse_command(line.as_bytes(), false)?;
    mail_params(&command.params, offered)
}

fn mail(params: &str) -> Result<MailParams, (ErrorKind, u16, &'static str)> {
    mail_offered(params, &ALL).map_err(|error| (error.kind, error.code, error.enhanced))
}

fn rcpt_offered(params: &str, offered: &Offered) -> Result<RcptParams, Error> {
    let line = format!("RCPT TO:<a@b> {params}");
    let command = parse_command(line.as_bytes(), false)?;
    rcpt_params(&command.params, offered)
}

fn rcpt(params: &str) -> Result<RcptParams, (ErrorKind, u16, &'static str)> {
    rcpt_offered(params, &ALL).map_err(|error| (error.kind, error.code, error.enhanced))
}

const BAD_VALUE: (ErrorKind, u16, &str) = (BadValue, 501, "5.5.4");

#[test]
fn no_parameters_are_the_defaults() {
    assert_eq!(mail(""), Ok(MailParams::default()));
    assert_eq!(rcpt(""), Ok(RcptParams::default()));
}

#[test]
fn all_parameters_of_mail_are_typed() {
    assert_eq!(
        mail("SIZE=10 BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=a+2Bb AUTH=joe+2B@c.org"),
        Ok(MailParams {
            size: Some(10),
            body: Body::EightBitMime,
            smtputf8: true,
            ret: Some(Ret::Hdrs),
            envid: Some("a+b".to_owned()),
            auth: Some("joe+@c.org".to_owned()),
        })
    );
}

#[test]
fn h30_what_is_not_offered_is_unknown() {
    for params in ["X", "RET=FULL", "ENVID=x", "AUTH=<>", "NOTIFY=NEVER"] {
        let error = mail_offered(params, &NONE).unwrap_err();
        assert_eq!((error.kind, error.code, error.enhanced), (UnknownParameter, 555, "5.5.4"), "{params}");
    }
    for params in ["X", "NOTIFY=NEVER", "ORCPT=rfc822;a@b", "SIZE=1"] {
        let error = rcpt_offered(params, &NONE).unwrap_err();
        assert_eq!((error.kind, error.code, error.enhanced), (UnknownParameter, 555, "5.5.4"), "{params}");
    }
}

#[test]
fn a_custom_extension_claims_its_keywords() {
    let extra = ["X-M".to_owned(), "RET".to_owned()];
    let offered = Offered { mail_extra: &extra, ..NONE };
    assert_eq!(mail_offered("x-m=any RET=thing", &offered), Ok(MailParams::default()));
    assert!(rcpt_offered("X-M", &offered).is_err());
    let offered = Offered { rcpt_extra: &extra, ..NONE };
    assert_eq!(rcpt_offered("X-M", &offered), Ok(RcptParams::default()));
    assert!(mail_offered("X-M", &offered).is_err());
}

#[test]
fn h36_size_is_one_to_twenty_digits() {
    for value in
        ["-1", "1e3", "+1", "0x1", "100000000000000000000".repeat(2).as_str(), "123456789012345678901"]
    {
        assert_eq!(mail(&format!("SIZE={value}")), Err(BAD_VALUE), "{value}");
    }
    assert_eq!(mail("SIZE"), Err(BAD_VALUE));
    assert_eq!(mail("SIZE=0").unwrap().size, Some(0));
    assert_eq!(mail("SIZE=18446744073709551615").unwrap().size, Some(u64::MAX));
    assert_eq!(mail("SIZE=99999999999999999999").unwrap().size, Some(u64::MAX));
}

#[test]
fn h48_body_is_one_of_three() {
    assert_eq!(mail("BODY=7BIT").unwrap().body, Body::SevenBit);
    assert_eq!(mail("BODY=BINARYMIME").unwrap().body, Body::BinaryMime);
    assert_eq!(mail("BODY=9BIT"), Err(BAD_VALUE));
    assert_eq!(mail("BODY"), Err(BAD_VALUE));
    assert_eq!(mail("SMTPUTF8=yes"), Err(BAD_VALUE));
    assert_eq!(mail("RET=SOME"), Err(BAD_VALUE));
}

#[test]
fn h65a_auth_is_xtext() {
    assert_eq!(mail("AUTH=<>").unwrap().auth, Some("<>".to_owned()));
    assert_eq!(mail("AUTH=a+zz"), Err((BadXtext, 501, "5.5.4")));
    assert_eq!(mail("AUTH=a+4"), Err((BadXtext, 501, "5.5.4")));
    assert_eq!(mail("AUTH=a="), Err((BadXtext, 501, "5.5.4")));
}

#[test]
fn h83a_envid_is_short_and_printable() {
    assert_eq!(mail(&format!("ENVID={}", "x".repeat(100))).unwrap().envid, Some("x".repeat(100)));
    assert_eq!(mail(&format!("ENVID={}", "x".repeat(101))), Err(BAD_VALUE));
    assert_eq!(mail("ENVID=x+0D+0AEvil:"), Err(BAD_VALUE));
}

#[test]
fn h83a_never_stands_alone() {
    let notify = |params: &str| rcpt(params).map(|rcpt| rcpt.notify);
    assert_eq!(notify("NOTIFY=never"), Ok(Some(Notify::default())));
    assert_eq!(
        notify("NOTIFY=SUCCESS,delay"),
        Ok(Some(Notify { success: true, failure: false, delay: true }))
    );
    assert_eq!(notify("NOTIFY=FAILURE"), Ok(Some(Notify { failure: true, ..Notify::default() })));
    for params in ["NOTIFY=NEVER,SUCCESS", "NOTIFY=SUCCESS,NEVER", "NOTIFY=SUCCESS,", "NOTIFY=X", "NOTIFY"] {
        assert_eq!(notify(params), Err(BAD_VALUE), "{params}");
    }
}

#[test]
fn h83a_orcpt_is_a_type_and_an_address() {
    let orcpt = |params: &str| rcpt(params).map(|rcpt| rcpt.orcpt.unwrap());
    let pair = |kind: &str, address: &str| Ok((kind.to_owned(), address.to_owned()));
    assert_eq!(orcpt("ORCPT=rfc822;joe+2Bx@c.org"), pair("rfc822", "joe+x@c.org"));
    assert_eq!(orcpt("ORCPT=utf-8;j\\x{F6}\\x{2B}e@c.org"), pair("utf-8", "j\u{f6}+e@c.org"));
    assert_eq!(orcpt("ORCPT=UTF-8;j\u{f6}e@c.org"), pair("UTF-8", "j\u{f6}e@c.org"));
    for params in [
        "ORCPT",
        "ORCPT=a@b",
        "ORCPT=;a@b",
        "ORCPT=rfc822;",
        "ORCPT=r(c;a@b",
        "ORCPT=rfc822;a+0Ab",
        "ORCPT=utf-8;\\x{A}",
    ] {
        assert_eq!(orcpt(params), Err(BAD_VALUE), "{params}");
    }
    for params in [
        "rfc822;a+zz",
        "rfc822;\u{f6}@b",
        "utf-8;a+2B",
        "utf-8;\\x{D800}",
        "utf-8;\\x{}",
        "utf-8;\\x{1",
        "utf-8;\\y",
        "utf-8;\\x{+1}",
    ] {
        assert_eq!(orcpt(&format!("ORCPT={params}")), Err((BadXtext, 501, "5.5.4")), "{params}");
    }
    assert_eq!(orcpt(&format!("ORCPT=rfc822;{}", "a".repeat(494))), Err(BAD_VALUE));
}

#[test]
fn utf8_in_a_value_needs_smtputf8() {
    let extra = ["X".to_owned()];
    let offered = Offered { mail_extra: &extra, ..NONE };
    assert_eq!(
        mail_offered("X=\u{f6}", &offered).map_err(|error| (error.kind, error.enhanced)),
        Err((BadOctet, "5.5.2"))
    );
    assert!(mail_offered("X=\u{f6} SMTPUTF8", &offered).is_ok());
}

#[test]
fn xtext_encodes_what_a_value_may_not_hold() {
    assert_eq!(encode_xtext("a+b=c d\u{f6}\0"), "a+2Bb+3Dc+20d+C3+B6+00");
    assert_eq!(decode_xtext("+2b+2B"), Ok("++".to_owned()));
    for (value, offset) in
        [("a+", 1), ("a+2", 1), ("+GG", 0), ("a b", 1), ("a=", 1), ("\u{f6}", 0), ("+-1", 0)]
    {
        assert_eq!(
            decode_xtext(value).map_err(|error| (error.kind, error.offset)),
            Err((BadXtext, offset)),
            "{value}"
        );
    }
    assert_eq!(decode_xtext("+FF").map_err(|error| error.kind), Err(BadXtext));
}

proptest! {
    #[test]
    fn xtext_brings_any_text_back(text in any::<String>()) {
        let encoded = encode_xtext(&text);
        prop_assert!(encoded.bytes().all(|octet| matches!(octet, b'!'..=b'~') && octet != b'='));
        prop_assert_eq!(decode_xtext(&encoded), Ok(text));
    }

    #[test]
    fn any_value_is_typed_or_refused(key in "SIZE|BODY|RET|ENVID|AUTH|NOTIFY|ORCPT", value in any::<String>()) {
        let params = [smtpx_core::command::Param { key: key.into(), value: value.into() }];
        let _ = (mail_params(&params, &ALL), rcpt_params(&params, &ALL), decode_xtext(&params[0].value));
    }
}
