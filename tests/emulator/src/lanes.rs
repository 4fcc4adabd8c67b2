//! Instructions without side effects, applied to the 32 lanes of a warp at once.

use crate::num::*;
use crate::program::*;
use half::{bf16, f16};

/// One register of a warp: a value for each lane, zero extended.
pub type Lanes = [u64; 32];
pub const FULL: u32 = u32::MAX;

/// The register file of a warp.
pub struct Registers(pub Vec<Lanes>);

impl Registers {
    #[inline(always)]
    pub fn get(&self, r: Reg) -> &Lanes {
        debug_assert!((r as usize) < self.0.len());
        // SAFETY: the decoder hands out register numbers below the count that the file is made with.
        unsafe { self.0.get_unchecked(r as usize) }
    }
    #[inline(always)]
    pub fn get_mut(&mut self, r: Reg) -> &mut Lanes {
        debug_assert!((r as usize) < self.0.len());
        // SAFETY: as above.
        unsafe { self.0.get_unchecked_mut(r as usize) }
    }
    /// The lanes of `m` in which a predicate is true.
    #[inline(always)]
    pub fn truth(&self, p: Reg, m: u32) -> u32 {
        let lanes = self.get(p);
        let mut bits = 0;
        for (i, v) in lanes.iter().enumerate() {
            bits |= ((*v & 1) as u32) << i;
        }
        bits & m
    }
    #[inline(always)]
    pub fn map1(&mut self, m: u32, d: Reg, a: Reg, f: impl Fn(u64) -> u64) {
        let a = *self.get(a);
        let d = self.get_mut(d);
        if m == FULL {
            for i in 0..32 {
                d[i] = f(a[i]);
            }
        } else {
            for i in bits(m) {
                d[i] = f(a[i]);
            }
        }
    }
    #[inline(always)]
    pub fn map2(&mut self, m: u32, d: Reg, a: Reg, b: Reg, f: impl Fn(u64, u64) -> u64) {
        let (a, b) = (*self.get(a), *self.get(b));
        let d = self.get_mut(d);
        if m == FULL {
            for i in 0..32 {
                d[i] = f(a[i], b[i]);
            }
        } else {
            for i in bits(m) {
                d[i] = f(a[i], b[i]);
            }
        }
    }
    #[inline(always)]
    pub fn map3(&mut self, m: u32, d: Reg, a: Reg, b: Reg, c: Reg, f: impl Fn(u64, u64, u64) -> u64) {
        let (a, b, c) = (*self.get(a), *self.get(b), *self.get(c));
        let d = self.get_mut(d);
        if m == FULL {
            for i in 0..32 {
                d[i] = f(a[i], b[i], c[i]);
            }
        } else {
            for i in bits(m) {
                d[i] = f(a[i], b[i], c[i]);
            }
        }
    }
}

/// The numbers of the set bits.
#[inline(always)]
pub fn bits(mut m: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if m == 0 {
            return None;
        }
        let i = m.trailing_zeros() as usize;
        m &= m - 1;
        Some(i)
    })
}

/// Applies `f` to both halves of a pair.
#[inline(always)]
fn halves2(x: u64, y: u64, f: impl Fn(u64, u64) -> u64) -> u64 {
    f(x & 0xffff, y & 0xffff) | f(x >> 16 & 0xffff, y >> 16 & 0xffff) << 16
}

