//! Turns a kernel and the functions it calls into a [`Program`].

use crate::lanes::{has_bin, has_tri, has_un};
use crate::program::*;
use crate::ptx::{Cursor, Func, Module, Space, Tok, Token, Var, literal, space_of, type_size};
use std::collections::HashMap;

/// Generic addresses of shared, local and parameter memory start here; global memory is at its host address.
pub const SHARED_WINDOW: u64 = 1 << 60;
pub const LOCAL_WINDOW: u64 = 2 << 60;
pub const PARAM_WINDOW: u64 = 3 << 60;

/// Stands for the address of dynamic shared memory until the static variables are placed.
const DYNAMIC_SHARED: u64 = 0xdeca_de00_5ade_d000;

#[derive(Clone, Copy)]
enum Name {
    Reg(Reg, u8),
    /// A variable's address in its space.
    Address(Space, u64),
}

enum Arg {
    Word(&'static str),
    Negative(&'static str),
    Not(&'static str),
    Address(&'static str, i64),
    Vector(Vec<Arg>),
    Pair(&'static str, &'static str),
    List(Vec<Arg>),
}

struct Function {
    /// Where its code starts, once that is decoded.
    start: Option<u32>,
    params: Vec<(u32, usize)>,
    returns: Vec<(u32, usize)>,
}

struct Decoder<'a> {
    module: &'a Module,
    globals: &'a HashMap<&'static str, u64>,
    program: Program,
    constants: HashMap<u64, Reg>,
    specials: HashMap<Special, Reg>,
    shared: HashMap<&'static str, u64>,
    /// Alignment of dynamic shared memory: the most that a declaration asks for.
    dynamic_align: usize,
    functions: HashMap<&'static str, Function>,
    /// Calls waiting for their target's code.
    calls: Vec<(usize, &'static str)>,
    scopes: Vec<HashMap<String, Name>>,
    labels: HashMap<&'static str, u32>,
    jumps: Vec<(usize, &'static str)>,
    tables: HashMap<&'static str, Vec<&'static str>>,
    indexed: Vec<(usize, &'static str)>,
    in_entry: bool,
    line: u32,
}

/// Decodes kernel `name`; `globals` holds the addresses of the module's global and constant variables.
pub fn decode(module: &Module, globals: &HashMap<&'static str, u64>, name: &str) -> Result<Program, String> {
    let func = module.by_name.get(name).map(|&i| &module.funcs[i]).filter(|f| f.entry && !f.body.is_empty());
    let func = func.ok_or_else(|| format!("the module has no kernel {name}"))?;
    let program = Program {
        name: name.to_owned(),
        code: vec![],
        registers: 1,
        constants: vec![],
        specials: vec![],
        lists: vec![],
        messages: vec![],
        params: vec![],
        param_bytes: 0,
        local_bytes: 0,
        static_shared: 0,
        dynamic_shared: 0,
        max_threads: func.max_threads,
        lines: module.lines.clone(),
        carry: 0,
    };
    let mut d = Decoder {
        module,
        globals,
        program,
        constants: HashMap::new(),
        specials: HashMap::new(),
        shared: HashMap::new(),
        dynamic_align: 16,
        functions: HashMap::new(),
        calls: vec![],
        scopes: vec![],
        labels: HashMap::new(),
        jumps: vec![],
        tables: HashMap::new(),
        indexed: vec![],
        in_entry: true,
        line: 0,
    };
    d.function(func)?;
    while let Some((at, callee)) = d.calls.pop() {
        if d.functions[callee].start.is_none() {
            let func = &module.funcs[module.by_name[callee]];
            d.in_entry = false;
            d.function(func)?;
        }
        d.program.code[at].op = Op::Call { target: d.functions[callee].start.expect("decoded above") };
    }
    d.place_dynamic_shared();
    d.recursion(name)?;
    Ok(d.program)
}

fn align(at: usize, to: usize) -> usize {
    at.next_multiple_of(to.max(1))
}

impl Decoder<'_> {
    fn function(&mut self, func: &Func) -> Result<(), String> {
        self.scopes = vec![HashMap::new()];
        self.labels.clear();
        self.jumps.clear();
        self.tables.clear();
        self.indexed.clear();
        let start = self.program.code.len() as u32;
        if func.entry {
            let mut at = 0;
            for p in &func.params {
                at = align(at, p.align);
                self.program.params.push((at, p.size));
                self.declare(p.name, Name::Address(Space::Param, at as u64));
                at += p.size;
            }
            self.program.param_bytes = at;
        } else if !self.functions.contains_key(func.name) {
            self.signature(func);
        }
        if let Some(f) = self.functions.get_mut(func.name) {
            f.start = Some(start);
            let formals: Vec<_> = func
                .params
                .iter()
                .zip(&f.params)
                .chain(func.returns.iter().zip(&f.returns))
                .map(|(v, &(at, _))| (v.name, at))
                .collect();
            for (name, at) in formals {
                self.declare(name, Name::Address(Space::Local, u64::from(at)));
            }
        }
        let tokens = &self.module.tokens[func.body.clone()];
        let mut c = Cursor { tokens, at: 0 };
        while let Some(tok) = c.peek() {
            self.line = c.line();
            match tok {
                Tok::Punct('{') => {
                    self.scopes.push(HashMap::new());
                    c.at += 1;
                }
                Tok::Punct('}') => {
                    self.scopes.pop();
                    c.at += 1;
                }
                Tok::Punct(';') => c.at += 1,
                Tok::Word(w) if w.starts_with('.') => self.directive(w, &mut c)?,
                Tok::Word(label) if tokens.get(c.at + 1).map(|t| t.tok) == Some(Tok::Punct(':')) => {
                    c.at += 2;
                    match c.peek() {
                        Some(Tok::Word(".branchtargets")) => {
                            c.at += 1;
                            let mut targets = vec![];
                            while !c.eat(';') {
                                if !c.eat(',') {
                                    targets.push(c.word()?);
                                }
                            }
                            self.tables.insert(label, targets);
                        }
                        Some(Tok::Word(".calltargets" | ".callprototype")) => c.skip_past(';'),
                        _ => {
                            self.labels.insert(label, self.program.code.len() as u32);
                        }
                    }
                }
                _ => self.statement(&mut c, tokens)?,
            }
        }
        self.line = c.line();
        self.emit(if func.entry { Op::Exit } else { Op::Ret });
        for (at, label) in std::mem::take(&mut self.jumps) {
            let target = self.label(label)?;
            self.program.code[at].op = Op::Bra { target };
        }
        for (at, table) in std::mem::take(&mut self.indexed) {
            let names = self.tables.get(table).ok_or_else(|| format!("no branch targets {table}"))?.clone();
            let targets = names.iter().map(|l| self.label(l)).collect::<Result<Vec<_>, _>>()?;
            let list = self.list(targets);
            if let Op::BraIndexed { targets, .. } = &mut self.program.code[at].op {
                *targets = list;
            }
        }
        Ok(())
    }

    fn label(&self, label: &str) -> Result<u32, String> {
        self.labels.get(label).copied().ok_or_else(|| format!("no label {label}"))
    }

    /// Gives a function's parameters and results their places in local memory.
    fn signature(&mut self, func: &Func) {
        let mut place = |v: &Var| {
            let at = align(self.program.local_bytes, v.align.max(8));
            self.program.local_bytes = at + v.size;
            (at as u32, v.size)
        };
        let params = func.params.iter().map(&mut place).collect();
        let returns = func.returns.iter().map(&mut place).collect();
        self.functions.insert(func.name, Function { start: None, params, returns });
    }

    fn declare(&mut self, name: &str, what: Name) {
        self.scopes.last_mut().expect("a scope").insert(name.to_owned(), what);
    }

    fn directive(&mut self, word: &'static str, c: &mut Cursor) -> Result<(), String> {
        c.at += 1;
        match word {
            ".reg" => {
                let ty = c.word()?;
                let width = type_size(ty).ok_or_else(|| format!("register type {ty}"))?;
                loop {
                    let name = c.word()?;
                    if c.eat('<') {
                        let n = literal(c.word()?, 8).ok_or("a register count")?;
                        c.skip_past('>');
                        for i in 0..n {
                            let reg = self.register();
                            self.declare(&format!("{name}{i}"), Name::Reg(reg, width as u8));
                        }
                    } else {
                        let reg = self.register();
                        self.declare(name, Name::Reg(reg, width as u8));
                    }
                    if !c.eat(',') {
                        break;
                    }
                }
                c.skip_past(';');
            }
            ".local" | ".param" | ".shared" => {
                let space = space_of(word).expect("a state space");
                loop {
                    let var = c.var(space)?;
                    if space == Space::Shared {
                        let at = self.place_shared(&var);
                        self.declare(var.name, at);
                    } else {
                        let at = align(self.program.local_bytes, var.align.max(4));
                        self.program.local_bytes = at + var.size;
                        self.declare(var.name, Name::Address(Space::Local, at as u64));
                    }
                    if !c.eat(',') {
                        break;
                    }
                }
                c.skip_past(';');
            }
            ".loc" | ".file" => {
                c.at -= 1;
                c.skip_line();
            }
            ".pragma" => c.skip_past(';'),
            other => return Err(format!("line {}: {other} isn't supported", self.line + 1)),
        }
        Ok(())
    }

    fn place_shared(&mut self, var: &Var) -> Name {
        if let Some(&at) = self.shared.get(var.name) {
            return Name::Address(Space::Shared, at);
        }
        if var.dynamic {
            self.dynamic_align = self.dynamic_align.max(var.align);
            // Placed after every static variable is known: see `place_dynamic_shared`.
            return Name::Address(Space::Shared, DYNAMIC_SHARED);
        }
        let at = align(self.program.static_shared, var.align);
        self.program.static_shared = at + var.size;
        self.shared.insert(var.name, at as u64);
        Name::Address(Space::Shared, at as u64)
    }

    /// Dynamic shared memory follows the static variables; its address is the one constant that decoding leaves open.
    fn place_dynamic_shared(&mut self) {
        self.program.dynamic_shared = align(self.program.static_shared, self.dynamic_align);
        if let Some(&reg) = self.constants.get(&DYNAMIC_SHARED) {
            for (r, v) in &mut self.program.constants {
                if *r == reg {
                    *v = self.program.dynamic_shared as u64;
                }
            }
        }
    }

    fn register(&mut self) -> Reg {
        self.program.registers += 1;
        self.program.registers as Reg - 1
    }

    fn constant(&mut self, value: u64) -> Reg {
        if let Some(&reg) = self.constants.get(&value) {
            return reg;
        }
        let reg = self.register();
        self.constants.insert(value, reg);
        self.program.constants.push((reg, value));
        reg
    }

    fn list(&mut self, regs: impl IntoIterator<Item = Reg>) -> List {
        let start = self.program.lists.len() as u32;
        self.program.lists.extend(regs);
        List { start, len: self.program.lists.len() as u32 - start }
    }

    fn emit(&mut self, op: Op) {
        self.program.code.push(Ins { op, guard: NONE, guard_not: false, line: self.line });
    }

    fn trap(&mut self, text: String) -> Op {
        self.program.messages.push(text);
        Op::Trap { message: self.program.messages.len() as u32 - 1 }
    }

    fn lookup(&mut self, name: &str) -> Result<Name, String> {
        for scope in self.scopes.iter().rev() {
            if let Some(&n) = scope.get(name) {
                return Ok(n);
            }
        }
        if let Some(var) = self.module.vars.iter().find(|v| v.name == name) {
            return Ok(match var.space {
                Space::Shared => self.place_shared(var),
                _ => Name::Address(
                    Space::Global,
                    *self.globals.get(name).ok_or_else(|| format!("variable {name} has no address"))?,
                ),
            });
        }
        Err(format!("unknown name {name}"))
    }

    fn special(&mut self, name: &str) -> Option<Reg> {
        let axis = |n: &str| match n {
            "x" => Some(0),
            "y" => Some(1),
            "z" => Some(2),
            _ => None,
        };
        let special = match name.split_once('.') {
            Some(("%tid", a)) => Special::Tid(axis(a)?),
            Some(("%ntid", a)) => Special::Ntid(axis(a)?),
            Some(("%ctaid", a)) => Special::Ctaid(axis(a)?),
            Some(("%nctaid", a)) => Special::Nctaid(axis(a)?),
            _ => match name {
                "%laneid" => Special::LaneId,
                "%warpid" => Special::WarpId,
                "%nwarpid" => Special::NWarpId,
                "%smid" => Special::SmId,
                "%lanemask_eq" => Special::LaneMaskEq,
                "%lanemask_lt" => Special::LaneMaskLt,
                "%lanemask_le" => Special::LaneMaskLe,
                "%lanemask_gt" => Special::LaneMaskGt,
                "%lanemask_ge" => Special::LaneMaskGe,
                "%clock" | "%clock64" | "%globaltimer" => Special::Clock,
                "%dynamic_smem_size" => Special::DynamicShared,
                "%total_smem_size" => Special::TotalShared,
                _ => return None,
            },
        };
        if let Some(&reg) = self.specials.get(&special) {
            return Some(reg);
        }
        let reg = self.register();
        self.specials.insert(special, reg);
        self.program.specials.push((reg, special));
        Some(reg)
    }

    /// The register of an operand that is read, and its width in bytes.
    fn operand(&mut self, arg: &Arg, float_size: usize) -> Result<(Reg, u8), String> {
        match arg {
            Arg::Word("WARP_SZ") => Ok((self.constant(32), 8)),
            Arg::Word(w) => {
                if let Some(v) = literal(w, float_size) {
                    return Ok((self.constant(v), 8));
                }
                if let Some(reg) = self.special(w) {
                    return Ok((reg, 8));
                }
                match self.lookup(w)? {
                    Name::Reg(r, width) => Ok((r, width)),
                    Name::Address(_, at) => Ok((self.constant(at), 8)),
                }
            }
            Arg::Negative(w) => {
                let v = literal(w, float_size).ok_or_else(|| format!("-{w} isn't a number"))?;
                let v = match (w.contains('.'), float_size) {
                    (true, 8) => (-f64::from_bits(v)).to_bits(),
                    (true, _) => u64::from((-f32::from_bits(v as u32)).to_bits()),
                    _ => v.wrapping_neg(),
                };
                Ok((self.constant(v), 8))
            }
            Arg::Address(w, offset) => {
                // `mov.u64 %rd1, name+8` comes without brackets.
                match self.lookup(w)? {
                    Name::Address(_, at) if at != DYNAMIC_SHARED => {
                        Ok((self.constant(at.wrapping_add(*offset as u64)), 8))
                    }
                    _ => Err(format!("{w}+{offset} isn't supported here")),
                }
            }
            _ => Err("an operand of this form isn't supported here".into()),
        }
    }

    fn read(&mut self, arg: &Arg, t: Type) -> Result<Reg, String> {
        Ok(self.operand(arg, t.size())?.0)
    }

    /// A register that is written; `_` is nowhere.
    fn write(&mut self, arg: &Arg) -> Result<(Reg, u8), String> {
        match arg {
            Arg::Word("_") => Ok((self.register(), 8)),
            Arg::Word(w) => match self.lookup(w)? {
                Name::Reg(r, width) => Ok((r, width)),
                Name::Address(..) => Err(format!("{w} isn't a register")),
            },
            Arg::Vector(v) if v.len() == 1 => self.write(&v[0]),
            _ => Err("the destination isn't a register".into()),
        }
    }

    fn write_name(&mut self, w: &'static str) -> Result<Reg, String> {
        Ok(self.write(&Arg::Word(w))?.0)
    }

    /// Base register, offset, and the space of a symbol used as the base.
    fn address(&mut self, arg: &Arg) -> Result<(Reg, i64, Option<Space>), String> {
        let (base, offset) = match arg {
            Arg::Address(b, o) => (*b, *o),
            Arg::Word(b) => (*b, 0),
            _ => return Err("an address is expected".into()),
        };
        if let Some(v) = literal(base, 8) {
            return Ok((self.constant(v), offset, None));
        }
        match self.lookup(base)? {
            Name::Reg(r, _) => Ok((r, offset, None)),
            Name::Address(space, at) => Ok((self.constant(at), offset, Some(space))),
        }
    }

    fn statement(&mut self, c: &mut Cursor, tokens: &[Token]) -> Result<(), String> {
        let start = c.at;
        let mut end = start;
        while end < tokens.len() && tokens[end].tok != Tok::Punct(';') {
            end += 1;
        }
        c.at = end + 1;
        let mut s = Cursor { tokens: &tokens[start..end], at: 0 };
        let (mut guard, mut guard_not) = (NONE, false);
        if s.eat('@') {
            guard_not = s.eat('!');
            let name = s.word()?;
            guard = match self.lookup(name)? {
                Name::Reg(r, _) => r,
                Name::Address(..) => return Err(format!("{name} isn't a predicate")),
            };
        }
        let first = self.program.code.len();
        let opcode = s.word()?;
        let args = parse_args(&mut s);
        if let Err(why) = args.and_then(|args| self.instruction(opcode, &args)) {
            let text = format!("{opcode}: {why}");
            let op = self.trap(text);
            self.emit(op);
        }
        for ins in &mut self.program.code[first..] {
            ins.guard = guard;
            ins.guard_not = guard_not;
        }
        Ok(())
    }

    fn instruction(&mut self, opcode: &'static str, args: &[Arg]) -> Result<(), String> {
        let mut parts = opcode.split('.');
        let mn = parts.next().unwrap_or("");
        let mods: Vec<&str> = parts.collect();
        let has = |m: &str| mods.contains(&m);
        let types: Vec<Type> = mods.iter().filter_map(|m| Type::of(m)).collect();
        let last = types.last().copied();
        let need = |t: Option<Type>| t.ok_or_else(|| "this type isn't supported".to_owned());
        let round = mods.iter().find_map(|m| {
            Some(match *m {
                "rn" => Round::Nearest,
                "rz" => Round::Zero,
                "rm" => Round::Down,
                "rp" => Round::Up,
                "rni" => Round::IntNearest,
                "rzi" => Round::IntZero,
                "rmi" => Round::IntDown,
                "rpi" => Round::IntUp,
                "rna" => Round::Away,
                _ => return None,
            })
        });
        let space = mods.iter().find_map(|m| {
            Some(match m.split("::").next().unwrap_or("") {
                "global" | "const" => Space::Global,
                "shared" => Space::Shared,
                "local" => Space::Local,
                "param" => Space::Param,
                _ => return None,
            })
        });
        let count = |n: usize| {
            if args.len() >= n { Ok(()) } else { Err(format!("{} operands where {n} are expected", args.len())) }
        };

        if let Some(f) = unary(mn) {
            count(2)?;
            if f == Un::Mov {
                return self.mov(need(last)?, args);
            }
            let t = need(last)?;
            let f = match (mn, f) {
                ("bfind", _) if has("shiftamt") => Un::BfindShift,
                ("testp", _) => match mods.first() {
                    Some(&"notanumber") => Un::IsNan,
                    Some(&"infinite") => Un::IsInf,
                    Some(&"finite") => Un::IsFinite,
                    Some(&"number") => Un::IsNumber,
                    _ => return Err("this test isn't supported".into()),
                },
                (_, f) => f,
            };
            if !has_un(f, t) {
                return Err("this type isn't supported".into());
            }
            let (d, _) = self.write(&args[0])?;
            let a = self.read(&args[1], t)?;
            self.emit(Op::Un { f, t, d, a });
            return Ok(());
        }

        match mn {
            "add" | "sub" | "mul" | "div" | "rem" | "min" | "max" | "and" | "or" | "xor" | "shl" | "shr"
            | "copysign" => {
                count(3)?;
                let t = need(last)?;
                if has("cc") {
                    return self.carry(mn, t, false, true, args);
                }
                if args.len() > 3 {
                    return Err("the form with three sources isn't supported".into());
                }
                let f = match mn {
                    "add" => Bin::Add,
                    "sub" => Bin::Sub,
                    "mul" if has("wide") => Bin::MulWide,
                    "mul" if has("hi") => Bin::MulHi,
                    "mul" => Bin::Mul,
                    "div" => Bin::Div,
                    "rem" => Bin::Rem,
                    "min" if has("NaN") => Bin::MinNan,
                    "max" if has("NaN") => Bin::MaxNan,
                    "min" => Bin::Min,
                    "max" => Bin::Max,
                    "and" => Bin::And,
                    "or" => Bin::Or,
                    "xor" => Bin::Xor,
                    "shl" => Bin::Shl,
                    "shr" => Bin::Shr,
                    _ => Bin::CopySign,
                };
                if !has_bin(f, t) || has("sat") || has("relu") {
                    return Err("saturation isn't supported here".into());
                }
                let (d, _) = self.write(&args[0])?;
                let (a, b) = (self.read(&args[1], t)?, self.read(&args[2], t)?);
                match round {
                    Some(r) if r != Round::Nearest && t.is_float() => {
                        self.emit(Op::Rounded { f, t, round: r, d, a, b, c: NONE })
                    }
                    _ => self.emit(Op::Bin { f, t, d, a, b }),
                }
            }
            "addc" | "subc" => {
                count(3)?;
                self.carry(mn, need(last)?, true, has("cc"), args)?;
            }
            "mad" | "madc" if has("cc") || mn == "madc" => {
                count(4)?;
                let t = need(last)?;
                let (d, _) = self.write(&args[0])?;
                let (a, b, c) = (self.read(&args[1], t)?, self.read(&args[2], t)?, self.read(&args[3], t)?);
                self.program.carry = self.carry_register();
                self.emit(Op::MadCarry { hi: has("hi"), t, carry_in: mn == "madc", carry_out: has("cc"), d, a, b, c });
            }
            "mad" | "fma" | "sad" | "shf" | "prmt" | "selp" | "slct" | "bfe" | "dp4a" => {
                count(4)?;
                let t = match mn {
                    "slct" => types.first().copied(),
                    "prmt" => Some(Type::U32),
                    _ => last,
                };
                let t = need(t)?;
                let f = match mn {
                    "mad" | "fma" if t.is_float() || matches!(t, Type::F16x2 | Type::Bf16x2) => {
                        if has("sat") {
                            return Err("saturation isn't supported here".into());
                        }
                        if has("relu") { Tri::FmaRelu } else { Tri::Fma }
                    }
                    "mad" if has("wide") => Tri::MadWide,
                    "mad" if has("hi") => Tri::MadHi,
                    "mad" => Tri::Mad,
                    "sad" => Tri::Sad,
                    "bfe" => Tri::Bfe,
                    "prmt" if mods.len() == 1 => Tri::Prmt,
                    "shf" => match (has("l"), has("wrap")) {
                        (true, true) => Tri::ShfLWrap,
                        (true, false) => Tri::ShfL,
                        (false, true) => Tri::ShfRWrap,
                        (false, false) => Tri::ShfR,
                    },
                    "selp" => Tri::Selp,
                    "slct" => Tri::Slct,
                    "dp4a" if types.iter().all(|t| *t == types[0]) => Tri::Dp4a,
                    _ => return Err("this variant isn't supported".into()),
                };
                if !has_tri(f, t) {
                    return Err("this type isn't supported".into());
                }
                if f == Tri::Slct && types.get(1).is_some_and(|t| t.is_float()) {
                    return Err("a floating point selector isn't supported".into());
                }
                let (d, _) = self.write(&args[0])?;
                let (a, b, c) = (self.read(&args[1], t)?, self.read(&args[2], t)?, self.read(&args[3], t)?);
                match round {
                    Some(r) if r != Round::Nearest && f == Tri::Fma => {
                        self.emit(Op::Rounded { f: Bin::Mul, t, round: r, d, a, b, c })
                    }
                    _ => self.emit(Op::Tri { f, t, d, a, b, c }),
                }
            }
            "bfi" => {
                count(5)?;
                let t = need(last)?;
                let (d, _) = self.write(&args[0])?;
                let regs = args[1..5].iter().map(|a| self.read(a, t)).collect::<Result<Vec<_>, _>>()?;
                let args = self.list(regs);
                self.emit(Op::Bfi { t, d, args });
            }
            "lop3" => {
                count(5)?;
                let (d, _) = self.write(&args[0])?;
                let regs = args[1..4].iter().map(|a| self.read(a, Type::U32)).collect::<Result<Vec<_>, _>>()?;
                let Arg::Word(w) = args[4] else { return Err("a table is expected".into()) };
                let table = literal(w, 4).ok_or("a table is expected")? as u8;
                let args = self.list(regs);
                self.emit(Op::Lop3 { d, args, table });
            }
            "setp" | "set" => self.compare(mn, &mods, &types, args)?,
            "cvt" => {
                count(2)?;
                let names: Vec<&str> = mods.iter().rev().take(2).copied().collect();
                if names.len() == 2 && names[1] == "tf32" && names[0] == "f32" {
                    let (d, _) = self.write(&args[0])?;
                    let a = self.read(&args[1], Type::F32)?;
                    self.emit(Op::CvtTf32 { d, a });
                    return Ok(());
                }
                let (Some(from), Some(to)) =
                    (names.first().and_then(|n| Type::of(n)), names.get(1).and_then(|n| Type::of(n)))
                else {
                    return Err("these types aren't supported".into());
                };
                if matches!(to, Type::F16x2 | Type::Bf16x2) {
                    count(3)?;
                    if from != Type::F32 || has("satfinite") || !matches!(round, Some(Round::Nearest)) {
                        return Err("this pair conversion isn't supported".into());
                    }
                    let (d, _) = self.write(&args[0])?;
                    let (a, b) = (self.read(&args[1], from)?, self.read(&args[2], from)?);
                    self.emit(Op::CvtPair { to, relu: has("relu"), d, a, b });
                    return Ok(());
                }
                if has("relu") || has("satfinite") || has("pack") {
                    return Err("this conversion isn't supported".into());
                }
                let (d, width) = self.write(&args[0])?;
                let a = self.read(&args[1], from)?;
                self.emit(Op::Cvt { to, from, round: round.unwrap_or(Round::Nearest), sat: has("sat"), width, d, a });
            }
            "cvta" => {
                count(2)?;
                let (d, _) = self.write(&args[0])?;
                let a = self.read(&args[1], Type::U64)?;
                let space = space.ok_or("a space is expected")?;
                self.emit(Op::Cvta { space, to: has("to"), d, a });
            }
            "isspacep" => {
                count(2)?;
                let (d, _) = self.write(&args[0])?;
                let a = self.read(&args[1], Type::U64)?;
                let space = space.ok_or("a space is expected")?;
                self.emit(Op::IsSpace { space, d, a });
            }
            "ld" | "ldu" => {
                count(2)?;
                let t = need(last)?;
                let (a, offset, symbol) = self.address(&args[1])?;
                let space = self.resolve_space(space, symbol);
                let (args, width) = match &args[0] {
                    Arg::Vector(v) => {
                        let regs = v.iter().map(|x| self.write(x)).collect::<Result<Vec<_>, _>>()?;
                        let width = regs.first().map_or(8, |r| r.1);
                        (self.list(regs.iter().map(|r| r.0)), width)
                    }
                    one => {
                        let (reg, width) = self.write(one)?;
                        (self.list([reg]), width)
                    }
                };
                self.emit(Op::Ld { space, t, width, a, offset, args });
            }
            "st" => {
                count(2)?;
                let t = need(last)?;
                let (a, offset, symbol) = self.address(&args[0])?;
                let space = self.resolve_space(space, symbol);
                let regs = match &args[1] {
                    Arg::Vector(v) => v.iter().map(|x| self.read(x, t)).collect::<Result<Vec<_>, _>>()?,
                    one => vec![self.read(one, t)?],
                };
                let args = self.list(regs);
                self.emit(Op::St { space, t, a, offset, args });
            }
            "atom" | "red" => {
                let t = need(last)?;
                let f = mods.iter().find_map(|m| {
                    Some(match *m {
                        "add" => Rmw::Add,
                        "exch" => Rmw::Exch,
                        "cas" => Rmw::Cas,
                        "min" => Rmw::Min,
                        "max" => Rmw::Max,
                        "and" => Rmw::And,
                        "or" => Rmw::Or,
                        "xor" => Rmw::Xor,
                        "inc" => Rmw::Inc,
                        "dec" => Rmw::Dec,
                        _ => return None,
                    })
                });
                let f = f.ok_or("this operation isn't supported")?;
                if has("v2") || has("v4") || has("v8") {
                    return Err("vectors aren't supported".into());
                }
                let at = usize::from(mn == "atom");
                count(at + 2)?;
                let d = if mn == "atom" { self.write(&args[0])?.0 } else { NONE };
                let (a, offset, symbol) = self.address(&args[at])?;
                let b = self.read(&args[at + 1], t)?;
                let c = match args.get(at + 2) {
                    Some(c) if f == Rmw::Cas => self.read(c, t)?,
                    _ => NONE,
                };
                let space = self.resolve_space(space, symbol);
                self.emit(Op::Atom { f, t, space, d, a, offset, b, c });
            }
            "bra" => {
                count(1)?;
                let Arg::Word(label) = args[0] else { return Err("a label is expected".into()) };
                self.jumps.push((self.program.code.len(), label));
                self.emit(Op::Bra { target: 0 });
            }
            "brx" => {
                count(2)?;
                let a = self.read(&args[0], Type::U32)?;
                let Arg::Word(table) = args[1] else { return Err("a table is expected".into()) };
                self.indexed.push((self.program.code.len(), table));
                self.emit(Op::BraIndexed { a, targets: List { start: 0, len: 0 } });
            }
            "call" => self.call(args)?,
            "ret" => self.emit(if self.in_entry { Op::Exit } else { Op::Ret }),
            "exit" => self.emit(Op::Exit),
            "trap" | "brkpt" => {
                let op = self.trap("the kernel stopped itself".into());
                self.emit(op);
            }
            "bar" | "barrier" => self.barrier(&mods, args)?,
            "shfl" => {
                count(5)?;
                let kind = match mods.get(1) {
                    Some(&"up") => Shuffle::Up,
                    Some(&"down") => Shuffle::Down,
                    Some(&"bfly") => Shuffle::Bfly,
                    Some(&"idx") => Shuffle::Idx,
                    _ => return Err("only the .sync forms are supported".into()),
                };
                let (d, p) = match &args[0] {
                    Arg::Pair(d, p) => (self.write_name(d)?, self.write_name(p)?),
                    one => (self.write(one)?.0, NONE),
                };
                let t = Type::U32;
                let (a, b, c, mask) = (
                    self.read(&args[1], t)?,
                    self.read(&args[2], t)?,
                    self.read(&args[3], t)?,
                    self.read(&args[4], t)?,
                );
                self.emit(Op::Shfl { kind, d, p, a, b, c, mask });
            }
            "vote" => {
                count(3)?;
                let kind = match mods.get(1) {
                    Some(&"any") => Vote::Any,
                    Some(&"all") => Vote::All,
                    Some(&"uni") => Vote::Uni,
                    Some(&"ballot") => Vote::Ballot,
                    _ => return Err("only the .sync forms are supported".into()),
                };
                let (d, _) = self.write(&args[0])?;
                let (a, not) = self.predicate(&args[1])?;
                let mask = self.read(&args[2], Type::U32)?;
                self.emit(Op::Vote { kind, not, d, a, mask });
            }
            "match" => {
                count(3)?;
                let t = need(last)?;
                let (d, p) = match &args[0] {
                    Arg::Pair(d, p) => (self.write_name(d)?, self.write_name(p)?),
                    one => (self.write(one)?.0, NONE),
                };
                let (a, mask) = (self.read(&args[1], t)?, self.read(&args[2], Type::U32)?);
                self.emit(Op::Match { all: has("all"), t, d, p, a, mask });
            }
            "redux" => {
                count(3)?;
                let t = need(last)?;
                let f = match mods.get(1) {
                    Some(&"add") => Bin::Add,
                    Some(&"min") => Bin::Min,
                    Some(&"max") => Bin::Max,
                    Some(&"and") => Bin::And,
                    Some(&"or") => Bin::Or,
                    Some(&"xor") => Bin::Xor,
                    _ => return Err("this reduction isn't supported".into()),
                };
                let (d, _) = self.write(&args[0])?;
                let (a, mask) = (self.read(&args[1], t)?, self.read(&args[2], Type::U32)?);
                self.emit(Op::Redux { f, t, d, a, mask });
            }
            "activemask" => {
                count(1)?;
                let (d, _) = self.write(&args[0])?;
                self.emit(Op::ActiveMask { d });
            }
            "elect" => {
                count(2)?;
                let Arg::Pair(d, p) = args[0] else { return Err("two destinations are expected".into()) };
                let (d, p) = (self.write_name(d)?, self.write_name(p)?);
                let mask = self.read(&args[1], Type::U32)?;
                self.emit(Op::Elect { d, p, mask });
            }
            "mma" => self.mma(&mods, args)?,
            "wmma" => self.wmma(&mods, args)?,
            "ldmatrix" | "stmatrix" => {
                count(2)?;
                let (vector, at) = if mn == "ldmatrix" { (&args[0], &args[1]) } else { (&args[1], &args[0]) };
                if !has("b16") || !has("m8n8") {
                    return Err("only matrices of 8 x 8 16-bit elements are supported".into());
                }
                let regs = match vector {
                    Arg::Vector(v) => v
                        .iter()
                        .map(|x| if mn == "ldmatrix" { self.write(x).map(|r| r.0) } else { self.read(x, Type::U32) })
                        .collect::<Result<Vec<_>, _>>()?,
                    one => vec![self.write(one)?.0],
                };
                let (a, offset, symbol) = self.address(at)?;
                let space = self.resolve_space(space, symbol);
                let args = self.list(regs);
                let trans = has("trans");
                self.emit(if mn == "ldmatrix" {
                    Op::LdMatrix { trans, a, offset, args, space }
                } else {
                    Op::StMatrix { trans, a, offset, args, space }
                });
            }
            "cp" if mods.first() == Some(&"async") && has("commit_group") => self.emit(Op::CpCommit),
            "cp" if mods.first() == Some(&"async") && has("wait_all") => self.emit(Op::CpWait { pending: u32::MAX }),
            "cp" if mods.first() == Some(&"async") && has("wait_group") => {
                count(1)?;
                let Arg::Word(w) = args[0] else { return Err("a count is expected".into()) };
                let pending = literal(w, 4).ok_or("a count is expected")? as u32;
                self.emit(Op::CpWait { pending });
            }
            "cp" if mods.first() == Some(&"async") && (has("ca") || has("cg")) => {
                count(3)?;
                let (to, to_offset, _) = self.address(&args[0])?;
                let (from, from_offset, _) = self.address(&args[1])?;
                let Arg::Word(w) = args[2] else { return Err("a size is expected".into()) };
                let size = literal(w, 4).ok_or("a size is expected")? as u8;
                if !matches!(size, 4 | 8 | 16) || (has("cg") && size != 16) {
                    return Err(format!("copies of {size} bytes don't exist"));
                }
                let bytes = match args.get(3) {
                    Some(b) => self.read(b, Type::U32)?,
                    None => NONE,
                };
                let args = self.list([to, from, bytes]);
                self.emit(Op::CpAsync { size, to_offset, from_offset, args });
            }
            "membar" | "fence" | "prefetch" | "prefetchu" | "nanosleep" | "discard" | "applypriority"
            | "griddepcontrol" | "setmaxnreg" | "pmevent" => self.emit(Op::Nop),
            _ => return Err("this instruction isn't supported".into()),
        }
        Ok(())
    }

    fn resolve_space(&self, space: Option<Space>, symbol: Option<Space>) -> Space {
        match (space, symbol) {
            // A function's parameters and a call's arguments are in the caller's local memory.
            (Some(Space::Param) | None, Some(s)) => s,
            (Some(Space::Param), None) if !self.in_entry => Space::Local,
            (Some(s), _) => s,
            (None, None) => Space::Generic,
        }
    }

    fn carry_register(&mut self) -> Reg {
        if self.program.carry == 0 { self.register() } else { self.program.carry }
    }

    fn carry(&mut self, mn: &str, t: Type, carry_in: bool, carry_out: bool, args: &[Arg]) -> Result<(), String> {
        let (d, _) = self.write(&args[0])?;
        let (a, b) = (self.read(&args[1], t)?, self.read(&args[2], t)?);
        self.program.carry = self.carry_register();
        self.emit(Op::Carry { sub: mn.starts_with("sub"), t, carry_in, carry_out, d, a, b });
        Ok(())
    }

    fn mov(&mut self, t: Type, args: &[Arg]) -> Result<(), String> {
        match (&args[0], &args[1]) {
            (Arg::Vector(v), a) => {
                let size = (t.size() / v.len().max(1)) as u8;
                let a = self.read(a, t)?;
                let regs = v.iter().map(|x| self.write(x).map(|r| r.0)).collect::<Result<Vec<_>, _>>()?;
                let args = self.list(regs);
                self.emit(Op::Unpack { size, a, args });
            }
            (d, Arg::Vector(v)) => {
                let size = (t.size() / v.len().max(1)) as u8;
                let (d, _) = self.write(d)?;
                let regs = v.iter().map(|x| self.read(x, t)).collect::<Result<Vec<_>, _>>()?;
                let args = self.list(regs);
                self.emit(Op::Pack { size, d, args });
            }
            (d, a) => {
                let (d, _) = self.write(d)?;
                let a = self.read(a, t)?;
                self.emit(Op::Un { f: Un::Mov, t, d, a });
            }
        }
        Ok(())
    }

    /// A predicate operand, negated or not; a number is a constant truth value.
    fn predicate(&mut self, arg: &Arg) -> Result<(Reg, bool), String> {
        match arg {
            Arg::Not(w) => Ok((self.read(&Arg::Word(w), Type::Pred)?, true)),
            other => Ok((self.read(other, Type::Pred)?, false)),
        }
    }

    fn compare(&mut self, mn: &str, mods: &[&str], types: &[Type], args: &[Arg]) -> Result<(), String> {
        let cmp = match mods.first().copied().unwrap_or("") {
            "eq" => Cmp::Eq,
            "ne" => Cmp::Ne,
            "lt" | "lo" => Cmp::Lt,
            "le" | "ls" => Cmp::Le,
            "gt" | "hi" => Cmp::Gt,
            "ge" | "hs" => Cmp::Ge,
            "equ" => Cmp::Equ,
            "neu" => Cmp::Neu,
            "ltu" => Cmp::Ltu,
            "leu" => Cmp::Leu,
            "gtu" => Cmp::Gtu,
            "geu" => Cmp::Geu,
            "num" => Cmp::Num,
            "nan" => Cmp::Nan,
            other => return Err(format!("comparison {other}")),
        };
        let t = *types.last().ok_or("this type isn't supported")?;
        let combine = match mods.get(1).copied() {
            Some("and") => Combine::And,
            Some("or") => Combine::Or,
            Some("xor") => Combine::Xor,
            _ => Combine::None,
        };
        if args.len() < 3 {
            return Err("three operands are expected".into());
        }
        let (a, b) = (self.read(&args[1], t)?, self.read(&args[2], t)?);
        if mn == "set" {
            if combine != Combine::None || types.len() < 2 {
                return Err("this form isn't supported".into());
            }
            let (d, _) = self.write(&args[0])?;
            self.emit(Op::Set { cmp, to: types[types.len() - 2], t, d, a, b });
            return Ok(());
        }
        let (d, q) = match &args[0] {
            Arg::Pair(d, q) => (self.write_name(d)?, self.write_name(q)?),
            one => (self.write(one)?.0, NONE),
        };
        if matches!(t, Type::F16x2 | Type::Bf16x2) {
            if combine != Combine::None || q == NONE {
                return Err("this form isn't supported".into());
            }
            self.emit(Op::SetpPair { cmp, t, d, q, a, b });
            return Ok(());
        }
        let (c, not_c) = match args.get(3) {
            Some(c) if combine != Combine::None => self.predicate(c)?,
            _ => (NONE, false),
        };
        self.emit(Op::Setp { cmp, t, combine, d, q, a, b, c, not_c });
        Ok(())
    }

    fn call(&mut self, args: &[Arg]) -> Result<(), String> {
        let mut lists = args.iter().filter_map(|a| if let Arg::List(l) = a { Some(l) } else { None });
        let name = args
            .iter()
            .find_map(|a| if let Arg::Word(w) = a { Some(*w) } else { None })
            .ok_or("a function's name is expected")?;
        let (returns, params) = match &args[0] {
            Arg::List(r) => (r.as_slice(), lists.nth(1).map_or(&[][..], |l| l.as_slice())),
            _ => (&[][..], lists.next().map_or(&[][..], |l| l.as_slice())),
        };
        if name == "__assertfail" {
            let op = self.trap("an assertion of the kernel doesn't hold".into());
            self.emit(op);
            return Ok(());
        }
        if name == "vprintf" {
            let (Some(Arg::Word(format)), Some(Arg::Word(values))) = (params.first(), params.get(1)) else {
                return Err("two arguments are expected".into());
            };
            let (Name::Address(_, format), Name::Address(_, values)) = (self.lookup(format)?, self.lookup(values)?)
            else {
                return Err("two parameter variables are expected".into());
            };
            self.emit(Op::Printf { format: format as u32, values: values as u32 });
            return Ok(());
        }
        let Some(&i) = self.module.by_name.get(name) else {
            return Err("calls through pointers aren't supported".into());
        };
        let func = &self.module.funcs[i];
        if func.body.is_empty() {
            return Err(format!("{name} has no body in this module"));
        }
        if !self.functions.contains_key(name) {
            self.signature(func);
        }
        let f = &self.functions[name];
        let (formal_params, formal_returns) = (f.params.clone(), f.returns.clone());
        let place = |d: &mut Self, arg: &Arg| match arg {
            Arg::Word(w) => match d.lookup(w)? {
                Name::Address(Space::Local, at) => Ok(at as u32),
                _ => Err(format!("argument {w} isn't a parameter variable")),
            },
            _ => Err("an argument of this form isn't supported".to_owned()),
        };
        for (arg, &(to, len)) in params.iter().zip(&formal_params) {
            let from = place(self, arg)?;
            self.emit(Op::Copy { from, to, len: len as u32 });
        }
        self.calls.push((self.program.code.len(), name));
        self.emit(Op::Call { target: 0 });
        for (arg, &(from, len)) in returns.iter().zip(&formal_returns) {
            let to = place(self, arg)?;
            self.emit(Op::Copy { from, to, len: len as u32 });
        }
        Ok(())
    }

    fn barrier(&mut self, mods: &[&str], args: &[Arg]) -> Result<(), String> {
        let t = Type::U32;
        if mods.first() == Some(&"warp") {
            let mask = self.read(args.first().ok_or("a mask is expected")?, t)?;
            self.emit(Op::WarpBarrier { mask });
            return Ok(());
        }
        if mods.contains(&"cluster") || mods.contains(&"arrive") {
            return Err("this barrier isn't supported".into());
        }
        if mods.contains(&"red") {
            let kind = match mods.iter().find(|m| matches!(**m, "popc" | "and" | "or")) {
                Some(&"popc") => BarrierKind::Popc,
                Some(&"and") => BarrierKind::And,
                _ => BarrierKind::Or,
            };
            if args.len() < 3 {
                return Err("three operands are expected".into());
            }
            let (d, _) = self.write(&args[0])?;
            let id = self.read(&args[1], t)?;
            let count = if args.len() > 3 { self.read(&args[2], t)? } else { NONE };
            let (a, not) = self.predicate(&args[args.len() - 1])?;
            self.emit(Op::Barrier { kind, not, id, count, d, a });
            return Ok(());
        }
        let id = self.read(args.first().ok_or("a barrier is expected")?, t)?;
        let count = match args.get(1) {
            Some(c) => self.read(c, t)?,
            None => NONE,
        };
        self.emit(Op::Barrier { kind: BarrierKind::Sync, not: false, id, count, d: NONE, a: NONE });
        Ok(())
    }

    fn registers_of(&mut self, arg: &Arg, write: bool) -> Result<Vec<Reg>, String> {
        match arg {
            Arg::Vector(v) => {
                v.iter().map(|x| if write { self.write(x).map(|r| r.0) } else { self.read(x, Type::F32) }).collect()
            }
            one => Ok(vec![if write { self.write(one)?.0 } else { self.read(one, Type::F32)? }]),
        }
    }

    fn mma(&mut self, mods: &[&str], args: &[Arg]) -> Result<(), String> {
        if args.len() < 4 || mods.contains(&"sp") {
            return Err("this multiply isn't supported".into());
        }
        let has = |m: &str| mods.contains(&m);
        let (t, k) = match () {
            _ if has("m16n8k16") && has("bf16") => (MmaType::Bf16, 16),
            _ if has("m16n8k8") && has("bf16") => (MmaType::Bf16, 8),
            _ if has("m16n8k8") && has("tf32") => (MmaType::Tf32, 8),
            _ if has("m16n8k4") && has("tf32") => (MmaType::Tf32, 4),
            _ if has("m16n8k16") && has("f16") => (MmaType::F16, 16),
            _ if has("m16n8k8") && has("f16") => (MmaType::F16, 8),
            _ => return Err("this shape or type isn't supported".into()),
        };
        if !has("row") || !has("col") {
            return Err("A by rows and B by columns is expected".into());
        }
        let half_sum = mods.last() == Some(&"f16");
        let sizes = match (t, k) {
            (MmaType::Tf32, 8) | (_, 16) => (4, 2),
            _ => (2, 1),
        };
        let c_size = if half_sum { 2 } else { 4 };
        let mut regs = self.registers_of(&args[0], true)?;
        for (arg, n) in args[1..4].iter().zip([sizes.0, sizes.1, c_size]) {
            let more = self.registers_of(arg, false)?;
            if more.len() != n {
                return Err(format!("{} registers where {n} are expected", more.len()));
            }
            regs.extend(more);
        }
        let args = self.list(regs);
        self.emit(Op::Mma { t, k, half_sum, args });
        Ok(())
    }

    fn wmma(&mut self, mods: &[&str], args: &[Arg]) -> Result<(), String> {
        let has = |m: &str| mods.contains(&m);
        let shape = mods.iter().find_map(|m| {
            let (m, rest) = m.strip_prefix('m')?.split_once('n')?;
            let (n, k) = rest.split_once('k')?;
            Some((m.parse().ok()?, n.parse().ok()?, k.parse().ok()?))
        });
        let shape = shape.ok_or("this shape isn't supported")?;
        let last = *mods.last().ok_or("a type is expected")?;
        let t = Type::of(last).ok_or("this type isn't supported")?;
        let space = mods.iter().find_map(|m| match m.split("::").next() {
            Some("global") => Some(Space::Global),
            Some("shared") => Some(Space::Shared),
            _ => None,
        });
        let layouts: Vec<bool> = mods
            .iter()
            .filter_map(|m| match *m {
                "row" => Some(true),
                "col" => Some(false),
                _ => None,
            })
            .collect();
        let row = *layouts.first().ok_or("a layout is expected")?;
        match mods.first() {
            Some(&"load") => {
                let kind = match mods.get(1) {
                    Some(&"a") => 0,
                    Some(&"b") => 1,
                    _ => 2,
                };
                let mut regs = self.registers_of(&args[0], true)?;
                let (a, offset, symbol) = self.address(&args[1])?;
                let space = self.resolve_space(space, symbol);
                regs.push(a);
                regs.push(match args.get(2) {
                    Some(s) => self.read(s, Type::U32)?,
                    None => NONE,
                });
                let args = self.list(regs);
                self.emit(Op::WmmaLoad { kind, t, row, space, offset, shape, args });
            }
            Some(&"store") => {
                let mut regs = self.registers_of(&args[1], false)?;
                let (a, offset, symbol) = self.address(&args[0])?;
                let space = self.resolve_space(space, symbol);
                regs.push(a);
                regs.push(match args.get(2) {
                    Some(s) => self.read(s, Type::U32)?,
                    None => NONE,
                });
                let args = self.list(regs);
                self.emit(Op::WmmaStore { t, row, space, offset, shape, args });
            }
            Some(&"mma") => {
                let element = if has("bf16") {
                    MmaType::Bf16
                } else if has("tf32") {
                    MmaType::Tf32
                } else {
                    MmaType::F16
                };
                if has("satfinite") || has("s8") || has("u8") || has("f64") {
                    return Err("this multiply isn't supported".into());
                }
                let mut regs = self.registers_of(&args[0], true)?;
                let half_sum = t == Type::F16;
                let mut counts = vec![regs.len() as Reg];
                for arg in &args[1..4] {
                    let more = self.registers_of(arg, false)?;
                    counts.push(more.len() as Reg);
                    regs.extend(more);
                }
                // The counts of D, A, B and C come before the registers.
                counts.extend(regs);
                let args = self.list(counts);
                self.emit(Op::Wmma {
                    t: element,
                    a_row: row,
                    b_row: *layouts.get(1).unwrap_or(&false),
                    half_sum,
                    shape,
                    args,
                });
            }
            _ => return Err("this instruction isn't supported".into()),
        }
        Ok(())
    }

    /// Registers and local memory are given out once for each function, so a function can't call itself.
    fn recursion(&self, name: &str) -> Result<(), String> {
        let mut starts: Vec<(u32, &str)> = self.functions.iter().filter_map(|(n, f)| Some((f.start?, *n))).collect();
        starts.push((0, name));
        starts.sort_unstable();
        let owner = |pc: u32| starts[starts.partition_point(|s| s.0 <= pc) - 1].0;
        let mut edges: HashMap<u32, Vec<u32>> = HashMap::new();
        for (pc, ins) in self.program.code.iter().enumerate() {
            if let Op::Call { target } = ins.op {
                edges.entry(owner(pc as u32)).or_default().push(target);
            }
        }
        fn visit(at: u32, edges: &HashMap<u32, Vec<u32>>, depth: usize) -> bool {
            depth < 64 && edges.get(&at).is_none_or(|next| next.iter().all(|&n| visit(n, edges, depth + 1)))
        }
        if visit(0, &edges, 0) {
            Ok(())
        } else {
            Err(format!("{name} calls functions that call themselves, which isn't supported"))
        }
    }
}

fn unary(mn: &str) -> Option<Un> {
    Some(match mn {
        "mov" => Un::Mov,
        "not" => Un::Not,
        "cnot" => Un::Cnot,
        "neg" => Un::Neg,
        "abs" => Un::Abs,
        "popc" => Un::Popc,
        "clz" => Un::Clz,
        "brev" => Un::Brev,
        "bfind" => Un::Bfind,
        "rcp" => Un::Rcp,
        "sqrt" => Un::Sqrt,
        "rsqrt" => Un::Rsqrt,
        "ex2" => Un::Ex2,
        "lg2" => Un::Lg2,
        "sin" => Un::Sin,
        "cos" => Un::Cos,
        "tanh" => Un::Tanh,
        "testp" => Un::IsNan,
        _ => return None,
    })
}

fn parse_args(s: &mut Cursor) -> Result<Vec<Arg>, String> {
    let mut args = Vec::new();
    while s.peek().is_some() {
        if s.eat(',') {
            continue;
        }
        args.push(parse_arg(s)?);
    }
    Ok(args)
}

fn parse_arg(s: &mut Cursor) -> Result<Arg, String> {
    match s.take() {
        Some(Tok::Word(w)) => {
            if s.eat('|') {
                return Ok(Arg::Pair(w, s.word()?));
            }
            if s.eat('+') {
                return Ok(Arg::Address(w, signed(s)?));
            }
            Ok(Arg::Word(w))
        }
        Some(Tok::Punct('-')) => Ok(Arg::Negative(s.word()?)),
        Some(Tok::Punct('!')) => Ok(Arg::Not(s.word()?)),
        Some(Tok::Punct('[')) => {
            let base = s.word()?;
            let mut offset = 0;
            if s.eat('+') {
                offset = signed(s)?;
            } else if s.eat('-') {
                offset = -signed(s)?;
            }
            if !s.eat(']') {
                return Err("this address isn't supported".into());
            }
            Ok(Arg::Address(base, offset))
        }
        Some(Tok::Punct('{')) => Ok(Arg::Vector(until(s, '}')?)),
        Some(Tok::Punct('(')) => Ok(Arg::List(until(s, ')')?)),
        other => Err(format!("operand {other:?}")),
    }
}

fn until(s: &mut Cursor, close: char) -> Result<Vec<Arg>, String> {
    let mut items = Vec::new();
    while !s.eat(close) {
        if s.peek().is_none() {
            return Err(format!("{close} is missing"));
        }
        if !s.eat(',') {
            items.push(parse_arg(s)?);
        }
    }
    Ok(items)
}

fn signed(s: &mut Cursor) -> Result<i64, String> {
    let negative = s.eat('-');
    let w = s.word()?;
    let v = literal(w, 8).ok_or_else(|| format!("{w} isn't a number"))? as i64;
    Ok(if negative { -v } else { v })
}
