//! What goes over the wire, checked against the format's own examples and by reading it back.

use super::{
    CgroupMode, Criu,
    message::{Fields, Message, Value},
    rpc::{self, Response, Version},
};
use alloc::{string::String, vec::Vec};
use proptest::prelude::*;

fn fields(bytes: &[u8]) -> Option<Vec<(u32, Value<'_>)>> {
    Fields::of(bytes).collect()
}

#[test]
fn bytes_as_the_format_has_them() {
    // protobuf.dev, "Encoding": field 1 = 150, field 2 = "testing", field 3 = { field 1 = 150 }.
    let mut message = Message::default();
    message.number(1, 150);
    message.text(2, "testing");
    message.nested(3, |inner| inner.number(1, 150));
    let expected: &[u8] = &[
        0x08, 0x96, 0x01, 0x12, 0x07, b't', b'e', b's', b't', b'i', b'n', b'g', 0x1a, 0x03, 0x08, 0x96, 0x01,
    ];
    assert_eq!(message.as_bytes(), expected);
    let mut negative = Message::default();
    negative.number(1, -1);
    assert_eq!(negative.as_bytes().len(), 11);
    assert_eq!(fields(negative.as_bytes()).unwrap()[0].1.number(), Some(-1));
    let mut absent = Message::default();
    absent.flag(9, false);
    assert_eq!(absent.as_bytes(), b"");
}

#[test]
fn torn_messages_are_seen() {
    for bytes in [
        &b"\x08"[..],
        b"\x08\x80",
        b"\x12\x05ab",
        b"\x0b",
        b"\x09abc",
        b"\x0d12",
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    ] {
        assert_eq!(fields(bytes), None, "{bytes:?}");
    }
    let endless = [0xff; 16];
    assert_eq!(fields(&endless), None);
}

#[test]
fn answers() {
    let mut wire = Message::default();
    wire.unsigned(1, rpc::NOTIFY);
    wire.unsigned(2, 1);
    wire.nested(5, |notify| {
        notify.text(1, "post-restore");
        notify.number(2, 4711);
    });
    wire.text(99, "of a later version");
    let response = Response::parse(wire.as_bytes()).unwrap();
    assert_eq!((response.kind, response.success), (rpc::NOTIFY, true));
    assert_eq!((response.script.as_str(), response.pid), ("post-restore", 4711));

    let mut wire = Message::default();
    wire.unsigned(1, rpc::DUMP);
    wire.unsigned(2, 0);
    wire.number(7, 16);
    wire.text(9, "no room\n");
    let response = Response::parse(wire.as_bytes()).unwrap();
    assert!(!response.success);
    assert_eq!((response.failure().as_str(), response.text.as_str()), ("type DUMP errno 16", "no room"));

    let mut wire = Message::default();
    wire.unsigned(1, rpc::VERSION);
    wire.unsigned(2, 1);
    wire.nested(10, |version| {
        version.number(1, 3);
        version.number(2, 17);
        version.text(3, "git");
        version.number(4, 1);
    });
    let version = Response::parse(wire.as_bytes()).unwrap().version;
    assert_eq!(version, Version { major: 3, minor: 17, patch: 1 });
    assert!(
        version > Version { major: 3, minor: 15, patch: 9 }
            && version < Version { major: 4, minor: 0, patch: 0 }
    );
    assert_eq!(alloc::format!("{version}"), "3.17.1");
    // The success is missing.
    assert_eq!(Response::parse(&[0x08, 0x06]), None);
}

#[test]
fn requests() {
    let mut options = Message::default();
    options.flag(rpc::option::LEAVE_RUNNING, true);
    let request = rpc::request(rpc::DUMP, Some(&options), false);
    assert_eq!(request.as_bytes(), [0x08, 0x01, 0x12, 0x02, 0x18, 0x01]);
    assert_eq!(rpc::request(rpc::VERSION, None, true).as_bytes(), [0x08, 0x0a, 0x20, 0x01]);
    assert_eq!(rpc::notified(true).as_bytes(), [0x08, 0x06, 0x18, 0x01]);
    // A refusal is written out: the field that is missing would be "no", but says so to whoever reads along.
    assert_eq!(rpc::notified(false).as_bytes(), [0x08, 0x06, 0x18, 0x00]);
}

#[test]
fn words_for_cgroups() {
    let numbers =
        ["", "ignore", "soft", "full", "strict"].map(|word| CgroupMode::parse(word).unwrap().number());
    assert_eq!(numbers, [6, 0, 3, 4, 5]);
    assert_eq!(CgroupMode::parse("props"), None);
}

#[test]
fn where_the_program_is_looked_for() {
    let find = |program, path| {
        let criu = Criu { program, path, environment: &[] };
        let found = criu.candidates().unwrap();
        found.iter().map(|path| path.to_string_lossy().into_owned()).collect::<Vec<String>>()
    };
    assert_eq!(find("criu", "/a:relative::/b"), ["/a/criu", "/b/criu"]);
    assert_eq!(find("/opt/criu", "/a"), ["/opt/criu"]);
    assert!(find("criu", "").contains(&String::from("/usr/sbin/criu")));
    assert!(Criu { program: "a\0/b", path: "", environment: &[] }.candidates().is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Response::parse(&bytes);
    }

    #[test]
    fn what_is_written_is_read(number in any::<i32>(), text in ".{0,300}", field in 1_u32..1000) {
        let mut message = Message::default();
        message.number(field, number);
        message.text(field + 1, &text);
        let read = fields(message.as_bytes()).unwrap();
        prop_assert_eq!(read[0], (field, Value::Number(i64::from(number) as u64)));
        prop_assert_eq!(read[0].1.number(), Some(number));
        prop_assert_eq!(read[1].1.bytes(), Some(text.as_bytes()));
    }
}
