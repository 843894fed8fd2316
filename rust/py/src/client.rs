//! The client session.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use smtpx_core::client::content::Newlines;
use smtpx_core::client::envelope::{Envelope, Unsendable};
use smtpx_core::client::{
    Client, Event, OutOfTurn, Outcome, Outcomes, Refused as NotBegun, Settings, Waiting,
};
use smtpx_core::error::{Error, ErrorKind};

use crate::convert::{Octets, Refused, limit};
use crate::parsers::WORTH_DETACHING;
use crate::values::Response;

pub type Step<'py> = (Option<Py<PyAny>>, Bound<'py, PyBytes>);

/// An exchange ended with a reply.
#[pyclass(frozen, module = "smtpx")]
pub struct ReplyEvent {
    /// The reply (`Response`).
    #[pyo3(get)]
    response: Py<Response>,
}

#[pymethods]
impl ReplyEvent {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<ReplyEvent {}>", self.response.bind(py).repr()?))
    }
}

/// The server asks for the next step of AUTH (RFC 4954 4): answer with `respond`.
#[pyclass(frozen, module = "smtpx")]
pub struct ChallengeEvent {
    /// The challenge, decoded (bytes).
    #[pyo3(get)]
    data: Py<PyBytes>,
}

/// The server is ready for TLS: shake hands, then call `tls_started`.
#[pyclass(frozen, module = "smtpx")]
pub struct HandshakeEvent;

/// The content may go: give it by `content`, piece by piece, while `wants_content`.
#[pyclass(frozen, module = "smtpx")]
pub struct ContentEvent;

/// A transaction is over.
#[pyclass(frozen, module = "smtpx")]
pub struct SentEvent(Outcomes);

#[pymethods]
impl SentEvent {
    /// How many recipients the server took responsibility for (int).
    #[getter]
    fn accepted(&self) -> usize {
        self.0.of.iter().filter(|(outcome, _)| *outcome == Outcome::Accepted).count()
    }

    /// What became of each recipient, in their order: (`Outcome`, `Response` or None) pairs.
    #[getter]
    fn outcomes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let replies = self.0.replies.iter().map(|reply| Py::new(py, Response(reply.clone())));
        let replies = replies.collect::<PyResult<Vec<_>>>()?;
        let list = PyList::empty(py);
        for (outcome, reply) in &self.0.of {
            let reply = reply.map(|index| replies[index].clone_ref(py));
            list.append((python_outcome(py, *outcome)?, reply))?;
        }
        Ok(list)
    }

    fn __repr__(&self) -> String {
        format!("<SentEvent {} of {} recipients accepted>", self.accepted(), self.0.of.len())
    }
}

static OUTCOMES: PyOnceLock<[Py<PyAny>; 4]> = PyOnceLock::new();

fn python_outcome(py: Python<'_>, outcome: Outcome) -> PyResult<Py<PyAny>> {
    let members = OUTCOMES.get_or_try_init(py, || {
        let class = py.import("smtpx.outcome")?.getattr("Outcome")?;
        let member = |name| -> PyResult<Py<PyAny>> { Ok(class.getattr(name)?.unbind()) };
        Ok::<_, PyErr>([member("ACCEPTED")?, member("TEMPORARY")?, member("PERMANENT")?, member("UNKNOWN")?])
    })?;
    Ok(members[outcome as usize].clone_ref(py))
}

pub fn event_to_python(py: Python<'_>, event: Event) -> PyResult<Py<PyAny>> {
    Ok(match event {
        Event::Done(outcomes) => Py::new(py, SentEvent(outcomes))?.into_any(),
        Event::Reply(reply) => {
            let response = Py::new(py, Response(reply))?;
            Py::new(py, ReplyEvent { response })?.into_any()
        }
        Event::Challenge(challenge) => {
            let data = PyBytes::new(py, &challenge).unbind();
            Py::new(py, ChallengeEvent { data })?.into_any()
        }
        Event::Handshake => Py::new(py, HandshakeEvent)?.into_any(),
        Event::Content => Py::new(py, ContentEvent)?.into_any(),
    })
}

