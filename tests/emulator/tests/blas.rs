//! Matrix products against the definition, for every transposition, with padding and in batches.

use cudaemulator::blas::{cublasGemmStridedBatchedEx, cublasSgemm_v2};
use cudaemulator::memory::memory;
use half::bf16;

fn device<T: Copy>(values: &[T]) -> u64 {
    let base = memory().alloc(size_of_val(values));
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), base as *mut T, values.len()) };
    base
}

fn host<T: Copy>(base: u64, n: usize) -> Vec<T> {
    unsafe { std::slice::from_raw_parts(base as *const T, n) }.to_vec()
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + 11) % 23) as f32 - 11.0).collect()
}

/// Rows, columns and terms; each matrix by columns with two rows of padding.
const M: usize = 5;
const N: usize = 4;
const K: usize = 11;

fn ld(transposed: bool, rows: usize, columns: usize) -> usize {
    if transposed { columns + 2 } else { rows + 2 }
}

fn at(v: &[f32], transposed: bool, ld: usize, i: usize, j: usize) -> f32 {
    if transposed { v[j + i * ld] } else { v[i + j * ld] }
}

#[test]
fn every_transposition_is_the_product() {
    for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
        let (lda, ldb, ldc) = (ld(ta, M, K), ld(tb, K, N), M + 2);
        let (a, b, c) = (numbers(lda * M.max(K)), numbers(ldb * K.max(N)), numbers(ldc * N));
        let (da, db, dc) = (device(&a), device(&b), device(&c));
        let status = cublasSgemm_v2(
            std::ptr::null_mut(),
            ta.into(),
            tb.into(),
            M as i32,
            N as i32,
            K as i32,
            &0.5,
            da,
            lda as i32,
            db,
            ldb as i32,
            &2.0,
            dc,
            ldc as i32,
        );
        assert_eq!(status, 0);
        let got = host::<f32>(dc, ldc * N);
        for i in 0..ldc {
            for j in 0..N {
                let sum: f32 = (0..K).map(|l| at(&a, ta, lda, i.min(M - 1), l) * at(&b, tb, ldb, l, j)).sum();
                let old = c[i + j * ldc];
                assert_eq!(got[i + j * ldc], if i < M { 0.5 * sum + 2.0 * old } else { old }, "{ta} {tb} ({i}, {j})");
            }
        }
        for p in [da, db, dc] {
            memory().free(p);
        }
    }
}

#[test]
fn batches_step_by_their_strides() {
    let narrow = |v: Vec<f32>| v.into_iter().map(bf16::from_f32).collect::<Vec<_>>();
    // Every batch uses the same B, as a stride of zero says.
    let (a, b) = (narrow(numbers(3 * M * K)), narrow(numbers(K * N)));
    let (da, db, dc) = (device(&a), device(&b), device(&[f32::NAN; 3 * M * N]));
    let (alpha, beta) = (1f32, 0f32);
    let status = cublasGemmStridedBatchedEx(
        std::ptr::null_mut(),
        0,
        0,
        M as i32,
        N as i32,
        K as i32,
        (&raw const alpha).cast(),
        da,
        14,
        M as i32,
        (M * K) as i64,
        db,
        14,
        K as i32,
        0,
        (&raw const beta).cast(),
        dc,
        0,
        M as i32,
        (M * N) as i64,
        3,
        68,
        -1,
    );
    assert_eq!(status, 0);
    for (n, v) in host::<f32>(dc, 3 * M * N).into_iter().enumerate() {
        let (batch, i, j) = (n / (M * N), n % M, n / M % N);
        let sum: f32 = (0..K).map(|l| a[batch * M * K + i + l * M].to_f32() * b[l + j * K].to_f32()).sum();
        assert_eq!(v, sum, "element ({i}, {j}) of batch {batch}: what was in C isn't looked at where beta is zero");
    }
    // A matrix that ends outside of its allocation is refused.
    let status = cublasGemmStridedBatchedEx(
        std::ptr::null_mut(),
        0,
        0,
        M as i32,
        N as i32,
        K as i32,
        (&raw const alpha).cast(),
        da,
        14,
        M as i32,
        (M * K) as i64,
        db,
        14,
        K as i32,
        1,
        (&raw const beta).cast(),
        dc,
        0,
        M as i32,
        (M * N) as i64,
        3,
        68,
        -1,
    );
    assert_ne!(status, 0);
}
