//! Reads PTX text into tokens, module variables and functions (bodies stay tokens until a kernel is decoded).

use std::collections::HashMap;
use std::ops::Range;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Tok {
    Word(&'static str),
    Str(&'static str),
    Punct(char),
}

#[derive(Clone, Copy, Debug)]
pub struct Token {
    pub tok: Tok,
    /// Zero-based line in the module's text.
    pub line: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    Generic,
    Global,
    Shared,
    Local,
    Param,
}

/// A variable in memory: of the module, of a function, or a parameter.
#[derive(Clone, Debug)]
pub struct Var {
    pub name: &'static str,
    pub space: Space,
    pub align: usize,
    pub size: usize,
    pub init: Vec<u8>,
    /// Offsets in `init` that hold the address of another variable.
    pub addresses: Vec<(usize, &'static str)>,
    /// `.extern .shared x[]`: what the launch asks for as dynamic shared memory.
    pub dynamic: bool,
}

#[derive(Debug)]
pub struct Func {
    pub name: &'static str,
    pub entry: bool,
    pub params: Vec<Var>,
    pub returns: Vec<Var>,
    pub body: Range<usize>,
    /// The most threads a block may have, where the kernel says so (`.maxntid`).
    pub max_threads: Option<u32>,
}

#[derive(Debug)]
pub struct Module {
    /// Ten times the compute capability that is needed: 90 is `sm_90`.
    pub target: u32,
    pub lines: Vec<&'static str>,
    pub tokens: Vec<Token>,
    pub vars: Vec<Var>,
    pub funcs: Vec<Func>,
    pub by_name: HashMap<&'static str, usize>,
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'%' | b'.')
}

fn tokenize(text: &'static str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let (mut i, mut line) = (0, 0);
    while i < bytes.len() {
        let c = bytes[i];
        if c == b'\n' {
            line += 1;
            i += 1;
        } else if c.is_ascii_whitespace() {
            i += 1;
        } else if bytes[i..].starts_with(b"//") {
            while i < bytes.len() && bytes[i] != b'\n' {
                i += 1;
            }
        } else if bytes[i..].starts_with(b"/*") {
            while i < bytes.len() && !bytes[i..].starts_with(b"*/") {
                line += u32::from(bytes[i] == b'\n');
                i += 1;
            }
            i += 2;
        } else if c == b'"' {
            let start = i + 1;
            i = start;
            while i < bytes.len() && bytes[i] != b'"' {
                i += 1;
            }
            tokens.push(Token { tok: Tok::Str(&text[start..i]), line });
            i += 1;
        } else if is_word(c) {
            let start = i;
            while i < bytes.len() {
                // `.reg.b32` is two words, an opcode with its modifiers is one.
                if bytes[start] == b'.' && bytes[i] == b'.' && i > start {
                    break;
                }
                if is_word(bytes[i]) {
                    i += 1;
                } else if bytes[i..].starts_with(b"::") && bytes.get(i + 2).copied().is_some_and(is_word) {
                    i += 2;
                } else {
                    break;
                }
            }
            tokens.push(Token { tok: Tok::Word(&text[start..i]), line });
        } else {
            tokens.push(Token { tok: Tok::Punct(c as char), line });
            i += 1;
        }
    }
    tokens
}

/// Bytes of a fundamental type, named with its dot (`.f32`).
pub fn type_size(name: &str) -> Option<usize> {
    Some(match name {
        ".b8" | ".u8" | ".s8" | ".e4m3" | ".e5m2" => 1,
        ".b16" | ".u16" | ".s16" | ".f16" | ".bf16" => 2,
        ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" | ".bf16x2" | ".tf32" => 4,
        ".b64" | ".u64" | ".s64" | ".f64" => 8,
        ".b128" => 16,
        ".pred" => 1,
        _ => return None,
    })
}

/// An integer or floating point literal's bits; `float_size` decides how a decimal point is read.
pub fn literal(word: &str, float_size: usize) -> Option<u64> {
    if let Some(hex) = word.strip_prefix("0f").or(word.strip_prefix("0F"))
        && hex.len() == 8
    {
        return u64::from_str_radix(hex, 16).ok();
    }
    if let Some(hex) = word.strip_prefix("0d").or(word.strip_prefix("0D"))
        && hex.len() == 16
    {
        return u64::from_str_radix(hex, 16).ok();
    }
    if !word.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let word = word.trim_end_matches('U');
    if let Some(hex) = word.strip_prefix("0x").or(word.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok();
    }
    if word.contains('.') {
        return Some(if float_size == 8 {
            word.parse::<f64>().ok()?.to_bits()
        } else {
            u64::from(word.parse::<f32>().ok()?.to_bits())
        });
    }
    word.parse::<u64>().ok().or_else(|| word.parse::<i64>().ok().map(|v| v as u64))
}

pub struct Cursor<'a> {
    pub tokens: &'a [Token],
    pub at: usize,
}

impl Cursor<'_> {
    pub fn peek(&self) -> Option<Tok> {
        self.tokens.get(self.at).map(|t| t.tok)
    }
    pub fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |t| t.line)
    }
    pub fn take(&mut self) -> Option<Tok> {
        let tok = self.peek();
        self.at += 1;
        tok
    }
    pub fn eat(&mut self, c: char) -> bool {
        let hit = self.peek() == Some(Tok::Punct(c));
        self.at += usize::from(hit);
        hit
    }
    pub fn word(&mut self) -> Result<&'static str, String> {
        match self.take() {
            Some(Tok::Word(w)) => Ok(w),
            other => Err(format!("line {}: expected a name, found {other:?}", self.line() + 1)),
        }
    }
    pub fn skip_past(&mut self, c: char) {
        while let Some(tok) = self.take() {
            if tok == Tok::Punct(c) {
                break;
            }
        }
    }
    pub fn skip_line(&mut self) {
        let line = self.line();
        while self.at < self.tokens.len() && self.line() == line {
            self.at += 1;
        }
    }

    /// A declaration after its state space: `.align 4 .b8 name[28]`, with an initialiser where there is one.
    pub fn var(&mut self, space: Space) -> Result<Var, String> {
        let (mut align, mut elem) = (0, 0);
        let name = loop {
            let w = self.word()?;
            if w == ".align" {
                align = self.word()?.parse().map_err(|e| format!("alignment: {e}"))?;
            } else if let Some(size) = type_size(w) {
                elem = size;
            } else if w == ".v2" || w == ".v4" {
                return Err(format!("line {}: vector variables aren't supported", self.line() + 1));
            } else if !w.starts_with('.') {
                break w;
            }
        };
        let mut count = 1;
        let mut unsized_array = false;
        while self.eat('[') {
            if self.eat(']') {
                unsized_array = true;
                continue;
            }
            let w = self.word()?;
            count *= literal(w, 8).ok_or_else(|| format!("array length {w}"))? as usize;
            self.skip_past(']');
        }
        let mut var = Var {
            name,
            space,
            align: align.max(elem),
            size: elem * count,
            init: vec![],
            addresses: vec![],
            dynamic: false,
        };
        if unsized_array {
            var.size = 0;
            var.dynamic = space == Space::Shared;
        }
        if self.eat('=') {
            let mut depth = 0;
            let mut negative = false;
            loop {
                match self.peek() {
                    Some(Tok::Punct('{')) => depth += 1,
                    Some(Tok::Punct('}')) => depth -= 1,
                    Some(Tok::Punct('-')) => negative = true,
                    Some(Tok::Punct(',' | '(' | ')' | '+')) => {}
                    Some(Tok::Word("generic")) => {}
                    Some(Tok::Word(w)) => {
                        if let Some(v) = literal(w, elem) {
                            let v = if negative { v.wrapping_neg() } else { v };
                            var.init.extend_from_slice(&v.to_le_bytes()[..elem.min(8)]);
                        } else {
                            var.addresses.push((var.init.len(), w));
                            var.init.extend_from_slice(&[0; 8][..elem.min(8)]);
                        }
                        negative = false;
                    }
                    _ => break,
                }
                self.at += 1;
                if depth == 0 && matches!(self.peek(), Some(Tok::Punct(';'))) {
                    break;
                }
            }
            if unsized_array {
                var.size = var.init.len();
            }
        }
        Ok(var)
    }

    fn params(&mut self) -> Result<Vec<Var>, String> {
        let mut params = Vec::new();
        if self.eat('(') {
            while !self.eat(')') {
                if self.eat(',') {
                    continue;
                }
                match self.word()? {
                    ".param" => params.push(self.param()?),
                    other => return Err(format!("line {}: parameter in {other} isn't supported", self.line() + 1)),
                }
            }
        }
        Ok(params)
    }

    /// `.u64 .ptr .global .align 8 name` or `.align 8 .b8 name[16]`.
    fn param(&mut self) -> Result<Var, String> {
        let mut at = self.at;
        // `.ptr .global .align N` describes what is pointed to, not the parameter.
        let mut kept = Vec::new();
        while let Some(t) = self.tokens.get(at) {
            if t.tok == Tok::Word(".ptr") {
                at += 1;
                while let Some(Tok::Word(w)) = self.tokens.get(at).map(|t| t.tok) {
                    match w {
                        ".global" | ".shared" | ".const" | ".local" => at += 1,
                        ".align" => at += 2,
                        _ => break,
                    }
                }
                continue;
            }
            if matches!(t.tok, Tok::Punct(',' | ')')) {
                break;
            }
            kept.push(*t);
            at += 1;
        }
        let var = Cursor { tokens: &kept, at: 0 }.var(Space::Param)?;
        self.at = at;
        Ok(var)
    }
}

