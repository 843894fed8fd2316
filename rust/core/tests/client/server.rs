//! Our client against our server, in memory: what the server's driver takes is what was sent, octet for octet, and the
//! outcome of each recipient is what the driver did.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRng;
use smtpx_core::client::envelope::Envelope;
use smtpx_core::client::{Client, Event, Outcome, Outcomes};
use smtpx_core::command::Verb;
use smtpx_core::reply::Reply;
use smtpx_core::session::config::{Config, Settings};
use smtpx_core::session::{self, Session};

use crate::peer::settings;

#[derive(Clone, Debug)]
struct Mail {
    recipients: usize,
    content: Vec<u8>,
    in_pieces: bool,
    binary: bool,
}

/// A server and its driver, which refuses one thing in `refuses` and remembers by recipient.
struct Server {
    session: Session,
    refuses: u32,
    mail: Option<u16>,
    data: Option<u16>,
    rcpt: HashMap<String, u16>,
    /// The code that ended the message of a recipient, however far it came.
    fates: HashMap<String, u16>,
    taken: Vec<session::Message>,
}

impl Server {
    fn new(refuses: u32) -> Self {
        let mut settings = Settings::new("mx.example.org");
        settings.decide = Verb::Mail.bit() | Verb::Rcpt.bit() | Verb::Data.bit() | Verb::Bdat.bit();
        settings.limits.errors = u32::MAX;
        settings.limits.refused_recipients = u32::MAX;
        settings.limits.idle_commands = u32::MAX;
        let mut session =
            Session::new(Arc::new(Config::frozen(settings).expect("settings of a test")), false);
        assert!(session.start(None).expect("starts once").is_none());
        Self {
            session,
            refuses,
            mail: None,
            data: None,
            rcpt: HashMap::new(),
            fates: HashMap::new(),
            taken: Vec::new(),
        }
    }

    fn decide(&self, rng: &mut TestRng) -> u16 {
        if self.refuses > 0 && rng.random_range(0..self.refuses) == 0 {
            if rng.random() { 450 } else { 550 }
        } else {
            250
        }
    }

    fn receive(&mut self, octets: &[u8], rng: &mut TestRng) {
        let mut event = self.session.receive(octets);
        while let Some(happened) = event {
            let code = self.decide(rng);
            match happened {
                session::Event::Command { command, .. } => match command.verb {
                    Verb::Mail => {
                        self.rcpt.clear();
                        self.data = None;
                        self.mail = Some(code);
                    }
                    Verb::Rcpt => drop(self.rcpt.insert(command.arg.to_string(), code)),
                    _ => self.data = Some(code),
                },
                session::Event::Message(message) => {
                    for recipient in &message.recipients {
                        self.fates.insert(recipient.clone(), code);
                    }
                    if code == 250 {
                        self.taken.push(*message);
                    }
                }
                other => panic!("{other:?}"),
            }
            let refusal = (code != 250).then(|| Reply::new(code, vec!["no".to_owned()]).expect("a reply"));
            event = self.session.answer(refusal.as_ref()).expect("an event waits");
        }
    }

    /// The code for a recipient of the transaction at hand, as far as the driver went.
    fn fate(&self, recipient: &str) -> Option<u16> {
        let refused = |code: Option<u16>| code.filter(|code| *code != 250);
        refused(self.mail)
            .or_else(|| refused(self.rcpt.get(recipient).copied()))
            .or_else(|| refused(self.data))
            .or_else(|| self.fates.get(recipient).copied())
    }
}

/// The two ends of a wire, and what is on it.
struct Wire {
    client: Client,
    server: Server,
    up: VecDeque<u8>,
    down: VecDeque<u8>,
    rng: TestRng,
}

impl Wire {
    fn connect(hidden: &[&str], refuses: u32, rng: TestRng) -> Self {
        let client = Client::new(settings(), false).expect("settings of a test");
        let mut wire =
            Self { client, server: Server::new(refuses), up: VecDeque::new(), down: VecDeque::new(), rng };
        assert!(matches!(wire.client.receive(&wire.server.session.take_output()), Ok(None)));
        wire.server.receive(&wire.client.take_output(), &mut wire.rng);
        let mut offers = String::from_utf8(wire.server.session.take_output()).expect("text");
        for extension in hidden {
            offers = offers.replace(extension, "XHIDDEN");
        }
        assert!(matches!(wire.client.receive(offers.as_bytes()), Ok(Some(Event::Reply(_)))));
        wire
    }

    fn some(from: &mut VecDeque<u8>, rng: &mut TestRng) -> Vec<u8> {
        let most = if rng.random() { 7 } else { from.len().max(1) };
        let length = rng.random_range(1..=most).min(from.len());
        from.drain(..length).collect()
    }

