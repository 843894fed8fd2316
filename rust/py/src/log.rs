//! The lines of the log, of what `logging` has recorded. How one may write what a peer has sent is for
//! `smtpx.logs.printable` to say; that it leaves printable ASCII as it is is known here too.

use std::borrow::Cow;
use std::io::Write;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyInt, PyString, PyTuple};

use crate::convert::Octets;

type Field<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// The moment (str) of a time (float), seconds since 1970, in UTC. Raises `ValueError`: its year has not four digits.
#[pyfunction]
#[pyo3(signature = (created, /))]
pub fn log_time(py: Python<'_>, created: f64) -> PyResult<Bound<'_, PyString>> {
    let mut text = Vec::with_capacity(32);
    push_time(&mut text, created)?;
    finished(py, &text)
}

/// The fields (dict) of a record's `attributes` (dict): what `extra=` of the logging call has added to them.
#[pyfunction]
#[pyo3(signature = (attributes, /))]
pub fn log_fields<'py>(attributes: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(attributes.py());
    fields_of(attributes)?.into_iter().try_for_each(|(name, value)| fields.set_item(name, value))?;
    Ok(fields)
}

/// The line of text (str) for a record's time (float), level (str), logger (str), message (str) and `attributes` (dict).
///
/// Of its fields those are left out that are None or "", and `event`: the message says what happened.
#[pyfunction]
#[pyo3(signature = (created, level, logger, message, attributes, /))]
pub fn log_line<'py>(
    created: f64,
    level: &Bound<'py, PyAny>,
    logger: &Bound<'py, PyAny>,
    message: &Bound<'py, PyAny>,
    attributes: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyString>> {
    let py = attributes.py();
    let mut line = Vec::with_capacity(256);
    push_time(&mut line, created)?;
    line.push(b' ');
    push(&mut line, level)?;
    line.push(b' ');
    push(&mut line, logger)?;
    line.extend_from_slice(b": ");
    line.extend_from_slice(&printable(py, octets(message)?.get()?)?);
    for (name, value) in fields_of(attributes)? {
        if !is(&name, "event") && says_something(&value)? {
            line.push(b' ');
            push(&mut line, &name)?;
            line.push(b'=');
            push_value(&mut line, &value)?;
        }
    }
    finished(py, &line)
}

fn fields_of<'py>(attributes: &Bound<'py, PyDict>) -> PyResult<Vec<Field<'py>>> {
    static ORDINARY: PyOnceLock<usize> = PyOnceLock::new();
    let py = attributes.py();
    let ordinary = ORDINARY.get_or_try_init(py, || {
        let record = py.import("logging")?.call_method1("makeLogRecord", (PyDict::new(py),))?;
        record.getattr("__dict__")?.len()
    })?;
    // All are taken before any of them is asked for its text, which may be code that changes the record.
    let mut fields: Vec<Field<'_>> =
        with_critical_section(attributes, || attributes.iter().skip(*ordinary).collect());
    // What another handler's formatter has added.
    fields.retain(|(name, _)| !is(name, "message") && !is(name, "asctime"));
    Ok(fields)
}

fn is(name: &Bound<'_, PyAny>, text: &str) -> bool {
    name.cast::<PyString>().is_ok_and(|name| name.to_str().is_ok_and(|name| name == text))
}

/// Whether it is neither None nor ""; most are str or int, which Python need not be asked about.
fn says_something(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return Ok(!text.is_empty()?);
    }
    Ok(value.is_exact_instance_of::<PyInt>() || !value.is_none() && value.ne(intern!(value.py(), ""))?)
}

fn octets<'py>(value: &Bound<'py, PyAny>) -> PyResult<Octets<'py>> {
    // That a str's text is itself need not be asked, and Python would look for signals first.
    if value.is_exact_instance_of::<PyString>() {
        Octets::of_bytes_or_str(value)
    } else {
        Octets::of_bytes_or_str(value.str()?.as_any())
    }
}

fn push(line: &mut Vec<u8>, text: &Bound<'_, PyAny>) -> PyResult<()> {
    line.extend_from_slice(octets(text)?.get()?);
    Ok(())
}

