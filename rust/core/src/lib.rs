//! SMTP without I/O: no sockets, no clock, no Python.
//!
//! Bytes come in, typed values and bytes to send go out. Every parser here takes linear time and never panics,
//! whatever the input.

#![forbid(unsafe_code)]

pub mod address;
pub mod client;
pub mod command;
pub mod data;
pub mod error;
pub mod params;
pub mod reply;
pub mod session;
pub mod trace;
