//! Decompression in push style: gzip (any number of members), zstd (any number of frames), or none.

use crate::{Error, Result};
use flate2::{Decompress, FlushDecompress, Status};
use tare_types::image::Compression;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

/// Bytes per piece of output.
pub(super) const CHUNK: usize = 256 << 10;

/// Where output goes: a full buffer and its valid length. The sink may exchange the buffer for another of [`CHUNK`]
/// bytes.
pub(super) type Sink<'a> = dyn FnMut(&mut Vec<u8>, usize) -> Result<()> + 'a;

/// A decompressor that has seen its input up to some byte. Output is handed on in full buffers, however small the
/// pieces of input are.
pub(super) struct Inflater {
    codec: Codec,
    /// First bytes, until the format is known.
    start: Vec<u8>,
    output: Output,
}

/// The buffer that is being filled.
#[derive(Default)]
struct Output {
    buffer: Vec<u8>,
    filled: usize,
}

impl Output {
    /// Room for more.
    fn free(&mut self) -> &mut [u8] {
        if self.buffer.len() != CHUNK {
            self.buffer.resize(CHUNK, 0);
        }
        &mut self.buffer[self.filled..]
    }

    fn add(&mut self, count: usize, sink: &mut Sink<'_>) -> Result<()> {
        self.filled += count;
        if self.filled == CHUNK { self.flush(sink) } else { Ok(()) }
    }

    fn flush(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        let filled = std::mem::take(&mut self.filled);
        if filled > 0 { sink(&mut self.buffer, filled) } else { Ok(()) }
    }
}

enum Codec {
    Unknown,
    Plain,
    Gzip { stream: Box<Decompress>, state: Member },
    Zstd { stream: Box<Decoder<'static>>, at_frame_end: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Inside,
    /// Behind a member: another one, zeros or the end may come.
    Ended,
    /// Only zeros may come.
    Padding,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inflater")
    }
}

fn corrupt(text: &str) -> Error {
    Error::data_loss("decompress layer", "", text)
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self { codec: Codec::Unknown, start: Vec::new(), output: Output::default() }
    }

    /// Decompresses all of `input`.
    pub(super) fn push(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<()> {
        if matches!(self.codec, Codec::Unknown) {
            if self.start.is_empty() && input.len() >= 4 {
                self.codec = codec(input)?;
                return self.run(input, sink);
            }
            self.start.extend_from_slice(input);
            if self.start.len() < 4 {
                return Ok(());
            }
            self.codec = codec(&self.start)?;
            let start = std::mem::take(&mut self.start);
            return self.run(&start, sink);
        }
        self.run(input, sink)
    }

    /// The end of the input.
    pub(super) fn finish(mut self, sink: &mut Sink<'_>) -> Result<()> {
        if matches!(self.codec, Codec::Unknown) {
            self.codec = Codec::Plain;
            let start = std::mem::take(&mut self.start);
            self.run(&start, sink)?;
        }
        self.output.flush(sink)?;
        match self.codec {
            Codec::Gzip { state: Member::Inside, .. } => Err(corrupt("the gzip stream is cut off")),
            Codec::Zstd { at_frame_end: false, .. } => Err(corrupt("the zstd stream is cut off")),
            _ => Ok(()),
        }
    }

    fn run(&mut self, input: &[u8], sink: &mut Sink<'_>) -> Result<()> {
        let output = &mut self.output;
        match &mut self.codec {
            Codec::Unknown => Ok(()),
            Codec::Plain => copy(input, output, sink),
            Codec::Gzip { stream, state } => gunzip(stream, state, input, output, sink),
            Codec::Zstd { stream, at_frame_end } => unzstd(stream, at_frame_end, input, output, sink),
        }
    }
}

fn codec(start: &[u8]) -> Result<Codec> {
    Ok(match Compression::detect(start) {
        Compression::None => Codec::Plain,
        Compression::Gzip => {
            Codec::Gzip { stream: Box::new(Decompress::new_gzip(15)), state: Member::Inside }
        }
        Compression::Zstd => {
            let stream = Decoder::new().map_err(|error| Error::io("decompress layer", "", error))?;
            Codec::Zstd { stream: Box::new(stream), at_frame_end: false }
        }
    })
}

fn copy(mut input: &[u8], output: &mut Output, sink: &mut Sink<'_>) -> Result<()> {
    while !input.is_empty() {
        let free = output.free();
        let count = free.len().min(input.len());
        free[..count].copy_from_slice(&input[..count]);
        input = &input[count..];
        output.add(count, sink)?;
    }
    Ok(())
}

fn gunzip(
    stream: &mut Decompress,
    state: &mut Member,
    mut input: &[u8],
    output: &mut Output,
    sink: &mut Sink<'_>,
) -> Result<()> {
    loop {
        match (*state, input.first()) {
            (Member::Ended, Some(0)) => *state = Member::Padding,
            (Member::Ended, Some(_)) => {
                *stream = Decompress::new_gzip(15);
                *state = Member::Inside;
            }
            (Member::Ended, None) => return Ok(()),
            _ => {}
        }
        if *state == Member::Padding {
            return match input.iter().all(|&byte| byte == 0) {
                true => Ok(()),
                false => Err(corrupt("there is garbage behind the gzip stream")),
            };
        }
        let (before_in, before_out) = (stream.total_in(), stream.total_out());
        let free = output.free();
        let room = free.len();
        let status = stream
            .decompress(input, free, FlushDecompress::None)
            .map_err(|error| corrupt(&format!("the gzip stream is damaged: {error}")))?;
        let consumed = (stream.total_in() - before_in) as usize;
        let produced = (stream.total_out() - before_out) as usize;
        input = &input[consumed..];
        output.add(produced, sink)?;
        match status {
            Status::StreamEnd => *state = Member::Ended,
            // All input is used and all output that it gives is out.
            _ if produced < room && input.is_empty() => return Ok(()),
            _ if produced == 0 && consumed == 0 => {
                return match input.is_empty() {
                    true => Ok(()),
                    false => Err(corrupt("the gzip stream does not go on")),
                };
            }
            _ => {}
        }
    }
}

fn unzstd(
    stream: &mut Decoder<'static>,
    at_frame_end: &mut bool,
    input: &[u8],
    output: &mut Output,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let mut source = InBuffer::around(input);
    loop {
        let before = source.pos();
        let free = output.free();
        let room = free.len();
        let produced = {
            let mut target = OutBuffer::around(free);
            let hint = stream
                .run(&mut source, &mut target)
                .map_err(|error| corrupt(&format!("the zstd stream is damaged: {error}")))?;
            // 0 only when a frame is complete and flushed.
            if source.pos() > before || target.pos() > 0 {
                *at_frame_end = hint == 0;
            }
            target.pos()
        };
        output.add(produced, sink)?;
        let used_up = source.pos() == input.len();
        if used_up && produced < room {
            return Ok(());
        }
        if produced == 0 && source.pos() == before {
            return Err(corrupt("the zstd stream does not go on"));
        }
    }
}
