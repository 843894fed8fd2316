//! The client's session as its driver sees it.

mod auth;
mod commands;
mod content;
mod envelope;
mod farewell;
mod greeting;
mod lmtp;
mod loss;
mod peer;
mod replies;
mod server;
mod streams;
mod surplus;
mod tls;
mod transaction;
