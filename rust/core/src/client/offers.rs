//! What a server offers, typed (RFC 5321 4.1.1.1).

use crate::reply::{Reply, ServerInfo};

/// The extensions that change what the client says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an extension of its own")]
pub struct Offers {
    pub info: ServerInfo,
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870; the most octets of a message, `u64::MAX` for no limit that the server tells.
    pub size: Option<u64>,
    /// RFC 6152.
    pub eight_bit: bool,
    /// RFC 3030.
    pub chunking: bool,
    pub binary: bool,
    /// RFC 6531.
    pub utf8: bool,
}

impl Offers {
    /// By the reply to EHLO; one to HELO names none.
    pub fn of(reply: &Reply) -> Self {
        let info = ServerInfo::from_reply(reply);
        let params = |keyword: &str| {
            info.extensions.iter().find(|(name, _)| name == keyword).map(|(_, params)| params.as_slice())
        };
        let has = |keyword: &str| params(keyword).is_some();
        let chunking = has("CHUNKING");
        Self {
            pipelining: has("PIPELINING"),
            size: params("SIZE").map(most),
            eight_bit: has("8BITMIME"),
            chunking,
            binary: chunking && has("BINARYMIME"),
            utf8: has("SMTPUTF8"),
            info,
        }
    }

    /// Whether the server named this extension.
    pub fn has(&self, keyword: &str) -> bool {
        self.info.extensions.iter().any(|(name, _)| name == keyword)
    }
}

/// "No number" and 0 are no fixed limit (RFC 1870 4), and so is what is not a number.
fn most(params: &[String]) -> u64 {
    params.first().and_then(|number| number.parse().ok()).filter(|&most| most > 0).unwrap_or(u64::MAX)
}
