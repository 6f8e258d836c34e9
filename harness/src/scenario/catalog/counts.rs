//! Member counts that scenarios are run with.

/// Three members show what one failure does, five what two do.
pub(super) const THREE_AND_FIVE: [u32; 2] = [3, 5];
