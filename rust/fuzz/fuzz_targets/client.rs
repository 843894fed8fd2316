//! Any octets of a server, whatever the driver does between them: no panic, no secret in the transcript, no
//! recipient is told accepted or lost twice, and nobody is where there was a reply too many. The first octet chooses what the server offers; then come rounds of what
//! the driver does, how much it reads next, and those octets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpx_core::client::content::Newlines;
use smtpx_core::client::envelope::Envelope;
use smtpx_core::client::{Client, Event, Outcome, Outcomes, Settings};

const OFFERS: [&str; 6] = ["PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "STARTTLS", "AUTH PLAIN"];
const SECRET: &[u8] = b"hush-hush";
const IN_BASE64: &str = "aHVzaC1odXNo";

fn greeted(choice: u8) -> Client {
    let settings = Settings {
        local_name: "me.example".to_owned(),
        lmtp: choice & 64 != 0,
        newlines: if choice & 128 == 0 { Newlines::Fix } else { Newlines::Strict },
        max_line: 128,
        max_reply: 512,
    };
    let mut client = Client::new(settings, false).unwrap();
    client.keep_transcript();
    assert!(matches!(client.receive(b"220 mx\r\n"), Ok(None)));
    let mut hello = b"250-mx\r\n".to_vec();
    for (bit, offer) in OFFERS.iter().enumerate() {
        if choice >> bit & 1 != 0 {
            hello.extend_from_slice(format!("250-{offer}\r\n").as_bytes());
        }
    }
    hello.extend_from_slice(b"250 HELP\r\n");
    assert!(matches!(client.receive(&hello), Ok(Some(Event::Reply(_)))));
    client
}

/// Does one thing, in its turn or not; true when it began a message.
fn act(client: &mut Client, what: u8, input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let kind = what % 10;
    match kind {
        0 | 1 => {
            let envelope = Envelope {
                mail_from: if what & 16 == 0 { "a@x.example" } else { &text },
                params: if what & 32 == 0 { Vec::new() } else { vec![("XOWN", &text)] },
                recipients: vec![
                    ("b@y.example", Vec::new()),
                    (if what & 64 == 0 { "c@y" } else { &text }, Vec::new()),
                ],
                ..Envelope::default()
            };
            return client.mail(&envelope, (kind == 0).then_some(input)).is_ok();
        }
        2 => drop(client.content(input, what & 16 == 0)),
        3 => drop(client.pass_content(input, what & 16 == 0)),
        4 => drop(client.command(input)),
        5 => drop(client.starttls()),
        6 => drop(client.tls_started()),
        7 => drop(client.auth("PLAIN", (what & 16 == 0).then_some(SECRET))),
        8 => drop(client.respond((what & 16 == 0).then_some(SECRET))),
        _ => {}
    }
    false
}

fn told(outcomes: &Outcomes, under_way: &mut bool) {
    assert!(*under_way, "a message that was not begun, or was told of before");
    *under_way = false;
    for &(outcome, reply) in &outcomes.of {
        let code = reply.map(|index| outcomes.replies[index].code());
        let true_to_it = match outcome {
            Outcome::Accepted => matches!(code, Some(200..=299)),
            Outcome::Permanent => matches!(code, Some(500..)),
            Outcome::Temporary => !matches!(code, Some(200..=299 | 500..)),
            Outcome::Unknown => code.is_none(),
        };
        assert!(true_to_it, "{outcome:?} by {code:?}");
    }
}

/// Behind the last reply of a message that was accepted, the same read had nothing more, or a farewell.
fn in_place(client: &Client, outcomes: &Outcomes, octets: &[u8]) {
    if outcomes.of.iter().all(|(outcome, _)| *outcome != Outcome::Accepted) || client.farewell().is_some() {
        return;
    }
    let Some(whole) = octets.strip_suffix(b"\n") else {
        let half = octets.rsplit(|octet| *octet == b'\n').next().unwrap();
        assert!(half.iter().zip(b"421").all(|(one, other)| one == other) && !client.idle());
        return;
    };
    // Its last line may have begun in another read.
    if let Some(newline) = whole.iter().rposition(|octet| *octet == b'\n') {
        let code = outcomes.replies.last().unwrap().code().to_string();
        let line = &whole[newline + 1..];
        assert!(line.starts_with(code.as_bytes()) || line.starts_with(b"421-") && !client.idle());
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, mut rest)) = input.split_first() else { return };
    let mut client = greeted(choice);
    let mut under_way = false;
    while let [what, length, more @ ..] = rest {
        let (octets, more) = more.split_at(more.len().min(usize::from(*length)));
        rest = more;
        under_way |= act(&mut client, *what, octets);
        client.take_output();
        match client.receive(octets) {
            Ok(Some(Event::Done(outcomes))) => {
                in_place(&client, &outcomes, octets);
                told(&outcomes, &mut under_way);
            }
            Ok(_) => {}
            Err(_) => assert!(client.closed() && !client.wants_content()),
        }
        assert!(!client.idle() || !under_way);
    }
    if let Some(outcomes) = client.lost() {
        told(&outcomes, &mut under_way);
    }
    assert!(!under_way && client.closed() && client.take_output().is_empty());
    let told_of = |text: &str| text.contains("hush-hush") || text.contains(IN_BASE64);
    let secret_is_ours = !told_of(&String::from_utf8_lossy(input));
    for (direction, line) in client.take_transcript() {
        assert!(!line.contains(['\r', '\n']));
        assert!(direction == '<' || !(secret_is_ours && told_of(&line)));
    }
});
