//! End-to-end and whole-tree tests.
