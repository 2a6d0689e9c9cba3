//! Reading: messages out of a datagram, attributes out of a message. Every length is checked against what is there.
//!
//! The kernel is trusted here, the code is not: a length that does not fit ends the iteration with an error
//! instead of a read beyond the buffer (the class of CVE-2021-43784).

use super::{HEADER, align};
use core::{fmt, net::Ipv4Addr, str};

/// A length or a value in a reply that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for Malformed {}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// The messages of a datagram.
#[derive(Debug, Clone)]
pub struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// Reads `datagram`.
    pub fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let rest = core::mem::take(&mut self.0);
        let Some((header, _)) = rest.split_first_chunk::<HEADER>() else {
            return Some(Err(Malformed("a message header is cut off")));
        };
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if length < HEADER || length > rest.len() {
            return Some(Err(Malformed("a message's length does not fit the datagram")));
        }
        self.0 = rest.get(align(length)..).unwrap_or_default();
        Some(Ok(Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            payload: &rest[HEADER..length],
        }))
    }
}

impl<'a> Message<'a> {
    /// The fixed header of the family (as `ifinfomsg`) and the attributes behind it.
    ///
    /// # Errors
    /// [`Malformed`] when the payload is shorter than the header.
    pub fn split<const N: usize>(&self) -> Result<(&'a [u8; N], Attributes<'a>), Malformed> {
        let (header, _) =
            self.payload.split_first_chunk::<N>().ok_or(Malformed("a family header is cut off"))?;
        Ok((header, Attributes::new(self.payload.get(align(N)..).unwrap_or_default())))
    }
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// `nla_type` without the flags for nesting and byte order.
    pub kind: u16,
    /// The value.
    pub payload: &'a [u8],
}

/// The attributes of a message or of a nest.
#[derive(Debug, Clone)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let rest = core::mem::take(&mut self.0);
        let Some((header, _)) = rest.split_first_chunk::<4>() else {
            return Some(Err(Malformed("an attribute header is cut off")));
        };
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        if length < 4 || length > rest.len() {
            return Some(Err(Malformed("an attribute's length does not fit the message")));
        }
        self.0 = rest.get(align(length)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        Some(Ok(Attribute { kind, payload: &rest[4..length] }))
    }
}

impl<'a> Attribute<'a> {
    fn fixed<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.payload.try_into().map_err(|_| Malformed("an attribute has the wrong length"))
    }

    /// A `u32` of the host's byte order.
    ///
    /// # Errors
    /// [`Malformed`] when the length is not 4; the other readers likewise.
    pub fn u32(&self) -> Result<u32, Malformed> {
        self.fixed().map(u32::from_ne_bytes)
    }

    /// A `u32` of network byte order.
    ///
    /// # Errors
    /// [`Malformed`] when the length is not 4.
    pub fn be32(&self) -> Result<u32, Malformed> {
        self.fixed().map(u32::from_be_bytes)
    }

    /// A `u64` of network byte order.
    ///
    /// # Errors
    /// [`Malformed`] when the length is not 8.
    pub fn be64(&self) -> Result<u64, Malformed> {
        self.fixed().map(u64::from_be_bytes)
    }

    /// An IPv4 address.
    ///
    /// # Errors
    /// [`Malformed`] when the length is not 4.
    pub fn ipv4(&self) -> Result<Ipv4Addr, Malformed> {
        self.fixed::<4>().map(Ipv4Addr::from)
    }

    /// A text, with or without its final NUL.
    ///
    /// # Errors
    /// [`Malformed`] when it is not UTF-8.
    pub fn text(&self) -> Result<&'a str, Malformed> {
        let bytes = self.payload.strip_suffix(&[0]).unwrap_or(self.payload);
        str::from_utf8(bytes).map_err(|_| Malformed("a name is not UTF-8"))
    }

    /// The attributes nested in it.
    pub fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    #[test]
    fn lengths_that_do_not_fit_are_errors() {
        let message = |length: u32, total: usize| {
            let mut bytes = vec![0u8; total];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            Messages::new(&bytes).map(|m| m.map(|m| m.payload.len())).collect::<Vec<_>>()
        };
        assert_eq!(message(20, 20), [Ok(4)]);
        assert!(message(15, 20)[0].is_err());
        assert!(message(21, 20)[0].is_err());
        assert!(message(0, 20)[0].is_err());
        assert!(message(u32::MAX, 20)[0].is_err());
        assert!(message(17, 18)[0].is_ok(), "the last message need not be padded");
        assert!(Messages::new(&[0; 15]).next().unwrap().is_err());

        let attribute = |length: u16, total: usize| {
            let mut bytes = vec![0u8; total];
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            Attributes::new(&bytes).map(|a| a.map(|a| a.payload.len())).collect::<Vec<_>>()
        };
        assert_eq!(attribute(8, 8), [Ok(4)]);
        for (length, total) in [(3, 8), (9, 8), (0, 8), (u16::MAX, 8), (4, 3)] {
            assert!(attribute(length, total)[0].is_err(), "{length} in {total}");
        }
    }

    #[test]
    fn values_of_the_wrong_length_are_errors() {
        let of = |payload| Attribute { kind: 1, payload };
        assert!(of(&[1, 2, 3]).u32().is_err());
        assert!(of(&[1, 2, 3, 4, 5]).ipv4().is_err());
        assert!(of(&[0xff]).text().is_err());
        assert_eq!(of(b"eth0\0").text(), Ok("eth0"));
        assert_eq!(of(b"eth0").text(), Ok("eth0"));
    }

    #[test]
    fn any_bytes_end_the_iteration() {
        // A pseudo-random walk over buffers: no panic, no endless loop.
        let mut state = 0x9e37_79b9_u32;
        for length in 0..200 {
            let mut bytes = vec![0u8; length];
            for byte in &mut bytes {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (state >> 24) as u8 & 0x1f;
            }
            assert!(Messages::new(&bytes).count() <= length);
            assert!(Attributes::new(&bytes).count() <= length);
        }
    }
}
