//! The envelope of a stored message, as JSON (docs/spool-format.md).

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyDateAccess as _, PyDateTime, PyDict, PyInt, PyList, PyString, PyTimeAccess as _,
    PyTuple, PyType, PyTzInfo, PyTzInfoAccess as _,
};

use crate::json::{put, string};
use crate::parsers::WORTH_DETACHING;

/// Containers within containers that are written here: a list of the recipients' dicts.
const NESTING: u8 = 2;

/// An ordinary envelope is this long.
const USUAL: usize = 512;

/// Writes the envelopes of messages: what is usual itself, quickly, and for all else it asks Python, which has the rules.
///
/// `session` (type) is the class of a message's session, whose `__slots__` are written. `check` is called with a message
/// that has a field of no usual type, and raises where it is of a wrong one. `utc_text` gives the text (str) of a moment
/// that is not a plain `datetime` in `datetime.UTC`. `to_json` gives the JSON (str, ASCII) of any value.
#[pyclass(frozen, module = "smtpx")]
pub struct EnvelopeEncoder {
    session: Py<PyType>,
    /// The session's attributes, each with what stands before its value.
    facts: Vec<(Py<PyString>, String)>,
    check: Py<PyAny>,
    utc_text: Py<PyAny>,
    to_json: Py<PyAny>,
}

#[pymethods]
impl EnvelopeEncoder {
    #[new]
    #[pyo3(signature = (session, check, utc_text, to_json))]
    fn new(
        session: Bound<'_, PyType>,
        check: Py<PyAny>,
        utc_text: Py<PyAny>,
        to_json: Py<PyAny>,
    ) -> PyResult<Self> {
        let names: Vec<Bound<'_, PyString>> = session.getattr("__slots__")?.extract()?;
        let before = |index| if index == 0 { '{' } else { ',' };
        let facts = names.into_iter().enumerate();
        let facts = facts.map(|(index, name)| {
            let key = format!("{}\"{name}\":", before(index));
            (name.unbind(), key)
        });
        Ok(Self { facts: facts.collect(), session: session.unbind(), check, utc_text, to_json })
    }

    /// The envelope of a message (`MailTx`) as one line of JSON, its LF included (bytes): ASCII, whatever the addresses
    /// hold. Raises what the three functions raise.
    #[pyo3(signature = (mail, /))]
    fn encode<'py>(&self, mail: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = mail.py();
        let id = mail.getattr(intern!(py, "id"))?;
        let mail_from = mail.getattr(intern!(py, "mail_from"))?;
        let params = mail.getattr(intern!(py, "params"))?;
        let recipients = mail.getattr(intern!(py, "recipients"))?;
        let rcpt_params = mail.getattr(intern!(py, "rcpt_params"))?;
        let received = mail.getattr(intern!(py, "received"))?;
        let postpone = mail.getattr(intern!(py, "postpone"))?;
        let retry = mail.getattr(intern!(py, "retry"))?;
        let session = mail.getattr(intern!(py, "session"))?;
        let usual = id.is_instance_of::<PyString>()
            && mail_from.is_instance_of::<PyString>()
            && are_params(&params)
            && are_parallel(&recipients, &rcpt_params)
            && is_moment(&received)
            && is_moment(&postpone)
            && retry.is_instance_of::<PyInt>()
            && (session.is_none() || session.get_type().is(&self.session))
            && mail.getattr(intern!(py, "data"))?.is_instance_of::<PyBytes>();
        if !usual {
            self.check.call1(py, (mail,))?;
        }
        let mut line = Line { text: String::with_capacity(USUAL), python: self };
        line.field("{\"id\":", &id)?;
        line.field(",\"mail_from\":", &mail_from)?;
        line.field(",\"params\":", &params)?;
        line.field(",\"recipients\":", &recipients)?;
        line.field(",\"rcpt_params\":", &rcpt_params)?;
        line.moment(",\"received\":", &received)?;
        line.moment(",\"postpone\":", &postpone)?;
        line.field(",\"retry\":", &retry)?;
        line.session(",\"session\":", &session)?;
        line.text.push_str("}\n");
        Ok(PyBytes::new(py, line.text.as_bytes()))
    }
}

/// The CRC-32 (int) of two parts (bytes), one behind the other.
#[pyfunction]
#[pyo3(signature = (first, second, /))]
pub fn checksum(first: &Bound<'_, PyBytes>, second: &Bound<'_, PyBytes>) -> u32 {
    let (py, first, second) = (first.py(), first.as_bytes(), second.as_bytes());
    let of_both = || {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(first);
        hasher.update(second);
        hasher.finalize()
    };
    if first.len() + second.len() >= WORTH_DETACHING { py.detach(of_both) } else { of_both() }
}

fn are_strings<'py>(mut values: impl Iterator<Item = Bound<'py, PyAny>>) -> bool {
    values.all(|value| value.is_instance_of::<PyString>())
}

