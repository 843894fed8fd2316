//! The server session and its configuration.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use smtpx_core::command::Verb;
use smtpx_core::data::Newlines;
use smtpx_core::session::config::{BadSetting, Config, Limits, Settings};
use smtpx_core::session::{Event, OutOfTurn, Session};

use crate::convert::{Octets, Refused, limit};
use crate::events;
use crate::parsers::WORTH_DETACHING;
use crate::values::Response;

type Step<'py> = (Option<Py<PyAny>>, Bound<'py, PyBytes>);

/// What all sessions of a listener share: made once, not a connection.
///
/// `hostname` (str): the name in the banner and in the reply to EHLO; one word.
/// `greeting` (str): what follows it in the banner.
/// `decide` (`CommandKind` or None): a union; these raise a `CommandEvent`, the others are answered by the engine.
///     STARTTLS, AUTH and messages are always raised.
/// `decide_errors` (bool): also raise an `ErrorEvent` for each line that the engine refuses, for the driver to word.
/// `starttls` (bool): offer STARTTLS (RFC 3207).
/// `tls_required` (bool): until the session is in TLS, refuse all but EHLO, HELO, NOOP, RSET, HELP, STARTTLS and QUIT.
/// `auth_required` (bool): refuse MAIL until the client has logged in.
/// `mechanisms` (sequence of str): SASL mechanisms to offer, the strongest first, in upper case; none: no AUTH.
/// `dsn` (bool): offer DSN and take its parameters (RFC 3461).
/// `extensions` (sequence of str): lines that the reply to EHLO gets beside the engine's own.
/// `mail_params`, `rcpt_params` (sequence of str): keywords that these add to MAIL and to RCPT.
/// `bare_newline` (str): "reject" or "normalize" a bare CR or LF in content.
/// `early_input` (str): "reject" or "accept" what comes before `start`, and content before our 354.
/// `strict` (bool): refuse lenient forms of paths, as in `MAIL FROM: <a@b>`.
///
/// Limits, each an int of 1 or more:
///
/// `max_message_size`: octets of a message's content.
/// `max_recipients`: accepted recipients of a message.
/// `max_command_line`: octets of a command, CRLF included.
/// `max_auth_line`: octets of an AUTH command or of an answer to a challenge, where it is more than the former.
/// `max_errors`: refused commands of a session, which is then closed.
/// `max_idle_commands`: NOOP, RSET, VRFY and the like in a row without a message; likewise.
/// `max_refused_recipients`: of a session; likewise.
/// `max_auth_failures`: of a session; likewise.
///
/// Raises `ConfigurationError` (a `ValueError`), which names the setting and says what to write.
#[pyclass(frozen, module = "smtpx")]
pub struct EngineConfig(Arc<Config>);

