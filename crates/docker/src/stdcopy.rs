//! The multiplexed stream: frames of `[stream, 0, 0, 0, length big-endian]` and the bytes.

use bytes::{BufMut, Bytes, BytesMut};

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output of the process.
    Stdout = 1,
    /// Standard error of the process.
    Stderr = 2,
    /// An error of the daemon itself; the client ends with it.
    System = 3,
}

/// Length of a frame's head.
pub(crate) const HEAD: usize = 8;

/// The head of a frame of so many bytes.
pub(crate) fn head(stream: Stream, length: u32) -> [u8; HEAD] {
    let [a, b, c, d] = length.to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

/// The bytes as one frame in one buffer.
pub(crate) fn frame(stream: Stream, data: &[u8]) -> Bytes {
    let length = u32::try_from(data.len()).expect("invariant: chunks are far below 4 GiB");
    let mut framed = BytesMut::with_capacity(HEAD + data.len());
    framed.put_slice(&head(stream, length));
    framed.put_slice(data);
    framed.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_head_and_bytes() {
        assert_eq!(frame(Stream::Stderr, b"abc").as_ref(), b"\x02\0\0\0\0\0\0\x03abc");
        assert_eq!(head(Stream::Stdout, 0x0102_0304), [1, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(frame(Stream::System, b"").len(), HEAD);
    }
}
