//! A client and what the tests play its server with. What happens is told in words, so that a test reads as a dialog.

use smtpx_core::client::content::Newlines;
use smtpx_core::client::envelope::Envelope;
use smtpx_core::client::{Client, Event, Outcome, Outcomes, Refused, Settings};
use smtpx_core::error::Result;

pub const ALL: &[&str] =
    &["PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "SIZE 1000", "DSN", "BINARYMIME"];
pub const PIPELINING: &[&str] = &["PIPELINING"];
pub const NOTHING: &[&str] = &[];

/// The envelope of most tests.
pub const MAIL: &str = "MAIL FROM:<a@x.example>\r\n";
pub const RCPT: &str = "RCPT TO:<b@y.example>\r\n";

pub fn settings() -> Settings {
    Settings {
        local_name: "me.example".to_owned(),
        lmtp: false,
        newlines: Newlines::Fix,
        max_line: 512,
        max_reply: 4096,
    }
}

pub struct Peer {
    pub client: Client,
}

impl Peer {
    pub fn with(settings: Settings) -> Self {
        Self { client: Client::new(settings, false).expect("settings of a test") }
    }

    /// A client that has read no banner.
    pub fn fresh() -> Self {
        Self::with(settings())
    }

    /// One that knows what the server offers.
    pub fn greeted(extensions: &[&str]) -> Self {
        Self::greeted_with(settings(), extensions)
    }

    pub fn greeted_lmtp(extensions: &[&str]) -> Self {
        Self::greeted_with(Settings { lmtp: true, ..settings() }, extensions)
    }

    pub fn greeted_with(settings: Settings, extensions: &[&str]) -> Self {
        let mut peer = Self::with(settings);
        assert_eq!(peer.hear("220 mx.example ESMTP\r\n"), "");
        assert!(peer.sent().ends_with("LO me.example\r\n") || peer.client.closed());
        assert_eq!(peer.hear(&ehlo(extensions)), "reply 250");
        peer
    }

    /// What comes of these octets: "" for nothing.
    pub fn hear(&mut self, octets: &str) -> String {
        told(self.client.receive(octets.as_bytes()))
    }

    /// The octets to send.
    pub fn sent(&mut self) -> String {
        String::from_utf8(self.client.take_output()).expect("tests send text")
    }

    /// What became of the message, the connection being lost.
    pub fn lost(&mut self) -> Option<String> {
        self.client.lost().as_ref().map(fates)
    }

    /// Begins a message to so many; its octets are left to take.
    pub fn mail(&mut self, recipients: &[&str], content: Option<&str>) {
        self.try_mail(recipients, content).expect("a message of a test");
    }

    pub fn try_mail(&mut self, recipients: &[&str], content: Option<&str>) -> Result<(), Refused> {
        let envelope = Envelope {
            mail_from: "a@x.example",
            recipients: recipients.iter().map(|recipient| (*recipient, Vec::new())).collect(),
            ..Envelope::default()
        };
        self.client.mail(&envelope, content.map(str::as_bytes))
    }

    /// The same to one, up to the reply to RCPT, on a server that may pipeline.
    pub fn mail_to_one(&mut self, content: Option<&str>) {
        self.mail(&["b@y.example"], content);
    }

    pub fn give(&mut self, piece: &str, last: bool) -> String {
        self.client.content(piece.as_bytes(), last).expect("content of a test");
        self.sent()
    }
}

pub fn ehlo(extensions: &[&str]) -> String {
    let mut lines = vec!["mx.example"];
    lines.extend(extensions);
    let last = lines.len() - 1;
    let line =
        |(index, line): (usize, &&str)| format!("250{}{line}\r\n", if index == last { ' ' } else { '-' });
    lines.iter().enumerate().map(line).collect()
}

pub fn told(step: Result<Option<Event>>) -> String {
    match step {
        Err(error) => format!("error {:?}", error.kind),
        Ok(None) => String::new(),
        Ok(Some(Event::Reply(reply))) => format!("reply {}", reply.code()),
        Ok(Some(Event::Challenge(octets))) => format!("challenge {}", String::from_utf8_lossy(&octets)),
        Ok(Some(Event::Handshake)) => "handshake".to_owned(),
        Ok(Some(Event::Content)) => "content".to_owned(),
        Ok(Some(Event::Done(outcomes))) => format!("done {}", fates(&outcomes)),
    }
}

/// A word a recipient: its outcome and the code of the reply that told it.
pub fn fates(outcomes: &Outcomes) -> String {
    let word = |&(outcome, reply): &(Outcome, Option<usize>)| {
        let code = reply.map_or_else(|| "-".to_owned(), |index| outcomes.replies[index].code().to_string());
        format!("{outcome:?}:{code}")
    };
    outcomes.of.iter().map(word).collect::<Vec<_>>().join(" ")
}
