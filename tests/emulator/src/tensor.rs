//! Matrix products of a warp.

use crate::lanes::Registers;
use crate::num::*;
use crate::program::*;

fn element(t: MmaType, bits: u64) -> f32 {
    match t {
        MmaType::F16 => f16_of(bits & 0xffff),
        MmaType::Bf16 => bf16_of(bits & 0xffff),
        // The tensor cores don't look at the low bits.
        MmaType::Tf32 => f32::from_bits(bits as u32 & 0xffff_e000),
    }
}

/// `mma.sync.m16n8k*`: fragments as the PTX manual lays them out over the lanes.
pub fn mma(regs: &mut Registers, l: &[Reg], t: MmaType, k: usize, half_sum: bool) {
    let wide = t == MmaType::Tf32;
    let na = if wide { k / 2 } else { k / 4 };
    let nb = if wide { k / 4 } else { k / 8 };
    let nc = if half_sum { 2 } else { 4 };
    let (d, rest) = l.split_at(nc);
    let (ra, rest) = rest.split_at(na);
    let (rb, rc) = rest.split_at(nb);
    let (mut a, mut b, mut c) = ([[0f32; 16]; 16], [[0f32; 8]; 16], [[0f32; 8]; 16]);
    for lane in 0..32 {
        let (g, q) = (lane / 4, lane % 4);
        for (i, &r) in ra.iter().enumerate() {
            let v = regs.get(r)[lane];
            let row = g + 8 * (i % 2);
            if wide {
                a[row][q + 4 * (i / 2)] = element(t, v);
            } else {
                let column = 2 * q + 8 * (i / 2);
                a[row][column] = element(t, v);
                a[row][column + 1] = element(t, v >> 16);
            }
        }
        for (i, &r) in rb.iter().enumerate() {
            let v = regs.get(r)[lane];
            if wide {
                b[q + 4 * i][g] = element(t, v);
            } else {
                b[2 * q + 8 * i][g] = element(t, v);
                b[2 * q + 8 * i + 1][g] = element(t, v >> 16);
            }
        }
        for (i, &r) in rc.iter().enumerate() {
            let v = regs.get(r)[lane];
            if half_sum {
                c[g + 8 * i][2 * q] = f16_of(v & 0xffff);
                c[g + 8 * i][2 * q + 1] = f16_of(v >> 16 & 0xffff);
            } else {
                c[g + 8 * (i / 2)][2 * q + i % 2] = f32_of(v);
            }
        }
    }
    for row in 0..16 {
        for (i, b) in b.iter().enumerate().take(k) {
            let x = a[row][i];
            for column in 0..8 {
                c[row][column] += x * b[column];
            }
        }
    }
    for lane in 0..32 {
        let (g, q) = (lane / 4, lane % 4);
        for (i, &r) in d.iter().enumerate() {
            regs.get_mut(r)[lane] = if half_sum {
                of_f16(c[g + 8 * i][2 * q]) | of_f16(c[g + 8 * i][2 * q + 1]) << 16
            } else {
                of_f32(c[g + 8 * (i / 2)][2 * q + i % 2])
            };
        }
    }
}

pub fn wmma_shape(kind: u8, (m, n, k): (u8, u8, u8)) -> (usize, usize) {
    let (m, n, k) = (m as usize, n as usize, k as usize);
    match kind {
        0 => (m, k),
        1 => (k, n),
        _ => (m, n),
    }
}

pub fn wmma_size(t: Type) -> usize {
    if matches!(t, Type::F16 | Type::Bf16) { 2 } else { 4 }
}

/// Elements in a register. Which element is where isn't specified, only that loads, multiplies and stores agree:
/// here a lane holds neighbours by rows, and registers beyond what that takes repeat them.
pub fn wmma_pack(t: Type, registers: usize, per_lane: usize) -> usize {
    if wmma_size(t) == 2 && registers * 2 >= per_lane { 2 } else { 1 }
}

pub fn wmma(regs: &mut Registers, l: &[Reg], t: MmaType, half_sum: bool, shape: (u8, u8, u8)) {
    let counts = &l[..4];
    let mut rest = &l[4..];
    let mut take = |i: usize| {
        let (head, tail) = rest.split_at(counts[i] as usize);
        rest = tail;
        head
    };
    let (d, ra, rb, rc) = (take(0), take(1), take(2), take(3));
    let (m, n, k) = (shape.0 as usize, shape.1 as usize, shape.2 as usize);
    let gather = |regs: &Registers, list: &[Reg], elements: usize, get: &dyn Fn(u64) -> f32, halves: bool| {
        let per_lane = elements / 32;
        (0..elements)
            .map(|e| {
                let (lane, i) = (e / per_lane, e % per_lane);
                let v = if halves { regs.get(list[i / 2])[lane] >> (16 * (i % 2)) } else { regs.get(list[i])[lane] };
                get(v)
            })
            .collect::<Vec<f32>>()
    };
    let halves = t != MmaType::Tf32;
    let a = gather(regs, ra, m * k, &|v| element(t, v), halves);
    let b = gather(regs, rb, k * n, &|v| element(t, v), halves);
    let mut c = if half_sum {
        gather(regs, rc, m * n, &|v| f16_of(v & 0xffff), true)
    } else {
        gather(regs, rc, m * n, &f32_of, false)
    };
    for r in 0..m {
        for i in 0..k {
            for j in 0..n {
                c[r * n + j] += a[r * k + i] * b[i * n + j];
            }
        }
    }
    let per_lane = m * n / 32;
    for lane in 0..32 {
        for (i, &r) in d.iter().enumerate() {
            let at = lane * per_lane;
            regs.get_mut(r)[lane] =
                if half_sum { of_f16(c[at + 2 * i]) | of_f16(c[at + 2 * i + 1]) << 16 } else { of_f32(c[at + i]) };
        }
    }
}
