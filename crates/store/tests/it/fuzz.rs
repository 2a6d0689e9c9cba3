//! Archives that somebody has tampered with, beside Python's `tarfile`: what both take holds the same files.
//!
//! A header that one reader takes for content and another for a header is how files are smuggled past whoever looked
//! at the archive before (CVE-2026-0067 and its family of `tar` crates). Drawn from a fixed seed; `make soak` draws
//! more, and from another one.

use crate::support::{apply_options, directory, python};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use tare_store::layer;
use tare_testkit::{numbers::Numbers, soak};

/// Archives of the two formats in use, each with an archive as the content of a file: what is to be smuggled.
const WRITE: &str = r"
import sys, tarfile, io
def build(form):
    def add(t, name, data, **more):
        info = tarfile.TarInfo(name); info.size = len(data)
        for key, value in more.items(): setattr(info, key, value)
        t.addfile(info, io.BytesIO(data))
    inner = io.BytesIO()
    t = tarfile.open(fileobj=inner, mode='w', format=form); add(t, 'smuggled', b's' * 700); t.close()
    out = io.BytesIO()
    t = tarfile.open(fileobj=out, mode='w', format=form)
    add(t, 'first', b'1' * 600)
    add(t, 'holder', inner.getvalue())
    add(t, 'long' * 40, b'2' * 10)
    add(t, 'dir/last', b'3' * 513, uname='\u00fc' * 40 if form == tarfile.PAX_FORMAT else 'u')
    t.close()
    return out.getvalue()
for form, name in ((tarfile.GNU_FORMAT, 'gnu'), (tarfile.PAX_FORMAT, 'pax')):
    open(sys.argv[1] + '/' + name, 'wb').write(build(form))
";

/// For each archive the regular files and their sums, or that it is refused and whether what is smuggled was met first.
const READ: &str = r"
import sys, tarfile, os, zlib
for number in range(int(sys.argv[2])):
    files = {}
    try:
        with tarfile.open(f'{sys.argv[1]}/{number}.tar', 'r:') as t:
            for member in t:
                name = os.path.normpath('/' + member.name).lstrip('/')
                # It takes an empty name for a file; there is nothing that could be made of one.
                if name in ('', '.'):
                    continue
                files = {key: value for key, value in files.items() if not key.startswith(name + '/') or member.isdir()}
                if member.isreg():
                    files[name] = zlib.crc32(t.extractfile(member).read())
                elif not member.isdir():
                    files.pop(name, None)
            # It applies global names to every entry; Go and this reader do not.
            if t.pax_headers:
                raise ValueError('global')
            # It takes a header that it cannot read, but for the first, for the end.
            t.fileobj.seek(t.offset)
            if t.fileobj.read(512).strip(b'\0'):
                raise ValueError('it ends in the middle')
        for name, value in files.items():
            print(number, value, name.encode('utf-8', 'surrogateescape').hex())
        print(number, 'taken')
    except Exception as error:
        print(number, 'refused', 'met' if 'smuggled' in files else '-')
";

/// Changes bytes of headers; mostly makes the sum right again, so that what is behind it gets tested.
fn tamper(bytes: &mut [u8], numbers: &mut Numbers) {
    for _ in 0..=numbers.below(3) {
        let block = numbers.below(bytes.len() / 512) * 512;
        // Name, mode, size and type, and the prefix where the format has one (Python reads it in any).
        let fields = [(0, 100), (100, 8), (124, 12), (124, 12), (156, 1), (345, 155)];
        let prefixed = bytes[block + 257..].starts_with(b"ustar\0");
        let field = fields[numbers.below(if prefixed { fields.len() } else { fields.len() - 1 })];
        let at = block + field.0 + numbers.below(field.1);
        bytes[at] = match numbers.below(4) {
            0 => b'0' + numbers.below(10) as u8,
            1 => bytes[at] ^ (1 << numbers.below(8)),
            2 => [0, b' ', 0x80, 0xff, b'x', b'K', b'L', b'S'][numbers.below(8)],
            _ => numbers.below(256) as u8,
        };
        if numbers.below(8) != 0 {
            bytes[block + 148..block + 156].fill(b' ');
            let sum: u32 = bytes[block..block + 512].iter().map(|&byte| u32::from(byte)).sum();
            bytes[block + 148..block + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

/// The polynomial of zlib.crc32.
fn sum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8)
            .fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (0_u32.wrapping_sub(crc & 1))))
    })
}

type Files = BTreeMap<Vec<u8>, u32>;

fn files(top: &Path, directory: &Path, into: &mut Files) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            files(top, &path, into);
        } else if kind.is_file() {
            let name = path.strip_prefix(top).unwrap().as_os_str();
            let name = std::os::unix::ffi::OsStrExt::as_bytes(name).to_vec();
            into.insert(name, sum(&fs::read(&path).unwrap()));
        }
    }
}

/// What comes out of an archive here; `None` if it is refused.
fn ours(archive: &Path, work: &Path) -> Option<Files> {
    let target = work.join("out");
    fs::create_dir(&target).unwrap();
    let applied = layer::apply(fs::File::open(archive).unwrap(), directory(&target), apply_options());
    let mut found = Files::new();
    files(&target, &target, &mut found);
    fs::remove_dir_all(&target).unwrap();
    applied.ok().map(|_| found)
}

