//! What tensors took of a device, and what was asked of it.

/// Bytes on a device that tensors held at the worst moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peak {
    /// In tensors.
    pub used: u64,
    /// Taken from the device for tensors, gaps between them included.
    pub reserved: u64,
}

/// What this process asked of GPUs so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kernels, without those of products.
    pub launches: u64,
    /// Matrix products by cuBLAS.
    pub products: u64,
    pub allocations: u64,
}

impl Counts {
    /// What was asked for after `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            launches: self.launches - before.launches,
            products: self.products - before.products,
            allocations: self.allocations - before.allocations,
        }
    }
}
