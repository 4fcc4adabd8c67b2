//! Arithmetic on the bits of registers: conversions, directed roundings and half precision.

use crate::program::{Bin, Cmp, Round, Type};
use half::{bf16, f16};

#[inline(always)]
pub fn f32_of(x: u64) -> f32 {
    f32::from_bits(x as u32)
}
#[inline(always)]
pub fn of_f32(x: f32) -> u64 {
    u64::from(x.to_bits())
}
#[inline(always)]
pub fn f16_of(x: u64) -> f32 {
    f16::from_bits(x as u16).to_f32()
}
#[inline(always)]
pub fn of_f16(x: f32) -> u64 {
    if x.is_nan() { 0x7fff } else { u64::from(f16::from_f32(x).to_bits()) }
}
#[inline(always)]
pub fn bf16_of(x: u64) -> f32 {
    f32::from_bits((x as u32 & 0xffff) << 16)
}
#[inline(always)]
pub fn of_bf16(x: f32) -> u64 {
    if x.is_nan() {
        return 0x7fff;
    }
    let bits = x.to_bits();
    u64::from((bits.wrapping_add(0x7fff + (bits >> 16 & 1))) >> 16)
}

/// Bits to a number, and a number to bits.
type Codec = (fn(u64) -> f32, fn(f32) -> u64);

/// From and to single precision, for a type of half precision or a pair of it.
#[inline(always)]
pub fn half_of(t: Type) -> Codec {
    if matches!(t, Type::F16 | Type::F16x2) { (f16_of, of_f16) } else { (bf16_of, of_bf16) }
}

/// The bits below `bytes` bytes.
#[inline(always)]
pub fn mask(bytes: u32) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}

/// The integer of type `t` in a register, sign extended.
#[inline(always)]
pub fn integer(x: u64, t: Type) -> i64 {
    let shift = 64 - 8 * t.size() as u32;
    if t.signed() { ((x << shift) as i64) >> shift } else { ((x << shift) >> shift) as i64 }
}

pub fn float(x: u64, t: Type) -> f64 {
    match t {
        Type::F16 => f64::from(f16_of(x)),
        Type::Bf16 => f64::from(bf16_of(x)),
        Type::F32 => f64::from(f32_of(x)),
        _ => f64::from_bits(x),
    }
}

fn nearest(v: f64, t: Type) -> u64 {
    match t {
        Type::F16 if v.is_nan() => 0x7fff,
        Type::Bf16 if v.is_nan() => 0x7fff,
        Type::F16 => u64::from(f16::from_f64(v).to_bits()),
        Type::Bf16 => u64::from(bf16::from_f64(v).to_bits()),
        Type::F32 => of_f32(v as f32),
        _ => v.to_bits(),
    }
}

/// `high + low` rounded to type `t`; `low` is what is missing from `high`.
pub fn rounded(high: f64, low: f64, t: Type, round: Round) -> u64 {
    let mut bits = nearest(high + low, t);
    let value = float(bits, t);
    if high.is_nan() || high.is_infinite() {
        return bits;
    }
    let error = if value.is_infinite() { value } else { (value - high) - low };
    let shrink = match round {
        Round::Zero => (error > 0.0 && value > 0.0) || (error < 0.0 && value < 0.0),
        Round::Down => error > 0.0 && value > 0.0,
        Round::Up => error < 0.0 && value < 0.0,
        _ => false,
    };
    let grow = match round {
        Round::Down => error > 0.0 && value <= 0.0,
        Round::Up => error < 0.0 && value >= 0.0,
        _ => false,
    };
    if shrink {
        bits -= 1;
    } else if grow {
        bits = match value == 0.0 {
            true if round == Round::Down => 1 << (8 * t.size() - 1) | 1,
            true => 1,
            false => bits + 1,
        };
    }
    bits
}

/// `a * b + c` (`f` is Mul with `c`), or `a f b`, with a directed rounding.
pub fn directed(f: Bin, t: Type, round: Round, a: u64, b: u64, c: Option<u64>) -> u64 {
    let (a, b) = (float(a, t), float(b, t));
    let two_sum = |x: f64, y: f64| {
        let s = x + y;
        let z = s - x;
        (s, (x - (s - z)) + (y - z))
    };
    let (high, low) = match (f, c) {
        (Bin::Mul, Some(c)) => {
            let p = a * b;
            let e = a.mul_add(b, -p);
            let (s, e2) = two_sum(p, float(c, t));
            (s, e + e2)
        }
        (Bin::Mul, None) => (a * b, a.mul_add(b, -(a * b))),
        (Bin::Add, _) => two_sum(a, b),
        (Bin::Sub, _) => two_sum(a, -b),
        _ => {
            let q = a / b;
            (q, (-q).mul_add(b, a) / b)
        }
    };
    let low = if high.is_finite() && low.is_finite() { low } else { 0.0 };
    rounded(high, low, t, round)
}

fn integral(v: f64, round: Round) -> f64 {
    match round {
        Round::IntNearest => v.round_ties_even(),
        Round::IntDown | Round::Down => v.floor(),
        Round::IntUp | Round::Up => v.ceil(),
        _ => v.trunc(),
    }
}

/// Any conversion between scalar types; `width` is the destination register's bytes.
pub fn convert(x: u64, to: Type, from: Type, round: Round, sat: bool, width: u32) -> u64 {
    if to.is_float() {
        let int_round = matches!(round, Round::IntNearest | Round::IntZero | Round::IntDown | Round::IntUp);
        let (mut high, mut low) = if from.is_float() {
            (float(x, from), 0.0)
        } else {
            let i = if from.signed() { i128::from(integer(x, from)) } else { i128::from(integer(x, from) as u64) };
            let high = i as f64;
            if to == Type::F32 && round == Round::Nearest {
                return of_f32(i as f32);
            }
            (high, (i - high as i128) as f64)
        };
        if int_round {
            high = integral(high, round);
        }
        if sat {
            high = if high.is_nan() { 0.0 } else { high.clamp(0.0, 1.0) };
            low = 0.0;
        }
        return if int_round || round == Round::Nearest {
            nearest(high + low, to)
        } else {
            rounded(high, low, to, round)
        };
    }
    let bits = 8 * to.size() as u32;
    let (lo, hi) =
        if to.signed() { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
    let value = if from.is_float() {
        let v = float(x, from);
        if v.is_nan() { if bits == 64 { 1i128 << 63 } else { 0 } } else { (integral(v, round) as i128).clamp(lo, hi) }
    } else {
        let v = if from.signed() { i128::from(integer(x, from)) } else { i128::from(integer(x, from) as u64) };
        if sat { v.clamp(lo, hi) } else { v }
    };
    let v = integer(value as u64, to) as u64;
    if to.signed() { v & mask(width) } else { v }
}

#[inline(always)]
pub fn compare<T: PartialOrd>(cmp: Cmp, a: T, b: T, unordered: bool) -> bool {
    match cmp {
        Cmp::Eq => a == b,
        Cmp::Ne => a != b && !unordered,
        Cmp::Lt => a < b,
        Cmp::Le => a <= b,
        Cmp::Gt => a > b,
        Cmp::Ge => a >= b,
        Cmp::Equ => unordered || a == b,
        Cmp::Neu => unordered || a != b,
        Cmp::Ltu => unordered || a < b,
        Cmp::Leu => unordered || a <= b,
        Cmp::Gtu => unordered || a > b,
        Cmp::Geu => unordered || a >= b,
        Cmp::Num => !unordered,
        Cmp::Nan => unordered,
    }
}