/// The client's side of a session, without I/O (RFC 5321, RFC 2033).
///
/// It begins with the banner: feed `receive_data` what was read until a `ReplyEvent` says that the server is greeted.
/// Then one exchange at a time: `mail`, `command`, `auth` or `starttls` gives octets to send, and `receive_data` more
/// of them, until an event ends the exchange. A transaction ends with a `SentEvent`, whatever happens in it; one that
/// the connection's end cuts short is told by `lost`. Calls out of turn raise `EngineError`.
///
/// `local_name` (str): our name in EHLO, a domain or an address literal.
/// `lmtp` (bool): speak LMTP. `tls` (bool): the connection is in TLS from its start.
/// `newlines` (str): "fix" makes a bare CR or LF in content a CRLF, "strict" raises `SyntaxRefused`.
/// `max_line`, `max_reply` (int): octets of a reply's line and of a reply that are still read.
#[pyclass(module = "smtpx")]
pub struct ClientEngine(pub Client);

impl ClientEngine {
    fn output<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.0.drain_output(|octets| PyBytes::new(py, octets))
    }

    fn begun<'py>(
        &mut self,
        py: Python<'py>,
        begun: Result<(), impl Into<NotBegun>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        begun.map_err(|refused| not_begun(py, &refused.into()))?;
        Ok(self.output(py))
    }
}

