//! The parsers as functions.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use smtpx_core::reply::ReplyDecoder;
use smtpx_core::{address, command, data, params, reply};

use crate::convert::{Octets, Refused};
use crate::values::{Command, Response};

/// Octets from which on the work is long enough to let other threads run.
pub const WORTH_DETACHING: usize = 1 << 16;

/// The mailbox of a path, `<...>` (RFC 5321 4.1.2), in canonical form; "" is the null reverse-path.
/// Raises `AddressError`.
#[pyfunction]
#[pyo3(signature = (path, /))]
pub fn parse_path<'py>(py: Python<'py>, path: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    let octets = Octets::of_bytes_or_str(path)?;
    let address = address::parse_path(octets.get()?).map_err(|error| Refused::Address.error(py, &error))?;
    Ok(PyString::new(py, address.as_str()))
}

/// A mailbox in canonical form, its comments stripped (RFC 5322 3.2.2). Raises `AddressError`.
#[pyfunction]
#[pyo3(signature = (mailbox, /))]
pub fn parse_mailbox<'py>(py: Python<'py>, mailbox: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    let octets = Octets::of_bytes_or_str(mailbox)?;
    let address =
        address::parse_mailbox(octets.get()?).map_err(|error| Refused::Address.error(py, &error))?;
    Ok(PyString::new(py, address.as_str()))
}

/// A command line (RFC 5321 4.1.1), its CRLF optional; `strict` refuses `MAIL FROM: <a@b>` and the like.
/// Raises `CommandError`.
#[pyfunction]
#[pyo3(signature = (line, /, *, strict = false))]
pub fn parse_command(py: Python<'_>, line: &Bound<'_, PyAny>, strict: bool) -> PyResult<Command> {
    let octets = Octets::of_bytes_or_str(line)?;
    let parsed = command::parse_command(octets.get()?, strict);
    Ok(Command::from_core(&parsed.map_err(|error| Refused::Command.error(py, &error))?))
}

/// One whole reply of a server (RFC 5321 4.2.1). Raises `ResponseError`.
#[pyfunction]
#[pyo3(signature = (raw, /))]
pub fn parse_response(py: Python<'_>, raw: &Bound<'_, PyAny>) -> PyResult<Response> {
    let octets = Octets::of_bytes_or_str(raw)?;
    reply::parse_reply(octets.get()?).map(Response).map_err(|error| Refused::Response.error(py, &error))
}

fn transformed<'py>(
    data: &Bound<'py, PyAny>,
    transform: impl FnOnce(&[u8]) -> Vec<u8> + Send,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = data.py();
    let octets = Octets::of_bytes(data)?;
    let octets = octets.get()?;
    let result =
        if octets.len() >= WORTH_DETACHING { py.detach(|| transform(octets)) } else { transform(octets) };
    Ok(PyBytes::new(py, &result))
}

/// Doubles each dot that starts a line (RFC 5321 4.5.2); no final dot is added.
#[pyfunction]
#[pyo3(signature = (data, /))]
pub fn dot_stuff<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    transformed(data, data::dot_stuff)
}

/// Takes one dot from each line that starts with one (RFC 5321 4.5.2); no final dot is looked for.
#[pyfunction]
#[pyo3(signature = (data, /))]
pub fn dot_unstuff<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    transformed(data, data::dot_unstuff)
}

/// Text as xtext (RFC 3461 4).
#[pyfunction]
#[pyo3(signature = (text, /))]
pub fn encode_xtext(text: &str) -> String {
    params::encode_xtext(text)
}

/// The text of an xtext value (RFC 3461 4). Raises `CommandError`.
#[pyfunction]
#[pyo3(signature = (value, /))]
pub fn decode_xtext(py: Python<'_>, value: &str) -> PyResult<String> {
    params::decode_xtext(value).map_err(|error| Refused::Command.error(py, &error))
}

/// Replies out of a server's stream, however it is split; lengths are octets.
#[pyclass(module = "smtpx")]
pub struct ResponseDecoder(ReplyDecoder);

#[pymethods]
impl ResponseDecoder {
    #[new]
    #[pyo3(signature = (*, max_line = 4096, max_reply = 262_144))]
    fn new(max_line: usize, max_reply: usize) -> Self {
        Self(ReplyDecoder::new(max_line, max_reply))
    }

    /// The replies that `data` completes. Raises `ResponseError`, then and at each later call.
    #[pyo3(signature = (data, /))]
    fn receive_data(&mut self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Vec<Response>> {
        let octets = Octets::of_bytes(data)?;
        let mut replies = Vec::new();
        self.0.feed(octets.get()?, &mut replies).map_err(|error| Refused::Response.error(py, &error))?;
        Ok(replies.into_iter().map(Response).collect())
    }

    /// Octets of a reply that is not whole yet.
    #[getter]
    fn buffered(&self) -> usize {
        self.0.buffered()
    }
}