#[pymethods]
impl EngineConfig {
    #[new]
    #[pyo3(signature = (
        hostname, *, greeting = "ESMTP smtpx", decide = None, decide_errors = false, starttls = false,
        tls_required = false, auth_required = false, mechanisms = None, dsn = false, extensions = None,
        mail_params = None, rcpt_params = None, bare_newline = "reject", early_input = "reject",
        strict = false, max_message_size = 33_554_432, max_recipients = 1000, max_command_line = 2048,
        max_auth_line = 12_288, max_errors = 20, max_idle_commands = 100, max_refused_recipients = 1000,
        max_auth_failures = 3
    ))]
    #[expect(
        clippy::too_many_arguments,
        clippy::fn_params_excessive_bools,
        reason = "keyword arguments of Python"
    )]
    fn new(
        py: Python<'_>,
        hostname: &str,
        greeting: &str,
        decide: Option<i128>,
        decide_errors: bool,
        starttls: bool,
        tls_required: bool,
        auth_required: bool,
        mechanisms: Option<Vec<String>>,
        dsn: bool,
        extensions: Option<Vec<String>>,
        mail_params: Option<Vec<String>>,
        rcpt_params: Option<Vec<String>>,
        bare_newline: &str,
        early_input: &str,
        strict: bool,
        max_message_size: i128,
        max_recipients: i128,
        max_command_line: i128,
        max_auth_line: i128,
        max_errors: i128,
        max_idle_commands: i128,
        max_refused_recipients: i128,
        max_auth_failures: i128,
    ) -> PyResult<Self> {
        let refused = |message: String| Refused::Configuration.message(py, &message);
        let newlines = match bare_newline {
            "reject" => Newlines::Reject,
            "normalize" => Newlines::Normalize,
            _ => {
                return Err(refused(format!(
                    "bare_newline: {bare_newline:?}: write \"reject\" or \"normalize\""
                )));
            }
        };
        let early_input = match early_input {
            "reject" => false,
            "accept" => true,
            _ => {
                return Err(refused(format!("early_input: {early_input:?}: write \"reject\" or \"accept\"")));
            }
        };
        let limits = Limits {
            message_size: limit(py, "max_message_size", max_message_size)?,
            recipients: limit(py, "max_recipients", max_recipients)?,
            command_line: limit(py, "max_command_line", max_command_line)?,
            auth_line: limit(py, "max_auth_line", max_auth_line)?,
            errors: limit(py, "max_errors", max_errors)?,
            idle_commands: limit(py, "max_idle_commands", max_idle_commands)?,
            refused_recipients: limit(py, "max_refused_recipients", max_refused_recipients)?,
            auth_failures: limit(py, "max_auth_failures", max_auth_failures)?,
        };
        let upper = |keywords: Option<Vec<String>>| {
            keywords.iter().flatten().map(|keyword| keyword.to_ascii_uppercase()).collect()
        };
        let settings = Settings {
            hostname: hostname.to_owned(),
            greeting: greeting.to_owned(),
            decide: verbs(decide).map_err(refused)?,
            decide_errors,
            starttls,
            tls_required,
            auth_required,
            mechanisms: upper(mechanisms),
            dsn,
            extensions: extensions.unwrap_or_default(),
            mail_params: upper(mail_params),
            rcpt_params: upper(rcpt_params),
            newlines,
            early_input,
            strict,
            limits,
        };
        let config = Config::frozen(settings).map_err(|BadSetting(message)| refused(message))?;
        Ok(Self(Arc::new(config)))
    }
}

/// The bits of the verbs that the driver decides.
fn verbs(decide: Option<i128>) -> Result<u16, String> {
    let known = Verb::ALL.iter().fold(0, |bits, verb| bits | verb.bit());
    let fits = u16::try_from(decide.unwrap_or(0)).ok().filter(|bits| bits & !known == 0);
    fits.ok_or_else(|| {
        "decide: write a union of CommandKind, as CommandKind.MAIL | CommandKind.RCPT".to_owned()
    })
}

/// The server's side of a session, without I/O (RFC 5321).
///
/// Each call gives the event that waits for an answer, or None, and the octets to send. Of the events, only
/// `CloseEvent` owes none: send, then close. A `CommandEvent` of STARTTLS that was answered with its default: send,
/// shake hands, then call `tls_started`. An `AuthEvent` is answered by `challenge`, or by `reply` with a code: 235
/// logs in. Calls out of turn raise `EngineError`.
#[pyclass(module = "smtpx")]
pub struct ServerEngine(Session);

impl ServerEngine {
    fn step<'py>(&mut self, py: Python<'py>, event: Option<Event>) -> PyResult<Step<'py>> {
        let output = self.0.drain_output(|octets| PyBytes::new(py, octets));
        Ok((event.map(|event| events::to_python(py, event)).transpose()?, output))
    }

    fn turn<'py>(&mut self, py: Python<'py>, event: Result<Option<Event>, OutOfTurn>) -> PyResult<Step<'py>> {
        let event = event.map_err(|OutOfTurn(message)| Refused::Engine.message(py, message))?;
        self.step(py, event)
    }
}

#[pymethods]
impl ServerEngine {
    #[new]
    #[pyo3(signature = (config, *, tls = false))]
    fn new(config: &EngineConfig, tls: bool) -> Self {
        Self(Session::new(Arc::clone(&config.0), tls))
    }