#[pymethods]
impl ClientEngine {
    #[new]
    #[pyo3(signature = (
        local_name, *, lmtp = false, tls = false, newlines = "fix", max_line = 4096, max_reply = 262_144
    ))]
    fn new(
        py: Python<'_>,
        local_name: &str,
        lmtp: bool,
        tls: bool,
        newlines: &str,
        max_line: i128,
        max_reply: i128,
    ) -> PyResult<Self> {
        let refused = |message: String| Refused::Configuration.message(py, &message);
        let newlines = match newlines {
            "fix" => Newlines::Fix,
            "strict" => Newlines::Strict,
            _ => return Err(refused(format!("newlines: {newlines:?}: write \"fix\" or \"strict\""))),
        };
        let settings = Settings {
            local_name: local_name.to_owned(),
            lmtp,
            newlines,
            max_line: limit(py, "max_line", max_line)?,
            max_reply: limit(py, "max_reply", max_reply)?,
        };
        Client::new(settings, tls).map(Self).map_err(|error| {
            refused(format!("local_name: {local_name:?}: {}; write a domain or [192.0.2.1]", error.text()))
        })
    }

    /// Takes what was read: the event that it makes, if any, and the octets to send.
    ///
    /// Raises `ResponseError` where the server breaks the protocol: close, and ask `lost` about a message under way.
    #[pyo3(signature = (data, /))]
    fn receive_data<'py>(&mut self, py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Step<'py>> {
        let octets = Octets::of_bytes(data)?;
        let event = self.0.receive(octets.get()?).map_err(|error| Refused::Response.error(py, &error))?;
        let event = event.map(|event| event_to_python(py, event)).transpose()?;
        Ok((event, self.output(py)))
    }

    /// The connection ended, or is given up: the `SentEvent` of the message under way, or None.
    fn lost(&mut self, py: Python<'_>) -> PyResult<Option<Py<SentEvent>>> {
        self.0.lost().map(|outcomes| Py::new(py, SentEvent(outcomes))).transpose()
    }

    /// Begins a transaction; gives the octets to send.
    ///
    /// `mail_from` (str) and `recipients` (list of str) without brackets, `params` and `rcpt_params` as of `MailTx`. The
    /// engine adds SIZE, BODY and SMTPUTF8 itself. `data`: the whole content (bytes), or None, and a `ContentEvent` asks
    /// for it; then `size` (int) is what it will have with CRLF line ends, if known, and `eight_bit` (bool) whether
    /// octets over 127.
    ///
    /// Raises, before an octet is sent, `AddressError` and `CommandError` for what is no address or parameter,
    /// `SyntaxRefused` for a bare newline under "strict", `NotOffered` and `MessageTooLarge` for what the server does not
    /// take.
    #[pyo3(signature = (
        mail_from, recipients, params = None, rcpt_params = None, data = None, *, size = None, eight_bit = false
    ))]
    #[expect(clippy::too_many_arguments, reason = "arguments of Python")]
    fn mail<'py>(
        &mut self,
        py: Python<'py>,
        mail_from: &str,
        recipients: &Bound<'py, PyList>,
        params: Option<&Bound<'py, PyDict>>,
        rcpt_params: Option<&Bound<'py, PyList>>,
        data: Option<&Bound<'py, PyAny>>,
        size: Option<u64>,
        eight_bit: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let data = data.map(Octets::of_bytes).transpose()?;
        let content = data.as_ref().map(Octets::get).transpose()?;
        let addresses: Vec<Bound<'py, PyString>> = recipients.extract()?;
        let of_mail = pairs(params)?;
        let of_rcpt: Vec<Vec<(String, String)>> = match rcpt_params {
            None => Vec::new(),
            Some(list) => list.iter().map(|params| pairs(Some(params.cast()?))).collect::<PyResult<_>>()?,
        };
        if of_rcpt.len() > addresses.len() {
            let message = "rcpt_params: more of them than recipients: give one dict for each";
            return Err(Refused::Configuration.message(py, message));
        }
        let mut envelope = Envelope {
            mail_from,
            params: borrowed(&of_mail),
            recipients: Vec::with_capacity(addresses.len()),
            size,
            eight_bit: content.map_or(eight_bit, |content| !content.is_ascii()),
        };
        for (index, address) in addresses.iter().enumerate() {
            let params = of_rcpt.get(index).map(|params| borrowed(params)).unwrap_or_default();
            envelope.recipients.push((address.to_str()?, params));
        }
        let begun = self.0.mail(&envelope, content);
        self.begun(py, begun)
    }

    /// Whether the transaction under way asks for content (bool).
    #[getter]
    fn wants_content(&self) -> bool {
        self.0.wants_content()
    }

    /// Frames a piece (bytes) of the content; `last` (bool) ends it. Gives the octets to send.
    ///
    /// Raises `SyntaxRefused` for a bare newline under "strict": the content cannot be ended then, so close.
    #[pyo3(signature = (piece, /, *, last = false))]
    fn content<'py>(
        &mut self,
        py: Python<'py>,
        piece: &Bound<'py, PyAny>,
        last: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let octets = Octets::of_bytes(piece)?;
        let octets = octets.get()?;
        let client = &mut self.0;
        let given = if octets.len() >= WORTH_DETACHING {
            py.detach(|| client.content(octets, last))
        } else {
            client.content(octets, last)
        };
        given.map_err(|error| Refused::Syntax.error(py, &error))?;
        Ok(self.output(py))
    }

    /// Does the same for a driver that copies nothing: gives buffers to send one behind the other; `piece` (bytes, or
    /// a memoryview of them) is one of them where it goes as it is.
    #[pyo3(signature = (piece, /, *, last = false))]
    fn content_parts<'py>(
        &mut self,
        py: Python<'py>,
        piece: &Bound<'py, PyAny>,
        last: bool,
    ) -> PyResult<Bound<'py, PyList>> {
        let octets = Octets::of_bytes(piece)?;
        let client = &mut self.0;
        let place = match &octets {
            Octets::Copied(_) => None, // it may change until it is sent
            fixed => {
                let fixed = fixed.get()?;
                py.detach(|| client.pass_content(fixed, last))
            }
        };
        let Some(place) = place else { return PyList::new(py, [self.content(py, piece, last)?]) };
        self.0.drain_output(|around| {
            let (before, behind) = around.split_at(place);
            let parts = PyList::empty(py);
            if !before.is_empty() {
                parts.append(PyBytes::new(py, before))?;
            }
            parts.append(piece)?;
            if !behind.is_empty() {
                parts.append(PyBytes::new(py, behind))?;
            }
            Ok(parts)
        })
    }

    /// Begins a command (bytes, without CRLF) that one reply answers; gives the octets to send.
    #[pyo3(signature = (line, /))]
    fn command<'py>(&mut self, py: Python<'py>, line: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let begun = self.0.command(line);
        self.begun(py, begun)
    }

    /// Begins STARTTLS (RFC 3207); gives the octets to send. Raises `NotOffered`.
    fn starttls<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let begun = self.0.starttls();
        self.begun(py, begun)
    }

    /// The handshake is done; gives the new EHLO, whose reply ends the exchange.
    fn tls_started<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let begun = self.0.tls_started();
        self.begun(py, begun)
    }

    /// Begins AUTH (RFC 4954) with a mechanism by its name on the wire (str) and an initial response (bytes), not yet
    /// in base64, or None; gives the octets to send. Raises `NotOffered`.
    #[pyo3(signature = (mechanism, initial = None))]
    fn auth<'py>(
        &mut self,
        py: Python<'py>,
        mechanism: &str,
        initial: Option<&[u8]>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let begun = self.0.auth(mechanism, initial);
        self.begun(py, begun)
    }

    /// Answers a challenge (bytes, not yet in base64); None gives the exchange up. Gives the octets to send.
    #[pyo3(signature = (response, /))]
    fn respond<'py>(&mut self, py: Python<'py>, response: Option<&[u8]>) -> PyResult<Bound<'py, PyBytes>> {
        let begun = self.0.respond(response);
        self.begun(py, begun)
    }

    /// Which timeout of RFC 5321 4.5.3.2 runs: `banner`, `command`, `data_init`, `data_block`, `data_end`, or "" (str).
    #[getter]
    fn waiting(&self) -> &'static str {
        match self.0.waiting() {
            Waiting::Nothing => "",
            Waiting::Banner => "banner",
            Waiting::Command => "command",
            Waiting::DataInit => "data_init",
            Waiting::DataBlock => "data_block",
            Waiting::DataEnd => "data_end",
        }
    }

    /// Whole replies so far (int): what a driver's clock goes by, for octets that complete none are no progress.
    #[getter]
    fn replies(&self) -> u64 {
        self.0.replies()
    }

    /// Whether the server offered an extension (bool), by its keyword in upper case.
    #[pyo3(signature = (keyword, /))]
    fn offers(&self, keyword: &str) -> bool {
        self.0.offers().has(keyword)
    }

    /// What the server said of itself, as `server_info` gives it.
    #[getter]
    fn info(&self) -> (String, String, HashMap<String, Vec<String>>) {
        let info = self.0.offers().info.clone();
        (info.domain, info.info, info.extensions.into_iter().collect())
    }

    /// Whether the session is in TLS (bool).
    #[getter]
    fn tls(&self) -> bool {
        self.0.tls()
    }

    /// Whether we have logged in (bool).
    #[getter]
    fn authenticated(&self) -> bool {
        self.0.authenticated()
    }

    /// Whether an exchange may begin (bool).
    #[getter]
    fn idle(&self) -> bool {
        self.0.idle()
    }

    /// Whether the session is over (bool).
    #[getter]
    fn closed(&self) -> bool {
        self.0.closed()
    }

    /// The 421 with which the server ended the session (`Response`), or None.
    #[getter]
    fn farewell(&self) -> Option<Response> {
        self.0.farewell().cloned().map(Response)
    }

    /// Keep a transcript from now on.
    fn keep_transcript(&mut self) {
        self.0.keep_transcript();
    }

    /// The lines since the last call: (">" or "<", line) pairs, without secrets and content.
    fn take_transcript(&mut self) -> Vec<(char, String)> {
        self.0.take_transcript()
    }
}

