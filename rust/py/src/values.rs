//! Command and Response.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFrozenSet, PyList, PyString};
use smtpx_core::command::{Command as CoreCommand, Param};
use smtpx_core::params::{Offered, mail_params, rcpt_params};
use smtpx_core::reply::{Reply, ServerInfo};

use crate::convert::{self, Refused};

/// A command (RFC 5321 4.1.1), as `parse_command` reads it.
///
/// `kind` (`CommandKind`) is its verb, `arg` and `param` (str) are its arguments, `params` (mapping of str to str) the
/// parameters of MAIL and RCPT. The properties `size`, `envid`, `auth`, `notify` and `orcpt` are values of those, typed.
#[pyclass(frozen, freelist = 32, module = "smtpx", name = "Command")]
// One allocation holds its text; what Python sees of it is made when it is asked for, since a dict alone costs as
// much as the parsing. Few are alive at a time: their objects are used again.
pub struct Command {
    verb: u16,
    /// The argument, the parameter, then the ESMTP parameters as they stand in the line.
    text: String,
    arg_end: usize,
    param_end: usize,
    params: OnceLock<Py<PyDict>>,
}

impl Command {
    #[inline]
    pub fn from_core(command: &CoreCommand<'_>) -> Self {
        let size = command.arg.len() + command.param.len() + command.tail.len();
        let mut text = String::with_capacity(size);
        text.push_str(&command.arg);
        text.push_str(&command.param);
        let param_end = text.len();
        text.push_str(&command.tail);
        let (verb, arg_end) = (command.verb.bit(), command.arg.len());
        Self { verb, text, arg_end, param_end, params: OnceLock::new() }
    }

    fn dict<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyDict>> {
        if let Some(dict) = self.params.get() {
            return Ok(dict.bind(py));
        }
        let words = self.text[self.param_end..].split(' ').filter(|word| !word.is_empty());
        let params = words.map(|word| word.split_once('=').unwrap_or((word, "")));
        let dict = convert::params(py, params)?.unbind();
        Ok(self.params.get_or_init(|| dict).bind(py))
    }

    fn core_params(&self, py: Python<'_>) -> PyResult<Vec<Param<'static>>> {
        self.dict(py)?
            .iter()
            .map(|(key, value)| {
                Ok(Param { key: key.extract::<String>()?.into(), value: value.extract::<String>()?.into() })
            })
            .collect()
    }

    /// The typed values; keywords that are not ours to type are let pass.
    fn typed<T>(
        &self,
        py: Python<'_>,
        parse: impl FnOnce(&[Param<'_>], &Offered<'_>) -> smtpx_core::error::Result<T>,
    ) -> PyResult<T> {
        let params = self.core_params(py)?;
        let extra: Vec<String> = params.iter().map(|param| param.key.to_string()).collect();
        let offered = Offered { dsn: true, auth: true, mail_extra: &extra, rcpt_extra: &extra };
        parse(&params, &offered).map_err(|error| Refused::Command.error(py, &error))
    }
}

#[pymethods]
impl Command {
    #[classattr]
    #[pyo3(name = "__match_args__")]
    fn match_args() -> (&'static str, &'static str, &'static str, &'static str) {
        ("kind", "arg", "param", "params")
    }

    #[new]
    #[pyo3(signature = (kind, arg = "", param = "", params = None))]
    fn new(
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        arg: &str,
        param: &str,
        params: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let dict = PyDict::new(py);
        if let Some(params) = params {
            dict.update(params.cast()?)?;
        }
        let text = format!("{arg}{param}");
        Ok(Self {
            verb: kind.extract()?,
            arg_end: arg.len(),
            param_end: text.len(),
            text,
            params: dict.unbind().into(),
        })
    }

    /// The verb (`CommandKind`).
    #[getter]
    fn kind(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        convert::kind(py, self.verb)
    }

    /// The path without its brackets (MAIL, RCPT), the name (HELO, EHLO), the mechanism in upper case (AUTH), the octets in
    /// decimal (BDAT), else the rest of the line; "" for none (str).
    #[getter]
    fn arg(&self) -> &str {
        &self.text[..self.arg_end]
    }

    /// The initial response of AUTH, as it came; "LAST" of BDAT; else "" (str).
    #[getter]
    fn param(&self) -> &str {
        &self.text[self.arg_end..self.param_end]
    }

    /// The parameters: keywords in upper case, values as they came, "" for none.
    #[getter]
    fn params(&self, py: Python<'_>) -> PyResult<Py<PyDict>> {
        Ok(self.dict(py)?.clone().unbind())
    }

    /// SIZE in octets (RFC 1870), or None. Raises `CommandError` where a value of the command is bad.
    #[getter]
    fn size(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        Ok(self.typed(py, mail_params)?.size)
    }

    /// Whether SMTPUTF8 was given (RFC 6531).
    #[getter]
    fn smtputf8(&self, py: Python<'_>) -> PyResult<bool> {
        self.dict(py)?.contains("SMTPUTF8")
    }

    /// ENVID with its xtext decoded (RFC 3461 4.4), or None.
    #[getter]
    fn envid(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.typed(py, mail_params)?.envid)
    }

    /// AUTH= with its xtext decoded (RFC 4954 5), or None.
    #[getter]
    fn auth(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.typed(py, mail_params)?.auth)
    }

