//! Between Python's values and the core's.

use std::ops::Range;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyMemoryView, PyString, PyType};
use smtpx_core::command::Verb;
use smtpx_core::error::Error;

/// Octets of a `bytes`, a part of it (`memoryview`) or a `str` without a copy, of any other buffer with one.
pub enum Octets<'py> {
    Bytes(Bound<'py, PyBytes>),
    Part(Bound<'py, PyBytes>, Range<usize>),
    Text(Bound<'py, PyString>),
    Copied(Vec<u8>),
}

impl<'py> Octets<'py> {
    pub fn of_bytes(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        match value.cast::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes.clone())),
            Err(_) => Self::of_buffer(value, "bytes"),
        }
    }

    pub fn of_bytes_or_str(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.clone()));
        }
        let Ok(text) = value.cast::<PyString>() else { return Self::of_buffer(value, "bytes or str") };
        if text.to_str().is_ok() {
            return Ok(Self::Text(text.clone()));
        }
        // A lone surrogate, as of octets that were decoded with "surrogateescape", is not UTF-8: for the parser to
        // refuse, in its own class of error.
        let octets = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
        Ok(Self::Bytes(octets.cast_into::<PyBytes>()?))
    }

    fn of_buffer(value: &Bound<'py, PyAny>, expected: &str) -> PyResult<Self> {
        match PyBuffer::<u8>::get(value) {
            Ok(buffer) => match part_of_bytes(value, &buffer)? {
                Some((bytes, range)) => Ok(Self::Part(bytes, range)),
                None => Ok(Self::Copied(buffer.to_vec(value.py())?)),
            },
            Err(_) => {
                Err(PyTypeError::new_err(format!("expected {expected}, not {}", value.get_type().name()?)))
            }
        }
    }

    pub fn get(&self) -> PyResult<&[u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.as_bytes()),
            Self::Part(bytes, range) => Ok(&bytes.as_bytes()[range.clone()]),
            Self::Text(text) => Ok(text.to_str()?.as_bytes()),
            Self::Copied(octets) => Ok(octets),
        }
    }
}

/// Where a view's octets lie in the `bytes` that it is of; only those cannot change while they are read.
fn part_of_bytes<'py>(
    value: &Bound<'py, PyAny>,
    buffer: &PyBuffer<u8>,
) -> PyResult<Option<(Bound<'py, PyBytes>, Range<usize>)>> {
    if !value.is_instance_of::<PyMemoryView>() || !buffer.is_c_contiguous() {
        return Ok(None);
    }
    let Ok(bytes) = value.getattr("obj")?.cast_into::<PyBytes>() else { return Ok(None) };
    let octets = bytes.as_bytes();
    let start = (buffer.buf_ptr() as usize).wrapping_sub(octets.as_ptr() as usize);
    let range = start..start.saturating_add(buffer.len_bytes());
    Ok(octets.get(range.clone()).is_some().then_some((bytes, range)))
}

/// The classes of `smtpx.errors` that the core's errors become.
#[derive(Clone, Copy)]
pub enum Refused {
    Address,
    Command,
    Response,
    Engine,
    Configuration,
    Syntax,
    NotOffered,
    TooLarge,
}

static CLASSES: PyOnceLock<[Py<PyType>; 8]> = PyOnceLock::new();

impl Refused {
    fn class(self, py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
        let classes = CLASSES.get_or_try_init(py, || {
            let errors = py.import("smtpx.errors")?;
            let class =
                |name| -> PyResult<Py<PyType>> { Ok(errors.getattr(name)?.cast_into::<PyType>()?.unbind()) };
            Ok::<_, PyErr>([
                class("AddressError")?,
                class("CommandError")?,
                class("ResponseError")?,
                class("EngineError")?,
                class("ConfigurationError")?,
                class("SyntaxRefused")?,
                class("NotOffered")?,
                class("MessageTooLarge")?,
            ])
        })?;
        Ok(classes[self as usize].bind(py).clone())
    }

    pub fn error(self, py: Python<'_>, error: &Error) -> PyErr {
        match self.class(py) {
            Ok(class) => PyErr::from_type(class, (error.text(), error.code, error.enhanced, error.offset)),
            Err(failure) => failure,
        }
    }

    pub fn message(self, py: Python<'_>, message: &str) -> PyErr {
        match self.class(py) {
            Ok(class) => PyErr::from_type(class, (message.to_owned(),)),
            Err(failure) => failure,
        }
    }
}

/// A limit of 0 would refuse everything, and SIZE 0 would promise that there is none (RFC 1870 4).
pub fn limit<T: TryFrom<i128>>(py: Python<'_>, name: &str, value: i128) -> PyResult<T> {
    let fits = T::try_from(value).ok().filter(|_| value > 0);
    fits.ok_or_else(|| {
        let message = format!("{name}: {value}: write a number from 1 to {}", u32::MAX);
        Refused::Configuration.message(py, &message)
    })
}

static KINDS: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();

/// The member of `smtpx.status.CommandKind`, which is where Python keeps the numbers, for a verb's bit.
pub fn kind(py: Python<'_>, bit: u16) -> PyResult<Py<PyAny>> {
    let kinds = KINDS.get_or_try_init(py, || {
        let class = py.import("smtpx.status")?.getattr("CommandKind")?;
        Verb::ALL.iter().map(|verb| Ok(class.call1((verb.bit(),))?.unbind())).collect::<PyResult<Vec<_>>>()
    })?;
    match Verb::ALL.iter().position(|verb| verb.bit() == bit) {
        Some(index) => Ok(kinds[index].clone_ref(py)),
        None => Ok(py.import("smtpx.status")?.getattr("CommandKind")?.call1((bit,))?.unbind()),
    }
}

/// The keywords that senders use. Kept for good: their hash is computed once, and none is made for a command.
const KEYWORDS: [&str; 8] = ["SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH", "NOTIFY", "ORCPT"];

static KEYS: PyOnceLock<[Py<PyString>; KEYWORDS.len()]> = PyOnceLock::new();

pub fn params<'py, 'a>(
    py: Python<'py>,
    params: impl Iterator<Item = (&'a str, &'a str)>,
) -> PyResult<Bound<'py, PyDict>> {
    let keys = KEYS.get_or_init(py, || KEYWORDS.map(|keyword| PyString::intern(py, keyword).unbind()));
    let dict = PyDict::new(py);
    for (key, value) in params {
        let value = PyString::new(py, value);
        match KEYWORDS.iter().position(|keyword| keyword.eq_ignore_ascii_case(key)) {
            Some(index) => dict.set_item(&keys[index], value)?,
            None => dict.set_item(key.to_ascii_uppercase(), value)?,
        }
    }
    Ok(dict)
}