pub fn space_of(word: &str) -> Option<Space> {
    Some(match word {
        ".global" | ".const" => Space::Global,
        ".shared" => Space::Shared,
        ".local" => Space::Local,
        ".param" => Space::Param,
        _ => return None,
    })
}

pub fn parse(text: &str) -> Result<Module, String> {
    // Modules live as long as the process in every program this is for.
    let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
    let tokens = tokenize(text);
    let mut target = 0;
    let (mut vars, mut funcs) = (Vec::new(), Vec::<Func>::new());
    let mut by_name = HashMap::<&str, usize>::new();
    let mut c = Cursor { tokens: &tokens, at: 0 };
    while let Some(tok) = c.peek() {
        let Tok::Word(word) = tok else {
            c.at += 1;
            continue;
        };
        match word {
            ".target" => {
                c.at += 1;
                let digits: String = c.word()?.chars().filter(char::is_ascii_digit).collect();
                target = digits.parse().unwrap_or(0);
            }
            ".version" | ".address_size" | ".file" | ".loc" => c.skip_line(),
            ".section" => c.skip_past('}'),
            ".pragma" | ".alias" => c.skip_past(';'),
            ".visible" | ".extern" | ".weak" | ".common" => c.at += 1,
            ".global" | ".const" | ".shared" => {
                c.at += 1;
                vars.push(c.var(space_of(word).expect("a state space"))?);
                c.skip_past(';');
            }
            ".func" | ".entry" => {
                c.at += 1;
                let returns = c.params()?;
                let name = c.word()?;
                let params = c.params()?;
                let mut max_threads = None;
                while !matches!(c.peek(), Some(Tok::Punct('{' | ';')) | None) {
                    if matches!(c.take(), Some(Tok::Word(".maxntid" | ".reqntid"))) {
                        let mut n = 1;
                        loop {
                            let w = c.word()?;
                            n *= w.parse::<u32>().map_err(|e| format!("{name}: .maxntid {w}: {e}"))?;
                            if !c.eat(',') {
                                break;
                            }
                        }
                        max_threads = Some(n);
                    }
                }
                let start = c.at + 1;
                let mut body = start..start;
                if c.take() == Some(Tok::Punct('{')) {
                    let mut depth = 1;
                    while depth > 0 {
                        match c.take() {
                            Some(Tok::Punct('{')) => depth += 1,
                            Some(Tok::Punct('}')) => depth -= 1,
                            None => return Err(format!("{name}: the body doesn't end")),
                            _ => {}
                        }
                    }
                    body = start..c.at - 1;
                }
                let func = Func { name, entry: word == ".entry", params, returns, body, max_threads };
                // A definition replaces the prototype that came before it.
                match by_name.get(name) {
                    Some(&i) if funcs[i].body.is_empty() => funcs[i] = func,
                    Some(_) => {}
                    None => {
                        by_name.insert(name, funcs.len());
                        funcs.push(func);
                    }
                }
            }
            other => return Err(format!("line {}: {other} at module scope isn't supported", c.line() + 1)),
        }
    }
    Ok(Module { target, lines: text.lines().collect(), tokens, vars, funcs, by_name })
}