fn pairs(params: Option<&Bound<'_, PyDict>>) -> PyResult<Vec<(String, String)>> {
    let Some(params) = params else { return Ok(Vec::new()) };
    params.iter().map(|(key, value)| Ok((key.extract()?, value.extract()?))).collect()
}

fn borrowed(params: &[(String, String)]) -> Vec<(&str, &str)> {
    params.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

fn not_begun(py: Python<'_>, refused: &NotBegun) -> PyErr {
    match refused {
        NotBegun::OutOfTurn(OutOfTurn(message)) => Refused::Engine.message(py, message),
        NotBegun::Unsendable(Unsendable::Bad(error)) => bad(py, error),
        NotBegun::Unsendable(Unsendable::NotOffered(extension)) => Refused::NotOffered.message(py, extension),
        NotBegun::Unsendable(Unsendable::TooLarge { size, most }) => Refused::TooLarge
            .message(py, &format!("the message has {size} octets, and the server takes at most {most}")),
        NotBegun::Unsendable(Unsendable::NoRecipient) => {
            Refused::Configuration.message(py, "recipients: empty: give at least one address")
        }
    }
}

fn bad(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error.kind {
        ErrorKind::BareNewline => Refused::Syntax,
        _ if error.enhanced.starts_with("5.1.") => Refused::Address,
        _ => Refused::Command,
    };
    class.error(py, error)
}