    /// NOTIFY's words in upper case (RFC 3461 4.1), or None.
    #[getter]
    fn notify<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyFrozenSet>>> {
        self.typed(py, rcpt_params)?;
        match self.dict(py)?.get_item("NOTIFY")? {
            None => Ok(None),
            Some(value) => {
                let words = value.extract::<String>()?.to_ascii_uppercase();
                PyFrozenSet::new(py, words.split(',')).map(Some)
            }
        }
    }

    /// ORCPT as (address type, decoded address) (RFC 3461 4.2), or None.
    #[getter]
    fn orcpt(&self, py: Python<'_>) -> PyResult<Option<(String, String)>> {
        Ok(self.typed(py, rcpt_params)?.orcpt)
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(other) = other.cast::<Self>() else { return Ok(false) };
        let other = other.get();
        Ok(self.verb == other.verb
            && self.arg() == other.arg()
            && self.param() == other.param()
            && self.dict(py)?.eq(other.dict(py)?)?)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "Command(kind=CommandKind.{}, arg={}, param={}, params={})",
            self.kind(py)?.bind(py).getattr("name")?,
            PyString::new(py, self.arg()).repr()?,
            PyString::new(py, self.param()).repr()?,
            self.dict(py)?.repr()?,
        ))
    }
}

/// A reply (RFC 5321 4.2): a code and its lines of text, the first of them the message.
///
/// `code` (int) is from 200 to 559; `message` (str) is the first line and `body` (sequence of str) are the others, all
/// without code and CRLF. Raises `ResponseError` for another code, and for a text with CR, LF or NUL.
#[pyclass(frozen, module = "smtpx", name = "Response")]
pub struct Response(pub Reply);

#[pymethods]
impl Response {
    #[classattr]
    #[pyo3(name = "__match_args__")]
    fn match_args() -> (&'static str, &'static str, &'static str) {
        ("code", "message", "body")
    }

    #[new]
    #[pyo3(signature = (code, message = "", body = None))]
    fn new(py: Python<'_>, code: u16, message: &str, body: Option<Vec<String>>) -> PyResult<Self> {
        let body = body.unwrap_or_default();
        let mut lines = Vec::with_capacity(1 + body.len());
        lines.push(message.to_owned());
        lines.extend(body);
        Reply::new(code, lines).map(Self).map_err(|error| Refused::Response.error(py, &error))
    }

    /// From 200 to 559 (int).
    #[getter]
    fn code(&self) -> u16 {
        self.0.code()
    }

    /// The first line, without code and CRLF (str).
    #[getter]
    fn message(&self) -> &str {
        &self.0.lines()[0]
    }

    /// The other lines (list of str).
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, &self.0.lines()[1..])
    }

    /// The enhanced status code that the message starts with (RFC 2034), or None.
    #[getter]
    fn enhanced(&self) -> Option<&str> {
        self.0.enhanced()
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let mut framed = Vec::new();
        self.0.encode(&mut framed);
        PyBytes::new(py, &framed)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self.0 == other.get().0)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0.code(), self.0.lines()).hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let message = PyString::new(py, self.message());
        Ok(format!(
            "Response(code={}, message={}, body={})",
            self.0.code(),
            message.repr()?,
            self.body(py)?.repr()?
        ))
    }

    fn __getnewargs__(&self) -> (u16, &str, &[String]) {
        (self.0.code(), self.message(), &self.0.lines()[1..])
    }
}

/// The domain, the rest of its line, and the extensions of an EHLO or HELO reply.
#[pyfunction]
#[pyo3(signature = (response, /))]
pub fn server_info(response: &Response) -> (String, String, HashMap<String, Vec<String>>) {
    let info = ServerInfo::from_reply(&response.0);
    (info.domain, info.info, info.extensions.into_iter().collect())
}
