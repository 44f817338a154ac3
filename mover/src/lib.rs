//! Volume to repository and back: scan, change detection, chunk pipeline, catalog, restore.
