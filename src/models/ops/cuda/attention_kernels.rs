//! Attention over a token tree: what `attention.cu` works off, and its launches.

use std::{collections::BTreeMap, sync::Arc};

use candle_core::{
    CudaDevice, CudaStorage, Layout, Result, Shape,
    backend::BackendStorage,
    cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr, LaunchConfig},
};

use super::attention_lists::Lists;
use super::{ATTENTION, Pointer, THREADS, alloc, allow_shared_memory, launch, storage, upload, values, zeros};
use crate::models::ops::{attention_mask::AttentionMask, heads::Heads, precision::Precision};

/// As in `attention.cu`.
const KEYS: usize = 32;
const ROWS: usize = 32;
const PAD: usize = 8;

/// Thread blocks that the backward of keys is shared out to at most, but for the last of each tile of keys.
const TASKS: usize = 1024;

/// Rows of such a thread block at least: enough to be worth its while.
const SHARE: usize = 128;

/// How the kernels of one precision and width of heads are compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shapes {
    precision: Precision,
    /// Numbers of a head that there is room for.
    width: usize,
}

impl Shapes {
    fn new(heads: Heads) -> Result<Self> {
        match [32, 64, 128].into_iter().find(|width| heads.dim <= *width) {
            Some(width) => Ok(Self { precision: heads.precision, width }),
            None => candle_core::bail!("CUDA devices compute heads of at most 128 numbers, not {}", heads.dim),
        }
    }

    fn warps(self) -> usize {
        match self.precision {
            Precision::F32 => 2,
            Precision::Bf16 => 4,
        }
    }

    /// Rows (or, in the backward of keys, keys) of a thread block.
    fn tile(self) -> usize {
        16 * self.warps()
    }

    fn kernel(self, name: &str) -> String {
        let precision = match self.precision {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        };
        format!("{name}_{precision}_{}", self.width)
    }

    /// Bytes of a number in a product.
    fn bytes(self) -> usize {
        match self.precision {
            Precision::F32 => 4,
            Precision::Bf16 => 2,
        }
    }

    /// Shared memory of so many vectors.
    fn vectors(self, count: usize) -> usize {
        self.bytes() * count * (self.width + PAD)
    }

    /// Shared memory of a tile's probabilities, or of their gradients.
    fn probabilities(self) -> usize {
        self.bytes() * self.tile() * (KEYS + PAD)
    }

    fn launch(self, grid: (usize, usize), shared: usize) -> LaunchConfig {
        LaunchConfig {
            grid_dim: (grid.0 as u32, grid.1 as u32, 1),
            block_dim: (32 * self.warps() as u32, 1, 1),
            shared_mem_bytes: shared as u32,
        }
    }
}

/// `Operands` of `attention.cu`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Operands {
    qkv: Pointer,
    prefix: Pointer,
    blocks: Pointer,
    runs: Pointer,
    heads: i32,
    kv_heads: i32,
    dim: i32,
    virtual_tokens: i32,
    from: i32,
    quadruple: i32,
}

// SAFETY: plain numbers and addresses, laid out as in C.
unsafe impl DeviceRepr for Operands {}