fn are_params(value: &Bound<'_, PyAny>) -> bool {
    value.cast_exact::<PyDict>().is_ok_and(|params| {
        params.is_empty() || (are_strings(params.keys().iter()) && are_strings(params.values().iter()))
    })
}

fn are_parallel(recipients: &Bound<'_, PyAny>, rcpt_params: &Bound<'_, PyAny>) -> bool {
    let (Ok(recipients), Ok(rcpt_params)) =
        (recipients.cast_exact::<PyList>(), rcpt_params.cast_exact::<PyList>())
    else {
        return false;
    };
    recipients.len() == rcpt_params.len()
        && are_strings(recipients.iter())
        && rcpt_params.iter().all(|params| are_params(&params))
}

fn is_moment(value: &Bound<'_, PyAny>) -> bool {
    value.is_none() || value.is_exact_instance_of::<PyDateTime>()
}

struct Line<'a> {
    text: String,
    python: &'a EnvelopeEncoder,
}

impl Line<'_> {
    fn field(&mut self, key: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.text.push_str(key);
        self.value(value, NESTING)
    }

    fn session(&mut self, key: &str, session: &Bound<'_, PyAny>) -> PyResult<()> {
        if session.is_none() {
            return self.field(key, session);
        }
        self.text.push_str(key);
        for (name, key) in &self.python.facts {
            self.field(key, &session.getattr(name)?)?;
        }
        self.text.push('}');
        Ok(())
    }

    fn moment(&mut self, key: &str, moment: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = moment.py();
        let utc = PyTzInfo::utc(py)?;
        match moment.cast_exact::<PyDateTime>() {
            Ok(moment) if moment.get_tzinfo().is_some_and(|zone| zone.is(utc)) => {
                self.text.push_str(key);
                self.utc(moment);
                Ok(())
            }
            _ if moment.is_none() => self.field(key, moment),
            _ => self.field(key, self.python.utc_text.call1(py, (moment,))?.bind(py)),
        }
    }

    /// As `datetime.isoformat` writes it.
    fn utc(&mut self, moment: &Bound<'_, PyDateTime>) {
        let (year, month, day) = (moment.get_year(), moment.get_month(), moment.get_day());
        let (hour, minute, second) = (moment.get_hour(), moment.get_minute(), moment.get_second());
        put(
            &mut self.text,
            format_args!("\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"),
        );
        match moment.get_microsecond() {
            0 => {}
            micros => put(&mut self.text, format_args!(".{micros:06}")),
        }
        self.text.push_str("+00:00\"");
    }

    fn value(&mut self, value: &Bound<'_, PyAny>, nesting: u8) -> PyResult<()> {
        if let Some(text) = value.cast::<PyString>().ok().and_then(|text| text.to_str().ok()) {
            string(&mut self.text, text);
        } else if value.is_none() {
            self.text.push_str("null");
        } else if let Ok(truth) = value.cast::<PyBool>() {
            self.text.push_str(if truth.is_true() { "true" } else { "false" });
        } else if let Some(number) = value.cast_exact::<PyInt>().ok().and_then(|n| n.extract::<i64>().ok()) {
            put(&mut self.text, format_args!("{number}"));
        } else if nesting == 0 {
            return self.as_python_does(value);
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            return self.array(list.iter(), nesting);
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            return self.array(tuple.iter(), nesting);
        } else if let Ok(dict) = value.cast_exact::<PyDict>() {
            return self.object(dict, nesting);
        } else {
            return self.as_python_does(value);
        }
        Ok(())
    }

    fn array<'py>(&mut self, values: impl Iterator<Item = Bound<'py, PyAny>>, nesting: u8) -> PyResult<()> {
        self.text.push('[');
        for (index, value) in values.enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.value(&value, nesting - 1)?;
        }
        self.text.push(']');
        Ok(())
    }

    fn object(&mut self, dict: &Bound<'_, PyDict>, nesting: u8) -> PyResult<()> {
        if dict.is_empty() {
            self.text.push_str("{}");
            return Ok(());
        }
        // A list, since it stays as it is when another thread changes the dict.
        let items: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)> = dict.items().extract()?;
        if !items.iter().all(|(key, _)| key.is_instance_of::<PyString>()) {
            return self.as_python_does(dict);
        }
        for (index, (key, value)) in items.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.value(key, 0)?;
            self.text.push(':');
            self.value(value, nesting - 1)?;
        }
        self.text.push('}');
        Ok(())
    }

    /// Subclasses, large numbers, lone surrogates, and what cannot be written at all.
    fn as_python_does(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = value.py();
        let text = self.python.to_json.call1(py, (value,))?;
        self.text.push_str(text.bind(py).cast::<PyString>()?.to_str()?);
        Ok(())
    }
}
