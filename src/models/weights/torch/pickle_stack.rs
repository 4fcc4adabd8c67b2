//! The stack, the arena and the memo of a pickle's machine, and how it reads its instructions' arguments.

use std::collections::HashMap;

use super::{
    pickle_op as op,
    pickle_value::{Id, Node},
};
use crate::base::error::{Error, Result};

/// What to do about a pickle that isn't plain.
pub const PLAIN: &str = "only plain dictionaries of tensors can be read: if you trust its publisher, load the file in PyTorch \
                     (with `weights_only=True`) and save the tensors again, best as .safetensors";

#[derive(Default)]
/// A stack machine on the bytes of a pickle. Values lie in an arena, the stack holds their places.
pub struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// A machine at the start of a pickle.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Bytes that were read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Values in the arena.
    pub fn arena_len(&self) -> usize {
        self.nodes.len()
    }

    /// The value at a place of the arena.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// If the pickle ends in the middle.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or_else(|| Error::input("it ends in the middle"))?;
        self.at += len;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// If the pickle ends in the middle.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// An unsigned number of a few bytes, little-endian.
    ///
    /// # Errors
    /// If the pickle ends in the middle.
    pub fn number(&mut self, len: usize) -> Result<u64> {
        Ok(self.take(len)?.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    /// Pushes a number of `len` bytes.
    ///
    /// # Errors
    /// If the pickle ends in the middle.
    pub fn int(&mut self, len: usize) -> Result<()> {
        let n = self.number(len)?;
        self.push(Node::Int(n as i64));
        Ok(())
    }

    /// A signed number of up to eight bytes.
    ///
    /// # Errors
    /// If it has more bytes, or the pickle ends in the middle.
    pub fn long(&mut self) -> Result<()> {
        let len = self.number(1)? as usize;
        if len > 8 {
            return Err(Error::input(format!("a number of {len} bytes")));
        }
        let n = self.number(len)?;
        let unused = 64 - 8 * len as u32;
        self.push(Node::Int(if len == 0 { 0 } else { (n << unused).cast_signed() >> unused }));
        Ok(())
    }

    /// Pushes a text whose length is a number of `width` bytes.
    ///
    /// # Errors
    /// If it isn't UTF-8, or the pickle ends in the middle.
    pub fn text(&mut self, width: usize) -> Result<()> {
        let len = self.number(width)? as usize;
        let text = std::str::from_utf8(self.take(len)?).map_err(Error::input)?;
        self.push(Node::Text(text.to_owned()));
        Ok(())
    }

    /// The text up to the end of the line.
    ///
    /// # Errors
    /// If it isn't UTF-8, or the pickle ends in the middle.
    pub fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|b| *b == b'\n').ok_or_else(|| Error::input("it ends in the middle"))?;
        let line = std::str::from_utf8(&rest[..end]).map_err(Error::input)?;
        self.at += end + 1;
        Ok(line)
    }

    /// Pushes a new value.
    pub fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    /// A value that is in the arena already.
    pub fn push_again(&mut self, id: Id) {
        self.stack.push(id);
    }

    /// Opens a mark at the present height of the stack.
    pub fn mark(&mut self) {
        self.marks.push(self.stack.len());
    }

    /// The value on top, above the last mark.
    ///
    /// # Errors
    /// If the stack is empty.
    pub fn top(&self) -> Result<Id> {
        match self.stack.last() {
            Some(id) if self.stack.len() > self.marks.last().copied().unwrap_or(0) => Ok(*id),
            _ => Err(Error::input("its stack is empty")),
        }
    }

    /// Takes the value on top.
    ///
    /// # Errors
    /// If the stack is empty.
    pub fn pop(&mut self) -> Result<Id> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    /// Takes all values above the last mark, and the mark.
    ///
    /// # Errors
    /// If there is no mark.
    pub fn since_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| Error::input("there is no mark on its stack"))?;
        Ok(self.stack.split_off(mark))
    }

    /// Makes a tuple of the `len` values on top.
    ///
    /// # Errors
    /// If the stack is empty.
    pub fn tuple(&mut self, len: usize) -> Result<()> {
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Node::Tuple(items));
        Ok(())
    }

    /// Appends to the list on top.
    ///
    /// # Errors
    /// If there is no list.
    pub fn append(&mut self, items: &[Id]) -> Result<()> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::List(list) => list.extend(items),
            _ => return Err(unexpected(op::APPEND)),
        }
        Ok(())
    }

    /// `items` are keys and values by turns. They go into the dictionary on top.
    ///
    /// # Errors
    /// If there is no dictionary, or a value is missing.
    pub fn set(&mut self, items: &[Id]) -> Result<()> {
        let (pairs, rest) = items.as_chunks::<2>();
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::Dict(entries) if rest.is_empty() => entries.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            _ => return Err(unexpected(op::SETITEM)),
        }
        Ok(())
    }

    /// Remembers the top of the stack under a number of `width` bytes.
    ///
    /// # Errors
    /// If the stack is empty.
    pub fn remember(&mut self, width: usize) -> Result<()> {
        let slot = self.number(width)? as u32;
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    /// Remembers the top of the stack under the next number.
    ///
    /// # Errors
    /// If the stack is empty.
    pub fn remember_next(&mut self) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(self.memo.len() as u32, top);
        Ok(())
    }

    /// Pushes what was remembered.
    ///
    /// # Errors
    /// If nothing was.
    pub fn recall(&mut self, width: usize) -> Result<()> {
        let slot = self.number(width)? as u32;
        let id = *self.memo.get(&slot).ok_or_else(|| Error::input(format!("it remembers nothing under {slot}")))?;
        self.push_again(id);
        Ok(())
    }
}

/// What is said of an instruction that has no place where it stands.
pub fn unexpected(code: u8) -> Error {
    Error::input(format!("instruction {code:#04x} where PyTorch writes none like it")).help(PLAIN)
}
