//! The parsers as functions.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use smtpx_core::reply::ReplyDecoder;
use smtpx_core::{address, command, data, params, reply};

use crate::convert::{Octets, Refused, limit};
use crate::values::{Command, Response};

/// Octets from which on the work is long enough to let other threads run.
pub const WORTH_DETACHING: usize = 1 << 16;

/// The mailbox of a path, `<...>` (RFC 5321 4.1.2), in canonical form (str); "" is the null reverse-path.
///
/// `path` (bytes or str) may have a source route, which is dropped. Raises `AddressError`.
#[pyfunction]
#[pyo3(signature = (path, /))]
pub fn parse_path<'py>(py: Python<'py>, path: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    let octets = Octets::of_bytes_or_str(path)?;
    let address = address::parse_path(octets.get()?).map_err(|error| Refused::Address.error(py, &error))?;
    Ok(PyString::new(py, address.as_str()))
}

/// A mailbox in canonical form (str): its comments stripped (RFC 5322 3.2.2), and quotes that are not needed.
///
/// `mailbox` is bytes or str. Raises `AddressError`.
#[pyfunction]
#[pyo3(signature = (mailbox, /))]
pub fn parse_mailbox<'py>(py: Python<'py>, mailbox: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    let octets = Octets::of_bytes_or_str(mailbox)?;
    let address =
        address::parse_mailbox(octets.get()?).map_err(|error| Refused::Address.error(py, &error))?;
    Ok(PyString::new(py, address.as_str()))
}

/// A `Command` of its line (RFC 5321 4.1.1), bytes or str, with its CRLF or without.
///
/// `strict` (bool) refuses `MAIL FROM: <a@b>` and the like. Raises `CommandError`.
#[pyfunction]
#[pyo3(signature = (line, /, *, strict = false))]
pub fn parse_command(py: Python<'_>, line: &Bound<'_, PyAny>, strict: bool) -> PyResult<Command> {
    let octets = Octets::of_bytes_or_str(line)?;
    let parsed = command::parse_command(octets.get()?, strict);
    Ok(Command::from_core(&parsed.map_err(|error| Refused::Command.error(py, &error))?))
}

/// A `Response` of one whole reply of a server (RFC 5321 4.2.1), bytes or str, its CRLFs included.
///
/// Raises `ResponseError`: it is malformed, cut short, or more than one.
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

/// The content (bytes) with each dot that starts a line doubled (RFC 5321 4.5.2); no final dot is added.
#[pyfunction]
#[pyo3(signature = (data, /))]
pub fn dot_stuff<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    transformed(data, data::dot_stuff)
}

/// The content (bytes) without one dot of each line that starts with one (RFC 5321 4.5.2); no final dot is looked for.
#[pyfunction]
#[pyo3(signature = (data, /))]
pub fn dot_unstuff<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    transformed(data, data::dot_unstuff)
}

/// How many CRs and LFs (int) of the octets (bytes) are no part of a CRLF.
#[pyfunction]
#[pyo3(signature = (data, /))]
pub fn count_bare_newlines(data: &Bound<'_, PyAny>) -> PyResult<usize> {
    let octets = Octets::of_bytes(data)?;
    let octets = octets.get()?;
    let count = || data::count_bare_newlines(octets);
    Ok(if octets.len() >= WORTH_DETACHING { data.py().detach(count) } else { count() })
}

/// A text (str) as xtext (str), the coding of ENVID, ORCPT and AUTH= (RFC 3461 4).
#[pyfunction]
#[pyo3(signature = (text, /))]
pub fn encode_xtext(text: &str) -> String {
    params::encode_xtext(text)
}

/// The text (str) of an xtext value (str) (RFC 3461 4). Raises `CommandError`.
#[pyfunction]
#[pyo3(signature = (value, /))]
pub fn decode_xtext(py: Python<'_>, value: &str) -> PyResult<String> {
    params::decode_xtext(value).map_err(|error| Refused::Command.error(py, &error))
}

/// Replies out of a server's stream, however it is split.
///
/// `max_line` and `max_reply` (int) are octets of a line and of a reply that are still read; what is longer is a
/// `ResponseError`, as is what is malformed.
#[pyclass(module = "smtpx")]
pub struct ResponseDecoder(ReplyDecoder);

#[pymethods]
impl ResponseDecoder {
    #[new]
    #[pyo3(signature = (*, max_line = 4096, max_reply = 262_144))]
    fn new(py: Python<'_>, max_line: i128, max_reply: i128) -> PyResult<Self> {
        let (max_line, max_reply) = (limit(py, "max_line", max_line)?, limit(py, "max_reply", max_reply)?);
        Ok(Self(ReplyDecoder::new(max_line, max_reply)))
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
