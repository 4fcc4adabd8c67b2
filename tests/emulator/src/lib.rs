//! A stand-in for a GPU: the part of the CUDA driver API, cuBLAS and cuRAND that programs on top of cudarc use, with
//! host memory as device memory and an interpreter of PTX as the device. It finds wrong numbers, wrong indexes and
//! missing barriers on machines without a GPU; it says nothing about speed. See the README.
#![allow(non_snake_case, clippy::too_many_arguments, clippy::not_unsafe_ptr_arg_deref, clippy::missing_safety_doc)]

pub mod blas;
pub mod decode;
pub mod driver;
pub mod exec;
pub mod lanes;
pub mod late;
pub mod memory;
pub mod num;
pub mod program;
pub mod ptx;
pub mod races;
pub mod rand;
pub mod tensor;
mod unimplemented;
