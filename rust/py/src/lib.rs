//! The module `smtpx._core`: smtpx-core for Python. Glue only: arguments in, typed values and exceptions out; and
//! `files`, which does I/O while others have the GIL.

mod client;
mod convert;
mod engine;
mod envelope;
mod events;
mod files;
mod json;
mod log;
mod parsers;
mod pump;
mod trace;
mod values;

use pyo3::prelude::*;

// Nothing here is shared but behind a class's own borrow check, so free-threaded builds need no GIL.
#[pymodule(gil_used = false)]
mod _core {
    use super::{Bound, PyModule, PyModuleMethods, PyResult};
    #[pymodule_export]
    use crate::client::{ChallengeEvent, ClientEngine, ContentEvent, HandshakeEvent, ReplyEvent, SentEvent};
    #[pymodule_export]
    use crate::engine::{EngineConfig, ServerEngine};
    #[pymodule_export]
    use crate::envelope::{EnvelopeEncoder, checksum};
    #[pymodule_export]
    use crate::events::{AuthEvent, CloseEvent, CommandEvent, ErrorEvent, MessageEvent};
    #[pymodule_export]
    use crate::files::keep_files;
    #[pymodule_export]
    use crate::json::json_rows;
    #[pymodule_export]
    use crate::log::{log_fields, log_line, log_time};
    #[pymodule_export]
    use crate::parsers::{
        ResponseDecoder, count_bare_newlines, decode_xtext, dot_stuff, dot_unstuff, encode_xtext,
        parse_command, parse_mailbox, parse_path, parse_response,
    };
    #[pymodule_export]
    use crate::pump::pump;
    #[pymodule_export]
    use crate::trace::{count_received, trace_line};
    #[pymodule_export]
    use crate::values::{Command, Response, server_info};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