/// Where readers are known to differ, in archives that nobody's program writes.
#[derive(Debug, PartialEq)]
enum Doubt {
    Nothing,
    /// Over a name: an entry has more than one header in front of it that says more about it (PAX, GNU's long names;
    /// GNU tar, Go and we go by the last, with Python the first name counts), or a long name is cut off by its size
    /// (Go and we keep to it, Python and GNU tar read on to the end of the block).
    Name,
    /// Over a size that begins with a zero byte: 0 for Python, while GNU tar, Go and we read on. Or over one of what has
    /// no content, such as a device: GNU tar goes on behind so much content, Go, Python and we behind the header.
    Size,
}

fn doubt(archive: &Path) -> Doubt {
    let bytes = fs::read(archive).unwrap();
    let (mut at, mut before, mut found) = (0, false, Doubt::Nothing);
    while let Some(block) = bytes.get(at..at + 512).filter(|block| block.iter().any(|&byte| byte != 0)) {
        let size = String::from_utf8_lossy(&block[124..136]).into_owned();
        if size.starts_with('\0') && !size.trim_matches('\0').is_empty() {
            return Doubt::Size;
        }
        let size = size.split('\0').next().unwrap_or_default().trim_matches(' ');
        let size = usize::from_str_radix(size, 8).unwrap_or(0);
        if matches!(block[156], b'1'..=b'6') && size > 0 {
            return Doubt::Size;
        }
        let content = |from: usize, to: usize| bytes.get(at + 512 + from..at + 512 + to).unwrap_or_default();
        let is_cut_off = matches!(block[156], b'L' | b'K')
            && !content(0, size).contains(&0)
            && content(size, size.next_multiple_of(512)).iter().any(|&byte| byte != 0);
        let more = matches!(block[156], b'x' | b'L' | b'K');
        if is_cut_off || more && before {
            found = Doubt::Name;
        }
        before = more;
        at += 512 + size.next_multiple_of(512);
    }
    found
}

/// What Python makes of an archive.
#[derive(Clone)]
enum Theirs {
    Taken(Files),
    Refused { after_the_smuggled: bool },
}

fn theirs(work: &Path, count: usize) -> Vec<Theirs> {
    let mut all = vec![Theirs::Taken(Files::new()); count];
    let hex = |text: &str| {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
    };
    for line in python(READ, &[work.to_str().unwrap(), &count.to_string()]).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number: usize = words[0].parse().unwrap();
        match words[1] {
            "taken" => {}
            "refused" => all[number] = Theirs::Refused { after_the_smuggled: words[2] == "met" },
            value => {
                let name: Vec<u8> = hex(words[2]);
                let Theirs::Taken(files) = &mut all[number] else {
                    panic!("a file after the refusal: {line}")
                };
                files.insert(name, value.parse().unwrap());
            }
        }
    }
    all
}

#[test]
fn what_two_readers_take_is_the_same() {
    let work = tempfile::tempdir().unwrap();
    let work = work.path();
    python(WRITE, &[work.to_str().unwrap()]);
    let seeds: Vec<Vec<u8>> = ["gnu", "pax"].map(|name| fs::read(work.join(name)).unwrap()).to_vec();
    let mut numbers = Numbers::seeded();
    let mut left = soak::size("TARE_SOAK_FUZZ", 400) as usize;
    let (mut both, mut only_ours, mut only_theirs, mut neither) = (0, 0, 0, 0);
    while left > 0 {
        let count = left.min(1000);
        left -= count;
        let paths: Vec<PathBuf> = (0..count).map(|number| work.join(format!("{number}.tar"))).collect();
        for path in &paths {
            let mut bytes = seeds[numbers.below(seeds.len())].clone();
            tamper(&mut bytes, &mut numbers);
            fs::write(path, bytes).unwrap();
        }
        for (path, theirs) in paths.iter().zip(theirs(work, count)) {
            match (ours(path, work), theirs) {
                (Some(ours), Theirs::Taken(theirs)) => {
                    both += 1;
                    let smuggled = |files: &Files| files.contains_key(b"smuggled".as_slice());
                    let doubt = doubt(path);
                    let is_smuggled = smuggled(&ours) && !smuggled(&theirs) && doubt != Doubt::Size;
                    assert!(!is_smuggled, "{}: a file was smuggled", keep(path));
                    let sums = |files: &Files| files.values().copied().collect::<BTreeSet<u32>>();
                    match doubt {
                        Doubt::Nothing => assert_eq!(ours, theirs, "{}", keep(path)),
                        Doubt::Name => assert_eq!(sums(&ours), sums(&theirs), "{}", keep(path)),
                        Doubt::Size => {}
                    }
                }
                (Some(ours), Theirs::Refused { after_the_smuggled }) => {
                    only_ours += 1;
                    assert!(
                        after_the_smuggled
                            || !ours.contains_key(b"smuggled".as_slice())
                            || doubt(path) == Doubt::Size,
                        "{}: a file was smuggled",
                        keep(path)
                    );
                }
                (None, Theirs::Taken(_)) => only_theirs += 1,
                (None, Theirs::Refused { .. }) => neither += 1,
            }
        }
    }
    println!("taken by both {both}, by us {only_ours}, by Python {only_theirs}, by neither {neither}");
    assert!(both > 0 && neither + only_theirs > 0);
}

/// The archive, kept for whoever looks into the difference.
fn keep(path: &Path) -> String {
    let kept = std::env::temp_dir().join(format!("tare-fuzz-{}.tar", std::process::id()));
    fs::copy(path, &kept).unwrap();
    kept.display().to_string()
}
