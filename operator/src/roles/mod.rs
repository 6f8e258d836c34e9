//! The role path: which pod carries which role label.
