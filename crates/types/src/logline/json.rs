//! Strings in JSON as Docker writes them into its log files.

use alloc::vec::Vec;

/// Appends the text of a JSON string without its quotes; bytes that are not UTF-8 become U+FFFD.
pub fn push_json(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        push_valid(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn push_valid(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        // Go escapes &, < and > too: readers that compare bytes see what dockerd writes.
        if byte >= 0x20 && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xe2) {
            continue;
        }
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            // U+2028 and U+2029 end lines in JavaScript; Go escapes them.
            0xe2 => match bytes.get(at + 1..at + 3) {
                Some([0x80, 0xa8]) => b"\\u2028",
                Some([0x80, 0xa9]) => b"\\u2029",
                _ => continue,
            },
            _ => b"",
        };
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + if byte == 0xe2 { 3 } else { 1 };
        if escape.is_empty() {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(&bytes[copied..]);
}

/// The `attrs` object of json-file lines, encoded once for all lines; empty for no attributes.
pub fn encode_attrs<'a>(attrs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in attrs {
        out.push(if out.is_empty() { b'{' } else { b',' });
        for (text, end) in [(key, &b"\":"[..]), (value, b"\"")] {
            out.push(b'"');
            push_json(&mut out, text.as_bytes());
            out.extend_from_slice(end);
        }
    }
    if !out.is_empty() {
        out.push(b'}');
    }
    out
}