#[inline(always)]
pub fn un(r: &mut Registers, m: u32, f: Un, t: Type, d: Reg, a: Reg) {
    use Un::*;
    macro_rules! ints {
        ($s:ty, $u:ty) => {
            match f {
                Mov => r.map1(m, d, a, |x| x as $u as u64),
                Not => r.map1(m, d, a, |x| !(x as $u) as u64),
                Neg => r.map1(m, d, a, |x| (x as $u).wrapping_neg() as u64),
                Abs => r.map1(m, d, a, |x| (x as $s).wrapping_abs() as $u as u64),
                Popc => r.map1(m, d, a, |x| (x as $u).count_ones() as u64),
                Clz => r.map1(m, d, a, |x| (x as $u).leading_zeros() as u64),
                Brev => r.map1(m, d, a, |x| (x as $u).reverse_bits() as u64),
                Cnot => r.map1(m, d, a, |x| u64::from(x as $u == 0)),
                Bfind | BfindShift => r.map1(m, d, a, |x| {
                    let v = x as $u;
                    let v = if t.signed() && (x as $s) < 0 { !v } else { v };
                    if v == 0 {
                        return u64::from(u32::MAX);
                    }
                    let top = <$u>::BITS - 1 - v.leading_zeros();
                    u64::from(if f == Bfind { top } else { <$u>::BITS - 1 - top })
                }),
                _ => unreachable!("the decoder checks types"),
            }
        };
    }
    macro_rules! floats {
        ($get:expr, $put:expr, $sign:expr, $low:expr) => {
            match f {
                Mov => r.map1(m, d, a, |x| x & $low),
                Neg => r.map1(m, d, a, |x| (x ^ $sign) & $low),
                Abs => r.map1(m, d, a, |x| x & $low & !$sign),
                Rcp => r.map1(m, d, a, |x| $put(1.0 / $get(x))),
                Sqrt => r.map1(m, d, a, |x| $put($get(x).sqrt())),
                Rsqrt => r.map1(m, d, a, |x| $put((1.0 / f64::from($get(x)).sqrt()) as _)),
                Ex2 => r.map1(m, d, a, |x| $put(f64::from($get(x)).exp2() as _)),
                Lg2 => r.map1(m, d, a, |x| $put(f64::from($get(x)).log2() as _)),
                Sin => r.map1(m, d, a, |x| $put(f64::from($get(x)).sin() as _)),
                Cos => r.map1(m, d, a, |x| $put(f64::from($get(x)).cos() as _)),
                Tanh => r.map1(m, d, a, |x| $put(f64::from($get(x)).tanh() as _)),
                IsNan => r.map1(m, d, a, |x| u64::from($get(x).is_nan())),
                IsInf => r.map1(m, d, a, |x| u64::from($get(x).is_infinite())),
                IsFinite => r.map1(m, d, a, |x| u64::from($get(x).is_finite())),
                IsNumber => r.map1(m, d, a, |x| u64::from(!$get(x).is_nan())),
                _ => unreachable!("the decoder checks types"),
            }
        };
    }
    match t {
        Type::Pred => match f {
            Not => r.map1(m, d, a, |x| !x & 1),
            _ => r.map1(m, d, a, |x| x & 1),
        },
        Type::U8 | Type::S8 => ints!(i8, u8),
        Type::U16 | Type::S16 => ints!(i16, u16),
        Type::U32 | Type::S32 => ints!(i32, u32),
        Type::U64 | Type::S64 => ints!(i64, u64),
        Type::F32 => floats!(f32_of, of_f32, 0x8000_0000, 0xffff_ffff),
        Type::F64 => floats!(f64::from_bits, f64::to_bits, 1 << 63, u64::MAX),
        Type::F16 => floats!(f16_of, of_f16, 0x8000, 0xffff),
        Type::Bf16 => floats!(bf16_of, of_bf16, 0x8000, 0xffff),
        Type::F16x2 | Type::Bf16x2 => {
            let (get, put) = half_of(t);
            let each = |g: fn(f64) -> f64| move |x: u64| halves2(x, x, |v, _| put(g(f64::from(get(v))) as f32));
            match f {
                Mov => r.map1(m, d, a, |x| x & 0xffff_ffff),
                Neg => r.map1(m, d, a, |x| (x ^ 0x8000_8000) & 0xffff_ffff),
                Abs => r.map1(m, d, a, |x| x & 0x7fff_7fff),
                Ex2 => r.map1(m, d, a, each(f64::exp2)),
                Tanh => r.map1(m, d, a, each(f64::tanh)),
                _ => unreachable!("the decoder checks types"),
            }
        }
    }
}

/// Whether `un` has the instruction for the type.
pub fn has_un(f: Un, t: Type) -> bool {
    use Un::*;
    match f {
        Mov => true,
        Not => !t.is_float() && !matches!(t, Type::F16x2 | Type::Bf16x2),
        Neg | Abs => t != Type::Pred,
        Popc | Clz | Brev | Cnot | Bfind | BfindShift => {
            t != Type::Pred && !t.is_float() && !matches!(t, Type::F16x2 | Type::Bf16x2)
        }
        Ex2 | Tanh => t.is_float() || matches!(t, Type::F16x2 | Type::Bf16x2),
        _ => t.is_float(),
    }
}