/// The lists of a mask, on the device.
fn lists(
    mask: &AttentionMask,
    shapes: Shapes,
    heads: Heads,
    virtual_tokens: usize,
    device: &CudaDevice,
) -> Result<Lists> {
    let (group, tile) = (heads.group(), shapes.tile());
    let (mut blocks, mut runs, mut row_tiles) = (Vec::new(), Vec::new(), Vec::new());
    // Where runs that begin at a token end, and the blocks that see each, with the end that they see.
    let mut seen: BTreeMap<usize, (usize, Vec<(usize, usize)>)> = BTreeMap::new();
    for (i, block) in mask.blocks.iter().enumerate() {
        let first_run = runs.len() / 2;
        for run in &block.seen {
            runs.extend([run.start, run.len()]);
            let (end, blocks) = seen.entry(run.start).or_default();
            *end = (*end).max(run.end);
            blocks.push((i, run.end));
        }
        let (start, len) = (block.queries.start, block.queries.len());
        blocks.extend([start, len, first_run, block.seen.len(), block.keys, usize::from(block.causal)]);
        row_tiles.extend((0..len * group).step_by(tile).flat_map(|first| [i, first]));
    }

    // Tiles of keys with the blocks that see them.
    let all: Vec<usize> = (0..mask.blocks.len()).collect();
    let prefix = (0..virtual_tokens).step_by(tile).map(|start| (start, virtual_tokens, true, all.clone()));
    let own = seen.iter().flat_map(|(run, (end, blocks))| {
        (*run..*end).step_by(tile).map(move |start| {
            let visible = blocks.iter().filter(|(_, end)| start < *end).map(|(block, _)| *block);
            (start, *end, false, visible.collect())
        })
    });
    let key_lists: Vec<_> = prefix.chain(own).collect();
    let rows = |block: usize| mask.blocks[block].queries.len() * group;
    let visited: usize = key_lists.iter().flat_map(|(.., blocks)| blocks).map(|block| rows(*block)).sum();
    // Rows of a task: few enough that there are tasks for the whole device.
    let share = (visited * heads.keys).div_ceil(TASKS).max(SHARE);
    let (mut key_tiles, mut tasks, mut visits) = (Vec::new(), Vec::new(), Vec::new());
    for (i, (start, end, in_prefix, blocks)) in key_lists.into_iter().enumerate() {
        let first_task = tasks.len() / 3;
        let mut taken = share;
        for block in blocks {
            if taken >= share {
                tasks.extend([i, visits.len(), 0]);
                taken = 0;
            }
            visits.push(block);
            *tasks.last_mut().expect("a task was begun") += 1;
            taken += rows(block);
        }
        let len = tile.min(end - start);
        key_tiles.extend([start, len, usize::from(in_prefix), first_task, tasks.len() / 3 - first_task]);
    }

    let mut numbers: Vec<i32> = Vec::new();
    let mut append = |list: &[usize]| {
        let at = numbers.len();
        numbers.extend(list.iter().map(|n| *n as i32));
        // Pairs are read at once.
        numbers.resize(numbers.len().next_multiple_of(2), 0);
        at
    };
    let [blocks, runs] = [&blocks, &runs].map(|list| append(list));
    let (row_tile_count, key_tile_count, task_count) = (row_tiles.len() / 2, key_tiles.len() / 5, tasks.len() / 3);
    let [row_tiles, key_tiles, tasks, visits] = [&row_tiles, &key_tiles, &tasks, &visits].map(|list| append(list));
    Ok(Lists {
        numbers: upload(device, &numbers)?,
        blocks,
        runs,
        row_tiles,
        row_tile_count,
        key_tiles,
        key_tile_count,
        tasks,
        task_count,
        visits,
    })
}

struct Work<'a> {
    device: &'a CudaDevice,
    mask: &'a AttentionMask,
    heads: Heads,
    shapes: Shapes,
    virtual_tokens: usize,
    lists: Arc<Lists>,
    operands: Operands,
}

