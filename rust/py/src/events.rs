//! What an engine tells its driver.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use smtpx_core::command::Param;
use smtpx_core::session::{Event, Message};

use crate::convert;
use crate::values::{Command, Response};

/// A command that the driver decides; `reply(None)` sends `default`.
#[pyclass(frozen, module = "smtpx")]
pub struct CommandEvent {
    #[pyo3(get)]
    command: Py<Command>,
    #[pyo3(get)]
    line: Py<PyBytes>,
    #[pyo3(get)]
    default: Py<Response>,
}

/// A step of AUTH (RFC 4954): answered with `challenge(...)`, or with `reply(...)`, where 235 logs in.
#[pyclass(frozen, module = "smtpx")]
pub struct AuthEvent {
    #[pyo3(get)]
    mechanism: Py<PyString>,
    #[pyo3(get)]
    initial: bool,
    #[pyo3(get)]
    response: Option<Py<PyBytes>>,
}

/// A whole message with its envelope; `rcpt_params` runs beside `recipients`.
#[pyclass(frozen, module = "smtpx")]
pub struct MessageEvent {
    #[pyo3(get)]
    mail_from: Py<PyString>,
    #[pyo3(get)]
    params: Py<PyDict>,
    #[pyo3(get)]
    recipients: Py<PyList>,
    #[pyo3(get)]
    rcpt_params: Py<PyList>,
    #[pyo3(get)]
    data: Py<PyBytes>,
}

/// A line that the engine refuses by itself, told where `decide_errors` is set.
#[pyclass(frozen, module = "smtpx")]
pub struct ErrorEvent {
    #[pyo3(get)]
    line: Py<PyBytes>,
    #[pyo3(get)]
    default: Py<Response>,
}

/// Send the output, then close the connection. It owes no answer.
#[pyclass(frozen, module = "smtpx")]
pub struct CloseEvent {
    #[pyo3(get)]
    reason: &'static str,
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
