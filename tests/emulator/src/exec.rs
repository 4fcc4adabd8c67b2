//! Runs kernels: blocks in parallel, the warps of a block in turn, the 32 lanes of a warp together.
//!
//! The lanes of a warp that are at the same instruction form a fragment; the fragment at the lowest instruction runs
//! first, so that diverged lanes meet again where the code does. A warp runs until all its lanes wait at a barrier or
//! are done, then the next one does: a missing barrier mostly shows as a read of what nobody has written yet.

use crate::decode::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};
use crate::lanes::{self, FULL, Lanes, Registers, bits};
use crate::memory::{FRESH, Range, Table, find};
use crate::num::*;
use crate::program::*;
use crate::ptx::Space;
use crate::races::{self, Search};
use crate::tensor::{mma, wmma, wmma_pack, wmma_shape, wmma_size};
use rayon::prelude::*;
use std::cell::RefCell;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::SeqCst};

/// Why a launch stopped: the driver's error code, and the story.
#[derive(Clone, Debug)]
pub struct Fault {
    pub code: u32,
    pub text: String,
}

pub const ILLEGAL_ADDRESS: u32 = 700;
pub const ASSERT: u32 = 710;
pub const ILLEGAL_INSTRUCTION: u32 = 715;
pub const MISALIGNED: u32 = 716;
pub const LAUNCH_FAILED: u32 = 719;

#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How far to look for uses of memory that nothing orders.
    pub races: Search,
    /// Run blocks, and the warps of a block, from the last to the first.
    pub reverse: bool,
}

pub struct Launch<'a> {
    pub program: &'a Program,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub params: &'a [u8],
    pub dynamic_shared: usize,
    pub table: Table,
    pub options: Options,
    /// Counts launches, from one.
    pub number: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ready,
    /// Waits for other lanes of the warp at the same instruction.
    Stalled,
    /// Waits at a barrier of the block.
    Barrier,
}

#[derive(Clone, Copy, Debug)]
struct Fragment {
    pc: u32,
    mask: u32,
    state: State,
}

/// An asynchronous copy that has not happened yet.
#[derive(Clone, Copy, Debug)]
struct Copy {
    to: u64,
    from: u64,
    size: u8,
    bytes: u8,
    pc: u32,
}

struct Warp {
    lanes: u32,
    exited: u32,
    regs: Registers,
    fragments: Vec<Fragment>,
    stacks: Vec<Vec<u32>>,
    local: Vec<u64>,
    open: Vec<Vec<Copy>>,
    groups: Vec<Vec<Vec<Copy>>>,
}

struct Block<'a> {
    launch: &'a Launch<'a>,
    index: [u32; 3],
    warps: Vec<Warp>,
    memory: Memory<'a>,
}

/// The memories that a block sees, apart from its threads' local memory.
struct Memory<'a> {
    launch: &'a Launch<'a>,
    shared: Vec<u128>,
    shared_bytes: usize,
    /// For each instruction the allocation that it used last: start and length.
    last: Vec<(u64, u64)>,
    uses: races::Shared,
    /// This launch and block, counted for the search for races.
    number: (u64, u64),
    warp: u32,
}

/// Runs a launch to its end or to the first fault.
pub fn launch(l: &Launch) -> Result<(), Fault> {
    let blocks = l.grid.iter().map(|&n| u64::from(n)).product::<u64>();
    let stop = AtomicBool::new(false);
    let fault = Mutex::new(None::<(u64, Fault)>);
    let step = 64u64.min(blocks.div_ceil(4)).max(1);
    (0..blocks.div_ceil(step)).into_par_iter().for_each_init(
        || None::<Block>,
        |state, chunk| {
            for i in chunk * step..((chunk + 1) * step).min(blocks) {
                if stop.load(SeqCst) {
                    return;
                }
                let i = if l.options.reverse { blocks - 1 - i } else { i };
                let block = state.get_or_insert_with(|| Block::new(l));
                let (x, y) = (u64::from(l.grid[0]), u64::from(l.grid[1]));
                if let Err(f) = block.run([(i % x) as u32, (i / x % y) as u32, (i / x / y) as u32]) {
                    stop.store(true, SeqCst);
                    let mut first = fault.lock().unwrap_or_else(|e| e.into_inner());
                    if first.as_ref().is_none_or(|(at, _)| i < *at) {
                        *first = Some((i, f));
                    }
                    return;
                }
            }
        },
    );
    match fault.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some((_, f)) => Err(f),
        None => Ok(()),
    }
}

thread_local! {
    /// Register files of past launches: making new ones would take longer than many a kernel.
    static SPARE: RefCell<Vec<Vec<Lanes>>> = const { RefCell::new(vec![]) };
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        let files = self.warps.drain(..).map(|w| w.regs.0);
        SPARE.with_borrow_mut(|spare| {
            spare.extend(files);
            spare.truncate(32);
        });
    }
}

impl<'a> Block<'a> {
    fn new(launch: &'a Launch<'a>) -> Self {
        let p = launch.program;
        let threads = launch.block.iter().product::<u32>();
        let shared_bytes =
            if launch.dynamic_shared > 0 { p.dynamic_shared + launch.dynamic_shared } else { p.static_shared };
        let warps = (0..threads.div_ceil(32)).map(|index| {
            let lanes = if (index + 1) * 32 <= threads { FULL } else { (1u32 << (threads % 32)) - 1 };
            let mut regs = Registers(SPARE.with_borrow_mut(Vec::pop).unwrap_or_default());
            if regs.0.len() < p.registers {
                regs.0.resize(p.registers, [0; 32]);
            }
            for &(r, v) in &p.constants {
                *regs.get_mut(r) = [v; 32];
            }
            for &(r, s) in &p.specials {
                for lane in 0..32 {
                    let t = index * 32 + lane;
                    let [bx, by, bz] = launch.block;
                    let at = |axis: u8, v: [u32; 3]| v[axis as usize];
                    let v = match s {
                        Special::Tid(a) => at(a, [t % bx, t / bx % by, t / bx / by % bz.max(1)]),
                        Special::Ntid(a) => at(a, launch.block),
                        Special::Nctaid(a) => at(a, launch.grid),
                        Special::LaneId => lane,
                        Special::WarpId => index,
                        Special::NWarpId => threads.div_ceil(32),
                        Special::LaneMaskEq => 1 << lane,
                        Special::LaneMaskLt => (1u32 << lane) - 1,
                        Special::LaneMaskLe => ((1u64 << (lane + 1)) - 1) as u32,
                        Special::LaneMaskGt => !((1u64 << (lane + 1)) - 1) as u32,
                        Special::LaneMaskGe => !((1u32 << lane) - 1),
                        Special::DynamicShared => launch.dynamic_shared as u32,
                        Special::TotalShared => shared_bytes as u32,
                        Special::Ctaid(_) | Special::SmId | Special::Clock => 0,
                    };
                    regs.get_mut(r)[lane as usize] = u64::from(v);
                }
            }
            Warp {
                lanes,
                exited: 0,
                regs,
                fragments: vec![],
                stacks: vec![vec![]; 32],
                local: vec![u64::MAX; p.local_bytes.div_ceil(8) * 32],
                open: vec![vec![]; 32],
                groups: vec![vec![]; 32],
            }
        });
        let warps = warps.collect();
        let memory = Memory {
            launch,
            shared: vec![u128::MAX; shared_bytes.div_ceil(16)],
            shared_bytes,
            last: vec![(0, 0); p.code.len()],
            uses: races::Shared::new(launch.options.races, shared_bytes),
            number: (0, 0),
            warp: 0,
        };
        Block { launch, index: [0; 3], warps, memory }
    }