    /// Lets the wire carry octets, in pieces, until the message is over or `steps` are; the outcomes when it is.
    fn carry(&mut self, mail: &Mail, mut steps: usize) -> Option<Outcomes> {
        let mut content = mail.content.clone();
        let mut asked = false;
        while steps > 0 {
            steps -= 1;
            self.up.extend(self.client.take_output());
            if asked && self.client.wants_content() && self.rng.random() {
                let length = self.rng.random_range(0..=content.len());
                let piece: Vec<u8> = content.drain(..length).collect();
                self.client.content(&piece, content.is_empty()).expect("fixed");
                continue;
            }
            let upward = self.rng.random();
            if upward && !self.up.is_empty() {
                let octets = Self::some(&mut self.up, &mut self.rng);
                self.server.receive(&octets, &mut self.rng);
                self.down.extend(self.server.session.take_output());
            } else if !upward && !self.down.is_empty() {
                let octets = Self::some(&mut self.down, &mut self.rng);
                match self.client.receive(&octets).expect("an honest server") {
                    Some(Event::Done(outcomes)) => return Some(outcomes),
                    Some(Event::Content) => asked = true,
                    None => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        None
    }

    fn begin(&mut self, number: usize, mail: &Mail) -> Vec<String> {
        let recipients: Vec<String> =
            (0..mail.recipients).map(|index| format!("r{index}@m{number}.example")).collect();
        let envelope = Envelope {
            mail_from: "a@x.example",
            params: if mail.binary { vec![("BODY", "BINARYMIME")] } else { Vec::new() },
            recipients: recipients.iter().map(|recipient| (recipient.as_str(), Vec::new())).collect(),
            size: Some(mail.content.len() as u64),
            eight_bit: !mail.content.is_ascii(),
        };
        let content = (!mail.in_pieces).then_some(mail.content.as_slice());
        self.client.mail(&envelope, content).expect("all is offered");
        recipients
    }
}

fn sent(mail: &Mail) -> Vec<u8> {
    if mail.binary || mail.content.is_empty() || mail.content.ends_with(b"\r\n") {
        return mail.content.clone();
    }
    [&mail.content[..], b"\r\n"].concat()
}

fn mail(binary: bool) -> impl Strategy<Value = Mail> {
    let line = prop::sample::select(vec![
        &b"hello\r\n"[..],
        b".\r\n",
        b"..\r\n",
        b"\r\n",
        b".x",
        b"Gr\xc3\xbc\xc3\x9fe\r\n",
        b"QUIT\r\n",
        b"250 ok\r\n",
    ]);
    (1_usize..130, prop::collection::vec(line, 0..12), any::<bool>(), any::<u8>()).prop_map(
        move |(recipients, lines, in_pieces, die)| Mail {
            // Mostly few, and now and then more than a window.
            recipients: if die < 230 { recipients % 4 + 1 } else { recipients },
            content: lines.concat(),
            in_pieces,
            binary: binary && die % 3 == 0,
        },
    )
}

const HIDDEN: [&[&str]; 4] = [&[], &["CHUNKING"], &["PIPELINING"], &["PIPELINING", "CHUNKING"]];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_message_arrives_octet_for_octet_and_every_outcome_is_true(
        which in 0_usize..4, refuses in prop::sample::select(vec![0_u32, 3, 12]), seed in prop::array::uniform32(any::<u8>()),
        mails in (0_usize..4).prop_flat_map(|which| prop::collection::vec(mail(which % 2 == 0), 1..4)),
    ) {
        let rng = TestRng::from_seed(prop::test_runner::RngAlgorithm::ChaCha, &seed);
        let mut wire = Wire::connect(HIDDEN[which], refuses, rng);
        for (number, mail) in mails.iter().enumerate() {
            let mail = &Mail { binary: mail.binary && wire.client.offers().binary, ..mail.clone() };
            let before = wire.server.taken.len();
            let recipients = wire.begin(number, mail);
            let outcomes = wire.carry(mail, 1_000_000).expect("the message ends");
            prop_assert!(wire.client.idle());
            for (recipient, (outcome, reply)) in recipients.iter().zip(&outcomes.of) {
                let code = reply.map(|index| outcomes.replies[index].code());
                let fate = wire.server.fate(recipient);
                prop_assert_eq!(code, fate, "{} of {:?}", recipient, mail);
                let expected = match fate {
                    Some(250) => Outcome::Accepted,
                    Some(450) => Outcome::Temporary,
                    _ => Outcome::Permanent,
                };
                prop_assert_eq!(*outcome, expected);
            }
            let accepted: Vec<&String> = recipients.iter().zip(&outcomes.of)
                .filter(|(_, (outcome, _))| *outcome == Outcome::Accepted).map(|(recipient, _)| recipient).collect();
            if accepted.is_empty() {
                prop_assert_eq!(wire.server.taken.len(), before);
            } else {
                prop_assert_eq!(wire.server.taken.len(), before + 1);
                let message = wire.server.taken.last().expect("one more");
                prop_assert_eq!(message.recipients.iter().collect::<Vec<_>>(), accepted);
                prop_assert_eq!(&message.data, &sent(mail));
            }
        }
    }

    #[test]
    fn h79_cut_anywhere_no_recipient_that_got_it_is_said_to_be_safe_to_send_to_again(
        which in 0_usize..4, refuses in prop::sample::select(vec![0_u32, 6]), seed in prop::array::uniform32(any::<u8>()),
        mail in mail(false), steps in 0_usize..120,
    ) {
        let rng = TestRng::from_seed(prop::test_runner::RngAlgorithm::ChaCha, &seed);
        let mut wire = Wire::connect(HIDDEN[which], refuses, rng);
        let recipients = wire.begin(0, &mail);
        let outcomes = wire.carry(&mail, steps).or_else(|| wire.client.lost()).expect("a message under way");
        prop_assert_eq!(wire.client.lost().map(|outcomes| outcomes.of), None);
        // What was still on its way may arrive all the same.
        let rest: Vec<u8> = wire.up.drain(..).collect();
        wire.server.receive(&rest, &mut wire.rng);
        for (recipient, (outcome, _)) in recipients.iter().zip(&outcomes.of) {
            let got = wire.server.taken.iter().any(|message| message.recipients.contains(recipient));
            match outcome {
                Outcome::Accepted => prop_assert!(got, "{}", recipient),
                Outcome::Temporary | Outcome::Permanent => prop_assert!(!got, "{}", recipient),
                Outcome::Unknown => {}
            }
        }
    }
}
