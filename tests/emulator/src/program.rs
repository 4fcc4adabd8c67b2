//! What a decoded kernel is made of. Every operand is the index of a register; constants, addresses and special
//! registers have registers of their own, filled before the kernel starts.

use crate::ptx::Space;

pub type Reg = u32;
pub const NONE: Reg = u32::MAX;

/// How an instruction reads the bits of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    Pred,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    Bf16,
    F16x2,
    Bf16x2,
    F32,
    F64,
}

impl Type {
    /// From a modifier such as `f32`; untyped bits (`b32`) are unsigned.
    pub fn of(name: &str) -> Option<Type> {
        Some(match name {
            "pred" => Type::Pred,
            "u8" | "b8" => Type::U8,
            "u16" | "b16" => Type::U16,
            "u32" | "b32" | "tf32" => Type::U32,
            "u64" | "b64" => Type::U64,
            "s8" => Type::S8,
            "s16" => Type::S16,
            "s32" => Type::S32,
            "s64" => Type::S64,
            "f16" => Type::F16,
            "bf16" => Type::Bf16,
            "f16x2" => Type::F16x2,
            "bf16x2" => Type::Bf16x2,
            "f32" => Type::F32,
            "f64" => Type::F64,
            _ => return None,
        })
    }
    pub fn size(self) -> usize {
        match self {
            Type::Pred | Type::U8 | Type::S8 => 1,
            Type::U16 | Type::S16 | Type::F16 | Type::Bf16 => 2,
            Type::U32 | Type::S32 | Type::F32 | Type::F16x2 | Type::Bf16x2 => 4,
            Type::U64 | Type::S64 | Type::F64 => 8,
        }
    }
    pub fn signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64)
    }
    pub fn is_float(self) -> bool {
        matches!(self, Type::F16 | Type::Bf16 | Type::F32 | Type::F64)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Un {
    Mov,
    Not,
    Neg,
    Abs,
    Popc,
    Clz,
    Brev,
    Bfind,
    BfindShift,
    Cnot,
    Rcp,
    Sqrt,
    Rsqrt,
    Ex2,
    Lg2,
    Sin,
    Cos,
    Tanh,
    /// Predicates: is a NaN, is infinite, is finite, is a number.
    IsNan,
    IsInf,
    IsFinite,
    IsNumber,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bin {
    Add,
    Sub,
    Mul,
    MulHi,
    MulWide,
    Div,
    Rem,
    Min,
    Max,
    MinNan,
    MaxNan,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    CopySign,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tri {
    Mad,
    MadHi,
    MadWide,
    Fma,
    FmaRelu,
    Sad,
    Bfe,
    ShfL,
    ShfR,
    ShfLWrap,
    ShfRWrap,
    Prmt,
    Selp,
    Slct,
    Dp4a,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Round {
    Nearest,
    Zero,
    Down,
    Up,
    /// To an integral value: nearest even, toward zero, down, up.
    IntNearest,
    IntZero,
    IntDown,
    IntUp,
    /// To nearest, ties away from zero (tf32).
    Away,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    Num,
    Nan,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Combine {
    None,
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rmw {
    Add,
    Exch,
    Cas,
    Min,
    Max,
    And,
    Or,
    Xor,
    Inc,
    Dec,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shuffle {
    Up,
    Down,
    Bfly,
    Idx,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vote {
    Any,
    All,
    Uni,
    Ballot,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BarrierKind {
    Sync,
    Popc,
    And,
    Or,
}

/// Element type of a matrix multiply's inputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MmaType {
    F16,
    Bf16,
    Tf32,
}

/// A range in [`Program::lists`].
#[derive(Clone, Copy, Debug)]
pub struct List {
    pub start: u32,
    pub len: u32,
}

#[derive(Clone, Copy, Debug)]
pub enum Op {
    Nop,
    Un {
        f: Un,
        t: Type,
        d: Reg,
        a: Reg,
    },
    Bin {
        f: Bin,
        t: Type,
        d: Reg,
        a: Reg,
        b: Reg,
    },
    Tri {
        f: Tri,
        t: Type,
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    Bfi {
        t: Type,
        d: Reg,
        args: List,
    },
    Lop3 {
        d: Reg,
        args: List,
        table: u8,
    },
    /// Arithmetic with a rounding other than to nearest: `a * b + c`, each of the three optional.
    Rounded {
        f: Bin,
        t: Type,
        round: Round,
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    /// Additions with carry in and out; `c` is the addend of a multiply.
    Carry {
        sub: bool,
        t: Type,
        carry_in: bool,
        carry_out: bool,
        d: Reg,
        a: Reg,
        b: Reg,
    },
    MadCarry {
        hi: bool,
        t: Type,
        carry_in: bool,
        carry_out: bool,
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    Setp {
        cmp: Cmp,
        t: Type,
        combine: Combine,
        d: Reg,
        q: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
        not_c: bool,
    },
    /// Comparison of pairs: one predicate for each half.
    SetpPair {
        cmp: Cmp,
        t: Type,
        d: Reg,
        q: Reg,
        a: Reg,
        b: Reg,
    },
    Set {
        cmp: Cmp,
        to: Type,
        t: Type,
        d: Reg,
        a: Reg,
        b: Reg,
    },
    Cvt {
        to: Type,
        from: Type,
        round: Round,
        sat: bool,
        width: u8,
        d: Reg,
        a: Reg,
    },
    /// Two values to one register of a pair.
    CvtPair {
        to: Type,
        relu: bool,
        d: Reg,
        a: Reg,
        b: Reg,
    },
    CvtTf32 {
        d: Reg,
        a: Reg,
    },
    /// To a generic address from one in a space, or back.
    Cvta {
        space: Space,
        to: bool,
        d: Reg,
        a: Reg,
    },
    IsSpace {
        space: Space,
        d: Reg,
        a: Reg,
    },
    Pack {
        size: u8,
        d: Reg,
        args: List,
    },
    Unpack {
        size: u8,
        a: Reg,
        args: List,
    },
    Ld {
        space: Space,
        t: Type,
        width: u8,
        a: Reg,
        offset: i64,
        args: List,
    },
    St {
        space: Space,
        t: Type,
        a: Reg,
        offset: i64,
        args: List,
    },
    Atom {
        f: Rmw,
        t: Type,
        space: Space,
        d: Reg,
        a: Reg,
        offset: i64,
        b: Reg,
        c: Reg,
    },
    Bra {
        target: u32,
    },
    BraIndexed {
        a: Reg,
        targets: List,
    },
    Call {
        target: u32,
    },
    Ret,
    Exit,
    Copy {
        from: u32,
        to: u32,
        len: u32,
    },
    Barrier {
        kind: BarrierKind,
        not: bool,
        id: Reg,
        count: Reg,
        d: Reg,
        a: Reg,
    },
    WarpBarrier {
        mask: Reg,
    },
    Shfl {
        kind: Shuffle,
        d: Reg,
        p: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
        mask: Reg,
    },
    Vote {
        kind: Vote,
        not: bool,
        d: Reg,
        a: Reg,
        mask: Reg,
    },
    Match {
        all: bool,
        t: Type,
        d: Reg,
        p: Reg,
        a: Reg,
        mask: Reg,
    },
    Redux {
        f: Bin,
        t: Type,
        d: Reg,
        a: Reg,
        mask: Reg,
    },
    ActiveMask {
        d: Reg,
    },
    Elect {
        d: Reg,
        p: Reg,
        mask: Reg,
    },
    /// `d = a b + c` for 16 rows, 8 columns and `k` terms; `args`: d, a, b, c.
    Mma {
        t: MmaType,
        k: u8,
        half_sum: bool,
        args: List,
    },
    LdMatrix {
        trans: bool,
        a: Reg,
        offset: i64,
        args: List,
        space: Space,
    },
    StMatrix {
        trans: bool,
        a: Reg,
        offset: i64,
        args: List,
        space: Space,
    },
    /// `args`: destination, source, source bytes (or NONE).
    CpAsync {
        size: u8,
        to_offset: i64,
        from_offset: i64,
        args: List,
    },
    CpCommit,
    CpWait {
        pending: u32,
    },
    /// `kind`: 0 a, 1 b, 2 c (load); `args`: registers, address, stride.
    WmmaLoad {
        kind: u8,
        t: Type,
        row: bool,
        space: Space,
        offset: i64,
        shape: (u8, u8, u8),
        args: List,
    },
    WmmaStore {
        t: Type,
        row: bool,
        space: Space,
        offset: i64,
        shape: (u8, u8, u8),
        args: List,
    },
    Wmma {
        t: MmaType,
        a_row: bool,
        b_row: bool,
        half_sum: bool,
        shape: (u8, u8, u8),
        args: List,
    },
    /// Where the addresses of the text and of the values are, in local memory.
    Printf {
        format: u32,
        values: u32,
    },
    /// Stops the launch; the text is in [`Program::messages`].
    Trap {
        message: u32,
    },
}

#[derive(Clone, Copy, Debug)]
pub struct Ins {
    pub op: Op,
    /// Guard predicate, or NONE.
    pub guard: Reg,
    pub guard_not: bool,
    pub line: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NWarpId,
    SmId,
    LaneMaskEq,
    LaneMaskLt,
    LaneMaskLe,
    LaneMaskGt,
    LaneMaskGe,
    Clock,
    DynamicShared,
    TotalShared,
}

#[derive(Debug)]
pub struct Program {
    pub name: String,
    pub code: Vec<Ins>,
    pub registers: usize,
    pub constants: Vec<(Reg, u64)>,
    pub specials: Vec<(Reg, Special)>,
    pub lists: Vec<Reg>,
    pub messages: Vec<String>,
    /// Offset and size of each parameter in the parameter buffer.
    pub params: Vec<(usize, usize)>,
    pub param_bytes: usize,
    pub local_bytes: usize,
    pub static_shared: usize,
    /// Where dynamic shared memory starts.
    pub dynamic_shared: usize,
    pub max_threads: Option<u32>,
    pub lines: Vec<&'static str>,
    /// The carry flag's register.
    pub carry: Reg,
}

impl Program {
    pub fn list(&self, list: List) -> &[Reg] {
        &self.lists[list.start as usize..(list.start + list.len) as usize]
    }
    /// The text of the instruction at `pc`.
    pub fn text(&self, pc: usize) -> String {
        let ins = &self.code[pc.min(self.code.len() - 1)];
        format!("line {}: {}", ins.line + 1, self.lines.get(ins.line as usize).map_or("", |l| l.trim()))
    }
}
