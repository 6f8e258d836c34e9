//! Role decisions.