impl<'a> Work<'a> {
    fn new(
        heads: Heads,
        mask: &'a AttentionMask,
        (qkv, qkv_layout): (&'a CudaStorage, &Layout),
        (prefix, prefix_layout): (&'a CudaStorage, &Layout),
        grad: Option<Pointer>,
    ) -> Result<Self> {
        let device = qkv.device();
        let virtual_tokens = mask.check(heads, qkv_layout, prefix_layout)?;
        let shapes = Shapes::new(heads)?;
        let make = || lists(mask, shapes, heads, virtual_tokens, device);
        let lists = mask.cuda.get(heads, virtual_tokens, make)?;
        let qkv = values("attention", qkv, qkv_layout)?;
        // Nothing is read of an empty one.
        let prefix = if virtual_tokens == 0 { qkv } else { values("attention", prefix, prefix_layout)? };
        // Every vector begins a multiple of `dim` behind its operand's start.
        let starts = [qkv, prefix, grad.unwrap_or(qkv)];
        let quadruple =
            heads.dim.is_multiple_of(4) && starts.iter().all(|start| start.is_aligned(4 * size_of::<f32>()));
        let operands = Operands {
            qkv,
            prefix,
            blocks: lists.at(lists.blocks),
            runs: lists.at(lists.runs),
            heads: heads.queries as i32,
            kv_heads: heads.keys as i32,
            dim: heads.dim as i32,
            virtual_tokens: virtual_tokens as i32,
            from: mask.from as i32,
            quadruple: i32::from(quadruple),
        };
        Ok(Self { device, mask, heads, shapes, virtual_tokens, lists, operands })
    }

    fn asking(&self) -> usize {
        self.mask.tokens - self.mask.from
    }

    fn forward(&self) -> Result<CudaSlice<f32>> {
        let Self { device, shapes, lists, .. } = self;
        let out = zeros(device, self.asking() * self.heads.queries * self.heads.dim)?;
        let shared = shapes.vectors(shapes.tile() + 2 * KEYS) + shapes.probabilities() + 4 * KEYS;
        let kernel = shapes.kernel("attention");
        allow_shared_memory(&ATTENTION.function(device, &kernel)?, shared as u32)?;
        launch!(
            device,
            ATTENTION,
            &kernel,
            shapes.launch((lists.row_tile_count, self.heads.keys), shared),
            (self.operands, lists.at(lists.row_tiles), Pointer::of(&out))
        );
        Ok(out)
    }

    /// Gradients of `qkv` and, behind it, of the prefix.
    fn backward(&self, grad: Pointer) -> Result<CudaSlice<f32>> {
        let Self { device, shapes, lists, heads, .. } = self;
        let own = self.mask.tokens * heads.row();
        let out = zeros(device, own + 2 * self.virtual_tokens * heads.keys * heads.dim)?;
        let d_qkv = Pointer::of(&out);
        let stats = alloc::<f32>(device, 2 * self.asking() * heads.queries)?;

        let shared = shapes.vectors(2 * shapes.tile() + 2 * KEYS) + shapes.probabilities() + 4 * KEYS;
        let kernel = shapes.kernel("attention_queries");
        allow_shared_memory(&ATTENTION.function(device, &kernel)?, shared as u32)?;
        launch!(
            device,
            ATTENTION,
            &kernel,
            shapes.launch((lists.row_tile_count, heads.keys), shared),
            (self.operands, lists.at(lists.row_tiles), grad, Pointer::of(&stats), d_qkv)
        );

        let partial = alloc::<f32>(device, lists.task_count * heads.keys * 2 * shapes.tile() * shapes.width)?;
        let shared = shapes.vectors(2 * shapes.tile() + 2 * ROWS) + 2 * shapes.probabilities() + 12 * ROWS;
        let kernel = shapes.kernel("attention_keys");
        allow_shared_memory(&ATTENTION.function(device, &kernel)?, shared as u32)?;
        launch!(
            device,
            ATTENTION,
            &kernel,
            shapes.launch((lists.task_count, heads.keys), shared),
            (
                self.operands,
                lists.at(lists.key_tiles),
                lists.at(lists.tasks),
                lists.at(lists.visits),
                grad,
                Pointer::of(&stats),
                Pointer::of(&partial)
            )
        );
        launch!(
            device,
            ATTENTION,
            "attention_sum_keys",
            LaunchConfig {
                grid_dim: (lists.key_tile_count as u32, heads.keys as u32, 2),
                block_dim: (THREADS, 1, 1),
                shared_mem_bytes: 0
            },
            (
                self.operands,
                lists.at(lists.key_tiles),
                Pointer::of(&partial),
                shapes.tile() as i32,
                shapes.width as i32,
                d_qkv,
                d_qkv.offset::<f32>(own)
            )
        );
        Ok(out)
    }
}

/// As the CPU's: `[asking tokens, queries * dim]`.
///
/// # Errors
/// If an operand has another shape than `heads` and `mask` ask for, or isn't contiguous f32, if a head has more than 128
/// numbers, or if the device fails.
pub fn forward(
    heads: Heads,
    mask: &AttentionMask,
    qkv: (&CudaStorage, &Layout),
    prefix: (&CudaStorage, &Layout),
) -> Result<(CudaStorage, Shape)> {
    let work = Work::new(heads, mask, qkv, prefix, None)?;
    let out = work.forward()?;
    Ok((storage(out, work.device), (work.asking(), heads.queries * heads.dim).into()))
}

/// As the CPU's: gradients of `qkv` and, behind it, of the prefix, `[qkv's numbers + prefix's numbers]`.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    heads: Heads,
    mask: &AttentionMask,
    qkv: (&CudaStorage, &Layout),
    prefix: (&CudaStorage, &Layout),
    grad: (&CudaStorage, &Layout),
) -> Result<(CudaStorage, Shape)> {
    let grad = values("attention", grad.0, grad.1)?;
    let work = Work::new(heads, mask, qkv, prefix, Some(grad))?;
    let out = work.backward(grad)?;
    let len = qkv.1.shape().elem_count() + prefix.1.shape().elem_count();
    Ok((storage(out, work.device), len.into()))
}