    /// The banner, or the reply that stands in for it; 4yz and 5yz end the session.
    #[pyo3(signature = (response = None))]
    fn start<'py>(&mut self, py: Python<'py>, response: Option<&Response>) -> PyResult<Step<'py>> {
        let event = self.0.start(response.map(|response| &response.0));
        self.turn(py, event)
    }

    /// Takes what was read: the event that waits for an answer, if any, and the octets to send.
    #[pyo3(signature = (data, /))]
    fn receive_data<'py>(&mut self, py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Step<'py>> {
        let octets = Octets::of_bytes(data)?;
        let octets = octets.get()?;
        let session = &mut self.0;
        let event = if octets.len() >= WORTH_DETACHING {
            py.detach(|| session.receive(octets))
        } else {
            session.receive(octets)
        };
        self.step(py, event)
    }

    /// Answers the event that waits, with its default or with `response`, and goes on from the backlog.
    #[pyo3(signature = (response = None))]
    fn reply<'py>(&mut self, py: Python<'py>, response: Option<&Response>) -> PyResult<Step<'py>> {
        let event = self.0.answer(response.map(|response| &response.0));
        self.turn(py, event)
    }

    /// Answers an `AuthEvent` with a challenge of these octets (RFC 4954 4).
    #[pyo3(signature = (data, /))]
    fn challenge<'py>(&mut self, py: Python<'py>, data: &[u8]) -> PyResult<Step<'py>> {
        let event = self.0.challenge(data);
        self.turn(py, event)
    }

    /// The handshake behind STARTTLS is done; the session starts anew (RFC 3207 4.2).
    fn tls_started(&mut self, py: Python<'_>) -> PyResult<()> {
        self.0.tls_started().map_err(|OutOfTurn(message)| Refused::Engine.message(py, message))
    }

    /// Ends the session; gives the octets still to send, `response` last.
    #[pyo3(signature = (response = None))]
    fn close<'py>(&mut self, py: Python<'py>, response: Option<&Response>) -> Bound<'py, PyBytes> {
        self.0.shut(response.map(|response| &response.0));
        self.0.drain_output(|octets| PyBytes::new(py, octets))
    }

    /// "silent" before the banner, "cleartext", "greeted", "anonymous", "ready", "mail", "refused" (all recipients
    /// were), "rcpt", "data", "auth", "chunks", "chunk-failed", "handshake" or "closed".
    #[getter]
    fn state(&self) -> &'static str {
        self.0.state()
    }

    /// Whether an event waits for its answer.
    #[getter]
    fn owes_answer(&self) -> bool {
        self.0.owes_answer()
    }

    /// Whether the session is over.
    #[getter]
    fn closed(&self) -> bool {
        self.0.closed()
    }

    /// Whether a sender was accepted and its message is not yet answered.
    #[getter]
    fn in_transaction(&self) -> bool {
        self.0.in_transaction()
    }

    /// Whether the session is in TLS.
    #[getter]
    fn tls(&self) -> bool {
        self.0.tls()
    }

    /// The argument of the last HELO or EHLO, or "".
    #[getter]
    fn helo(&self) -> &str {
        self.0.helo()
    }

    /// Whether the client said EHLO.
    #[getter]
    fn esmtp(&self) -> bool {
        self.0.esmtp()
    }

    /// Whether the client has logged in.
    #[getter]
    fn authenticated(&self) -> bool {
        self.0.authenticated()
    }

    /// Octets that wait behind the event at hand.
    #[getter]
    fn buffered(&self) -> usize {
        self.0.buffered()
    }

    /// Accepted MAIL commands so far.
    #[getter]
    fn transactions(&self) -> u64 {
        self.0.transactions()
    }

    /// Refused commands so far.
    #[getter]
    fn errors(&self) -> u32 {
        self.0.errors()
    }

    /// Failed logins so far.
    #[getter]
    fn auth_failures(&self) -> u32 {
        self.0.auth_failures()
    }
}
