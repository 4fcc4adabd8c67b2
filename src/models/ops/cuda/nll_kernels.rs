//! Cross-entropy: products by cuBLAS, rows by kernels. The blocks are those of the CPU.

use candle_core::{
    CudaDevice, CudaStorage, Layout, Result, Shape, backend::BackendStorage, cuda_backend::cudarc::driver::CudaSlice,
};

use super::{
    NLL, Pointer, alloc, by_row,
    cublas::{Matrix, multiply},
    launch, storage, upload, values,
};
use crate::models::ops::nll_targets::{Targets, blocks};

/// Which targets belong to each row.
struct Lists {
    /// `[rows + 1]`, `[targets]` and the targets' ids, `[targets]`.
    offsets: CudaSlice<u32>,
    order: CudaSlice<u32>,
    ids: CudaSlice<u32>,
}

impl Lists {
    fn new(targets: &Targets, rows: usize, device: &CudaDevice) -> Result<Self> {
        let mut order: Vec<u32> = (0..targets.rows.len() as u32).collect();
        order.sort_by_key(|&i| targets.rows[i as usize]);
        let before = |row: usize| order.partition_point(|&i| (targets.rows[i as usize] as usize) < row) as u32;
        let offsets: Vec<u32> = (0..=rows).map(before).collect();
        Ok(Self {
            offsets: upload(device, &offsets)?,
            order: upload(device, &order)?,
            ids: upload(device, &targets.ids)?,
        })
    }
}

/// Operands, and where the logits of a block go.
struct Work {
    rows: usize,
    hidden: usize,
    vocab: usize,
    h: Pointer,
    head: Matrix,
    lists: Lists,
    logits: CudaSlice<f32>,
}

impl Work {
    fn new(targets: &Targets, h: (&CudaStorage, &Layout), head: (&CudaStorage, &Layout)) -> Result<Self> {
        let device = h.0.device();
        let (rows, hidden) = h.1.shape().dims2()?;
        let (vocab, _) = head.1.shape().dims2()?;
        let widest = blocks(rows, vocab).map(|(_, len)| len).max().unwrap_or(0);
        Ok(Self {
            rows,
            hidden,
            vocab,
            h: values("nll", h.0, h.1)?,
            head: Matrix::of(head.0, head.1)?,
            lists: Lists::new(targets, rows, device)?,
            logits: alloc(device, rows * widest)?,
        })
    }

    /// The output layer's weights for a block of the vocabulary, `[len, hidden]`.
    fn part(&self, start: usize, len: usize) -> Matrix {
        let at = start * self.head.strides.rows;
        let pointer = match self.head.dtype {
            candle_core::DType::F32 => self.head.pointer.offset::<f32>(at),
            _ => self.head.pointer.offset::<half::bf16>(at),
        };
        Matrix { pointer, rows: len, ..self.head }
    }

    fn logits(&self, device: &CudaDevice, start: usize, len: usize) -> Result<()> {
        let h = Matrix::f32(self.h, self.rows, self.hidden);
        multiply(device, Pointer::of(&self.logits), len, false, h, self.part(start, len).transposed(), 1.0)
    }
}

/// One number per target, then the log-sum-exp of each row: `[targets + rows]`. `h` is `[rows, hidden]`, `head`
/// `[vocab, hidden]`.
///
/// # Errors
/// If `h` isn't a contiguous f32 matrix, `head` is no matrix or doesn't fit, or the device fails.
pub fn forward(
    targets: &Targets,
    h: (&CudaStorage, &Layout),
    head: (&CudaStorage, &Layout),
) -> Result<(CudaStorage, Shape)> {
    let device = h.0.device();
    let work = Work::new(targets, h, head)?;
    let count = targets.ids.len();
    let (max, sum) = (alloc::<f32>(device, work.rows)?, alloc::<f32>(device, work.rows)?);
    let out = alloc::<f32>(device, count + work.rows)?;
    let (max, sum, losses) = (Pointer::of(&max), Pointer::of(&sum), Pointer::of(&out));
    let Lists { offsets, order, ids } = &work.lists;
    let (offsets, order, ids) = (Pointer::of(offsets), Pointer::of(order), Pointer::of(ids));
    for (start, len) in blocks(work.rows, work.vocab) {
        work.logits(device, start, len)?;
        launch!(
            device,
            NLL,
            "nll_block",
            by_row(work.rows),
            (Pointer::of(&work.logits), start as i32, len as i32, offsets, order, ids, max, sum, losses)
        );
    }
    launch!(
        device,
        NLL,
        "nll_finish",
        by_row(work.rows),
        (max, sum, offsets, order, losses, losses.offset::<f32>(count))
    );
    Ok((storage(out, device), (count + work.rows).into()))
}

/// Gradient of `h`, `[rows, hidden]`; `third` `[targets + rows]` holds the gradient of each target, then the log-sum-exp
/// of each row.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    targets: &Targets,
    h: (&CudaStorage, &Layout),
    head: (&CudaStorage, &Layout),
    third: (&CudaStorage, &Layout),
) -> Result<(CudaStorage, Shape)> {
    let device = h.0.device();
    let work = Work::new(targets, h, head)?;
    let grads = values("nll", third.0, third.1)?;
    let sums = grads.offset::<f32>(targets.ids.len());
    let out = alloc::<f32>(device, work.rows * work.hidden)?;
    let Lists { offsets, order, ids } = &work.lists;
    for (start, len) in blocks(work.rows, work.vocab) {
        work.logits(device, start, len)?;
        let logits = Pointer::of(&work.logits);
        launch!(
            device,
            NLL,
            "nll_backward",
            by_row(work.rows),
            (logits, start as i32, len as i32, Pointer::of(offsets), Pointer::of(order), Pointer::of(ids), grads, sums)
        );
        let gradients = Matrix::f32(logits, work.rows, len);
        multiply(device, Pointer::of(&out), work.hidden, start > 0, gradients, work.part(start, len), 1.0)?;
    }
    Ok((storage(out, device), h.1.shape().clone()))
}
