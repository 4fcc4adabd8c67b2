//! The part of Python's pickle language that PyTorch writes weights in.
//!
//! A pickle is a program for a stack machine that may call any function it names. This machine calls none: the few names
//! that weights need stand for data here, and every other one is refused. Values lie in an arena and refer to one another by
//! place, so that nothing in a file, however deeply nested, makes the program recurse, and memory is bounded by its length.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use super::stored::Number;
use crate::base::error::{Error, Result};

/// A tensor as the pickle describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub storage: Rc<Storage>,
    /// In numbers, as the strides.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// A run of numbers that lies in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    pub key: String,
    pub number: Number,
    /// In numbers.
    pub len: usize,
}

/// The tensors of a pickled dictionary, by name. It has nothing else.
pub fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, Described>> {
    let mut machine = Machine { bytes, ..Machine::default() };
    let end = machine.run().map_err(|e| Error {
        message: format!("byte {} of the pickle: {}", machine.at, e.message),
        help: e.help.or_else(|| Some("the file is cut short or damaged: fetch it again".to_owned())),
        ..e
    })?;
    let Node::Dict(entries) = &machine.nodes[end] else {
        return Err(Error::input("the pickle doesn't hold a dictionary of tensors").help(PLAIN));
    };
    let mut tensors = BTreeMap::new();
    for (key, value) in entries {
        let Node::Text(name) = &machine.nodes[*key] else {
            return Err(Error::input("an entry of the dictionary has no name").help(PLAIN));
        };
        let Node::Tensor(tensor) = &machine.nodes[*value] else {
            return Err(Error::input(format!("its entry `{name}` isn't a tensor")).help(PLAIN));
        };
        if tensors.contains_key(name) {
            return Err(Error::input(format!("tensor `{name}` is there twice")).help(PLAIN));
        }
        tensors.insert(name.clone(), Described::clone(tensor));
    }
    Ok(tensors)
}

const PLAIN: &str = "only plain dictionaries of tensors can be read: if you trust its publisher, load the file in PyTorch \
                     (with `weights_only=True`) and save the tensors again, best as .safetensors";

/// Values in the arena: far more than describe the tensors of any model.
const MOST_NODES: usize = 4 << 20;

/// Far more than a weight has.
const MOST_DIMENSIONS: usize = 8;

/// Place of a value in the arena.
type Id = usize;

#[derive(Debug, Clone)]
enum Node {
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(Name),
    /// Shared: many tensors may lie in one.
    Storage(Rc<Storage>),
    Tensor(Rc<Described>),
    False,
    /// None, true, floats: nothing that a tensor's description looks at.
    Other,
}

/// The names that a pickle may use.
#[derive(Debug, Clone, Copy)]
enum Name {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Number),
}

