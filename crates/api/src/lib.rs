//! The wire: prost messages, ttrpc, gRPC services.
