//! What the instructions of a pickle do.

use super::{
    pickle_calls::{reduce, storage},
    pickle_op as op,
    pickle_stack::{Machine, unexpected},
    pickle_value::{Id, Node, name},
};
use crate::base::error::{Error, Result};

/// Values in the arena: far more than describe the tensors of any model.
pub const MOST_NODES: usize = 4 << 20;

/// Runs to the end; the place of the result.
///
/// # Errors
/// If an instruction isn't one that PyTorch writes, or has not what it needs.
pub fn run(machine: &mut Machine) -> Result<Id> {
    loop {
        if machine.arena_len() > MOST_NODES {
            return Err(Error::input(format!("more than {MOST_NODES} values")));
        }
        match machine.take(1)?[0] {
            op::STOP => return machine.pop(),
            code => step(machine, code)?,
        }
    }
}

fn step(machine: &mut Machine, code: u8) -> Result<()> {
    match code {
        op::PROTO => _ = machine.take(1)?,
        op::FRAME => _ = machine.take(8)?,
        op::MARK => machine.mark(),
        op::POP => _ = machine.pop()?,
        op::POP_MARK => _ = machine.since_mark()?,
        op::BINPUT => machine.remember(1)?,
        op::LONG_BINPUT => machine.remember(4)?,
        op::MEMOIZE => machine.remember_next()?,
        op::BINGET => machine.recall(1)?,
        op::LONG_BINGET => machine.recall(4)?,
        op::GLOBAL | op::INST | op::STACK_GLOBAL => named(machine, code)?,
        op::REDUCE => reduce(machine)?,
        op::BINPERSID => storage(machine)?,
        op::BUILD => {
            // An ordered dictionary's attributes: PyTorch keeps versions of modules there.
            machine.pop()?;
            if !matches!(machine.node(machine.top()?), Node::Dict(_)) {
                return Err(unexpected(code));
            }
        }
        other => value(machine, other)?,
    }
    Ok(())
}

/// Numbers, texts and what holds others.
fn value(machine: &mut Machine, code: u8) -> Result<()> {
    match code {
        op::NONE | op::NEWTRUE => machine.push(Node::Other),
        op::NEWFALSE => machine.push(Node::False),
        op::BINFLOAT => {
            machine.take(8)?;
            machine.push(Node::Other);
        }
        op::BININT1 => machine.int(1)?,
        op::BININT2 => machine.int(2)?,
        op::BININT => {
            let n = i32::from_le_bytes(machine.array()?);
            machine.push(Node::Int(n.into()));
        }
        op::LONG1 => machine.long()?,
        op::SHORT_BINUNICODE => machine.text(1)?,
        op::BINUNICODE => machine.text(4)?,
        op::EMPTY_TUPLE => machine.push(Node::Tuple(Vec::new())),
        op::TUPLE1 => machine.tuple(1)?,
        op::TUPLE2 => machine.tuple(2)?,
        op::TUPLE3 => machine.tuple(3)?,
        op::TUPLE => {
            let items = machine.since_mark()?;
            machine.push(Node::Tuple(items));
        }
        op::EMPTY_LIST => machine.push(Node::List(Vec::new())),
        op::APPEND => {
            let item = machine.pop()?;
            machine.append(&[item])?;
        }
        op::APPENDS => {
            let items = machine.since_mark()?;
            machine.append(&items)?;
        }
        op::EMPTY_DICT => machine.push(Node::Dict(Vec::new())),
        op::SETITEM => {
            let value = machine.pop()?;
            let key = machine.pop()?;
            machine.set(&[key, value])?;
        }
        op::SETITEMS => {
            let items = machine.since_mark()?;
            machine.set(&items)?;
        }
        other => return Err(unexpected(other)),
    }
    Ok(())
}

/// A name, refused unless weights need it.
fn named(machine: &mut Machine, code: u8) -> Result<()> {
    let found = match code {
        op::STACK_GLOBAL => {
            let (attribute, module) = (machine.pop()?, machine.pop()?);
            match (machine.node(module), machine.node(attribute)) {
                (Node::Text(module), Node::Text(attribute)) => name(module, attribute)?,
                _ => return Err(unexpected(code)),
            }
        }
        _ => {
            let (module, attribute) = (machine.line()?, machine.line()?);
            name(module, attribute)?
        }
    };
    // It makes an instance, which nothing that weights need asks for.
    if code == op::INST {
        return Err(unexpected(code));
    }
    machine.push(Node::Name(found));
    Ok(())
}