/// Whether `bin` has the instruction for the type.
pub fn has_bin(f: Bin, t: Type) -> bool {
    use Bin::*;
    let float = t.is_float() || matches!(t, Type::F16x2 | Type::Bf16x2);
    match f {
        Add | Sub | Mul | Min | Max => t != Type::Pred,
        Div => t != Type::Pred && !matches!(t, Type::F16x2 | Type::Bf16x2),
        MinNan | MaxNan => float,
        CopySign => matches!(t, Type::F32 | Type::F64),
        And | Or | Xor => !float,
        _ => !float && t != Type::Pred,
    }
}

#[inline(always)]
fn float_bin(f: Bin, x: f32, y: f32) -> f32 {
    match f {
        Bin::Add => x + y,
        Bin::Sub => x - y,
        Bin::Mul => x * y,
        Bin::Div => x / y,
        Bin::Min => x.min(y),
        Bin::Max => x.max(y),
        Bin::MinNan if x.is_nan() || y.is_nan() => f32::NAN,
        Bin::MaxNan if x.is_nan() || y.is_nan() => f32::NAN,
        Bin::MinNan => x.min(y),
        _ => x.max(y),
    }
}

#[inline(always)]
pub fn bin(r: &mut Registers, m: u32, f: Bin, t: Type, d: Reg, a: Reg, b: Reg) {
    use Bin::*;
    macro_rules! ints {
        ($s:ty, $u:ty, $w:ty, $wu:ty) => {
            match f {
                Add => r.map2(m, d, a, b, |x, y| (x as $u).wrapping_add(y as $u) as u64),
                Sub => r.map2(m, d, a, b, |x, y| (x as $u).wrapping_sub(y as $u) as u64),
                Mul => r.map2(m, d, a, b, |x, y| (x as $u).wrapping_mul(y as $u) as u64),
                MulHi => r.map2(m, d, a, b, |x, y| (((x as $s as $w) * (y as $s as $w)) >> <$u>::BITS) as $u as u64),
                MulWide => r.map2(m, d, a, b, |x, y| ((x as $s as $w) * (y as $s as $w)) as $wu as u64),
                Div => r.map2(m, d, a, b, |x, y| {
                    if y as $u == 0 { <$u>::MAX as u64 } else { (x as $s).wrapping_div(y as $s) as $u as u64 }
                }),
                Rem => r.map2(m, d, a, b, |x, y| {
                    if y as $u == 0 { x as $u as u64 } else { (x as $s).wrapping_rem(y as $s) as $u as u64 }
                }),
                Min => r.map2(m, d, a, b, |x, y| (x as $s).min(y as $s) as $u as u64),
                Max => r.map2(m, d, a, b, |x, y| (x as $s).max(y as $s) as $u as u64),
                And => r.map2(m, d, a, b, |x, y| (x as $u & y as $u) as u64),
                Or => r.map2(m, d, a, b, |x, y| (x as $u | y as $u) as u64),
                Xor => r.map2(m, d, a, b, |x, y| (x as $u ^ y as $u) as u64),
                Shl => r.map2(m, d, a, b, |x, y| (x as $u).checked_shl(y as u32).unwrap_or(0) as u64),
                Shr => r.map2(m, d, a, b, |x, y| {
                    let s = y as u32;
                    if s < <$u>::BITS {
                        ((x as $s) >> s) as $u as u64
                    } else if t.signed() {
                        ((x as $s) >> (<$u>::BITS - 1)) as $u as u64
                    } else {
                        0
                    }
                }),
                _ => unreachable!("the decoder checks types"),
            }
        };
    }
    match t {
        Type::Pred => match f {
            And => r.map2(m, d, a, b, |x, y| x & y & 1),
            Or => r.map2(m, d, a, b, |x, y| (x | y) & 1),
            _ => r.map2(m, d, a, b, |x, y| (x ^ y) & 1),
        },
        Type::U8 => ints!(u8, u8, u16, u16),
        Type::S8 => ints!(i8, u8, i16, u16),
        Type::U16 => ints!(u16, u16, u32, u32),
        Type::S16 => ints!(i16, u16, i32, u32),
        Type::U32 => ints!(u32, u32, u64, u64),
        Type::S32 => ints!(i32, u32, i64, u64),
        Type::U64 => ints!(u64, u64, u128, u128),
        Type::S64 => ints!(i64, u64, i128, u128),
        Type::F32 => match f {
            Add => r.map2(m, d, a, b, |x, y| of_f32(f32_of(x) + f32_of(y))),
            Sub => r.map2(m, d, a, b, |x, y| of_f32(f32_of(x) - f32_of(y))),
            Mul => r.map2(m, d, a, b, |x, y| of_f32(f32_of(x) * f32_of(y))),
            Div => r.map2(m, d, a, b, |x, y| of_f32(f32_of(x) / f32_of(y))),
            // The sign comes from the first operand.
            CopySign => r.map2(m, d, a, b, |x, y| (y & 0x7fff_ffff) | (x & 0x8000_0000)),
            _ => r.map2(m, d, a, b, |x, y| of_f32(float_bin(f, f32_of(x), f32_of(y)))),
        },
        Type::F64 => {
            let g = |x: u64, y: u64| (f64::from_bits(x), f64::from_bits(y));
            match f {
                CopySign => r.map2(m, d, a, b, |x, y| (y & !(1 << 63)) | (x & 1 << 63)),
                _ => r.map2(m, d, a, b, |x, y| {
                    let (x, y) = g(x, y);
                    match f {
                        Add => x + y,
                        Sub => x - y,
                        Mul => x * y,
                        Div => x / y,
                        Min => x.min(y),
                        Max => x.max(y),
                        _ if x.is_nan() || y.is_nan() => f64::NAN,
                        MinNan => x.min(y),
                        _ => x.max(y),
                    }
                    .to_bits()
                }),
            }
        }
        // Sums and products of half precision numbers, rounded once more from single precision, are correctly rounded.
        Type::F16 => r.map2(m, d, a, b, |x, y| of_f16(float_bin(f, f16_of(x), f16_of(y)))),
        Type::Bf16 => r.map2(m, d, a, b, |x, y| of_bf16(float_bin(f, bf16_of(x), bf16_of(y)))),
        Type::F16x2 => r.map2(m, d, a, b, |x, y| halves2(x, y, |x, y| of_f16(float_bin(f, f16_of(x), f16_of(y))))),
        Type::Bf16x2 => r.map2(m, d, a, b, |x, y| halves2(x, y, |x, y| of_bf16(float_bin(f, bf16_of(x), bf16_of(y))))),
    }
}

