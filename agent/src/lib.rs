//! Runs on every node: finds volumes, runs tasks in sandboxed worker processes, reports progress.
