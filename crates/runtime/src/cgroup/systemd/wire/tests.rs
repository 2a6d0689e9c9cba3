//! Messages against bytes that were written down by hand from the specification, and torn ones.

use super::*;
use alloc::{format, vec};

/// An answer, as systemd's side would write it.
pub(in crate::cgroup::systemd) fn message(kind: u8, fields: &[(u8, &str, Value)], body: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.0.extend_from_slice(&[b'l', kind, 0, 1]);
    writer.number(body.len() as u32);
    writer.number(77);
    writer.array('(', |writer| {
        for (code, kind, value) in fields {
            writer.align(8);
            writer.byte(*code);
            writer.signature(kind);
            match (*kind, value) {
                ("g", Value::Text(text)) => writer.signature(text),
                (_, value) => writer.value(value),
            }
        }
    });
    writer.align(8);
    writer.0.extend_from_slice(body);
    writer.done()
}

/// The answer to a call with one text.
pub(in crate::cgroup::systemd) fn answer(serial: u32, signature: &'static str, text: &str) -> Vec<u8> {
    let mut body = Writer::default();
    if signature == "v" {
        body.signature("s");
    }
    body.text(text);
    let fields = [(REPLY_SERIAL, "u", Value::U32(serial)), (SIGNATURE, "g", Value::text(signature))];
    message(METHOD_RETURN, &fields, &body.done())
}

/// An error.
pub(in crate::cgroup::systemd) fn error(serial: u32, name: &'static str, text: &str) -> Vec<u8> {
    let mut body = Writer::default();
    body.text(text);
    let fields = [
        (ERROR_NAME, "s", Value::text(name)),
        (REPLY_SERIAL, "u", Value::U32(serial)),
        (SIGNATURE, "g", Value::text("s")),
    ];
    message(ERROR, &fields, &body.done())
}

/// The end of a job.
pub(in crate::cgroup::systemd) fn removed(job: &str, unit: &str, result: &str) -> Vec<u8> {
    let mut body = Writer::default();
    body.number(5);
    [job, unit, result].into_iter().for_each(|text| body.text(text));
    let fields = [
        (PATH, "o", Value::text("/org/freedesktop/systemd1")),
        (INTERFACE, "s", Value::text("org.freedesktop.systemd1.Manager")),
        (MEMBER, "s", Value::text("JobRemoved")),
        (SIGNATURE, "g", Value::text("uoss")),
    ];
    message(SIGNAL, &fields, &body.done())
}

#[test]
fn a_call_byte_by_byte() {
    let method = Method { destination: "d", path: "/", interface: "a.b", member: "M", signature: "s" };
    let mut body = Writer::default();
    body.text("hi");
    let bytes = call(&method, 3, &body.done());
    let expected = [
        b"l\x01\x00\x01\x07\x00\x00\x00\x03\x00\x00\x00\x45\x00\x00\x00".as_slice(),
        b"\x01\x01o\x00\x01\x00\x00\x00/\x00\x00\x00\x00\x00\x00\x00",
        b"\x06\x01s\x00\x01\x00\x00\x00d\x00\x00\x00\x00\x00\x00\x00",
        b"\x02\x01s\x00\x03\x00\x00\x00a.b\x00\x00\x00\x00\x00",
        b"\x03\x01s\x00\x01\x00\x00\x00M\x00\x00\x00\x00\x00\x00\x00",
        b"\x08\x01g\x00\x01s\x00\x00",
        b"\x02\x00\x00\x00hi\x00",
    ]
    .concat();
    // The last field ends at its zero; what follows is padding.
    let mut expected = expected;
    expected[12] = 16 * 4 + 7;
    assert_eq!(bytes, expected);
    assert_eq!(length(bytes.first_chunk().unwrap()), Some(bytes.len()));
}

#[test]
fn properties_are_aligned() {
    let mut writer = Writer::default();
    writer.properties(&[
        Property::new("A", Value::U64(1)),
        Property::new("B", Value::Array('u', vec![Value::U32(7)])),
        Property::new("C", Value::Pairs(vec![("a".into(), "b".into())])),
        Property::new("D", Value::bytes(&[3, 0])),
    ]);
    let expected = [
        b"\x6a\x00\x00\x00\x00\x00\x00\x00".as_slice(),
        b"\x01\x00\x00\x00A\x00\x01t\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00",
        b"\x01\x00\x00\x00B\x00\x02au\x00\x00\x00\x04\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00",
        b"\x01\x00\x00\x00C\x00\x05a(ss)\x00\x00\x00\x00\x0e\x00\x00\x00\x00\x00\x00\x00",
        b"\x01\x00\x00\x00a\x00\x00\x00\x01\x00\x00\x00b\x00\x00\x00",
        b"\x01\x00\x00\x00D\x00\x02ay\x00\x00\x00\x02\x00\x00\x00\x03\x00",
    ]
    .concat();
    let mut bytes = writer.done();
    // The lengths are counted below; the rest is compared as it is.
    assert_eq!(u32::from_le_bytes(*bytes.first_chunk().unwrap()) as usize, bytes.len() - 8);
    bytes[0] = expected[0];
    assert_eq!(bytes, expected);
}

#[test]
fn answers_are_read() {
    let bytes = answer(9, "o", "/org/freedesktop/systemd1/job/5");
    let read = Message::parse(&bytes).unwrap();
    assert_eq!((read.kind, read.answers), (METHOD_RETURN, 9));
    assert_eq!(read.first_text(), Some("/org/freedesktop/systemd1/job/5"));
    assert_eq!(Message::parse(&answer(1, "v", "252")).unwrap().first_text(), Some("252"));
    let failed = Message::parse(&error(4, "org.x.UnitExists", "it is there")).unwrap();
    assert_eq!((failed.kind, failed.answers, failed.error.as_str()), (ERROR, 4, "org.x.UnitExists"));
    assert_eq!(failed.first_text(), Some("it is there"));
    let signal = Message::parse(&removed("/j/5", "x.scope", "done")).unwrap();
    assert_eq!((signal.kind, signal.member.as_str()), (SIGNAL, "JobRemoved"));
    let mut reader = signal.reader();
    assert_eq!(reader.number(), Some(5));
    assert_eq!([reader.text(), reader.text(), reader.text()], [Some("/j/5"), Some("x.scope"), Some("done")]);
    assert_eq!(reader.text(), None);
}

/// Whatever the other side sends: no panic, and nothing is read beyond the end.
#[test]
fn torn_and_hostile_messages_are_refused() {
    for whole in [answer(9, "o", "/a/b"), removed("/j/5", "x.scope", "done"), error(1, "a.b", "c")] {
        for end in 0..whole.len() {
            assert_eq!(Message::parse(&whole[..end]), None);
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                if let Some(message) = Message::parse(&bytes) {
                    let _ = message.first_text();
                    let mut reader = message.reader();
                    let _ = (reader.number(), reader.text(), reader.text(), reader.text());
                }
            }
        }
    }
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(b"l\x02\x00\x01");
    head[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(length(&head), None, "too long");
    head[0] = b'B';
    assert_eq!(length(&head), None);
    assert_eq!(format!("{:?}", Reader { bytes: &[], at: usize::MAX }.text()), "None");
}
