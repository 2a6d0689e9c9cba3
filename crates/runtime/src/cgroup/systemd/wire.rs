//! D-Bus messages (D-Bus specification, "Message Protocol"): method calls built, what comes back read with every length
//! checked. Only the types that systemd's manager is asked with and answers with.

use alloc::{
    borrow::{Cow, ToOwned},
    string::{String, ToString},
    vec::Vec,
};

/// Types of messages.
pub(super) const METHOD_CALL: u8 = 1;
pub(super) const METHOD_RETURN: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

/// The fixed part of a header.
pub(super) const HEAD: usize = 16;

/// The longest message that is taken; systemd's signals to its direct connections are some ten KiB.
const LONGEST: usize = 4 << 20;

// Fields of a header.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A value of a property.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Byte(u8),
    Bool(bool),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Double(f64),
    Text(Cow<'static, str>),
    /// Values of one basic type, named by its signature.
    Array(char, Vec<Value>),
    /// `a(ss)`.
    Pairs(Vec<(String, String)>),
}

impl Value {
    pub(super) fn text(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    pub(super) fn bytes(bytes: &[u8]) -> Self {
        Self::Array('y', bytes.iter().map(|byte| Self::Byte(*byte)).collect())
    }

    /// Its type: one letter of the specification, or an array's.
    pub(super) fn signature(&self) -> String {
        match self {
            Self::Array(element, _) => String::from("a") + &element.to_string(),
            Self::Pairs(_) => "a(ss)".to_owned(),
            basic => basic.letter().to_string(),
        }
    }

    /// The letter of a basic type.
    pub(super) fn letter(&self) -> char {
        match self {
            Self::Byte(_) => 'y',
            Self::Bool(_) => 'b',
            Self::I16(_) => 'n',
            Self::U16(_) => 'q',
            Self::I32(_) => 'i',
            Self::U32(_) => 'u',
            Self::I64(_) => 'x',
            Self::U64(_) => 't',
            Self::Double(_) => 'd',
            Self::Text(_) => 's',
            Self::Array(..) | Self::Pairs(_) => 'a',
        }
    }
}

/// A property of a unit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Property {
    pub(super) name: Cow<'static, str>,
    pub(super) value: Value,
}

impl Property {
    pub(super) fn new(name: &'static str, value: Value) -> Self {
        Self { name: Cow::Borrowed(name), value }
    }
}

/// How many bytes a value of this type begins on a multiple of.
fn alignment(letter: char) -> usize {
    match letter {
        'y' | 'g' | 'v' => 1,
        'n' | 'q' => 2,
        'x' | 't' | 'd' | '(' => 8,
        _ => 4,
    }
}

/// Writes values one after the other, little endian.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }

    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A boolean is a number of four bytes.
    pub(super) fn bool(&mut self, value: bool) {
        self.number(u32::from(value));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.extend_from_slice(text.as_bytes());
        self.byte(0);
    }

    fn signature(&mut self, signature: &str) {
        self.byte(signature.len() as u8);
        self.0.extend_from_slice(signature.as_bytes());
        self.byte(0);
    }

    /// An array: its length counts neither itself nor the padding before the first element.
    pub(super) fn array(&mut self, element: char, write: impl FnOnce(&mut Self)) {
        self.number(0);
        let length = self.0.len() - 4;
        self.align(alignment(element));
        let first = self.0.len();
        write(self);
        let bytes = (self.0.len() - first) as u32;
        if let Some(place) = self.0.get_mut(length..length + 4) {
            place.copy_from_slice(&bytes.to_le_bytes());
        }
    }

    fn fixed<const SIZE: usize>(&mut self, bytes: [u8; SIZE]) {
        self.align(SIZE);
        self.0.extend_from_slice(&bytes);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Byte(value) => self.byte(*value),
            Value::Bool(value) => self.bool(*value),
            Value::I16(value) => self.fixed(value.to_le_bytes()),
            Value::U16(value) => self.fixed(value.to_le_bytes()),
            Value::I32(value) => self.fixed(value.to_le_bytes()),
            Value::U32(value) => self.fixed(value.to_le_bytes()),
            Value::I64(value) => self.fixed(value.to_le_bytes()),
            Value::U64(value) => self.fixed(value.to_le_bytes()),
            Value::Double(value) => self.fixed(value.to_le_bytes()),
            Value::Text(text) => self.text(text),
            Value::Array(element, values) => {
                self.array(*element, |writer| values.iter().for_each(|value| writer.value(value)));
            }
            Value::Pairs(pairs) => self.array('(', |writer| {
                for (first, second) in pairs {
                    writer.align(8);
                    writer.text(first);
                    writer.text(second);
                }
            }),
        }
    }

    fn variant(&mut self, value: &Value) {
        self.signature(&value.signature());
        self.value(value);
    }

    /// `a(sv)`.
    pub(super) fn properties(&mut self, properties: &[Property]) {
        self.array('(', |writer| {
            for property in properties {
                writer.align(8);
                writer.text(&property.name);
                writer.variant(&property.value);
            }
        });
    }
}

