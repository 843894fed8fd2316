//! The server session and its configuration.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use smtpx_core::data::Newlines;
use smtpx_core::session::config::{Config, Limits, Settings};
use smtpx_core::session::{Event, OutOfTurn, Session};

use crate::convert::{Octets, Refused};
use crate::events;
use crate::parsers::WORTH_DETACHING;
use crate::values::Response;

type Step<'py> = (Option<Py<PyAny>>, Bound<'py, PyBytes>);

/// What all sessions of a listener share: made once, not a connection.
///
/// hostname: the name in the banner and in the reply to EHLO; one word.
/// greeting: what follows it in the banner.
/// decide: a union of `CommandKind`: these raise a `CommandEvent`, the others are answered by the engine. STARTTLS,
///     AUTH and messages are always raised.
/// `decide_errors`: also raise an `ErrorEvent` for each line that the engine refuses, so that the driver can word it.
/// starttls: offer STARTTLS.
/// `tls_required`: refuse all but what RFC 8314 lets pass until the session is in TLS.
/// `auth_required`: refuse MAIL until the client has logged in.
/// mechanisms: SASL mechanisms to offer, the strongest first; none: AUTH is not offered.
/// dsn: offer DSN and take its parameters (RFC 3461).
/// extensions: lines that the reply to EHLO gets beside the engine's own.
/// `mail_params`, `rcpt_params`: keywords that these add to MAIL and to RCPT.
/// `bare_newline`: "reject" or "normalize" a bare CR or LF in content.
/// `early_input`: "reject" or "accept" content that comes before our 354.
/// strict: refuse lenient forms of paths, as in `MAIL FROM: <a@b>`.
/// `max_message_size`, `max_command_line`, `max_auth_line`: octets.
/// `max_recipients`: of a message.
/// `max_errors`, `max_refused_recipients`, `max_auth_failures`: of a session, which is then closed.
/// `max_idle_commands`: NOOP, RSET, VRFY and the like in a row, without a message.
///
/// Raises `CommandError` where a text would break the framing of a reply.
#[pyclass(frozen, module = "smtpx")]
pub struct EngineConfig(Arc<Config>);

#[pymethods]
impl EngineConfig {
    #[new]
    #[pyo3(signature = (
        hostname, *, greeting = "ESMTP smtpx", decide = None, decide_errors = false, starttls = false,
        tls_required = false, auth_required = false, mechanisms = Vec::new(), dsn = false, extensions = Vec::new(),
        mail_params = Vec::new(), rcpt_params = Vec::new(), bare_newline = "reject", early_input = "reject",
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
        decide: Option<&Bound<'_, PyAny>>,
        decide_errors: bool,
        starttls: bool,
        tls_required: bool,
        auth_required: bool,
        mechanisms: Vec<String>,
        dsn: bool,
        extensions: Vec<String>,
        mail_params: Vec<String>,
        rcpt_params: Vec<String>,
        bare_newline: &str,
        early_input: &str,
        strict: bool,
        max_message_size: usize,
        max_recipients: usize,
        max_command_line: usize,
        max_auth_line: usize,
        max_errors: u32,
        max_idle_commands: u32,
        max_refused_recipients: u32,
        max_auth_failures: u32,
    ) -> PyResult<Self> {
        let newlines = match bare_newline {
            "reject" => Newlines::Reject,
            "normalize" => Newlines::Normalize,
            _ => return Err(PyValueError::new_err("bare_newline is \"reject\" or \"normalize\"")),
        };
        let early_input = match early_input {
            "reject" => false,
            "accept" => true,
            _ => return Err(PyValueError::new_err("early_input is \"reject\" or \"accept\"")),
        };
        let upper =
            |keywords: Vec<String>| keywords.iter().map(|keyword| keyword.to_ascii_uppercase()).collect();
        let settings = Settings {
            hostname: hostname.to_owned(),
            greeting: greeting.to_owned(),
            decide: decide.map_or(Ok(0), PyAnyMethods::extract)?,
            decide_errors,
            starttls,
            tls_required,
            auth_required,
            mechanisms,
            dsn,
            extensions,
            mail_extra: upper(mail_params),
            rcpt_extra: upper(rcpt_params),
            newlines,
            early_input,
            strict,
            limits: Limits {
                message_size: max_message_size,
                recipients: max_recipients,
                command_line: max_command_line,
                auth_line: max_auth_line,
                errors: max_errors,
                idle_commands: max_idle_commands,
                refused_recipients: max_refused_recipients,
                auth_failures: max_auth_failures,
            },
        };
        let config = Config::frozen(settings).map_err(|error| Refused::Command.error(py, &error))?;
        Ok(Self(Arc::new(config)))
    }
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

    #[getter]
    fn closed(&self) -> bool {
        self.0.closed()
    }

    /// Whether a sender was accepted and its message is not yet answered.
    #[getter]
    fn in_transaction(&self) -> bool {
        self.0.in_transaction()
    }

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
