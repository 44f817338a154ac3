//! Backups of real directories into a real repository, read back through its own reader.

mod change;
mod content;
mod fixture;
mod hostile;
mod stop;
mod store;
mod tree;
