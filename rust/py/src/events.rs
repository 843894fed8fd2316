//! What an engine tells its driver.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use smtpx_core::command::Param;
use smtpx_core::session::{Event, Message};

use crate::convert;
use crate::values::{Command, Response};

/// A command that the driver decides.
///
/// It is well formed and in its turn. `reply()` lets it through with its default; `reply(response)` words the answer,
/// and one of 4yz or 5yz refuses the command.
#[pyclass(frozen, module = "smtpx")]
pub struct CommandEvent {
    /// The parsed command (`Command`).
    #[pyo3(get)]
    command: Py<Command>,
    /// The line as it came, without its end (bytes).
    #[pyo3(get)]
    line: Py<PyBytes>,
    /// The reply that `reply()` sends (`Response`).
    #[pyo3(get)]
    default: Py<Response>,
}

#[pymethods]
impl CommandEvent {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (command, default) = (self.command.bind(py).repr()?, self.default.bind(py).repr()?);
        Ok(format!("<CommandEvent {command} default={default}>"))
    }
}

/// A step of AUTH (RFC 4954 4): the command itself, or the client's answer to a challenge.
///
/// Answered by `challenge(octets)`, or by `reply(response)`: 235 logs in, 535 is a failed login and counted as one,
/// and so is `reply()`. The engine has done the base64, and cancels the exchange by itself at "*".
#[pyclass(frozen, module = "smtpx")]
pub struct AuthEvent {
    /// The SASL mechanism, in upper case, one of those offered (str).
    #[pyo3(get)]
    mechanism: Py<PyString>,
    /// True at the command that begins the exchange, False at an answer to a challenge (bool).
    #[pyo3(get)]
    initial: bool,
    /// What the client said, decoded (bytes); None for an AUTH command without an initial response, where the driver
    /// sends the first challenge. An initial response of "=" is b"".
    #[pyo3(get)]
    response: Option<Py<PyBytes>>,
}

#[pymethods]
impl AuthEvent {
    /// Never the response: reprs end in logs.
    fn __repr__(&self) -> String {
        let step = if self.initial { "begins" } else { "goes on" };
        format!("<AuthEvent {} {step}>", self.mechanism)
    }
}

/// A whole message with its envelope.
///
/// `reply()` says that it was accepted, `reply(response)` what else became of it. With the answer the driver takes
/// the responsibility for the message, or does not (RFC 5321 4.2.5).
#[pyclass(frozen, module = "smtpx")]
pub struct MessageEvent {
    /// The reverse-path without its brackets; "" is the null one (str).
    #[pyo3(get)]
    mail_from: Py<PyString>,
    /// The parameters of MAIL: keywords in upper case, values as they came, "" for none (dict of str to str).
    #[pyo3(get)]
    params: Py<PyDict>,
    /// The accepted forward-paths without their brackets, in the order they came (list of str).
    #[pyo3(get)]
    recipients: Py<PyList>,
    /// The parameters of each RCPT, beside `recipients`, likewise (list of dict of str to str).
    #[pyo3(get)]
    rcpt_params: Py<PyList>,
    /// The content: header and body, without dot-stuffing or final dot; lines end in CRLF, except where BODY=BINARYMIME
    /// keeps every octet (bytes).
    #[pyo3(get)]
    data: Py<PyBytes>,
}

#[pymethods]
impl MessageEvent {
    /// Never the content: reprs end in logs.
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let mail_from = self.mail_from.bind(py).repr()?;
        let (recipients, octets) = (self.recipients.bind(py).len(), self.data.bind(py).as_bytes().len());
        Ok(format!("<MessageEvent from {mail_from} to {recipients} recipients, {octets} octets>"))
    }
}

