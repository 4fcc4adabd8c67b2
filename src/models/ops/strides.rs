//! How a matrix lies in memory.

/// A matrix in memory: element `(i, j)` lies at `offset + i * rows + j * columns`.
#[derive(Clone, Copy)]
pub struct Strides {
    pub rows: usize,
    pub columns: usize,
}

/// Row-major, with `width` numbers from row to row.
pub fn row_major(width: usize) -> Strides {
    Strides { rows: width, columns: 1 }
}

/// The transpose of a row-major matrix.
pub fn transposed(width: usize) -> Strides {
    Strides { rows: 1, columns: width }
}