    fn run(&mut self, index: [u32; 3]) -> Result<(), Fault> {
        self.index = index;
        // SAFETY: plain bytes, over the vector's whole length.
        unsafe { self.memory.shared.as_mut_ptr().write_bytes(FRESH, self.memory.shared.len()) };
        self.memory.uses.barrier();
        let [gx, gy, _] = self.launch.grid.map(u64::from);
        let [x, y, z] = index.map(u64::from);
        self.memory.number = (self.launch.number, x + gx * (y + gy * z));
        for w in &mut self.warps {
            w.exited = !w.lanes;
            w.fragments.clear();
            w.fragments.push(Fragment { pc: 0, mask: w.lanes, state: State::Ready });
            for lane in 0..32 {
                w.stacks[lane].clear();
                w.open[lane].clear();
                w.groups[lane].clear();
            }
            for &(r, s) in &self.launch.program.specials {
                if let Special::Ctaid(axis) = s {
                    *w.regs.get_mut(r) = [u64::from(index[axis as usize]); 32];
                }
            }
        }
        loop {
            let n = self.warps.len();
            for i in 0..n {
                let i = if self.launch.options.reverse { n - 1 - i } else { i };
                if self.warps[i].fragments.iter().any(|f| f.state == State::Ready) {
                    self.memory.warp = i as u32;
                    let r = step(&mut self.warps[i], &mut self.memory);
                    r.map_err(|f| self.describe(i, f))?;
                }
            }
            if self.warps.iter().all(|w| w.fragments.is_empty()) {
                return Ok(());
            }
            self.release()?;
        }
    }

    /// Adds to a fault which block and thread met it where.
    fn describe(&self, warp: usize, f: Stop) -> Fault {
        let p = self.launch.program;
        let thread = warp as u32 * 32 + f.lane;
        let [bx, by, _] = self.launch.block;
        let text = format!(
            "kernel {} (grid {:?}, block {:?}), block {:?}, thread ({}, {}, {})\n  at {}\n  {}",
            p.name,
            self.launch.grid,
            self.launch.block,
            self.index,
            thread % bx,
            thread / bx % by,
            thread / bx / by,
            p.text(f.pc as usize),
            f.text
        );
        Fault { code: f.code, text }
    }

    /// Lets the threads go that wait at a complete barrier.
    fn release(&mut self) -> Result<(), Fault> {
        let p = self.launch.program;
        // Barrier, thread count asked for, and who waits: warp, fragment.
        let mut waiting: Vec<((u64, u64), usize, usize)> = vec![];
        for (w, warp) in self.warps.iter().enumerate() {
            for (i, f) in warp.fragments.iter().enumerate() {
                let Op::Barrier { id, count, .. } = p.code[f.pc as usize].op else {
                    unreachable!("only barriers keep a warp from running")
                };
                let lane = f.mask.trailing_zeros() as usize;
                let count = if count == NONE { 0 } else { warp.regs.get(count)[lane] };
                waiting.push(((warp.regs.get(id)[lane], count), w, i));
            }
        }
        waiting.sort_unstable();
        let alive: u32 = self.warps.iter().map(|w| (w.lanes & !w.exited).count_ones()).sum();
        let mut released = false;
        for group in waiting.chunk_by(|a, b| a.0 == b.0) {
            let arrived: u32 = group.iter().map(|&(_, w, i)| self.warps[w].fragments[i].mask.count_ones()).sum();
            let (_, count) = group[0].0;
            if (count == 0 && arrived == alive) || (count != 0 && u64::from(arrived) >= count) {
                released = true;
                let pcs: Vec<u32> = group.iter().map(|&(_, w, i)| self.warps[w].fragments[i].pc).collect();
                if let Some(i) = pcs.iter().position(|pc| *pc != pcs[0]) {
                    return Err(self.describe(
                        group[i].1,
                        Stop {
                            code: LAUNCH_FAILED,
                            lane: 0,
                            pc: pcs[i],
                            text: format!(
                                "barrier divergence: other threads of the block wait at another barrier, {}",
                                p.text(pcs[0] as usize)
                            ),
                        },
                    ));
                }
                self.reduce(group, pcs[0]);
                for &(_, w, i) in group {
                    let f = &mut self.warps[w].fragments[i];
                    f.state = State::Ready;
                    f.pc += 1;
                }
                self.memory.uses.barrier();
            }
        }
        if released {
            return Ok(());
        }
        let (_, w, i) = waiting[0];
        let f = self.warps[w].fragments[i];
        let others: Vec<String> = waiting
            .iter()
            .map(|&(_, w, i)| {
                let f = self.warps[w].fragments[i];
                format!("warp {w}, lanes {:#010x}, at {}", f.mask, p.text(f.pc as usize))
            })
            .take(8)
            .collect();
        Err(self.describe(
            w,
            Stop {
                code: LAUNCH_FAILED,
                lane: f.mask.trailing_zeros(),
                pc: f.pc,
                text: format!(
                    "barrier deadlock: these threads wait for others that wait elsewhere or are done:\n    {}",
                    others.join("\n    ")
                ),
            },
        ))
    }

    /// The value of a barrier that also counts a predicate.
    fn reduce(&mut self, group: &[((u64, u64), usize, usize)], pc: u32) {
        let Op::Barrier { kind, not, d, a, .. } = self.launch.program.code[pc as usize].op else { return };
        if kind == BarrierKind::Sync {
            return;
        }
        let (mut count, mut all) = (0, 0);
        for &(_, w, i) in group {
            let m = self.warps[w].fragments[i].mask;
            let t = self.warps[w].regs.truth(a, FULL);
            count += (if not { !t } else { t } & m).count_ones();
            all += m.count_ones();
        }
        let v = match kind {
            BarrierKind::Popc => u64::from(count),
            BarrierKind::And => u64::from(count == all),
            _ => u64::from(count > 0),
        };
        for &(_, w, i) in group {
            let m = self.warps[w].fragments[i].mask;
            for lane in bits(m) {
                self.warps[w].regs.get_mut(d)[lane] = v;
            }
        }
    }
}

struct Stop {
    code: u32,
    lane: u32,
    pc: u32,
    text: String,
}

