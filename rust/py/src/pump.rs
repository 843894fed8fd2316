//! The inner loop of a driver that blocks: octets between a socket and an engine, and no Python in between.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::client::{ClientEngine, Step};

/// Writes octets to a plain socket, by its descriptor (int), and feeds the engine what comes, as long as that is prompt:
/// gives the event that it makes, if any, and the octets that are still to be sent.
///
/// It leaves off, for the driver who has a clock to go on, where a write or a read would wait (a read: longer than
/// `SO_RCVTIMEO`), where a read completes no reply, after so many reads, and where the connection ends. A write that
/// failed is left for the next one to meet; a read that fails raises `OSError`, and a server that breaks the protocol
/// `ResponseError`, as of `receive_data`. On Windows it does nothing.
#[pyfunction]
#[pyo3(signature = (engine, descriptor, octets, /))]
pub fn pump<'py>(
    py: Python<'py>,
    engine: &Bound<'py, ClientEngine>,
    descriptor: i32,
    octets: &Bound<'py, PyBytes>,
) -> PyResult<Step<'py>> {
    #[cfg(unix)]
    {
        unix::pump(py, &mut *engine.try_borrow_mut()?, descriptor, octets.as_bytes())
    }
    #[cfg(not(unix))]
    {
        let _ = (py, engine, descriptor);
        Ok((None, octets.clone()))
    }
}

#[cfg(unix)]
mod unix {
    use std::io::{Error, ErrorKind};
    use std::os::fd::BorrowedFd;

    use pyo3::exceptions::PyOSError;
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;
    use rustix::net::{RecvFlags, SendFlags, recv, send};
    use smtpx_core::client::{Client, Event};
    use smtpx_core::error::Error as Broken;

    use crate::client::{ClientEngine, Step, event_to_python};
    use crate::convert::Refused;

    /// Replies are short; what is longer takes another read.
    const READ: usize = 2048;
    /// Reads before the driver looks at its clock.
    const READS: usize = 64;

    enum Failure {
        Read(Error),
        Protocol(Broken),
    }

    pub fn pump<'py>(
        py: Python<'py>,
        engine: &mut ClientEngine,
        descriptor: i32,
        octets: &[u8],
    ) -> PyResult<Step<'py>> {
        if descriptor < 0 {
            return Ok((None, PyBytes::new(py, octets))); // a closed socket's: its next call raises
        }
        let client = &mut engine.0;
        // SAFETY: the caller keeps the socket open for as long as this takes, as for a call of its own methods.
        let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let (event, unsent) =
            py.detach(|| exchange(client, socket, octets)).map_err(|failure| match failure {
                Failure::Read(error) => os_error(py, &error),
                Failure::Protocol(error) => Refused::Response.error(py, &error),
            })?;
        let event = event.map(|event| event_to_python(py, event)).transpose()?;
        Ok((event, PyBytes::new(py, &unsent)))
    }

    fn exchange(
        client: &mut Client,
        socket: BorrowedFd<'_>,
        octets: &[u8],
    ) -> Result<(Option<Event>, Vec<u8>), Failure> {
        let mut unsent = write(socket, octets);
        let mut buffer = [0; READ];
        for _ in 0..READS {
            if !unsent.is_empty() {
                break;
            }
            let Some(read) = read(socket, &mut buffer).map_err(Failure::Read)? else { break };
            let replies = client.replies();
            let event = client.receive(read).map_err(Failure::Protocol)?;
            unsent = client.drain_output(|output| write(socket, output));
            if event.is_some() || client.closed() || client.replies() == replies {
                return Ok((event, unsent));
            }
        }
        Ok((None, unsent))
    }

    /// The error as Python's own calls raise it.
    fn os_error(py: Python<'_>, error: &Error) -> PyErr {
        let number = error.raw_os_error();
        match py.import("os").and_then(|os| os.call_method1("strerror", (number,))) {
            Ok(text) => PyOSError::new_err((number, text.unbind())),
            Err(failure) => failure,
        }
    }

    /// Has the kernel take what it has room for; what is left.
    fn write(socket: BorrowedFd<'_>, octets: &[u8]) -> Vec<u8> {
        if octets.is_empty() {
            return Vec::new();
        }
        let sent = send(socket, octets, SendFlags::DONTWAIT).unwrap_or(0);
        octets[sent..].to_vec()
    }

    /// What has come; None where nothing did in time, or nothing will.
    fn read<'a>(socket: BorrowedFd<'_>, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>, Error> {
        match recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => Ok(None),
            Ok((read, _)) => Ok(Some(&buffer[..read])),
            Err(error) => {
                let error = Error::from(error);
                let waits = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
                if waits { Ok(None) } else { Err(error) }
            }
        }
    }
}