/// A line that the engine refuses by itself, told where `decide_errors` is set.
///
/// `reply()` sends the default, `reply(response)` another wording; refused it is either way.
#[pyclass(frozen, module = "smtpx")]
pub struct ErrorEvent {
    /// The line as it came, without its end (bytes); nothing but the verb, or b"", where it was too long, was content, or
    /// may hold a password.
    #[pyo3(get)]
    line: Py<PyBytes>,
    /// The reply that `reply()` sends (`Response`).
    #[pyo3(get)]
    default: Py<Response>,
}

#[pymethods]
impl ErrorEvent {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (line, default) = (self.line.bind(py).repr()?, self.default.bind(py).repr()?);
        Ok(format!("<ErrorEvent {line} default={default}>"))
    }
}

/// Send the output, then close the connection. It owes no answer.
#[pyclass(frozen, module = "smtpx")]
pub struct CloseEvent {
    /// Why, in a few words for the log (str):
    ///
    /// "quit"                      the client said QUIT
    /// "refused at connect"        `start` was given a reply of 4yz or 5yz
    /// "ended by the handler"      the driver answered 421
    /// "input before the banner"   the client spoke first
    /// "content before 354"        content pipelined behind DATA
    /// "HTTP on an SMTP port"      a browser, perhaps made to
    /// "TLS on a plain port"       a TLS handshake where none was asked for
    /// "bare newline in a command" a line that ends in a bare LF, or has a bare CR, under "reject"
    /// "bare newline in content"   likewise, in a message
    /// "line without end"          more than 1 MiB of it
    /// "content far over the limit", "chunk far over the limit" ten times `max_message_size`
    /// "bad chunk size"            of BDAT: where the next command begins is not known
    /// "too many errors"           `max_errors`
    /// "command flood"             `max_idle_commands`
    /// "too many refused"          `max_refused_recipients`
    /// "too many failed logins"    `max_auth_failures`
    #[pyo3(get)]
    reason: &'static str,
}

#[pymethods]
impl CloseEvent {
    fn __repr__(&self) -> String {
        format!("<CloseEvent {:?}>", self.reason)
    }
}

pub fn to_python(py: Python<'_>, event: Event) -> PyResult<Py<PyAny>> {
    Ok(match event {
        Event::Message(message) => Py::new(py, message_event(py, &message)?)?.into_any(),
        Event::Command { command, line, default } => {
            let command = Py::new(py, Command::from_core(&command))?;
            let (line, default) = (PyBytes::new(py, &line).unbind(), Py::new(py, Response(default))?);
            Py::new(py, CommandEvent { command, line, default })?.into_any()
        }
        Event::Auth { mechanism, initial, response } => {
            let mechanism = PyString::new(py, &mechanism).unbind();
            let response = response.map(|octets| PyBytes::new(py, &octets).unbind());
            Py::new(py, AuthEvent { mechanism, initial, response })?.into_any()
        }
        Event::Refusal { line, default } => {
            let (line, default) = (PyBytes::new(py, &line).unbind(), Py::new(py, Response(default))?);
            Py::new(py, ErrorEvent { line, default })?.into_any()
        }
        Event::Close { reason } => Py::new(py, CloseEvent { reason })?.into_any(),
    })
}

fn pairs<'a>(params: &'a [Param<'_>]) -> impl Iterator<Item = (&'a str, &'a str)> {
    params.iter().map(|param| (param.key.as_ref(), param.value.as_ref()))
}

fn message_event(py: Python<'_>, message: &Message) -> PyResult<MessageEvent> {
    let rcpt_params = PyList::empty(py);
    for params in &message.rcpt_params {
        rcpt_params.append(convert::params(py, pairs(params))?)?;
    }
    Ok(MessageEvent {
        mail_from: PyString::new(py, &message.mail_from).unbind(),
        params: convert::params(py, pairs(&message.params))?.unbind(),
        recipients: PyList::new(py, &message.recipients)?.unbind(),
        rcpt_params: rcpt_params.unbind(),
        data: PyBytes::new(py, &message.data).unbind(),
    })
}
