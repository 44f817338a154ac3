//! Content to blobs.