impl Memory<'_> {
    /// Checks an access and gives the host address of its first byte.
    #[inline(always)]
    fn at(
        &mut self,
        local: &mut [u64],
        space: Space,
        address: u64,
        size: u64,
        lane: u32,
        pc: u32,
        write: Option<&[u8]>,
    ) -> Result<*mut u8, Stop> {
        let (mut space, mut address) = (space, address);
        if space == Space::Generic {
            (space, address) = match address >> 60 {
                1 => (Space::Shared, address - SHARED_WINDOW),
                2 => (Space::Local, address - LOCAL_WINDOW),
                3 => (Space::Param, address - PARAM_WINDOW),
                _ => (Space::Global, address),
            };
        }
        if address & (size - 1) != 0 {
            return Err(Stop {
                code: MISALIGNED,
                lane,
                pc,
                text: format!("misaligned access: {size} bytes of {space:?} memory at {address:#x}"),
            });
        }
        match space {
            Space::Global | Space::Generic => {
                let (start, len) = self.last[pc as usize];
                let offset = address.wrapping_sub(start);
                if !(offset < len && len - offset >= size) {
                    let outside = |why: String| Stop {
                        code: ILLEGAL_ADDRESS,
                        lane,
                        pc,
                        text: format!("access outside of memory: {size} bytes of global memory at {address:#x}: {why}"),
                    };
                    let &Range { start, end, .. } = find(&self.launch.table, address).map_err(outside)?;
                    if end - address < size {
                        return Err(outside(format!(
                            "over the end of the {}-byte allocation at {start:#x}",
                            end - start
                        )));
                    }
                    self.last[pc as usize] = (start, end - start);
                }
                if self.launch.options.races != Search::Nothing {
                    self.note(Space::Global, address, address as *const u8, size as usize, lane, pc, write)?;
                }
                Ok(address as *mut u8)
            }
            Space::Shared => {
                // Addresses in the shared space have 32 bits.
                if address.saturating_add(size) > self.shared_bytes as u64 {
                    return Err(Stop {
                        code: ILLEGAL_ADDRESS,
                        lane,
                        pc,
                        text: format!(
                            "access outside of shared memory: {size} bytes at {address:#x} of the block's {:#x}",
                            self.shared_bytes
                        ),
                    });
                }
                // SAFETY: inside the vector, as checked.
                let p = unsafe { self.shared.as_mut_ptr().cast::<u8>().add(address as usize) };
                if self.launch.options.races != Search::Nothing {
                    self.note(space, address, p, size as usize, lane, pc, write)?;
                }
                Ok(p)
            }
            Space::Local => {
                let each = local.len() / 32 * 8;
                if address.saturating_add(size) > each as u64 {
                    return Err(Stop {
                        code: ILLEGAL_ADDRESS,
                        lane,
                        pc,
                        text: format!("access outside of local memory: {size} bytes at {address:#x} of {each:#x}"),
                    });
                }
                // SAFETY: inside this lane's part of the vector, as checked.
                Ok(unsafe { local.as_mut_ptr().cast::<u8>().add(lane as usize * each + address as usize) })
            }
            Space::Param => {
                let n = self.launch.params.len() as u64;
                if address.saturating_add(size) > n || write.is_some() {
                    return Err(Stop {
                        code: ILLEGAL_ADDRESS,
                        lane,
                        pc,
                        text: format!("access outside of the parameters: {size} bytes at {address:#x} of {n:#x}"),
                    });
                }
                Ok(self.launch.params.as_ptr().wrapping_add(address as usize).cast_mut())
            }
        }
    }

    /// Notes a use of memory, at `host`, and faults where another one meets it.
    #[inline(never)]
    fn note(
        &mut self,
        space: Space,
        address: u64,
        host: *const u8,
        size: usize,
        lane: u32,
        pc: u32,
        write: Option<&[u8]>,
    ) -> Result<(), Stop> {
        // SAFETY: the caller has checked the access.
        let old = unsafe { std::slice::from_raw_parts(host, size) };
        let (result, start, order) = if space == Space::Shared {
            (self.uses.note(address as usize, old, write, self.warp, lane, pc), 0, "no barrier is between")
        } else {
            let table = self.launch.table.clone();
            let Ok(Range { start, uses: Some(uses), .. }) = find(&table, address) else { return Ok(()) };
            let (launch, block) = self.number;
            let result = uses.note((address - start) as usize, old, write, launch, block, pc);
            (result, *start, "nothing orders the blocks of a launch")
        };
        result.map_err(|met| Stop {
            code: LAUNCH_FAILED,
            lane,
            pc,
            text: format!(
                "race on {space:?} memory at {:#x} ({order}): it is {} here, and {} by {} at {}",
                start + met.address,
                if write.is_some() { "written" } else { "read" },
                met.what,
                met.who,
                self.launch.program.text(met.pc as usize)
            ),
        })
    }
}

#[inline(always)]
unsafe fn load(p: *const u8, size: usize) -> u64 {
    // SAFETY: the caller has checked address and alignment.
    unsafe {
        match size {
            1 => u64::from(*p),
            2 => u64::from(*p.cast::<u16>()),
            4 => u64::from(*p.cast::<u32>()),
            _ => *p.cast::<u64>(),
        }
    }
}

#[inline(always)]
unsafe fn store(p: *mut u8, size: usize, v: u64) {
    // SAFETY: the caller has checked address and alignment.
    unsafe {
        match size {
            1 => *p = v as u8,
            2 => *p.cast::<u16>() = v as u16,
            4 => *p.cast::<u32>() = v as u32,
            _ => *p.cast::<u64>() = v,
        }
    }
}