fn push_value(line: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = value.py();
    if let Ok(Ok(number)) = value.cast_exact::<PyInt>().map(|number| number.extract::<i64>()) {
        Ok(write!(line, "{number}")?)
    } else if let Ok(number) = value.cast::<PyFloat>() {
        push_float(line, number.value())
    } else if let Ok(address) = value.cast::<PyTuple>() {
        push_quoted(py, line, &host_and_port(address)?)
    } else {
        push_quoted(py, line, octets(value)?.get()?)
    }
}

fn push_float(line: &mut Vec<u8>, number: f64) -> PyResult<()> {
    let written = if number.is_nan() { write!(line, "nan") } else { write!(line, "{number:.3}") };
    Ok(written?)
}

fn push_quoted(py: Python<'_>, line: &mut Vec<u8>, text: &[u8]) -> PyResult<()> {
    let text = printable(py, text)?;
    if !text.is_empty() && !text.iter().any(|octet| matches!(octet, b' ' | b'"' | b'=')) {
        line.extend_from_slice(&text);
        return Ok(());
    }
    line.push(b'"');
    for &octet in &*text {
        if octet == b'"' {
            line.push(b'\\');
        }
        line.push(octet);
    }
    line.push(b'"');
    Ok(())
}

/// A peer's address as one text.
fn host_and_port(address: &Bound<'_, PyTuple>) -> PyResult<Vec<u8>> {
    let mut text = Vec::with_capacity(64);
    for (index, part) in address.iter().enumerate() {
        if index > 0 {
            text.push(b':');
        }
        let from = text.len();
        push(&mut text, &part)?;
        if text[from..].contains(&b':') {
            text.insert(from, b'[');
            text.push(b']');
        }
    }
    Ok(text)
}

fn printable<'a>(py: Python<'_>, text: &'a [u8]) -> PyResult<Cow<'a, [u8]>> {
    static PRINTABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if text.iter().all(|octet| matches!(octet, b' '..=b'~')) {
        return Ok(Cow::Borrowed(text));
    }
    let written = PRINTABLE.import(py, "smtpx.logs", "printable")?.call1((finished(py, text)?,))?;
    Ok(Cow::Owned(written.extract::<String>()?.into_bytes()))
}

fn finished<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyString>> {
    match std::str::from_utf8(text) {
        Ok(text) => Ok(PyString::new(py, text)),
        // A lone surrogate, see `Octets`.
        Err(_) => {
            PyString::from_encoded_object(&PyBytes::new(py, text), Some(c"utf-8"), Some(c"surrogatepass"))
        }
    }
}

/// As `datetime` writes it, with milliseconds, which are cut as `logging` cuts them.
fn push_time(line: &mut Vec<u8>, created: f64) -> PyResult<()> {
    const DAY: i64 = 86_400;
    // As Python's divmod does it.
    let (mut second, mut fraction) = (created - created % 1.0, created % 1.0);
    if fraction < 0.0 {
        (second, fraction) = (second - 1.0, fraction + 1.0);
    }
    if !(-62_135_596_800.0..253_402_300_800.0).contains(&second) {
        return Err(PyValueError::new_err(format!("the time of a record is {created}")));
    }
    #[expect(clippy::cast_possible_truncation, reason = "in range, and meant to be truncated")]
    let (second, thousandths) = (second as i64, (fraction * 1000.0) as i64);
    let (year, month, day) = date(second.div_euclid(DAY));
    let second = second.rem_euclid(DAY);
    push_number(line, year, 1000, b'-');
    push_number(line, month, 10, b'-');
    push_number(line, day, 10, b'T');
    push_number(line, second / 3600, 10, b':');
    push_number(line, second / 60 % 60, 10, b':');
    push_number(line, second % 60, 10, b'.');
    push_number(line, thousandths, 100, b'Z');
    Ok(())
}

/// The digits from `place` on, without `write!`, which would take half the time of a line here.
fn push_number(line: &mut Vec<u8>, number: i64, mut place: i64, end: u8) {
    while place > 0 {
        line.push(b'0' + u8::try_from(number / place % 10).unwrap_or_default());
        place /= 10;
    }
    line.push(end);
}

/// The year, month and day of a day counted from 1970-01-01, by eras of 400 years that begin on a first of March.
fn date(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468; // since 0000-03-01
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // since March
    let day = day - (153 * month + 2) / 5 + 1;
    let (later, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
    (era * 400 + year + later, month, day)
}