/// Whether `tri` has the instruction for the type.
pub fn has_tri(f: Tri, t: Type) -> bool {
    use Tri::*;
    let float = t.is_float() || matches!(t, Type::F16x2 | Type::Bf16x2);
    match f {
        Fma => float,
        FmaRelu => float && !matches!(t, Type::F32 | Type::F64),
        Mad => !float && t.size() >= 2 && t != Type::Pred,
        MadHi | MadWide | Sad => !float && t.size() >= 2,
        Bfe => matches!(t, Type::U32 | Type::S32 | Type::U64 | Type::S64),
        ShfL | ShfR | ShfLWrap | ShfRWrap | Prmt => t == Type::U32,
        Dp4a => matches!(t, Type::U32 | Type::S32),
        Selp | Slct => true,
    }
}

#[inline(always)]
fn half_fma(t: Type, relu: bool, x: u64, y: u64, z: u64) -> u64 {
    let (g, v): (fn(u64) -> f32, _) =
        if matches!(t, Type::F16 | Type::F16x2) { (f16_of, true) } else { (bf16_of, false) };
    let s = f64::from(g(x)).mul_add(f64::from(g(y)), f64::from(g(z)));
    let s = if relu && s < 0.0 { 0.0 } else { s };
    if s.is_nan() {
        0x7fff
    } else if v {
        u64::from(f16::from_f64(s).to_bits())
    } else {
        u64::from(bf16::from_f64(s).to_bits())
    }
}