/// Read, change, write back as one; gives the old value.
fn atomic(p: *mut u8, t: Type, f: Rmw, b: u64, c: u64) -> u64 {
    let size = t.size();
    let change = |old: u64| -> u64 {
        let float = |f: fn(f64, f64) -> f64| match t {
            Type::F32 => of_f32(f(f64::from(f32_of(old)), f64::from(f32_of(b))) as f32),
            Type::F64 => f(f64::from_bits(old), f64::from_bits(b)).to_bits(),
            Type::F16 => of_f16(f(f64::from(f16_of(old)), f64::from(f16_of(b))) as f32),
            Type::Bf16 => of_bf16(f(f64::from(bf16_of(old)), f64::from(bf16_of(b))) as f32),
            Type::F16x2 => {
                let at = |s: u32| of_f16(f(f64::from(f16_of(old >> s)), f64::from(f16_of(b >> s))) as f32);
                at(0) | at(16) << 16
            }
            _ => {
                let at = |s: u32| of_bf16(f(f64::from(bf16_of(old >> s)), f64::from(bf16_of(b >> s))) as f32);
                at(0) | at(16) << 16
            }
        };
        let is_float = t.is_float() || matches!(t, Type::F16x2 | Type::Bf16x2);
        let (i, j) = (integer(old, t), integer(b, t));
        match f {
            Rmw::Add if is_float => float(|x, y| x + y),
            Rmw::Min if is_float => float(f64::min),
            Rmw::Max if is_float => float(f64::max),
            Rmw::Add => old.wrapping_add(b),
            Rmw::Exch => b,
            Rmw::Cas => {
                if old == b & mask(size as u32) {
                    c
                } else {
                    old
                }
            }
            Rmw::Min => {
                if t.signed() {
                    i.min(j) as u64
                } else {
                    (i as u64).min(j as u64)
                }
            }
            Rmw::Max => {
                if t.signed() {
                    i.max(j) as u64
                } else {
                    (i as u64).max(j as u64)
                }
            }
            Rmw::And => old & b,
            Rmw::Or => old | b,
            Rmw::Xor => old ^ b,
            Rmw::Inc => {
                if old >= b & mask(size as u32) {
                    0
                } else {
                    old + 1
                }
            }
            Rmw::Dec => {
                if old == 0 || old > b & mask(size as u32) {
                    b
                } else {
                    old - 1
                }
            }
        }
    };
    // SAFETY: the caller has checked address and alignment; every other access of these bytes is by plain loads and
    // stores of programs whose races are theirs.
    unsafe {
        match size {
            2 => {
                let a = AtomicU16::from_ptr(p.cast());
                u64::from(a.fetch_update(SeqCst, SeqCst, |v| Some(change(u64::from(v)) as u16)).unwrap_or_else(|v| v))
            }
            4 => {
                let a = AtomicU32::from_ptr(p.cast());
                u64::from(a.fetch_update(SeqCst, SeqCst, |v| Some(change(u64::from(v)) as u32)).unwrap_or_else(|v| v))
            }
            _ => {
                let a = AtomicU64::from_ptr(p.cast());
                a.fetch_update(SeqCst, SeqCst, |v| Some(change(v))).unwrap_or_else(|v| v)
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,f16c")]
unsafe fn run_fast(w: &mut Warp, memory: &mut Memory) -> Result<(), Stop> {
    run(w, memory)
}

/// Runs a warp until every lane waits at a barrier or is done.
fn step(w: &mut Warp, memory: &mut Memory) -> Result<(), Stop> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("bmi2")
    {
        // SAFETY: the processor has these features.
        return unsafe { run_fast(w, memory) };
    }
    run(w, memory)
}

impl Warp {
    /// The fragment to run: the ready one at the lowest instruction with all that wait there; and the next
    /// instruction at which another one could join.
    fn pick(&mut self) -> Option<(u32, u32, u32)> {
        let pc = self.fragments.iter().filter(|f| f.state == State::Ready).map(|f| f.pc).min()?;
        let mut m = 0;
        self.fragments.retain(|f| {
            let here = f.pc == pc && f.state != State::Barrier;
            if here {
                m |= f.mask;
            }
            !here
        });
        let watch = self.fragments.iter().filter(|f| f.pc > pc && f.state != State::Barrier).map(|f| f.pc).min();
        Some((pc, m, watch.unwrap_or(u32::MAX)))
    }

    /// Of the lanes of `m` at an instruction that several lanes do together, those whose partners are all there.
    fn together(&self, mask: Reg, m: u32, pc: u32) -> Result<u32, Stop> {
        let masks = self.regs.get(mask);
        let mut go = 0;
        for lane in bits(m) {
            let asked = masks[lane] as u32;
            let stop = |text: String| Err(Stop { code: LAUNCH_FAILED, lane: lane as u32, pc, text });
            if asked >> lane & 1 == 0 {
                return stop(format!("the lane isn't in the mask {asked:#010x} that it passes"));
            }
            // Lanes that are done aren't waited for.
            if asked & !m & !self.exited == 0 {
                go |= 1 << lane;
            }
        }
        Ok(go)
    }

    fn complete(&mut self, memory: &mut Memory, lane: usize, pending: usize) -> Result<(), Stop> {
        while self.groups[lane].len() > pending {
            for c in self.groups[lane].remove(0) {
                let mut data = [0u8; 16];
                if c.bytes > 0 {
                    // A copy of fewer bytes than its size may start anywhere that its size may.
                    let size = u64::from(c.bytes).next_power_of_two();
                    let from = if c.bytes.is_power_of_two() {
                        memory.at(&mut self.local, Space::Global, c.from, size, lane as u32, c.pc, None)?
                    } else {
                        for i in 0..u64::from(c.bytes) {
                            memory.at(&mut self.local, Space::Global, c.from + i, 1, lane as u32, c.pc, None)?;
                        }
                        c.from as *mut u8
                    };
                    // SAFETY: the bytes are inside an allocation, as checked.
                    unsafe { std::ptr::copy_nonoverlapping(from, data.as_mut_ptr(), c.bytes as usize) };
                }
                let to = memory.at(
                    &mut self.local,
                    Space::Shared,
                    c.to,
                    u64::from(c.size),
                    lane as u32,
                    c.pc,
                    Some(&data),
                )?;
                // SAFETY: the bytes are inside shared memory, as checked.
                unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to, c.size as usize) };
            }
        }
        Ok(())
    }
}

#[inline(always)]
fn run(w: &mut Warp, memory: &mut Memory) -> Result<(), Stop> {
    let program = memory.launch.program;
    let code = program.code.as_slice();
    let Some((mut pc, mut active, mut watch)) = w.pick() else { return Ok(()) };
    // Another fragment, or back to the block.
    macro_rules! next {
        () => {
            match w.pick() {
                Some(p) => {
                    (pc, active, watch) = p;
                    continue;
                }
                None => {
                    if let Some(f) = w.fragments.iter().find(|f| f.state == State::Stalled) {
                        return Err(Stop {
                            code: LAUNCH_FAILED,
                            lane: f.mask.trailing_zeros(),
                            pc: f.pc,
                            text: format!("lanes {:#010x} wait here for lanes of their warp that never come", f.mask),
                        });
                    }
                    return Ok(());
                }
            }
        };
    }
    macro_rules! jump {
        ($to:expr) => {{
            pc = $to;
            if !w.fragments.is_empty() {
                w.fragments.push(Fragment { pc, mask: active, state: State::Ready });
                next!();
            }
            continue;
        }};
    }
    loop {
        if pc == watch {
            w.fragments.push(Fragment { pc, mask: active, state: State::Ready });
            next!();
        }
        // SAFETY: jumps stay inside the code, and every function ends in a return.
        let ins = unsafe { code.get_unchecked(pc as usize) };
        let m = if ins.guard == NONE {
            active
        } else {
            let t = w.regs.truth(ins.guard, FULL);
            active & if ins.guard_not { !t } else { t }
        };
        if m == 0 {
            pc += 1;
            continue;
        }
        // Lanes whose partners aren't here wait; the others go on.
        macro_rules! together {
            ($mask:expr) => {{
                let go = if $mask == NONE {
                    if m == FULL {
                        FULL
                    } else if w.exited & FULL != 0 {
                        return Err(Stop {
                            code: LAUNCH_FAILED,
                            lane: m.trailing_zeros(),
                            pc,
                            text: format!("needs the whole warp, but lanes {:#010x} are done or don't exist", w.exited),
                        });
                    } else {
                        0
                    }
                } else {
                    w.together($mask, m, pc)?
                };
                if go != m {
                    w.fragments.push(Fragment { pc, mask: m & !go, state: State::Stalled });
                    active &= !(m & !go);
                    if go == 0 {
                        if active == 0 {
                            next!();
                        }
                        jump!(pc + 1);
                    }
                }
                go
            }};
        }
        match ins.op {
            Op::Nop => {}
            Op::Un { f, t, d, a } => lanes::un(&mut w.regs, m, f, t, d, a),
            Op::Bin { f, t, d, a, b } => lanes::bin(&mut w.regs, m, f, t, d, a, b),
            Op::Tri { f, t, d, a, b, c } => lanes::tri(&mut w.regs, m, f, t, d, a, b, c),
            Op::Setp { cmp, t, combine, d, q, a, b, c, not_c } => {
                let r = lanes::compare_lanes(&w.regs, cmp, t, a, b);
                let c = if c == NONE { 0 } else { w.regs.truth(c, FULL) ^ if not_c { FULL } else { 0 } };
                let with = |r: u32| match combine {
                    Combine::None => r,
                    Combine::And => r & c,
                    Combine::Or => r | c,
                    Combine::Xor => r ^ c,
                };
                let (p, n) = (with(r), with(!r));
                let d = w.regs.get_mut(d);
                for lane in bits(m) {
                    d[lane] = u64::from(p >> lane & 1);
                }
                if q != NONE {
                    let q = w.regs.get_mut(q);
                    for lane in bits(m) {
                        q[lane] = u64::from(n >> lane & 1);
                    }
                }
            }
            Op::Cvt { to, from, round, sat, width, d, a } => {
                lanes::cvt(&mut w.regs, m, to, from, round, sat, width, d, a)
            }
            Op::Bra { target } => {
                if m == active {
                    if target > pc
                        && target <= watch
                        && w.fragments.iter().all(|f| f.state != State::Ready || f.pc > target)
                    {
                        pc = target;
                        continue;
                    }
                    jump!(target);
                }
                w.fragments.push(Fragment { pc: target, mask: m, state: State::Ready });
                active &= !m;
                jump!(pc + 1);
            }
            Op::Ld { space, t, width, a, offset, args } => {
                let addresses = *w.regs.get(a);
                let size = t.size();
                let regs = program.list(args);
                let total = (size * regs.len()) as u64;
                let keep = mask(u32::from(width));
                for lane in bits(m) {
                    let p = memory.at(
                        &mut w.local,
                        space,
                        addresses[lane].wrapping_add(offset as u64),
                        total,
                        lane as u32,
                        pc,
                        None,
                    )?;
                    for (i, &d) in regs.iter().enumerate() {
                        // SAFETY: checked above.
                        let mut v = unsafe { load(p.add(i * size), size) };
                        if t.signed() {
                            v = integer(v, t) as u64 & keep;
                        }
                        w.regs.get_mut(d)[lane] = v;
                    }
                }
            }
            Op::St { space, t, a, offset, args } => {
                let addresses = *w.regs.get(a);
                let size = t.size();
                let regs = program.list(args);
                let total = size * regs.len();
                for lane in bits(m) {
                    let mut data = [0u8; 64];
                    for (i, &r) in regs.iter().enumerate() {
                        data[i * size..(i + 1) * size].copy_from_slice(&w.regs.get(r)[lane].to_le_bytes()[..size]);
                    }
                    let p = memory.at(
                        &mut w.local,
                        space,
                        addresses[lane].wrapping_add(offset as u64),
                        total as u64,
                        lane as u32,
                        pc,
                        Some(&data),
                    )?;
                    for (i, &r) in regs.iter().enumerate() {
                        // SAFETY: checked above.
                        unsafe { store(p.add(i * size), size, w.regs.get(r)[lane]) };
                    }
                }
            }
            Op::Bfi { t, d, args } => {
                let l = program.list(args);
                let (f, base, pos, len) = (*w.regs.get(l[0]), *w.regs.get(l[1]), *w.regs.get(l[2]), *w.regs.get(l[3]));
                let d = w.regs.get_mut(d);
                let bits_of = 8 * t.size() as u32;
                for lane in bits(m) {
                    let (p, n) = (pos[lane] as u32 & 0xff, len[lane] as u32 & 0xff);
                    let field = if n >= 64 { u64::MAX } else { (1 << n) - 1 };
                    let field = if p >= bits_of { 0 } else { field << p };
                    let put = if p >= bits_of { 0 } else { f[lane] << p };
                    d[lane] = ((base[lane] & !field) | (put & field)) & mask(t.size() as u32);
                }
            }
            Op::Lop3 { d, args, table } => {
                let l = program.list(args);
                w.regs.map3(m, d, l[0], l[1], l[2], |x, y, z| {
                    let mut out = 0;
                    for i in 0..8 {
                        if table >> i & 1 != 0 {
                            out |= (if i & 4 != 0 { x } else { !x })
                                & (if i & 2 != 0 { y } else { !y })
                                & (if i & 1 != 0 { z } else { !z });
                        }
                    }
                    out & 0xffff_ffff
                });
            }
            Op::Rounded { f, t, round, d, a, b, c } => {
                if c == NONE {
                    w.regs.map2(m, d, a, b, |x, y| directed(f, t, round, x, y, None));
                } else {
                    w.regs.map3(m, d, a, b, c, |x, y, z| directed(f, t, round, x, y, Some(z)));
                }
            }
            Op::Carry { sub, t, carry_in, carry_out, d, a, b } => {
                let (a, b, c) = (*w.regs.get(a), *w.regs.get(b), *w.regs.get(program.carry));
                let keep = mask(t.size() as u32);
                for lane in bits(m) {
                    let c = if carry_in { u128::from(c[lane]) } else { 0 };
                    let (x, y) = (u128::from(a[lane] & keep), u128::from(b[lane] & keep));
                    let r = if sub { x.wrapping_sub(y).wrapping_sub(c) } else { x + y + c };
                    w.regs.get_mut(d)[lane] = r as u64 & keep;
                    if carry_out {
                        w.regs.get_mut(program.carry)[lane] = u64::from(r & !u128::from(keep) != 0);
                    }
                }
            }
            Op::MadCarry { hi, t, carry_in, carry_out, d, a, b, c } => {
                let (a, b, e, c) = (*w.regs.get(a), *w.regs.get(b), *w.regs.get(c), *w.regs.get(program.carry));
                let keep = mask(t.size() as u32);
                for lane in bits(m) {
                    let (x, y) = (integer(a[lane], t), integer(b[lane], t));
                    let p = if t.signed() {
                        (i128::from(x) * i128::from(y)) as u128
                    } else {
                        u128::from(x as u64) * u128::from(y as u64)
                    };
                    let p = if hi { p >> (8 * t.size()) } else { p } & u128::from(keep);
                    let r = p + u128::from(e[lane] & keep) + if carry_in { u128::from(c[lane]) } else { 0 };
                    w.regs.get_mut(d)[lane] = r as u64 & keep;
                    if carry_out {
                        w.regs.get_mut(program.carry)[lane] = u64::from(r & !u128::from(keep) != 0);
                    }
                }
            }
            Op::SetpPair { cmp, t, d, q, a, b } => {
                let (a, b) = (*w.regs.get(a), *w.regs.get(b));
                let get = if t == Type::F16x2 { f16_of } else { bf16_of };
                let one = |x: u64, y: u64| {
                    let (x, y) = (get(x & 0xffff), get(y & 0xffff));
                    u64::from(compare(cmp, x, y, x.is_nan() || y.is_nan()))
                };
                for lane in bits(m) {
                    w.regs.get_mut(d)[lane] = one(a[lane], b[lane]);
                    w.regs.get_mut(q)[lane] = one(a[lane] >> 16, b[lane] >> 16);
                }
            }
            Op::Set { cmp, to, t, d, a, b } => {
                let yes = match to {
                    Type::F32 => of_f32(1.0),
                    Type::F16 => of_f16(1.0),
                    Type::Bf16 => of_bf16(1.0),
                    other => mask(other.size() as u32),
                };
                if matches!(t, Type::F16x2 | Type::Bf16x2) {
                    let (get, put) = half_of(t);
                    let yes = if to == t { put(1.0) } else { 0xffff };
                    w.regs.map2(m, d, a, b, |x, y| {
                        let one = |x: u64, y: u64| {
                            let (x, y) = (get(x & 0xffff), get(y & 0xffff));
                            if compare(cmp, x, y, x.is_nan() || y.is_nan()) { yes } else { 0 }
                        };
                        one(x, y) | one(x >> 16, y >> 16) << 16
                    });
                } else {
                    let r = lanes::compare_lanes(&w.regs, cmp, t, a, b);
                    for lane in bits(m) {
                        w.regs.get_mut(d)[lane] = if r >> lane & 1 != 0 { yes } else { 0 };
                    }
                }
            }
            Op::CvtPair { to, relu, d, a, b } => {
                let put = if to == Type::F16x2 { of_f16 } else { of_bf16 };
                let one = move |x: u64| {
                    let v = f32_of(x);
                    put(if relu && v < 0.0 { 0.0 } else { v })
                };
                w.regs.map2(m, d, a, b, |x, y| one(x) << 16 | one(y));
            }
            Op::CvtTf32 { d, a } => w.regs.map1(m, d, a, |x| {
                let v = f32_of(x);
                if v.is_nan() { 0x7fff_ffff } else { x.wrapping_add(0x1000) & 0xffff_e000 }
            }),
            Op::Cvta { space, to, d, a } => {
                let window = match space {
                    Space::Shared => SHARED_WINDOW,
                    Space::Local => LOCAL_WINDOW,
                    Space::Param => PARAM_WINDOW,
                    _ => 0,
                };
                w.regs.map1(m, d, a, |x| if to { x.wrapping_sub(window) } else { x.wrapping_add(window) });
            }
            Op::IsSpace { space, d, a } => {
                let window = match space {
                    Space::Shared => 1,
                    Space::Local => 2,
                    Space::Param => 3,
                    _ => 0,
                };
                w.regs.map1(m, d, a, |x| u64::from(x >> 60 == window));
            }
            Op::Pack { size, d, args } => {
                let l = program.list(args);
                for lane in bits(m) {
                    let keep = mask(u32::from(size));
                    let v = l
                        .iter()
                        .enumerate()
                        .fold(0, |v, (i, &r)| v | (w.regs.get(r)[lane] & keep) << (8 * u32::from(size) * i as u32));
                    w.regs.get_mut(d)[lane] = v;
                }
            }
            Op::Unpack { size, a, args } => {
                let a = *w.regs.get(a);
                for (i, &r) in program.list(args).iter().enumerate() {
                    let shift = 8 * u32::from(size) * i as u32;
                    let keep = mask(u32::from(size));
                    let d = w.regs.get_mut(r);
                    for lane in bits(m) {
                        d[lane] = a[lane] >> shift & keep;
                    }
                }
            }
            Op::Atom { f, t, space, d, a, offset, b, c } => {
                let (a, b) = (*w.regs.get(a), *w.regs.get(b));
                let c = if c == NONE { [0; 32] } else { *w.regs.get(c) };
                for lane in bits(m) {
                    let at = a[lane].wrapping_add(offset as u64);
                    let p = at_untraced(memory, &mut w.local, space, at, t.size() as u64, lane as u32, pc)?;
                    let old = atomic(p, t, f, b[lane], c[lane]);
                    if d != NONE {
                        w.regs.get_mut(d)[lane] = old;
                    }
                }
            }
            Op::BraIndexed { a, targets } => {
                let list = program.list(targets);
                let a = *w.regs.get(a);
                for lane in bits(m) {
                    let Some(&target) = list.get(a[lane] as u32 as usize) else {
                        return Err(Stop {
                            code: ILLEGAL_INSTRUCTION,
                            lane: lane as u32,
                            pc,
                            text: format!("branch {} of {}", a[lane] as u32, list.len()),
                        });
                    };
                    w.fragments.push(Fragment { pc: target, mask: 1 << lane, state: State::Ready });
                }
                active &= !m;
                if active != 0 {
                    w.fragments.push(Fragment { pc: pc + 1, mask: active, state: State::Ready });
                }
                next!();
            }
            Op::Call { target } => {
                for lane in bits(m) {
                    w.stacks[lane].push(pc + 1);
                }
                if m == active {
                    jump!(target);
                }
                w.fragments.push(Fragment { pc: target, mask: m, state: State::Ready });
                active &= !m;
                jump!(pc + 1);
            }
            Op::Ret => {
                for lane in bits(m) {
                    let back = w.stacks[lane].pop().expect("a call before every return");
                    match w.fragments.iter_mut().find(|f| f.pc == back && f.state == State::Ready) {
                        Some(f) => f.mask |= 1 << lane,
                        None => w.fragments.push(Fragment { pc: back, mask: 1 << lane, state: State::Ready }),
                    }
                }
                active &= !m;
                if active != 0 {
                    w.fragments.push(Fragment { pc: pc + 1, mask: active, state: State::Ready });
                }
                next!();
            }
            Op::Exit => {
                w.exited |= m;
                active &= !m;
                if active == 0 {
                    next!();
                }
            }
            Op::Copy { from, to, len } => {
                let each = w.local.len() / 32 * 8;
                for lane in bits(m) {
                    // SAFETY: the decoder has placed both inside the function's local memory.
                    unsafe {
                        let base = w.local.as_mut_ptr().cast::<u8>().add(lane * each);
                        std::ptr::copy(base.add(from as usize), base.add(to as usize), len as usize);
                    }
                }
            }
            Op::Barrier { .. } => {
                w.fragments.push(Fragment { pc, mask: m, state: State::Barrier });
                active &= !m;
                if active == 0 {
                    next!();
                }
            }
            Op::WarpBarrier { mask } => {
                together!(mask);
                memory.uses.warp_barrier(memory.warp);
            }
            Op::Shfl { kind, d, p, a, b, c, mask } => {
                let go = together!(mask);
                let (a, b, c) = (*w.regs.get(a), *w.regs.get(b), *w.regs.get(c));
                for lane in bits(go) {
                    let (by, seg, clamp) = ((b[lane] & 31) as i32, (c[lane] >> 8 & 31) as i32, (c[lane] & 31) as i32);
                    let l = lane as i32;
                    let (lowest, highest) = (l & seg, (l & seg) | (clamp & !seg));
                    let (j, inside) = match kind {
                        Shuffle::Up => (l - by, l - by >= highest),
                        Shuffle::Down => (l + by, l + by <= highest),
                        Shuffle::Bfly => (l ^ by, l ^ by <= highest),
                        Shuffle::Idx => {
                            let j = lowest | (by & !seg);
                            (j, j <= highest)
                        }
                    };
                    let j = if inside { j } else { l } as usize;
                    // A lane that takes no part has no value: what comes is not defined, so let it show.
                    w.regs.get_mut(d)[lane] = if go >> j & 1 != 0 { a[j] & 0xffff_ffff } else { 0xffff_ffff };
                    if p != NONE {
                        w.regs.get_mut(p)[lane] = u64::from(inside);
                    }
                }
            }
            Op::Vote { kind, not, d, a, mask } => {
                let go = together!(mask);
                let t = w.regs.truth(a, FULL) ^ if not { FULL } else { 0 };
                let masks = *w.regs.get(mask);
                for lane in bits(go) {
                    let part = masks[lane] as u32 & go;
                    w.regs.get_mut(d)[lane] = u64::from(match kind {
                        Vote::Any => u32::from(t & part != 0),
                        Vote::All => u32::from(t & part == part),
                        Vote::Uni => u32::from(t & part == part || t & part == 0),
                        Vote::Ballot => t & part,
                    });
                }
            }
            Op::Match { all, t, d, p, a, mask: masks } => {
                let go = together!(masks);
                let (a, masks) = (*w.regs.get(a), *w.regs.get(masks));
                for lane in bits(go) {
                    let keep = mask(t.size() as u32);
                    let part = masks[lane] as u32 & go;
                    let equal = bits(part).filter(|&j| a[j] & keep == a[lane] & keep).fold(0u32, |e, j| e | 1 << j);
                    let whole = equal == part;
                    w.regs.get_mut(d)[lane] = u64::from(if all && !whole { 0 } else { equal });
                    if p != NONE {
                        w.regs.get_mut(p)[lane] = u64::from(whole);
                    }
                }
            }
            Op::Redux { f, t, d, a, mask } => {
                let go = together!(mask);
                let (a, masks) = (*w.regs.get(a), *w.regs.get(mask));
                for lane in bits(go) {
                    let v = bits(masks[lane] as u32 & go).map(|j| integer(a[j], t)).reduce(|x, y| match f {
                        Bin::Add => x.wrapping_add(y),
                        Bin::Min => x.min(y),
                        Bin::Max => x.max(y),
                        Bin::And => x & y,
                        Bin::Or => x | y,
                        _ => x ^ y,
                    });
                    w.regs.get_mut(d)[lane] = v.unwrap_or(0) as u64 & 0xffff_ffff;
                }
            }
            Op::ActiveMask { d } => {
                for lane in bits(m) {
                    w.regs.get_mut(d)[lane] = u64::from(m);
                }
            }
            Op::Elect { d, p, mask } => {
                let go = together!(mask);
                let masks = *w.regs.get(mask);
                for lane in bits(go) {
                    let first = (masks[lane] as u32 & go).trailing_zeros();
                    w.regs.get_mut(d)[lane] = u64::from(first);
                    w.regs.get_mut(p)[lane] = u64::from(first == lane as u32);
                }
            }
            Op::Mma { t, k, half_sum, args } => {
                if together!(NONE) != 0 {
                    mma(&mut w.regs, program.list(args), t, k as usize, half_sum);
                }
            }
            Op::LdMatrix { trans, a, offset, args, space } => {
                if together!(NONE) != 0 {
                    let l = program.list(args);
                    let addresses = *w.regs.get(a);
                    for (i, &d) in l.iter().enumerate() {
                        let mut rows = [[0u16; 8]; 8];
                        for (r, row) in rows.iter_mut().enumerate() {
                            let lane = 8 * i + r;
                            let p = memory.at(
                                &mut w.local,
                                space,
                                addresses[lane].wrapping_add(offset as u64),
                                16,
                                lane as u32,
                                pc,
                                None,
                            )?;
                            // SAFETY: 16 aligned bytes, as checked.
                            *row = unsafe { *p.cast::<[u16; 8]>() };
                        }
                        for lane in 0..32 {
                            let (r, c) = (lane / 4, 2 * (lane % 4));
                            let (x, y) =
                                if trans { (rows[c][r], rows[c + 1][r]) } else { (rows[r][c], rows[r][c + 1]) };
                            w.regs.get_mut(d)[lane] = u64::from(x) | u64::from(y) << 16;
                        }
                    }
                }
            }
            Op::StMatrix { trans, a, offset, args, space } => {
                if together!(NONE) != 0 {
                    let l = program.list(args);
                    let addresses = *w.regs.get(a);
                    for (i, &s) in l.iter().enumerate() {
                        let mut rows = [[0u16; 8]; 8];
                        for lane in 0..32 {
                            let v = w.regs.get(s)[lane];
                            let (r, c) = (lane / 4, 2 * (lane % 4));
                            for (e, x) in [v as u16, (v >> 16) as u16].into_iter().enumerate() {
                                if trans { rows[c + e][r] = x } else { rows[r][c + e] = x }
                            }
                        }
                        for (r, row) in rows.iter().enumerate() {
                            let lane = 8 * i + r;
                            let data: Vec<u8> = row.iter().flat_map(|v| v.to_le_bytes()).collect();
                            let p = memory.at(
                                &mut w.local,
                                space,
                                addresses[lane].wrapping_add(offset as u64),
                                16,
                                lane as u32,
                                pc,
                                Some(&data),
                            )?;
                            // SAFETY: 16 aligned bytes, as checked.
                            unsafe { *p.cast::<[u16; 8]>() = *row };
                        }
                    }
                }
            }
            Op::CpAsync { size, to_offset, from_offset, args } => {
                let l = program.list(args);
                let (to, from) = (*w.regs.get(l[0]), *w.regs.get(l[1]));
                for lane in bits(m) {
                    let bytes = if l[2] == NONE { u64::from(size) } else { w.regs.get(l[2])[lane] & 0xffff_ffff };
                    let copy = Copy {
                        to: to[lane].wrapping_add(to_offset as u64),
                        from: from[lane].wrapping_add(from_offset as u64),
                        size,
                        bytes: bytes.min(u64::from(size)) as u8,
                        pc,
                    };
                    if !copy.from.is_multiple_of(u64::from(size)) {
                        return Err(Stop {
                            code: MISALIGNED,
                            lane: lane as u32,
                            pc,
                            text: format!("misaligned copy of {size} bytes from {:#x}", copy.from),
                        });
                    }
                    w.open[lane].push(copy);
                }
            }
            Op::CpCommit => {
                for lane in bits(m) {
                    let group = std::mem::take(&mut w.open[lane]);
                    w.groups[lane].push(group);
                }
            }
            Op::CpWait { pending } => {
                for lane in bits(m) {
                    if pending == u32::MAX {
                        let group = std::mem::take(&mut w.open[lane]);
                        w.groups[lane].push(group);
                    }
                    w.complete(memory, lane, if pending == u32::MAX { 0 } else { pending as usize })?;
                }
            }
            Op::WmmaLoad { kind, t, row, space, offset, shape, args } => {
                if together!(NONE) != 0 {
                    let l = program.list(args);
                    let (regs, at, stride) = (&l[..l.len() - 2], w.regs.get(l[l.len() - 2])[0], l[l.len() - 1]);
                    let (rows, columns) = wmma_shape(kind, shape);
                    let stride = if stride == NONE {
                        if row { columns } else { rows }
                    } else {
                        w.regs.get(stride)[0] as u32 as usize
                    };
                    let per_lane = rows * columns / 32;
                    let pack = wmma_pack(t, regs.len(), per_lane);
                    for lane in 0..32 {
                        for (i, &d) in regs.iter().enumerate() {
                            let mut v = 0;
                            for e in 0..pack {
                                let n = lane * per_lane + (i * pack + e) % per_lane;
                                let (r, c) = (n / columns, n % columns);
                                let index = if row { r * stride + c } else { c * stride + r };
                                let p = memory.at(
                                    &mut w.local,
                                    space,
                                    at.wrapping_add(offset as u64).wrapping_add((index * wmma_size(t)) as u64),
                                    wmma_size(t) as u64,
                                    lane as u32,
                                    pc,
                                    None,
                                )?;
                                // SAFETY: checked above.
                                v |= unsafe { load(p, wmma_size(t)) } << (16 * e);
                            }
                            w.regs.get_mut(d)[lane] = v;
                        }
                    }
                }
            }
            Op::WmmaStore { t, row, space, offset, shape, args } => {
                if together!(NONE) != 0 {
                    let l = program.list(args);
                    let (regs, at, stride) = (&l[..l.len() - 2], w.regs.get(l[l.len() - 2])[0], l[l.len() - 1]);
                    let (rows, columns) = wmma_shape(2, shape);
                    let stride = if stride == NONE {
                        if row { columns } else { rows }
                    } else {
                        w.regs.get(stride)[0] as u32 as usize
                    };
                    let per_lane = rows * columns / 32;
                    let pack = wmma_pack(t, regs.len(), per_lane);
                    for lane in 0..32 {
                        for (i, &s) in regs.iter().enumerate() {
                            for e in 0..pack {
                                let n = lane * per_lane + i * pack + e;
                                let (r, c) = (n / columns, n % columns);
                                let index = if row { r * stride + c } else { c * stride + r };
                                let v = w.regs.get(s)[lane] >> (16 * e);
                                let p = memory.at(
                                    &mut w.local,
                                    space,
                                    at.wrapping_add(offset as u64).wrapping_add((index * wmma_size(t)) as u64),
                                    wmma_size(t) as u64,
                                    lane as u32,
                                    pc,
                                    Some(&v.to_le_bytes()),
                                )?;
                                // SAFETY: checked above.
                                unsafe { store(p, wmma_size(t), v) };
                            }
                        }
                    }
                }
            }
            Op::Wmma { t, half_sum, shape, args, .. } => {
                if together!(NONE) != 0 {
                    wmma(&mut w.regs, program.list(args), t, half_sum, shape);
                }
            }
            Op::Printf { format, values } => {
                for lane in bits(m) {
                    print(w, memory, lane, pc, format, values)?;
                }
            }
            Op::Trap { message } => {
                return Err(Stop {
                    code: if program.messages[message as usize].contains("assertion") {
                        ASSERT
                    } else {
                        ILLEGAL_INSTRUCTION
                    },
                    lane: m.trailing_zeros(),
                    pc,
                    text: program.messages[message as usize].clone(),
                });
            }
        }
        pc += 1;
    }
}

/// Checks an access by an atomic operation: these may meet, so they aren't noted for the search for races.
fn at_untraced(
    memory: &mut Memory,
    local: &mut [u64],
    space: Space,
    address: u64,
    size: u64,
    lane: u32,
    pc: u32,
) -> Result<*mut u8, Stop> {
    let shared = match space {
        Space::Shared => Some(address),
        Space::Generic if address >> 60 == 1 => Some(address - SHARED_WINDOW),
        _ => None,
    };
    if let Some(a) = shared
        && a & (size - 1) == 0
        && a.saturating_add(size) <= memory.shared_bytes as u64
    {
        // SAFETY: inside the vector, as checked.
        return Ok(unsafe { memory.shared.as_mut_ptr().cast::<u8>().add(a as usize) });
    }
    memory.at(local, space, address, size, lane, pc, None)
}

/// `printf`: the conversions of C, of values that stand one after the other, aligned to their sizes.
fn print(w: &mut Warp, memory: &mut Memory, lane: usize, pc: u32, format: u32, values: u32) -> Result<(), Stop> {
    let mut read = |space: Space, at: u64, size: u64| {
        // SAFETY: checked on the way.
        memory.at(&mut w.local, space, at, size, lane as u32, pc, None).map(|p| unsafe { load(p, size as usize) })
    };
    let text = read(Space::Local, u64::from(format), 8)?;
    let mut value = read(Space::Local, u64::from(values), 8)?;
    let string = |read: &mut dyn FnMut(Space, u64, u64) -> Result<u64, Stop>, mut at: u64| {
        let mut bytes = vec![];
        loop {
            match read(Space::Generic, at, 1)? {
                0 => return Ok::<_, Stop>(String::from_utf8_lossy(&bytes).into_owned()),
                b => bytes.push(b as u8),
            }
            at += 1;
        }
    };
    let format = string(&mut read, text)?;
    let mut out = String::new();
    let mut rest = format.as_str();
    while let Some(at) = rest.find('%') {
        out += &rest[..at];
        rest = &rest[at + 1..];
        let end =
            rest.find(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'l' | 'h' | 'z') || c == '%').unwrap_or(0);
        let (flags, kind) = (&rest[..end], rest[end..].chars().next().unwrap_or('%'));
        rest = rest.get(end + 1..).unwrap_or("");
        if kind == '%' {
            out.push('%');
            continue;
        }
        let size = if matches!(kind, 'f' | 'e' | 'g' | 'p' | 's') || flags.contains('l') || flags.contains('z') {
            8
        } else {
            4
        };
        value = value.next_multiple_of(size);
        let v = read(Space::Generic, value, size)?;
        value += size;
        let (width, precision) = flags.trim_end_matches(['l', 'h', 'z']).split_once('.').unwrap_or((flags, ""));
        let width: usize = width.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
        let precision: usize = precision.parse().unwrap_or(6);
        out += &match kind {
            'd' | 'i' if size == 8 => format!("{:width$}", v as i64),
            'd' | 'i' => format!("{:width$}", v as i32),
            'x' | 'X' => format!("{v:width$x}"),
            'p' => format!("{v:#x}"),
            'c' => char::from(v as u8).to_string(),
            's' => string(&mut read, v)?,
            'f' => format!("{:width$.precision$}", f64::from_bits(v)),
            'e' => format!("{:width$.precision$e}", f64::from_bits(v)),
            'g' => format!("{:width$}", f64::from_bits(v)),
            _ => format!("{v:width$}"),
        };
    }
    // Another copy of the standard library may end the process, so nothing may stay in this one's buffer.
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(format!("{out}{rest}").as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|e| Stop { code: LAUNCH_FAILED, lane: lane as u32, pc, text: format!("printf: {e}") })
}
