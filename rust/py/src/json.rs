//! JSON, as it is written for a database and into a spool.

use std::fmt::Write as _;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyString, PyTuple};

/// Rows (list of tuples) of int, str, bool and None, as JSON (str): an array of arrays, ASCII.
///
/// Raises `TypeError` for a value of another type, `OverflowError` for an int beyond 64 bits, and `UnicodeEncodeError`
/// for a lone surrogate: what is no Unicode is not kept garbled.
#[expect(clippy::needless_pass_by_value, reason = "what Python gives is made for the call")]
#[pyfunction]
#[pyo3(signature = (rows, /))]
pub fn json_rows(rows: Vec<Bound<'_, PyTuple>>) -> PyResult<String> {
    let mut out = String::with_capacity(64 * rows.len() + 2);
    for (index, row) in rows.iter().enumerate() {
        out.push_str(if index == 0 { "[[" } else { ",[" });
        for (index, value) in row.iter_borrowed().enumerate() {
            if index > 0 {
                out.push(',');
            }
            scalar(&mut out, &value)?;
        }
        out.push(']');
    }
    out.push_str(if rows.is_empty() { "[]" } else { "]" });
    Ok(out)
}

fn scalar(out: &mut String, value: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(text) = value.cast::<PyString>() {
        string(out, text.to_str()?);
    } else if value.is_none() {
        out.push_str("null");
    } else if let Ok(truth) = value.cast::<PyBool>() {
        out.push_str(if truth.is_true() { "true" } else { "false" });
    } else if let Ok(number) = value.cast::<PyInt>() {
        put(out, format_args!("{}", number.extract::<i64>()?));
    } else {
        return Err(PyTypeError::new_err(format!("{} in a row of JSON", value.get_type().name()?)));
    }
    Ok(())
}

/// A string of JSON, in ASCII.
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    if text.bytes().all(|octet| matches!(octet, b' '..=b'~') && !matches!(octet, b'"' | b'\\')) {
        out.push_str(text);
    } else {
        text.chars().for_each(|char| escaped(out, char));
    }
    out.push('"');
}

fn escaped(out: &mut String, char: char) {
    match char {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        ' '..='~' => out.push(char),
        _ => {
            for unit in char.encode_utf16(&mut [0; 2]) {
                put(out, format_args!("\\u{unit:04x}"));
            }
        }
    }
}

/// Text that needs no escape.
pub fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = out.write_fmt(text);
}