#[inline(always)]
pub fn tri(r: &mut Registers, m: u32, f: Tri, t: Type, d: Reg, a: Reg, b: Reg, c: Reg) {
    use Tri::*;
    macro_rules! ints {
        ($s:ty, $u:ty, $w:ty, $wu:ty) => {
            match f {
                Mad => r.map3(m, d, a, b, c, |x, y, z| (x as $u).wrapping_mul(y as $u).wrapping_add(z as $u) as u64),
                MadHi => r.map3(m, d, a, b, c, |x, y, z| {
                    ((((x as $s as $w) * (y as $s as $w)) >> <$u>::BITS) as $u).wrapping_add(z as $u) as u64
                }),
                MadWide => r.map3(m, d, a, b, c, |x, y, z| {
                    (((x as $s as $w) * (y as $s as $w)) as $wu).wrapping_add(z as $wu) as u64
                }),
                _ => r.map3(m, d, a, b, c, |x, y, z| {
                    let (x, y) = (x as $s, y as $s);
                    (if x > y { x.wrapping_sub(y) } else { y.wrapping_sub(x) } as $u).wrapping_add(z as $u) as u64
                }),
            }
        };
    }
    match f {
        Selp => {
            let low = mask(t.size() as u32);
            return r.map3(m, d, a, b, c, |x, y, p| if p & 1 != 0 { x & low } else { y & low });
        }
        Slct => {
            let low = mask(t.size() as u32);
            return r.map3(m, d, a, b, c, |x, y, s| if s as i32 >= 0 { x & low } else { y & low });
        }
        Bfe => {
            let bits = 8 * t.size() as u32;
            return r.map3(m, d, a, b, c, |x, pos, len| {
                let (pos, len) = ((pos as u32) & 0xff, (len as u32) & 0xff);
                let x = integer(x, t);
                if len == 0 || (pos >= bits && !t.signed()) {
                    return 0;
                }
                let shifted =
                    if t.signed() { x >> pos.min(63) } else { (x as u64).checked_shr(pos).unwrap_or(0) as i64 };
                let keep = len.min(bits.saturating_sub(pos).max(1));
                let shift = 64 - keep;
                let v = if t.signed() {
                    ((shifted << shift) >> shift) as u64
                } else {
                    ((shifted as u64) << shift) >> shift
                };
                v & mask(t.size() as u32)
            });
        }
        ShfL | ShfLWrap => {
            return r.map3(m, d, a, b, c, |x, y, s| {
                let s = if f == ShfLWrap { s & 31 } else { (s as u32).min(32) as u64 };
                u64::from(((((y << 32) | (x & 0xffff_ffff)) << s) >> 32) as u32)
            });
        }
        ShfR | ShfRWrap => {
            return r.map3(m, d, a, b, c, |x, y, s| {
                let s = if f == ShfRWrap { s & 31 } else { (s as u32).min(32) as u64 };
                u64::from((((y << 32) | (x & 0xffff_ffff)) >> s) as u32)
            });
        }
        Prmt => {
            return r.map3(m, d, a, b, c, |x, y, sel| {
                let all = (y << 32) | (x & 0xffff_ffff);
                (0..4).fold(0, |out, i| {
                    let s = sel >> (4 * i) & 0xf;
                    let byte = all >> (8 * (s & 7)) & 0xff;
                    let byte = if s & 8 != 0 { if byte & 0x80 != 0 { 0xff } else { 0 } } else { byte };
                    out | byte << (8 * i)
                })
            });
        }
        Dp4a => {
            return r.map3(m, d, a, b, c, |x, y, z| {
                let sum = (0..4).fold(z as u32, |sum, i| {
                    let (x, y) = ((x >> (8 * i)) as u8, (y >> (8 * i)) as u8);
                    let p =
                        if t.signed() { i32::from(x as i8) * i32::from(y as i8) } else { i32::from(x) * i32::from(y) };
                    sum.wrapping_add(p as u32)
                });
                u64::from(sum)
            });
        }
        _ => {}
    }
    match t {
        Type::F32 => r.map3(m, d, a, b, c, |x, y, z| of_f32(f32_of(x).mul_add(f32_of(y), f32_of(z)))),
        Type::F64 => {
            r.map3(m, d, a, b, c, |x, y, z| f64::from_bits(x).mul_add(f64::from_bits(y), f64::from_bits(z)).to_bits())
        }
        Type::F16 | Type::Bf16 => r.map3(m, d, a, b, c, |x, y, z| half_fma(t, f == FmaRelu, x, y, z)),
        Type::F16x2 | Type::Bf16x2 => r.map3(m, d, a, b, c, |x, y, z| {
            let at = |s: u32| half_fma(t, f == FmaRelu, x >> s & 0xffff, y >> s & 0xffff, z >> s & 0xffff);
            at(0) | at(16) << 16
        }),
        Type::U16 => ints!(u16, u16, u32, u32),
        Type::S16 => ints!(i16, u16, i32, u32),
        Type::U32 => ints!(u32, u32, u64, u64),
        Type::S32 => ints!(i32, u32, i64, u64),
        Type::U64 => ints!(u64, u64, u128, u128),
        _ => ints!(i64, u64, i128, u128),
    }
}