fn name(module: &str, name: &str) -> Result<Name> {
    let other = |what, bytes| Ok(Name::Storage(Number::Other(what, bytes)));
    match (module, name) {
        ("collections", "OrderedDict") => Ok(Name::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Ok(Name::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Ok(Name::RebuildParameter),
        ("torch", "FloatStorage") => Ok(Name::Storage(Number::F32)),
        ("torch", "HalfStorage") => Ok(Name::Storage(Number::F16)),
        ("torch", "BFloat16Storage") => Ok(Name::Storage(Number::Bf16)),
        ("torch", "DoubleStorage") => other("float64", 8),
        ("torch", "LongStorage") => other("int64", 8),
        ("torch", "IntStorage") => other("int32", 4),
        ("torch", "ShortStorage") => other("int16", 2),
        ("torch", "CharStorage") => other("int8", 1),
        ("torch", "ByteStorage") => other("uint8", 1),
        ("torch", "BoolStorage") => other("bool", 1),
        _ => Err(Error::input(format!(
            "it asks for `{module}.{name}`, which weights don't need: refused, and nothing was executed"
        ))
        .help("don't trust this file: weights come from their publisher, best as .safetensors")),
    }
}

mod op {
    pub const MARK: u8 = b'(';
    pub const STOP: u8 = b'.';
    pub const POP: u8 = b'0';
    pub const POP_MARK: u8 = b'1';
    pub const BINFLOAT: u8 = b'G';
    pub const BININT: u8 = b'J';
    pub const BININT1: u8 = b'K';
    pub const BININT2: u8 = b'M';
    pub const LONG1: u8 = 0x8a;
    pub const NONE: u8 = b'N';
    pub const NEWTRUE: u8 = 0x88;
    pub const NEWFALSE: u8 = 0x89;
    pub const BINUNICODE: u8 = b'X';
    pub const SHORT_BINUNICODE: u8 = 0x8c;
    pub const EMPTY_TUPLE: u8 = b')';
    pub const TUPLE: u8 = b't';
    pub const TUPLE1: u8 = 0x85;
    pub const TUPLE2: u8 = 0x86;
    pub const TUPLE3: u8 = 0x87;
    pub const EMPTY_LIST: u8 = b']';
    pub const APPEND: u8 = b'a';
    pub const APPENDS: u8 = b'e';
    pub const EMPTY_DICT: u8 = b'}';
    pub const SETITEM: u8 = b's';
    pub const SETITEMS: u8 = b'u';
    pub const GLOBAL: u8 = b'c';
    pub const STACK_GLOBAL: u8 = 0x93;
    pub const INST: u8 = b'i';
    pub const REDUCE: u8 = b'R';
    pub const BUILD: u8 = b'b';
    pub const BINPERSID: u8 = b'Q';
    pub const BINPUT: u8 = b'q';
    pub const LONG_BINPUT: u8 = b'r';
    pub const MEMOIZE: u8 = 0x94;
    pub const BINGET: u8 = b'h';
    pub const LONG_BINGET: u8 = b'j';
    pub const PROTO: u8 = 0x80;
    pub const FRAME: u8 = 0x95;
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Runs to the end; the place of the result.
    fn run(&mut self) -> Result<Id> {
        loop {
            if self.nodes.len() > MOST_NODES {
                return Err(Error::input(format!("more than {MOST_NODES} values")));
            }
            let code = self.take(1)?[0];
            match code {
                op::PROTO => _ = self.take(1)?,
                op::FRAME => _ = self.take(8)?,
                op::STOP => return self.pop(),
                op::MARK => self.marks.push(self.stack.len()),
                op::POP => _ = self.pop()?,
                op::POP_MARK => _ = self.since_mark()?,
                op::NONE | op::NEWTRUE => self.push(Node::Other),
                op::NEWFALSE => self.push(Node::False),
                op::BINFLOAT => {
                    self.take(8)?;
                    self.push(Node::Other);
                }
                op::BININT1 => self.int(1)?,
                op::BININT2 => self.int(2)?,
                op::BININT => {
                    let n = i32::from_le_bytes(self.array()?);
                    self.push(Node::Int(n.into()));
                }
                op::LONG1 => self.long()?,
                op::SHORT_BINUNICODE => self.text(1)?,
                op::BINUNICODE => self.text(4)?,
                op::EMPTY_TUPLE => self.push(Node::Tuple(Vec::new())),
                op::TUPLE1 => self.tuple(1)?,
                op::TUPLE2 => self.tuple(2)?,
                op::TUPLE3 => self.tuple(3)?,
                op::TUPLE => {
                    let items = self.since_mark()?;
                    self.push(Node::Tuple(items));
                }
                op::EMPTY_LIST => self.push(Node::List(Vec::new())),
                op::APPEND => {
                    let item = self.pop()?;
                    self.append(&[item])?;
                }
                op::APPENDS => {
                    let items = self.since_mark()?;
                    self.append(&items)?;
                }
                op::EMPTY_DICT => self.push(Node::Dict(Vec::new())),
                op::SETITEM => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set(&[key, value])?;
                }
                op::SETITEMS => {
                    let items = self.since_mark()?;
                    self.set(&items)?;
                }
                op::GLOBAL => {
                    let (module, attribute) = (self.line()?, self.line()?);
                    self.push(Node::Name(name(module, attribute)?));
                }
                op::INST => {
                    let (module, attribute) = (self.line()?, self.line()?);
                    name(module, attribute)?;
                    return Err(unexpected(code));
                }
                op::STACK_GLOBAL => {
                    let (attribute, module) = (self.pop()?, self.pop()?);
                    match (&self.nodes[module], &self.nodes[attribute]) {
                        (Node::Text(module), Node::Text(attribute)) => {
                            let name = name(module, attribute)?;
                            self.push(Node::Name(name));
                        }
                        _ => return Err(unexpected(code)),
                    }
                }
                op::REDUCE => self.reduce()?,
                op::BUILD => {
                    // An ordered dictionary's attributes: PyTorch keeps versions of modules there.
                    self.pop()?;
                    if !matches!(self.nodes[self.top()?], Node::Dict(_)) {
                        return Err(unexpected(code));
                    }
                }
                op::BINPERSID => self.storage()?,
                op::BINPUT => {
                    let slot = self.number(1)? as u32;
                    let top = self.top()?;
                    self.memo.insert(slot, top);
                }
                op::LONG_BINPUT => {
                    let slot = self.number(4)? as u32;
                    let top = self.top()?;
                    self.memo.insert(slot, top);
                }
                op::MEMOIZE => {
                    let top = self.top()?;
                    self.memo.insert(self.memo.len() as u32, top);
                }
                op::BINGET => self.recall(1)?,
                op::LONG_BINGET => self.recall(4)?,
                other => return Err(unexpected(other)),
            }
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or_else(|| Error::input("it ends in the middle"))?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// An unsigned number of a few bytes, little-endian.
    fn number(&mut self, len: usize) -> Result<u64> {
        Ok(self.take(len)?.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    fn int(&mut self, len: usize) -> Result<()> {
        let n = self.number(len)?;
        self.push(Node::Int(n as i64));
        Ok(())
    }

    /// A signed number of up to eight bytes.
    fn long(&mut self) -> Result<()> {
        let len = self.number(1)? as usize;
        if len > 8 {
            return Err(Error::input(format!("a number of {len} bytes")));
        }
        let n = self.number(len)?;
        let unused = 64 - 8 * len as u32;
        self.push(Node::Int(if len == 0 { 0 } else { (n << unused).cast_signed() >> unused }));
        Ok(())
    }

    fn text(&mut self, width: usize) -> Result<()> {
        let len = self.number(width)? as usize;
        let text = std::str::from_utf8(self.take(len)?).map_err(Error::input)?;
        self.push(Node::Text(text.to_owned()));
        Ok(())
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|b| *b == b'\n').ok_or_else(|| Error::input("it ends in the middle"))?;
        let line = std::str::from_utf8(&rest[..end]).map_err(Error::input)?;
        self.at += end + 1;
        Ok(line)
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    fn top(&self) -> Result<Id> {
        match self.stack.last() {
            Some(id) if self.stack.len() > self.marks.last().copied().unwrap_or(0) => Ok(*id),
            _ => Err(Error::input("its stack is empty")),
        }
    }

    fn pop(&mut self) -> Result<Id> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn since_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| Error::input("there is no mark on its stack"))?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, len: usize) -> Result<()> {
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Node::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: &[Id]) -> Result<()> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::List(list) => list.extend(items),
            _ => return Err(unexpected(op::APPEND)),
        }
        Ok(())
    }

    /// `items` are keys and values by turns.
    fn set(&mut self, items: &[Id]) -> Result<()> {
        let (pairs, rest) = items.as_chunks::<2>();
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::Dict(entries) if rest.is_empty() => entries.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            _ => return Err(unexpected(op::SETITEM)),
        }
        Ok(())
    }

    fn recall(&mut self, width: usize) -> Result<()> {
        let slot = self.number(width)? as u32;
        let id = *self.memo.get(&slot).ok_or_else(|| Error::input(format!("it remembers nothing under {slot}")))?;
        self.stack.push(id);
        Ok(())
    }

    fn items(&self, id: Id) -> Result<&[Id]> {
        match &self.nodes[id] {
            Node::Tuple(items) => Ok(items),
            _ => Err(Error::input("a tuple is missing")),
        }
    }

    fn size(&self, id: Id) -> Result<usize> {
        match &self.nodes[id] {
            Node::Int(n) => usize::try_from(*n).map_err(|_| Error::input(format!("{n} can't be a size"))),
            _ => Err(Error::input("a size is missing")),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        let items = self.items(id)?;
        if items.len() > MOST_DIMENSIONS {
            return Err(Error::input(format!("a tensor of {} dimensions", items.len())));
        }
        items.iter().map(|id| self.size(*id)).collect()
    }

    /// What a call would give.
    fn reduce(&mut self) -> Result<()> {
        let arguments = self.pop()?;
        let function = self.pop()?;
        let Node::Name(name) = self.nodes[function] else { return Err(unexpected(op::REDUCE)) };
        let arguments = self.items(arguments)?;
        let made = match (name, arguments) {
            (Name::OrderedDict, []) => Node::Dict(Vec::new()),
            // What follows says whether PyTorch tracks gradients, then which hooks there are.
            (Name::RebuildTensor, [storage, offset, shape, strides, _, _, flags @ ..]) => {
                let Node::Storage(storage) = &self.nodes[*storage] else {
                    return Err(Error::input("a tensor without storage"));
                };
                self.check_flags(flags)?;
                let described = Described {
                    storage: storage.clone(),
                    offset: self.size(*offset)?,
                    shape: self.sizes(*shape)?,
                    strides: self.sizes(*strides)?,
                };
                if described.shape.len() != described.strides.len() {
                    return Err(Error::input("a tensor with as many sizes as strides is missing"));
                }
                Node::Tensor(Rc::new(described))
            }
            (Name::RebuildParameter, [tensor, _, _]) => {
                self.stack.push(*tensor);
                return Ok(());
            }
            _ => return Err(unexpected(op::REDUCE)),
        };
        self.push(made);
        Ok(())
    }

    /// A dictionary of what else is to be done with the numbers, such as turning their signs (`neg`).
    fn check_flags(&self, flags: &[Id]) -> Result<()> {
        let refuse = |what: &str| {
            Err(Error::input(format!("a tensor with {what}"))
                .help("if you trust its publisher, load the file in PyTorch, and save the tensors again, resolved"))
        };
        match flags.iter().map(|id| &self.nodes[*id]).collect::<Vec<_>>()[..] {
            [] => Ok(()),
            [Node::Dict(flags)] => {
                let set = flags.iter().find(|(_, value)| !matches!(self.nodes[*value], Node::False));
                match set.map(|(key, _)| &self.nodes[*key]) {
                    None => Ok(()),
                    Some(Node::Text(name)) => refuse(&format!("the flag `{name}` set")),
                    Some(_) => refuse("a flag without a name"),
                }
            }
            _ => refuse("flags that PyTorch doesn't write"),
        }
    }

    /// `('storage', class, key, device, length)`
    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        let [kind, class, key, _, len] = self.items(id)? else { return Err(unexpected(op::BINPERSID)) };
        let storage = match (&self.nodes[*kind], &self.nodes[*class], &self.nodes[*key]) {
            (Node::Text(kind), Node::Name(Name::Storage(number)), Node::Text(key)) if kind == "storage" => {
                Rc::new(Storage { key: key.clone(), number: *number, len: self.size(*len)? })
            }
            _ => return Err(unexpected(op::BINPERSID)),
        };
        self.push(Node::Storage(storage));
        Ok(())
    }
}

