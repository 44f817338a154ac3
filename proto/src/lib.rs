//! The gRPC contract between controller and agents, generated from `proto/holdfast/v1/dispatch.proto`.

mod secret;

/// Messages and service of protocol version 1.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    tonic::include_proto!("holdfast.v1");
}

/// The protocol version that `Hello` and `Welcome` carry.
pub const PROTOCOL_VERSION: u32 = 1;

/// No message is larger than this (4 MiB is also tonic's default for decoding; stated so that both sides agree).
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A piece of a task's data: a frame between agent and worker holds it, with room to spare.
pub const PIECE_BYTES_MAX: usize = 512 * 1024;