#[inline(always)]
pub fn compare_lanes(r: &Registers, cmp: Cmp, t: Type, a: Reg, b: Reg) -> u32 {
    let (a, b) = (r.get(a), r.get(b));
    let mut out = 0;
    macro_rules! each {
        ($get:expr, $unordered:expr) => {
            for i in 0..32 {
                let (x, y) = ($get(a[i]), $get(b[i]));
                out |= u32::from(compare(cmp, x, y, $unordered(x, y))) << i;
            }
        };
    }
    macro_rules! ints {
        ($t:ty) => {
            each!(|x: u64| x as $t, |_, _| false)
        };
    }
    match t {
        Type::Pred => ints!(bool_of),
        Type::U8 => ints!(u8),
        Type::S8 => ints!(i8),
        Type::U16 => ints!(u16),
        Type::S16 => ints!(i16),
        Type::U32 => ints!(u32),
        Type::S32 => ints!(i32),
        Type::U64 => ints!(u64),
        Type::S64 => ints!(i64),
        Type::F32 => each!(f32_of, |x: f32, y: f32| x.is_nan() | y.is_nan()),
        Type::F64 => each!(f64::from_bits, |x: f64, y: f64| x.is_nan() | y.is_nan()),
        Type::F16 | Type::F16x2 => each!(f16_of, |x: f32, y: f32| x.is_nan() | y.is_nan()),
        Type::Bf16 | Type::Bf16x2 => each!(bf16_of, |x: f32, y: f32| x.is_nan() | y.is_nan()),
    }
    out
}
#[allow(non_camel_case_types)]
type bool_of = u8;

#[inline(always)]
pub fn cvt(r: &mut Registers, m: u32, to: Type, from: Type, round: Round, sat: bool, width: u8, d: Reg, a: Reg) {
    let width = u32::from(width);
    if !to.is_float() && !from.is_float() && !sat {
        let low = mask(if to.signed() { width } else { to.size() as u32 });
        return match (to, from) {
            (Type::U64, Type::U32) | (Type::U32, Type::U64 | Type::U32 | Type::S32 | Type::S64) => {
                r.map1(m, d, a, |x| x & 0xffff_ffff)
            }
            (Type::S64, Type::S32) => r.map1(m, d, a, |x| x as i32 as i64 as u64),
            _ => r.map1(m, d, a, |x| integer(integer(x, from) as u64, to) as u64 & low),
        };
    }
    match (to, from, round) {
        (Type::F32, Type::F16, Round::Nearest) if !sat => r.map1(m, d, a, |x| of_f32(f16_of(x))),
        (Type::F32, Type::Bf16, Round::Nearest) if !sat => r.map1(m, d, a, |x| of_f32(bf16_of(x))),
        (Type::F16, Type::F32, Round::Nearest) if !sat => r.map1(m, d, a, |x| of_f16(f32_of(x))),
        (Type::Bf16, Type::F32, Round::Nearest) if !sat => r.map1(m, d, a, |x| of_bf16(f32_of(x))),
        (Type::F32, Type::S32, Round::Nearest) if !sat => r.map1(m, d, a, |x| of_f32(x as i32 as f32)),
        (Type::F32, Type::U32, Round::Nearest) if !sat => r.map1(m, d, a, |x| of_f32(x as u32 as f32)),
        (Type::F64, Type::F32, Round::Nearest) if !sat => r.map1(m, d, a, |x| f64::from(f32_of(x)).to_bits()),
        _ => r.map1(m, d, a, |x| convert(x, to, from, round, sat, width)),
    }
}
