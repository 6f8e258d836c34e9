//! Repeated failovers as a distribution.
