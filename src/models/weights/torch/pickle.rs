//! The part of Python's pickle language that PyTorch writes weights in.
//!
//! A pickle is a program for a stack machine that may call any function it names. This machine calls none: the few names
//! that weights need stand for data here, and every other one is refused. Values lie in an arena and refer to one another by
//! place, so that nothing in a file, however deeply nested, makes the program recurse, and memory is bounded by its length.

use std::collections::BTreeMap;

use super::{
    pickle_stack::{Machine, PLAIN},
    pickle_steps::run,
    pickle_value::{Described, Node},
};
use crate::base::error::{Error, Result};

/// The tensors of a pickled dictionary, by name. It has nothing else.
///
/// # Errors
/// If the pickle does something else than describe tensors, or is damaged.
pub fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, Described>> {
    let mut machine = Machine::new(bytes);
    let end = run(&mut machine).map_err(|e| Error {
        message: format!("byte {} of the pickle: {}", machine.at(), e.message),
        help: e.help.or_else(|| Some("the file is cut short or damaged: fetch it again".to_owned())),
        ..e
    })?;
    let Node::Dict(entries) = machine.node(end) else {
        return Err(Error::input("the pickle doesn't hold a dictionary of tensors").help(PLAIN));
    };
    let mut tensors = BTreeMap::new();
    for (key, value) in entries {
        let Node::Text(name) = machine.node(*key) else {
            return Err(Error::input("an entry of the dictionary has no name").help(PLAIN));
        };
        let Node::Tensor(tensor) = machine.node(*value) else {
            return Err(Error::input(format!("its entry `{name}` isn't a tensor")).help(PLAIN));
        };
        if tensors.contains_key(name) {
            return Err(Error::input(format!("tensor `{name}` is there twice")).help(PLAIN));
        }
        tensors.insert(name.clone(), Described::clone(tensor));
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::rc::Rc;

    use super::{
        super::{pickle_calls::MOST_DIMENSIONS, pickle_op as op, pickle_steps::MOST_NODES, pickle_value::Storage},
        *,
    };
    use crate::models::weights::number_format::Number;

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
