//! Writing: requests one after the other in one buffer, which one system call sends.

use super::{HEADER, align, flags};
use alloc::vec::Vec;
use core::net::IpAddr;

/// Requests that are sent together.
///
/// A batch of rtnetlink is a list: the kernel goes on after a message that fails. A batch of nf_tables is a
/// transaction between its begin and end messages.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    messages: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    start: usize,
    what: &'static str,
}

/// Writes the body of one message or nest.
#[derive(Debug)]
pub struct Writer<'a>(&'a mut Vec<u8>);

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message; `what` is said in the error when the kernel refuses it.
    ///
    /// `NLM_F_REQUEST` is added to `flags`. The body begins with the family's fixed header.
    pub fn message(&mut self, what: &'static str, kind: u16, flags: u16, body: impl FnOnce(&mut Writer<'_>)) {
        let start = self.bytes.len();
        self.messages.push(Entry { start, what });
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | flags::REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        body(&mut Writer(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).expect("invariant: a message is below 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        pad(&mut self.bytes);
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many messages were added.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// The size in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// What the message at `index` was to do.
    pub(super) fn what(&self, index: usize) -> &'static str {
        self.messages.get(index).map_or("reply", |entry| entry.what)
    }

    /// Gives the messages their sequence numbers, from `first` on, and asks for the confirmation of the one at
    /// `confirm`.
    pub(super) fn number(&mut self, first: u32, confirm: Option<usize>) -> &[u8] {
        for (index, entry) in (0u32..).zip(&self.messages) {
            let at = entry.start + 8;
            self.bytes[at..at + 4].copy_from_slice(&first.wrapping_add(index).to_ne_bytes());
        }
        if let Some(entry) = confirm.and_then(|index| self.messages.get(index)) {
            let at = entry.start + 6;
            let with = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]) | flags::ACK;
            self.bytes[at..at + 2].copy_from_slice(&with.to_ne_bytes());
        }
        debug_assert!(self.bytes.len() >= HEADER || self.messages.is_empty(), "a message has a header");
        &self.bytes
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(align(bytes.len()), 0);
}

impl Writer<'_> {
    /// Raw bytes: the fixed header of the family.
    pub fn header(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        pad(self.0);
    }

    /// An attribute of bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).expect("invariant: an attribute is below 64 KiB");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        pad(self.0);
    }

    /// A text with its final NUL.
    pub fn text(&mut self, kind: u16, value: &str) {
        let length = u16::try_from(value.len() + 5).expect("invariant: a name is below 64 KiB");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
        pad(self.0);
    }

    /// A `u8`.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// A `u32` of the host's byte order.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// A `u32` of network byte order.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An IP address.
    pub fn ip(&mut self, kind: u16, value: IpAddr) {
        match value {
            IpAddr::V4(address) => self.bytes(kind, &address.octets()),
            IpAddr::V6(address) => self.bytes(kind, &address.octets()),
        }
    }

    /// A nest of attributes (`NLA_F_NESTED` is set).
    ///
    /// # Panics
    /// When the nest is 64 KiB or longer: callers split lists before that.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Writer<'_>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&(kind | 0x8000).to_ne_bytes());
        body(&mut Writer(self.0));
        let length = u16::try_from(self.0.len() - start).expect("invariant: a nest is below 64 KiB");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Messages, *};

    #[test]
    fn what_is_written_is_read_again() {
        let mut batch = Batch::new();
        batch.message("first", 16, flags::CREATE, |w| {
            w.header(&[1, 2, 3, 4]);
            w.text(3, "eth0");
            w.nest(18, |w| w.u32(1, 7));
        });
        batch.message("second", 17, 0, |w| w.header(&[9; 4]));
        let bytes = batch.number(40, Some(1)).to_vec();
        let messages: alloc::vec::Vec<_> = Messages::new(&bytes).map(Result::unwrap).collect();
        assert_eq!((messages[0].kind, messages[0].sequence), (16, 40));
        assert_eq!(messages[0].flags, flags::CREATE | flags::REQUEST);
        assert_eq!(messages[1].flags, flags::ACK | flags::REQUEST);
        let (header, mut attributes) = messages[0].split::<4>().unwrap();
        assert_eq!(header, &[1, 2, 3, 4]);
        assert_eq!(attributes.next().unwrap().unwrap().text(), Ok("eth0"));
        let nest = attributes.next().unwrap().unwrap();
        assert_eq!((nest.kind, nest.nested().next().unwrap().unwrap().u32()), (18, Ok(7)));
        assert!(attributes.next().is_none());
        assert_eq!((batch.what(1), batch.len()), ("second", 2));
    }
}
