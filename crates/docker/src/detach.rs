//! The key sequence that leaves an attached terminal: `ctrl-p,ctrl-q` unless the client says otherwise.
//!
//! Nothing here reads or writes a stream: the caller feeds what came and passes on what is given back.

use crate::error::ApiError;

/// Parses `ctrl-p,ctrl-q` or single characters, separated by commas, into bytes.
pub(crate) fn parse_keys(text: &str) -> Result<Vec<u8>, ApiError> {
    if text.is_empty() {
        return Ok(vec![0x10, 0x11]);
    }
    let invalid = || ApiError::bad_parameter(format!("Invalid detach keys ({text}) provided"));
    text.split(',').map(|key| key_byte(key).ok_or_else(invalid)).collect()
}

fn key_byte(key: &str) -> Option<u8> {
    if let [byte] = key.as_bytes() {
        return byte.is_ascii().then_some(*byte);
    }
    let control = key.strip_prefix("ctrl-").or_else(|| key.strip_prefix("CTRL-"))?.as_bytes();
    match control {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [b'@'] => Some(0),
        [b'['] => Some(27),
        [b'\\'] => Some(28),
        [b']'] => Some(29),
        [b'^'] => Some(30),
        [b'_'] => Some(31),
        _ => None,
    }
}

/// Looks for the sequence in what a client types. Keys that began it and went elsewhere are passed on.
#[derive(Debug)]
pub(crate) struct Detacher {
    keys: Vec<u8>,
    matched: usize,
}

impl Detacher {
    /// A detacher for these keys.
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Takes input; gives what goes to the terminal and whether the sequence is complete.
    pub(crate) fn feed(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(input.len());
        for &byte in input {
            if self.keys.get(self.matched) != Some(&byte) {
                passed.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (passed, true);
                }
            } else {
                passed.push(byte);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_parsed() {
        assert_eq!(parse_keys("").unwrap(), [16, 17]);
        assert_eq!(parse_keys("ctrl-p,ctrl-q").unwrap(), [16, 17]);
        assert_eq!(parse_keys("ctrl-[,a,ctrl-@").unwrap(), [27, b'a', 0]);
        assert_eq!(parse_keys("ctrl-foo").unwrap_err().message(), "Invalid detach keys (ctrl-foo) provided");
    }

    #[test]
    fn a_sequence_may_come_in_pieces() {
        let mut detacher = Detacher::new(vec![16, 17]);
        assert_eq!(detacher.feed(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(detacher.feed(b"\x11rest"), (vec![], true));
    }

    #[test]
    fn a_sequence_that_goes_elsewhere_is_passed_on() {
        let mut detacher = Detacher::new(vec![16, 17]);
        assert_eq!(detacher.feed(b"\x10x\x10\x10"), (b"\x10x\x10".to_vec(), false));
        assert_eq!(detacher.feed(b"\x11"), (vec![], true));
    }
}
