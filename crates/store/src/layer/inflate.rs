//! Decompression in push style: gzip (any number of members), zstd (any number of frames), or none.

use crate::{Error, Result};
use flate2::{Decompress, FlushDecompress, Status};
use tare_types::image::Compression;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

/// Bytes per piece of output.
pub(super) const CHUNK: usize = 256 << 10;

/// A decompressor that has seen its input up to some byte.
pub(super) struct Inflater {
    codec: Codec,
    /// First bytes, until the format is known.
    start: Vec<u8>,
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
        Self { codec: Codec::Unknown, start: Vec::new() }
    }

    /// Decompresses all of `input` through `buffer`; `sink` gets each piece and may exchange the buffer.
    pub(super) fn push(
        &mut self,
        input: &[u8],
        buffer: &mut Vec<u8>,
        sink: &mut dyn FnMut(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        if matches!(self.codec, Codec::Unknown) {
            if self.start.is_empty() && input.len() >= 4 {
                self.codec = codec(input)?;
                return self.run(input, buffer, sink);
            }
            self.start.extend_from_slice(input);
            if self.start.len() < 4 {
                return Ok(());
            }
            self.codec = codec(&self.start)?;
            let start = std::mem::take(&mut self.start);
            return self.run(&start, buffer, sink);
        }
        self.run(input, buffer, sink)
    }

    /// The end of the input.
    pub(super) fn finish(
        mut self,
        buffer: &mut Vec<u8>,
        sink: &mut dyn FnMut(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        if matches!(self.codec, Codec::Unknown) {
            self.codec = Codec::Plain;
            let start = std::mem::take(&mut self.start);
            self.run(&start, buffer, sink)?;
        }
        match self.codec {
            Codec::Gzip { state: Member::Inside, .. } => Err(corrupt("the gzip stream is cut off")),
            Codec::Zstd { at_frame_end: false, .. } => Err(corrupt("the zstd stream is cut off")),
            _ => Ok(()),
        }
    }

    fn run(
        &mut self,
        input: &[u8],
        buffer: &mut Vec<u8>,
        sink: &mut dyn FnMut(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        match &mut self.codec {
            Codec::Unknown => Ok(()),
            Codec::Plain => input.chunks(CHUNK).try_for_each(|piece| {
                buffer.clear();
                buffer.extend_from_slice(piece);
                sink(buffer)
            }),
            Codec::Gzip { stream, state } => gunzip(stream, state, input, buffer, sink),
            Codec::Zstd { stream, at_frame_end } => unzstd(stream, at_frame_end, input, buffer, sink),
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

fn gunzip(
    stream: &mut Decompress,
    state: &mut Member,
    mut input: &[u8],
    buffer: &mut Vec<u8>,
    sink: &mut dyn FnMut(&mut Vec<u8>) -> Result<()>,
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
        buffer.resize(CHUNK, 0);
        let (before_in, before_out) = (stream.total_in(), stream.total_out());
        let status = stream
            .decompress(input, buffer, FlushDecompress::None)
            .map_err(|error| corrupt(&format!("the gzip stream is damaged: {error}")))?;
        let consumed = (stream.total_in() - before_in) as usize;
        let produced = (stream.total_out() - before_out) as usize;
        input = &input[consumed..];
        if produced > 0 {
            buffer.truncate(produced);
            sink(buffer)?;
        }
        match status {
            Status::StreamEnd => *state = Member::Ended,
            // All input is used and all output that it gives is out.
            _ if produced < CHUNK && input.is_empty() => return Ok(()),
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
    buffer: &mut Vec<u8>,
    sink: &mut dyn FnMut(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let mut source = InBuffer::around(input);
    loop {
        buffer.resize(CHUNK, 0);
        let before = source.pos();
        let produced = {
            let mut target = OutBuffer::around(buffer.as_mut_slice());
            let hint = stream
                .run(&mut source, &mut target)
                .map_err(|error| corrupt(&format!("the zstd stream is damaged: {error}")))?;
            // 0 only when a frame is complete and flushed.
            if source.pos() > before || target.pos() > 0 {
                *at_frame_end = hint == 0;
            }
            target.pos()
        };
        if produced > 0 {
            buffer.truncate(produced);
            sink(buffer)?;
        }
        let used_up = source.pos() == input.len();
        if used_up && produced < CHUNK {
            return Ok(());
        }
        if produced == 0 && source.pos() == before {
            return Err(corrupt("the zstd stream does not go on"));
        }
    }
}
