//! The frames of a stream without a terminal: `[stream, 0, 0, 0, length as u32 big endian]`, then the bytes.

use bytes::{Buf, Bytes, BytesMut};

/// Which stream of the container a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output (and the echo of stdin, which old daemons mark 0).
    Out,
    /// Standard error.
    Err,
    /// An error of the daemon itself (3).
    System,
}

/// Takes frames apart, whatever pieces they arrive in.
#[derive(Debug, Default)]
pub(crate) struct FrameDecoder {
    pending: BytesMut,
    current: Option<(Stream, usize)>,
}

impl FrameDecoder {
    /// Adds bytes from the wire.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next piece. A long frame is handed out in the pieces in which it arrives.
    pub(crate) fn next(&mut self) -> Option<(Stream, Bytes)> {
        loop {
            if let Some((stream, left)) = self.current {
                if left == 0 {
                    self.current = None;
                    continue;
                }
                if self.pending.is_empty() {
                    return None;
                }
                let piece = self.pending.split_to(left.min(self.pending.len())).freeze();
                self.current = Some((stream, left - piece.len()));
                return Some((stream, piece));
            }
            if self.pending.len() < 8 {
                return None;
            }
            let stream = match self.pending[0] {
                2 => Stream::Err,
                3 => Stream::System,
                _ => Stream::Out,
            };
            self.pending.advance(4);
            let length = self.pending.get_u32();
            self.current = Some((stream, length as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_apart_at_any_cut() {
        let wire = [
            &[1, 0, 0, 0, 0, 0, 0, 3][..],
            b"abc",
            &[2, 0, 0, 0, 0, 0, 0, 0],
            &[2, 0, 0, 0, 0, 0, 0, 2],
            b"de",
        ]
        .concat();
        for cut in 1..wire.len() {
            let mut decoder = FrameDecoder::default();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            for part in wire.chunks(cut) {
                decoder.push(part);
                while let Some((stream, bytes)) = decoder.next() {
                    if stream == Stream::Err { &mut err } else { &mut out }.extend_from_slice(&bytes);
                }
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"abc"[..], &b"de"[..]), "{cut}");
        }
    }
}
