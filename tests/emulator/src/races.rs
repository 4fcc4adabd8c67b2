//! Who used which memory last, to find uses that nothing orders: of shared memory by two warps between two barriers (or
//! two lanes of a warp between two `bar.warp.sync`), of global memory by two blocks of a launch. Atomic operations
//! aren't noted: they may meet.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How far the search goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Search {
    #[default]
    Nothing,
    /// Warps on shared memory, blocks on global memory.
    Warps,
    /// The lanes of a warp on shared memory too.
    Lanes,
}

/// A use that another one meets: what it was, by whom, at which instruction.
pub struct Met {
    pub address: u64,
    pub what: &'static str,
    pub who: String,
    pub pc: u32,
}

#[derive(Clone, Copy, Default)]
struct Use {
    epoch: u32,
    warp_epoch: u32,
    pc: u32,
    warp: u16,
    lane: u8,
}
const SEVERAL_WARPS: u16 = u16::MAX;
const SEVERAL_LANES: u8 = u8::MAX;

impl Use {
    fn who(self) -> String {
        match (self.warp, self.lane) {
            (SEVERAL_WARPS, _) => "several warps, the last one".into(),
            (warp, SEVERAL_LANES) => format!("several lanes of warp {warp}, the last one"),
            (warp, lane) => format!("lane {lane} of warp {warp}"),
        }
    }
}

/// The last write and read of every byte of a block's shared memory.
pub struct Shared {
    search: Search,
    cells: Vec<(Use, Use)>,
    /// Counts the barriers of the block; zero is before any use.
    epoch: u32,
    /// Counts the barriers of each warp.
    warp_epochs: [u32; 32],
}

impl Shared {
    pub fn new(search: Search, bytes: usize) -> Self {
        let cells = if search == Search::Nothing { 0 } else { bytes };
        Shared { search, cells: vec![Default::default(); cells], epoch: 0, warp_epochs: [0; 32] }
    }

    pub fn barrier(&mut self) {
        self.epoch += 1;
    }

    pub fn warp_barrier(&mut self, warp: u32) {
        self.warp_epochs[warp as usize] += 1;
    }

    /// Notes a use of the bytes `old` from `address` on, which a write replaces by `new`.
    pub fn note(
        &mut self,
        address: usize,
        old: &[u8],
        new: Option<&[u8]>,
        warp: u32,
        lane: u32,
        pc: u32,
    ) -> Result<(), Met> {
        let warp_epoch = self.warp_epochs[warp as usize];
        let me = Use { epoch: self.epoch, warp_epoch, pc, warp: warp as u16, lane: lane as u8 };
        let meets = |other: Use| {
            other.epoch == me.epoch
                && (other.warp != me.warp
                    || (self.search == Search::Lanes && other.warp_epoch == warp_epoch && other.lane != me.lane))
        };
        for (i, byte) in old.iter().enumerate() {
            let met =
                |what, other: Use| Err(Met { address: (address + i) as u64, what, who: other.who(), pc: other.pc });
            let (write, read) = &mut self.cells[address + i];
            match new {
                Some(new) => {
                    let same = new.get(i) == Some(byte);
                    if meets(*read) && !same {
                        return met("read", *read);
                    }
                    if meets(*write) && !same {
                        return met("written", *write);
                    }
                    *write = me;
                }
                None => {
                    if meets(*write) {
                        return met("written", *write);
                    }
                    let (mut warp, mut lane) = (me.warp, me.lane);
                    if read.epoch == me.epoch && read.warp != me.warp {
                        warp = SEVERAL_WARPS;
                    } else if read.epoch == me.epoch && read.warp_epoch == warp_epoch && read.lane != me.lane {
                        lane = SEVERAL_LANES;
                    }
                    *read = Use { warp, lane, ..me };
                }
            }
        }
        Ok(())
    }
}

/// The last write and read of every two bytes of an allocation, by which launch, block and instruction.
pub struct Global(Vec<(AtomicU64, AtomicU64)>);

const BLOCK_BITS: u32 = 24;
const PC_BITS: u32 = 20;
const SEVERAL_BLOCKS: u64 = (1 << BLOCK_BITS) - 1;

fn launch_of(v: u64) -> u64 {
    v >> (BLOCK_BITS + PC_BITS)
}
fn block_of(v: u64) -> u64 {
    v >> PC_BITS & SEVERAL_BLOCKS
}

impl Global {
    pub fn new(bytes: usize) -> Self {
        Global((0..bytes.div_ceil(2)).map(|_| Default::default()).collect())
    }

    /// Notes a use, like [`Shared::note`]; `offset` is in the allocation, launches count from one.
    pub fn note(
        &self,
        offset: usize,
        old: &[u8],
        new: Option<&[u8]>,
        launch: u64,
        block: u64,
        pc: u32,
    ) -> Result<(), Met> {
        let launch = launch & ((1 << (64 - BLOCK_BITS - PC_BITS)) - 1);
        let pack =
            |block: u64| launch << (BLOCK_BITS + PC_BITS) | block << PC_BITS | u64::from(pc) & ((1 << PC_BITS) - 1);
        let block = block % SEVERAL_BLOCKS;
        let meets = |v: u64| launch_of(v) == launch && block_of(v) != block;
        let met = |what, cell: usize, other: u64| {
            let who = match block_of(other) {
                SEVERAL_BLOCKS => "several blocks, the last one".into(),
                b => format!("block {b}"),
            };
            Err(Met { address: 2 * cell as u64, what, who, pc: (other & ((1 << PC_BITS) - 1)) as u32 })
        };
        for cell in offset / 2..(offset + old.len()).div_ceil(2) {
            let (write, read) = &self.0[cell];
            match new {
                Some(new) => {
                    let bytes = (2 * cell).max(offset) - offset..(2 * cell + 2 - offset).min(old.len());
                    let same = new.get(bytes.clone()) == old.get(bytes);
                    let before = write.swap(pack(block), Relaxed);
                    if meets(before) && !same {
                        return met("written", cell, before);
                    }
                    let before = read.load(Relaxed);
                    if meets(before) && !same {
                        return met("read", cell, before);
                    }
                }
                None => {
                    let before = write.load(Relaxed);
                    if meets(before) {
                        return met("written", cell, before);
                    }
                    let several = meets(read.load(Relaxed));
                    read.store(pack(if several { SEVERAL_BLOCKS } else { block }), Relaxed);
                }
            }
        }
        Ok(())
    }
}
