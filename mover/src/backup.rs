//! Volume to repository.
