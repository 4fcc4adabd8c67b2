//! What the calls of a pickle would give: dictionaries, storages and tensors.

use std::rc::Rc;

use super::{
    pickle_op as op,
    pickle_stack::{Machine, unexpected},
    pickle_value::{Described, Id, Name, Node, Storage},
};
use crate::base::error::{Error, Result};

/// Far more than a weight has.
pub const MOST_DIMENSIONS: usize = 8;

fn items<'m>(machine: &'m Machine, id: Id) -> Result<&'m [Id]> {
    match machine.node(id) {
        Node::Tuple(items) => Ok(items),
        _ => Err(Error::input("a tuple is missing")),
    }
}

fn size(machine: &Machine, id: Id) -> Result<usize> {
    match machine.node(id) {
        Node::Int(n) => usize::try_from(*n).map_err(|_| Error::input(format!("{n} can't be a size"))),
        _ => Err(Error::input("a size is missing")),
    }
}

fn sizes(machine: &Machine, id: Id) -> Result<Vec<usize>> {
    let items = items(machine, id)?;
    if items.len() > MOST_DIMENSIONS {
        return Err(Error::input(format!("a tensor of {} dimensions", items.len())));
    }
    items.iter().map(|id| size(machine, *id)).collect()
}

/// What a call would give.
///
/// # Errors
/// If it isn't one of those that make a dictionary or a tensor.
pub fn reduce(machine: &mut Machine) -> Result<()> {
    let arguments = machine.pop()?;
    let function = machine.pop()?;
    let Node::Name(name) = *machine.node(function) else { return Err(unexpected(op::REDUCE)) };
    let arguments = items(machine, arguments)?;
    let made = match (name, arguments) {
        (Name::OrderedDict, []) => Node::Dict(Vec::new()),
        // What follows says whether PyTorch tracks gradients, then which hooks there are.
        (Name::RebuildTensor, [storage, offset, shape, strides, _, _, flags @ ..]) => {
            let Node::Storage(storage) = machine.node(*storage) else {
                return Err(Error::input("a tensor without storage"));
            };
            check_flags(machine, flags)?;
            let described = Described {
                storage: storage.clone(),
                offset: size(machine, *offset)?,
                shape: sizes(machine, *shape)?,
                strides: sizes(machine, *strides)?,
            };
            if described.shape.len() != described.strides.len() {
                return Err(Error::input("a tensor with as many sizes as strides is missing"));
            }
            Node::Tensor(Rc::new(described))
        }
        (Name::RebuildParameter, [tensor, _, _]) => {
            let tensor = *tensor;
            machine.push_again(tensor);
            return Ok(());
        }
        _ => return Err(unexpected(op::REDUCE)),
    };
    machine.push(made);
    Ok(())
}

/// A dictionary of what else is to be done with the numbers, such as turning their signs (`neg`).
fn check_flags(machine: &Machine, flags: &[Id]) -> Result<()> {
    let refuse = |what: &str| {
        Err(Error::input(format!("a tensor with {what}"))
            .help("if you trust its publisher, load the file in PyTorch, and save the tensors again, resolved"))
    };
    match flags.iter().map(|id| machine.node(*id)).collect::<Vec<_>>()[..] {
        [] => Ok(()),
        [Node::Dict(flags)] => {
            let set = flags.iter().find(|(_, value)| !matches!(machine.node(*value), Node::False));
            match set.map(|(key, _)| machine.node(*key)) {
                None => Ok(()),
                Some(Node::Text(name)) => refuse(&format!("the flag `{name}` set")),
                Some(_) => refuse("a flag without a name"),
            }
        }
        _ => refuse("flags that PyTorch doesn't write"),
    }
}

/// `('storage', class, key, device, length)`
///
/// # Errors
/// If it is anything else.
pub fn storage(machine: &mut Machine) -> Result<()> {
    let id = machine.pop()?;
    let [kind, class, key, _, len] = items(machine, id)? else { return Err(unexpected(op::BINPERSID)) };
    let storage = match (machine.node(*kind), machine.node(*class), machine.node(*key)) {
        (Node::Text(kind), Node::Name(Name::Storage(number)), Node::Text(key)) if kind == "storage" => {
            Rc::new(Storage { key: key.clone(), number: *number, len: size(machine, *len)? })
        }
        _ => return Err(unexpected(op::BINPERSID)),
    };
    machine.push(Node::Storage(storage));
    Ok(())
}
