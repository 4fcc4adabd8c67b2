//! Device memory: host memory with a red zone around every allocation, and a table of what is allocated.

use crate::races;
use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

/// Alignment of every allocation, as on the device.
const ALIGN: usize = 256;
/// Bytes before and after an allocation that belong to nobody, so that a neighbour isn't hit by a small overrun.
const RED_ZONE: usize = 256;
/// What fresh memory holds: a NaN in every floating point type, an index far out of range in every integer type.
pub const FRESH: u8 = 0xff;

/// An allocation: from where to where, and who used it, if that is asked for.
#[derive(Clone)]
pub struct Range {
    pub start: u64,
    pub end: u64,
    pub uses: Option<Arc<races::Global>>,
}

/// The allocations in ascending order.
pub type Table = Arc<Vec<Range>>;

/// Whether allocations from now on note who uses them.
pub static NOTE_USES: AtomicBool = AtomicBool::new(false);

pub struct Memory {
    live: BTreeMap<u64, Range>,
    table: Option<Table>,
    used: u64,
    high: u64,
}

static MEMORY: Mutex<Memory> = Mutex::new(Memory { live: BTreeMap::new(), table: None, used: 0, high: 0 });

pub fn memory() -> MutexGuard<'static, Memory> {
    MEMORY.lock().unwrap_or_else(|e| e.into_inner())
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes.max(1) + 2 * RED_ZONE, ALIGN).expect("an allocation's size")
}

impl Memory {
    pub fn alloc(&mut self, bytes: usize) -> u64 {
        let layout = layout(bytes);
        // SAFETY: the layout isn't empty, and the block is filled over its whole length.
        let base = unsafe {
            let base = alloc(layout);
            if base.is_null() {
                return 0;
            }
            base.write_bytes(FRESH, layout.size());
            base as u64 + RED_ZONE as u64
        };
        let uses = NOTE_USES.load(Relaxed).then(|| Arc::new(races::Global::new(bytes)));
        self.live.insert(base, Range { start: base, end: base + bytes as u64, uses });
        self.table = None;
        self.used += bytes as u64;
        self.high = self.high.max(self.used);
        base
    }

    /// False where nothing is allocated at `base`.
    pub fn free(&mut self, base: u64) -> bool {
        let Some(range) = self.live.remove(&base) else { return false };
        let bytes = (range.end - base) as usize;
        // SAFETY: `alloc` made this block with the same layout, and it is in no table any more.
        unsafe { dealloc((base - RED_ZONE as u64) as *mut u8, layout(bytes)) };
        self.table = None;
        self.used -= bytes as u64;
        true
    }

    /// Bytes in use now, and at most since [`Memory::reset_high`].
    pub fn used(&self) -> (u64, u64) {
        (self.used, self.high)
    }

    pub fn reset_high(&mut self) {
        self.high = self.used;
    }

    pub fn table(&mut self) -> Table {
        self.table.get_or_insert_with(|| Arc::new(self.live.values().cloned().collect())).clone()
    }

    /// Whether `bytes` at `address` lie inside one allocation.
    pub fn contains(&self, address: u64, bytes: usize) -> bool {
        bytes == 0 || self.live.range(..=address).next_back().is_some_and(|(_, r)| address + bytes as u64 <= r.end)
    }
}

/// The allocation of `table` that holds `address`, or says in words what lies around it.
pub fn find(table: &[Range], address: u64) -> Result<&Range, String> {
    let i = table.partition_point(|r| r.start <= address);
    match i.checked_sub(1).map(|i| &table[i]) {
        Some(range) if address < range.end => Ok(range),
        below => {
            let mut text = String::from("no allocation there");
            if let Some(r) = below {
                let (size, past) = (r.end - r.start, address - r.end);
                text += &format!("; {past} bytes past the end of the {size}-byte allocation at {:#x}", r.start);
            }
            if let Some(r) = table.get(i) {
                let (size, before) = (r.end - r.start, r.start - address);
                text += &format!("; {before} bytes before the {size}-byte allocation at {:#x}", r.start);
            }
            Err(text)
        }
    }
}
