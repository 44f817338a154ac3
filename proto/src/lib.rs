//! The gRPC contract between controller and agents.
