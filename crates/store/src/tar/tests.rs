//! What is written is read back, in pieces of any size; what is damaged is refused and never a panic.

use super::{Entry, EntryKind, Fault, Member, Parser, Time, Visitor, Writer, header};
use proptest::prelude::*;

#[derive(Default, Debug, PartialEq)]
struct Seen {
    entries: Vec<(Entry, Vec<u8>)>,
    open: bool,
}

impl Visitor for Seen {
    type Error = Fault;

    fn begin(&mut self, entry: &Entry) -> Result<(), Fault> {
        assert!(!self.open);
        self.open = true;
        self.entries.push((entry.clone(), Vec::new()));
        Ok(())
    }

    fn data(&mut self, _entry: &Entry, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let data = &mut self.entries.last_mut().unwrap().1;
        // The apparent size is hostile input: sparse files are not materialised here.
        if offset < 1 << 20 {
            data.resize(data.len().max(offset as usize), 0);
            data.truncate(offset as usize);
            data.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn end(&mut self, _entry: &Entry) -> Result<(), Fault> {
        assert!(self.open);
        self.open = false;
        Ok(())
    }
}

fn parse(bytes: &[u8], piece: usize) -> Result<Seen, Fault> {
    let (mut parser, mut seen) = (Parser::new(), Seen::default());
    for piece in bytes.chunks(piece.max(1)) {
        parser.push(piece, &mut seen)?;
    }
    parser.finish()?;
    Ok(seen)
}

prop_compose! {
    fn entries()(
        path in "[a-zü/. ]{1,60}|[a-z]{90,120}/[a-z]{90,160}|/[a-z]{250}",
        kind in 0..7_usize,
        link in "[a-zé/]{1,150}",
        mode in 0..0o10000_u32,
        uid in prop_oneof![0..5_u32, 2_000_000..2_200_000_u32, Just(u32::MAX - 1)],
        gid in prop_oneof![0..5_u32, 3_000_000_000..3_000_000_009_u32],
        seconds in prop_oneof![Just(0_i64), -100_i64..100, (1_i64 << 33)..(1_i64 << 36)],
        nanos in prop_oneof![Just(0_u32), 0..1_000_000_000_u32],
        device in (0..5000_u32, 0..70000_u32),
        xattrs in prop::collection::btree_map("user\\.[a-z]{1,5}", prop::collection::vec(any::<u8>(), 0..40), 0..3),
        data in prop::collection::vec(any::<u8>(), 0..1600),
    ) -> (Entry, Vec<u8>) {
        use EntryKind::*;
        let kind = [File, HardLink, Symlink, Character, Block, Directory, Fifo][kind];
        let data = if kind == File { data } else { Vec::new() };
        let entry = Entry {
            path: path.into_bytes(),
            kind,
            link: if matches!(kind, HardLink | Symlink) { link.into_bytes() } else { Vec::new() },
            mode,
            uid,
            gid,
            mtime: Time { seconds, nanos },
            atime: None,
            size: data.len() as u64,
            sparse: None,
            device: if matches!(kind, Character | Block) { device } else { (0, 0) },
            xattrs: xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect(),
        };
        (entry, data)
    }
}

fn write(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        let member = Member {
            path: &entry.path,
            kind: entry.kind,
            link: &entry.link,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            size: entry.size,
            device: entry.device,
            xattrs: &entry.xattrs,
        };
        writer.begin(&member).unwrap();
        if !data.is_empty() {
            writer.data(data).unwrap();
        }
    }
    writer.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn written_is_read_back(entries in prop::collection::vec(entries(), 0..6), piece in 1..2000_usize) {
        let bytes = write(&entries);
        prop_assert_eq!(bytes.len() % 512, 0);
        prop_assert_eq!(parse(&bytes, piece).unwrap().entries, entries);
    }

    #[test]
    fn damage_never_panics(
        entries in prop::collection::vec(entries(), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        piece in 1..2000_usize,
    ) {
        let mut bytes = write(&entries);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let block = at / 512 * 512;
            bytes[block + 148..block + 156].fill(b' ');
            let sum: u32 = bytes[block..block + 512].iter().map(|&byte| u32::from(byte)).sum();
            bytes[block + 148..block + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        // The size of the pieces never changes what is seen.
        prop_assert_eq!(parse(&bytes, piece).ok(), parse(&bytes, usize::MAX).ok());
    }
}

#[test]
fn numbers_are_read_as_go_reads_them() {
    let number = |field: &[u8]| header::number(field);
    for (field, value) in [
        (&b"0000644\0"[..], Some(0o644)),
        (b"   644 \0", Some(0o644)),
        (b"\0\0\0\0\0\0\0\0", Some(0)),
        (b"       ", Some(0)),
        (b"00000008", None),
        (b"-0000001", None),
        (b"\x80\0\0\0\0\0\x01\0", Some(256)),
        (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
        (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
        (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
        (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
    ] {
        assert_eq!(number(field), value, "{field:?}");
    }
}

#[test]
fn a_writer_holds_its_callers_to_the_size() {
    let entry = Entry { path: b"a".to_vec(), size: 3, ..Entry::default() };
    let member = Member {
        path: &entry.path,
        kind: EntryKind::File,
        link: b"",
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        size: 3,
        device: (0, 0),
        xattrs: &[],
    };
    let mut writer = Writer::new(Vec::new());
    writer.begin(&member).unwrap();
    writer.data(b"ab").unwrap();
    assert!(writer.data(b"cd").is_err());
    assert!(writer.finish().is_err());
}

#[test]
fn a_device_whose_size_is_no_number_is_refused() {
    let device = |size: &[u8; 12]| {
        let entry = Entry { path: b"a".to_vec(), kind: EntryKind::Block, ..Entry::default() };
        let mut bytes = write(&[(entry, Vec::new())]);
        bytes[124..136].copy_from_slice(size);
        bytes[148..156].fill(b' ');
        let sum: u32 = bytes[..512].iter().map(|&byte| u32::from(byte)).sum();
        bytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        parse(&bytes, 512)
    };
    assert_eq!(device(b"00000000017\0").unwrap().entries[0].0.size, 0, "as Go: a device has no data");
    assert!(device(b"0x000000017\0").is_err());
}
