//! A model world.