/// A method and who has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    /// Of the arguments.
    pub(super) signature: &'a str,
}

/// A method call, whole.
pub(super) fn call(method: &Method<'_>, serial: u32, body: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    // No flags: the answer is always wanted.
    writer.0.extend_from_slice(&[b'l', METHOD_CALL, 0, 1]);
    writer.number(body.len() as u32);
    writer.number(serial);
    writer.array('(', |writer| {
        let mut field = |code: u8, kind: &str, value: &str| {
            writer.align(8);
            writer.byte(code);
            writer.signature(kind);
            if kind == "g" { writer.signature(value) } else { writer.text(value) }
        };
        field(PATH, "o", method.path);
        field(DESTINATION, "s", method.destination);
        field(INTERFACE, "s", method.interface);
        field(MEMBER, "s", method.member);
        if !method.signature.is_empty() {
            field(SIGNATURE, "g", method.signature);
        }
    });
    writer.align(8);
    writer.0.extend_from_slice(body);
    writer.done()
}

/// A message that came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    /// The call that it answers; 0 for a signal.
    pub(super) answers: u32,
    /// The name of an error.
    pub(super) error: String,
    pub(super) member: String,
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
}

/// The whole length of the message that begins with these bytes; `None` for what is no message or too long a one.
pub(super) fn length(head: &[u8; HEAD]) -> Option<usize> {
    // The peer is on this machine: its numbers are written as ours.
    if head[0] != b'l' || head[3] != 1 {
        return None;
    }
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    let (body, fields) = (number(4), number(12));
    let whole = HEAD.checked_add(fields)?.checked_next_multiple_of(8)?.checked_add(body)?;
    (whole <= LONGEST).then_some(whole)
}

impl Message {
    /// Reads a message of which [`length`] has told the length.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk::<HEAD>()?;
        if length(head)? != bytes.len() {
            return None;
        }
        let fields_end = HEAD + u32::from_le_bytes([head[12], head[13], head[14], head[15]]) as usize;
        let body = bytes.get(fields_end.next_multiple_of(8)..)?;
        let mut message = Self { kind: head[1], body: body.to_vec(), ..Self::default() };
        let mut reader = Reader { bytes: bytes.get(..fields_end)?, at: HEAD };
        while reader.at < fields_end {
            reader.align(8)?;
            let code = reader.byte()?;
            match (reader.signature()?, code) {
                ("u", code) => {
                    let number = reader.number()?;
                    if code == REPLY_SERIAL {
                        message.answers = number;
                    }
                }
                ("g", code) => {
                    let signature = reader.signature()?;
                    if code == SIGNATURE {
                        message.signature = signature.to_owned();
                    }
                }
                ("s" | "o", code) => {
                    let text = reader.text()?;
                    match code {
                        MEMBER => message.member = text.to_owned(),
                        ERROR_NAME => message.error = text.to_owned(),
                        _ => {}
                    }
                }
                _ => return None,
            }
        }
        Some(message)
    }

    /// Reads the body.
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0 }
    }

    /// The first argument, if it is a text, a path, or a variant with a text.
    pub(super) fn first_text(&self) -> Option<&str> {
        let mut reader = self.reader();
        match self.signature.as_bytes().first()? {
            b's' | b'o' => reader.text(),
            b'v' => match reader.signature()? {
                "s" | "o" => reader.text(),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Reads values one after the other; `None` for what is not there.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.checked_next_multiple_of(to)?;
        (self.at <= self.bytes.len()).then_some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        self.align(4)?;
        let (bytes, _) = self.take(4)?.split_first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.number()? as usize;
        self.terminated(length)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = usize::from(self.byte()?);
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> Option<&'a str> {
        let text = core::str::from_utf8(self.take(length)?).ok()?;
        (self.byte()? == 0).then_some(text)
    }
}

#[cfg(test)]
#[path = "wire/tests.rs"]
pub(super) mod tests;