fn unexpected(code: u8) -> Error {
    Error::input(format!("instruction {code:#04x} where PyTorch writes none like it")).help(PLAIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `{'w': a tensor}` as PyTorch 2 writes it.
    fn sample() -> Vec<u8> {
        let mut p = b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02(".to_vec();
        p.extend(b"(X\x07\x00\x00\x00storageq\x03ctorch\nHalfStorage\nq\x04X\x01\x00\x00\x007q\x05");
        p.extend(b"X\x03\x00\x00\x00cpuq\x06M\x2c\x01tq\x07QK\x04K\x03K\x02\x86q\x08K\x02K\x01\x86q\x09");
        p.extend(b"\x89ccollections\nOrderedDict\nq\x0a)Rq\x0btq\x0cRq\x0ds.");
        p
    }

    #[test]
    fn reads_what_pytorch_writes() {
        let got = tensors(&sample()).unwrap();
        let storage = Rc::new(Storage { key: "7".into(), number: Number::F16, len: 300 });
        assert_eq!(got["w"], Described { storage, offset: 4, shape: vec![3, 2], strides: vec![2, 1] });
    }

    #[test]
    fn names_outside_the_list_are_refused_before_anything_else() {
        let canary = tempfile::tempdir().unwrap().path().join("canary");
        let command = format!("touch {}", canary.display());
        let argument = [b"X".as_slice(), &(command.len() as u32).to_le_bytes(), command.as_bytes(), b"\x85R."].concat();
        let stacked = b"\x80\x04\x8c\x02os\x8c\x06system\x93".as_slice();
        let instance = b"(ios\nsystem\n".as_slice();
        for start in [b"\x80\x02cos\nsystem\n".as_slice(), stacked, instance] {
            let e = tensors(&[start, &argument].concat()).unwrap_err();
            assert!(e.message.contains("`os.system`") && e.help.is_some(), "{e}");
        }
        for (module, attribute) in [("torch.storage", "_load_from_bytes"), ("torch", "load"), ("builtins", "eval")] {
            let e = tensors(format!("c{module}\n{attribute}\n.").as_bytes()).unwrap_err();
            assert!(e.message.contains(&format!("`{module}.{attribute}`")), "{e}");
        }
        assert!(!canary.exists());
    }

    #[test]
    fn deep_nesting_and_false_lengths_are_harmless() {
        let mut deep = vec![b')'];
        deep.extend(std::iter::repeat_n(op::TUPLE1, 2_000_000));
        deep.push(op::STOP);
        assert!(tensors(&deep).is_err());
        assert!(tensors(b"X\xff\xff\xff\xffa.").is_err());
        assert!(tensors(b"(0.").is_err(), "a mark can't be popped");
        assert!(tensors(b"}\x8a\xffs.").is_err());
        assert!(tensors(b"}.").unwrap().is_empty());
    }

    /// The sample with other instructions in place of some.
    fn changed(from: &[u8], to: &[u8]) -> Vec<u8> {
        let whole = sample();
        let at = whole.windows(from.len()).position(|w| w == from).unwrap();
        [&whole[..at], to, &whole[at + from.len()..]].concat()
    }

    #[test]
    fn flags_that_change_numbers_are_refused() {
        // The seventh argument: `{'neg': True}` or `{'neg': False}`.
        let flagged =
            |flag: u8| changed(b"q\x0btq\x0c", &[b"q\x0b}X\x03\0\0\0neg".as_slice(), &[flag], b"stq\x0c"].concat());
        let e = tensors(&flagged(op::NEWTRUE)).unwrap_err();
        assert!(e.message.contains("`neg`") && e.help.is_some(), "{e}");
        assert_eq!(tensors(&flagged(op::NEWFALSE)).unwrap(), tensors(&sample()).unwrap());
        assert!(tensors(&changed(b"q\x0btq\x0c", b"q\x0bNtq\x0c")).is_err());
    }

    #[test]
    fn entries_that_are_no_tensors_or_there_twice_are_refused() {
        let e = tensors(&changed(b"q\x0ds.", b"q\x0dsX\x05\0\0\0epochK\x03s.")).unwrap_err();
        assert!(e.message.contains("`epoch` isn't a tensor") && e.help.is_some(), "{e}");
        let e = tensors(&changed(b"q\x0ds.", b"q\x0dsX\x01\0\0\0wh\x0ds.")).unwrap_err();
        assert!(e.message.contains("`w` is there twice"), "{e}");
        assert!(tensors(&changed(b"q\x0ds.", b"q\x0dsK\x01h\x0ds.")).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let many = vec![op::NONE; MOST_NODES + 2];
        assert!(tensors(&many).unwrap_err().message.contains("values"));
        let dimensions = [b"(".as_slice(), &b"K\x01".repeat(MOST_DIMENSIONS + 1), b"tq\x08"].concat();
        assert!(tensors(&changed(b"K\x03K\x02\x86q\x08", &dimensions)).unwrap_err().message.contains("9 dimensions"));
    }

    #[test]
    fn sizes_below_zero_are_refused() {
        let whole = sample();
        let at = whole.windows(3).position(|w| w == b"QK\x04").unwrap() + 1;
        let negative = [&whole[..at], b"J\xff\xff\xff\xff", &whole[at + 2..]].concat();
        assert!(tensors(&negative).unwrap_err().message.contains("-1 can't be a size"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            _ = tensors(&bytes);
        }

        #[test]
        fn no_change_to_a_pickle_makes_it_panic(at in 0..sample().len(), byte: u8, cut in 0..sample().len()) {
            let mut bytes = sample();
            bytes[at] = byte;
            _ = tensors(&bytes);
            prop_assert!(tensors(&sample()[..cut]).is_err());
        }
    }
}
