//! Bounds of what a configuration may say.

use std::ops::RangeInclusive;

/// Bounds of sizes: far above any model's, and small enough that no product that is computed from them overflows.
pub mod most {
    pub const LAYERS: usize = 1 << 12;
    /// Heads, and the numbers of one head.
    pub const HEADS: usize = 1 << 12;
    /// Numbers of a token's state, inside a perceptron too.
    pub const WIDTH: usize = 1 << 20;
    pub const VOCABULARY: usize = 1 << 24;
    pub const POSITIONS: usize = 1 << 24;
}

/// What a norm adds to a variance.
pub const EPSILON: RangeInclusive<f64> = 1e-20..=0.1;

/// Base of rotary frequencies.
pub const THETA: RangeInclusive<f64> = 2.0..=1e12;
