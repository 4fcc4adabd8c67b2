//! Random numbers that depend on a seed and a name, and on nothing else.

use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

/// A hash of `seed`, `pass` and `name` as the key of a stream of its own.
pub fn key(seed: u64, pass: u64, name: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&pass.to_le_bytes());
    hasher.update(name.as_bytes());
    *hasher.finalize().as_bytes()
}

fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(key(seed, 0, name))
}

/// In (0, 1], in steps of 2^-24.
fn unit(rng: &mut impl Rng) -> f32 {
    ((rng.next_u32() >> 8) + 1) as f32 / (1u32 << 24) as f32
}

/// Numbers, `[len]`, uniform between `-bound` and `bound`.
pub fn uniform(seed: u64, name: &str, len: usize, bound: f32) -> Vec<f32> {
    let mut rng = stream(seed, name);
    (0..len).map(|_| (2.0 * unit(&mut rng) - 1.0) * bound).collect()
}

/// Normally distributed numbers, `[len]` (Box & Muller 1958).
pub fn normal(seed: u64, name: &str, len: usize, std: f32) -> Vec<f32> {
    let mut rng = stream(seed, name);
    let mut out = Vec::with_capacity(len + 1);
    while out.len() < len {
        let radius = std * (-2.0 * unit(&mut rng).ln()).sqrt();
        let (sin, cos) = (std::f32::consts::TAU * unit(&mut rng)).sin_cos();
        out.extend([radius * cos, radius * sin]);
    }
    out.truncate(len);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_have_the_right_moments_and_differ_by_name() {
        let x = normal(1, "a", 20_001, 2.0);
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let var = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
        assert!(mean.abs() < 0.05 && (var - 4.0).abs() < 0.1, "{mean} {var}");
        let u = uniform(1, "a", 20_001, 0.5);
        assert!(
            u.iter().all(|v| v.abs() <= 0.5)
                && (u.iter().map(|v| v * v).sum::<f32>() / 20_001.0 - 1.0 / 12.0).abs() < 2e-3
        );
        assert_eq!(normal(1, "a", 3, 1.0), normal(1, "a", 4, 1.0)[..3]);
        assert_ne!(normal(1, "a", 3, 1.0), normal(1, "b", 3, 1.0));
        assert_ne!(normal(1, "a", 3, 1.0), normal(2, "a", 3, 1.0));
    }
}
