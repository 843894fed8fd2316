//! The trace line.

use pyo3::prelude::*;
use pyo3::types::{
    PyBytes, PyDateAccess as _, PyDateTime, PyString, PyTimeAccess as _, PyTzInfo, PyTzInfoAccess as _,
};
use smtpx_core::trace::{self, Client, Moment, Trace};

use crate::convert::Octets;

/// The `Received:` field (RFC 5321 4.4) for a message (bytes), folded, its CRLF included.
///
/// `by` (str) is this server's name, `name` (str) the message's id, `received` (datetime) when it came, `utf8` (bool)
/// whether with SMTPUTF8, and `recipient` (str or None) whom it is for, when it is one alone. `client` (tuple or None)
/// has of its session the name (str), the address (str or None), whether it said EHLO, is encrypted, and has logged in
/// (bool), and protocol and cipher (str).
#[pyfunction]
#[pyo3(signature = (by, name, received, utf8, recipient, client, /))]
pub fn trace_line<'py>(
    by: &Bound<'py, PyString>,
    name: &Bound<'py, PyString>,
    received: &Bound<'py, PyDateTime>,
    utf8: bool,
    recipient: Option<&Bound<'py, PyString>>,
    client: Option<Session<'py>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let (by, name) = (Octets::of_bytes_or_str(by)?, Octets::of_bytes_or_str(name)?);
    let path = recipient.map(|path| Octets::of_bytes_or_str(path)).transpose()?;
    let client = client.map(Said::of).transpose()?;
    let zone = zone(received)?;
    let trace = Trace {
        client: client.as_ref().map(Said::get).transpose()?,
        by: by.get()?,
        id: name.get()?,
        utf8,
        recipient: path.as_ref().map(Octets::get).transpose()?,
        received: Moment {
            year: u16::try_from(received.get_year())?,
            month: received.get_month(),
            day: received.get_day(),
            hour: received.get_hour(),
            minute: received.get_minute(),
            second: received.get_second(),
            zone: &zone,
        },
    };
    let line = trace.line();
    if let (Some(recipient), Err(_)) = (recipient, std::str::from_utf8(&line)) {
        recipient.to_str()?; // it has a lone surrogate, and raises
    }
    Ok(PyBytes::new(received.py(), &line))
}

type Session<'py> =
    (Bound<'py, PyString>, Option<Bound<'py, PyString>>, bool, bool, bool, Bound<'py, PyString>);

/// What is known of a session, in texts whose octets a `Client` borrows.
struct Said<'py> {
    helo: Octets<'py>,
    host: Option<Octets<'py>>,
    tls_info: Octets<'py>,
    esmtp: bool,
    tls: bool,
    authenticated: bool,
}

impl<'py> Said<'py> {
    fn of((helo, host, esmtp, tls, authenticated, tls_info): Session<'py>) -> PyResult<Self> {
        Ok(Self {
            helo: Octets::of_bytes_or_str(&helo)?,
            host: host.map(|host| Octets::of_bytes_or_str(&host)).transpose()?,
            tls_info: Octets::of_bytes_or_str(&tls_info)?,
            esmtp,
            tls,
            authenticated,
        })
    }

    fn get(&self) -> PyResult<Client<'_>> {
        Ok(Client {
            helo: self.helo.get()?,
            host: self.host.as_ref().map(Octets::get).transpose()?,
            tls_info: self.tls_info.get()?,
            esmtp: self.esmtp,
            tls: self.tls,
            authenticated: self.authenticated,
        })
    }
}

fn zone(moment: &Bound<'_, PyDateTime>) -> PyResult<String> {
    let utc = PyTzInfo::utc(moment.py())?;
    match moment.get_tzinfo() {
        None => Ok("-0000".to_owned()), // nobody knows (RFC 5322 3.3)
        Some(zone) if zone.is(utc) => Ok("+0000".to_owned()),
        Some(_) => moment.call_method1("strftime", ("%z",))?.extract(),
    }
}

/// How many `Received:` fields (int) the header of a message (bytes) has, in its first 256 KiB.
#[pyfunction]
#[pyo3(signature = (data, /))]
pub fn count_received(data: &Bound<'_, PyAny>) -> PyResult<usize> {
    Ok(trace::count_received(Octets::of_bytes(data)?.get()?))
}
