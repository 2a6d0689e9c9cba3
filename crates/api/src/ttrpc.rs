//! ttrpc, the small RPC of shims: frames of a ten-byte header and a protobuf message over a unix socket.
//!
//! A frame is: length of the data (u32, big endian), stream id (u32, big endian; odd, rising, chosen by the
//! client), type (1 request, 2 response, 3 data of a stream), flags (1 the sender sends no more, 2 the sender will
//! send data, 4 the frame carries no message), data of at most 4 MiB. A unary call is one request and one
//! response. A streaming call is a request, data frames both ways, and ends with a closing data frame or a
//! response that carries an error. The frames are those of containerd's ttrpc, version 1.0 (without streams) to
//! 1.2; one side of the tests is Go's.
//!
//! Bounds: a frame larger than 4 MiB is read and dropped, and its call fails with `ResourceExhausted`; a stream
//! holds 16 received messages, then its connection is not read any further (so give a stream whose reader may be slow a
//! connection of its own); a connection has at most 8192 calls in flight.
//!
//! Cancellation: a handler's future is dropped at its next await when the call's deadline passes or the connection
//! ends. What must run to its end runs in a task of its own.
//!
//! Not here: which services exist (`shim`, `engine`), TLS or other transports, gRPC.

mod client;
mod connection;
mod frame;
mod server;
mod stream;
#[cfg(test)]
mod tests;

pub use client::{CallOptions, Client};
pub use frame::{MAX_MESSAGE, MessageKind};
pub use server::{Call, Method, Reply, Service, serve_connection};
pub use stream::{Stream, StreamReceiver, StreamSender};
