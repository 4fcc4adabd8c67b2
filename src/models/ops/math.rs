//! Elementwise functions that the compiler can vectorise, and sums in a fixed order.

/// Compiles the functions for the baseline, for AVX2 and for AVX-512, and chooses when called. All give the same bits:
/// nothing is fused, and sums are laid out in [`LANES`] explicitly.
macro_rules! vectorised {
    ($($(#[$meta:meta])* pub fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block)*) => {$(
        $(#[$meta])*
        pub fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
                fn widest($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx512vl")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                {
                    // SAFETY: the processor has these parts of AVX-512; each implies the foundation.
                    return unsafe { widest($($arg),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has AVX2.
                    return unsafe { wide($($arg),*) };
                }
            }
            body($($arg),*)
        }
    )*};
}
pub(super) use vectorised;

pub const LANES: usize = 16;

/// e^x to about 2 units in the last place; 0 for very negative and the largest finite values for very large arguments.
///
/// Splits `x = n ln 2 + r`, with a polynomial for `e^r` (its Taylor series to degree 7 on |r| <= ln 2 / 2) and `2^n` put
/// into the exponent bits.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-86.0, 88.0);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let y = f32::from_bits((p.to_bits() as i32).wrapping_add(exponent << 23) as u32);
    let y = if x < -86.0 { 0.0 } else { y };
    if x.is_nan() { x } else { y }
}

/// `1 / (1 + exp(-x))`
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn fold(lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Sum of `f(a, b)` over two slices of one length, `[numbers]`.
#[inline(always)]
pub fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_whole, a_rest) = a.as_chunks::<LANES>();
    let (b_whole, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_whole.iter().zip(b_whole) {
        for i in 0..LANES {
            lanes[i] += f(x[i], y[i]);
        }
    }
    for (i, (x, y)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] += f(*x, *y);
    }
    fold(lanes, |x, y| x + y)
}

/// The largest of `[numbers]`, in an order that the compiler can vectorise.
#[inline(always)]
pub fn maximum(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = a.as_chunks::<LANES>();
    for x in whole {
        for i in 0..LANES {
            lanes[i] = lanes[i].max(x[i]);
        }
    }
    for (i, x) in rest.iter().enumerate() {
        lanes[i] = lanes[i].max(*x);
    }
    fold(lanes, f32::max)
}

vectorised! {
    /// Replaces `row`, `[width]`, by `exp(row - shift)` and returns the sum.
    pub fn exp_and_sum(row: &mut [f32], shift: f32) -> f32 {
        let mut lanes = [0f32; LANES];
        let (whole, rest) = row.as_chunks_mut::<LANES>();
        for x in whole {
            for i in 0..LANES {
                x[i] = exp(x[i] - shift);
                lanes[i] += x[i];
            }
        }
        for (i, x) in rest.iter_mut().enumerate() {
            *x = exp(*x - shift);
            lanes[i] += *x;
        }
        fold(lanes, |x, y| x + y)
    }

    /// The largest number of a row, `[width]`.
    pub fn max(row: &[f32]) -> f32 {
        maximum(row)
    }

    /// `row *= factor`, `[width]`.
    pub fn scale(row: &mut [f32], factor: f32) {
        for x in row {
            *x *= factor;
        }
    }

    /// `row += other`, both `[width]`.
    pub fn add(row: &mut [f32], other: &[f32]) {
        for (x, y) in row.iter_mut().zip(other) {
            *x += y;
        }
    }
}

/// Replaces a row, `[width]`, by its softmax.
pub fn softmax(row: &mut [f32]) {
    let shift = max(row);
    let sum = exp_and_sum(row, shift);
    scale(row, 1.0 / sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate() {
        for i in -85_000..88_000 {
            let x = i as f32 * 1e-3 + 1e-4;
            let want = f64::from(x).exp();
            let error = (f64::from(exp(x)) - want).abs() / want;
            assert!(error < 3e-7, "exp({x}) is off by {error}");
        }
        assert_eq!(exp(-1000.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_cover_every_element() {
        let a: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(sum2(&a, &a, |x, _| x), 666.0);
        assert_eq!(maximum(&a), 36.0);
        let mut row = vec![0.0; 21];
        softmax(&mut row);
        assert!(row.iter().all(|p| (p - 1.0 / 21.0).abs() < 1e-7));
    }
}
