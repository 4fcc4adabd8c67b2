//! What a model is asked, and the one place where its numbers become answers.

use crate::{
    base::error::{Error, Result},
    packing::Sample,
};

/// A prompt that can be named when it goes without an answer.
pub trait Question {
    /// Token ids.
    fn prompt(&self) -> &[u32];

    /// The example's id; None: it has none, and its place counts.
    fn id(&self) -> Option<&str> {
        None
    }
}

impl Question for &[u32] {
    fn prompt(&self) -> &[u32] {
        self
    }
}

impl Question for Sample {
    fn prompt(&self) -> &[u32] {
        &self.prompt
    }

    fn id(&self) -> Option<&str> {
        Some(&self.id)
    }
}

/// The prompts alone.
pub(super) fn prompts<Q: Question>(questions: &[Q]) -> Vec<&[u32]> {
    questions.iter().map(Question::prompt).collect()
}

/// Numbers of the model from which an answer to question `at` is read. `what` names them, in the singular.
///
/// # Errors
/// If one is no finite number: whatever was read from them would be nobody's answer.
pub(super) fn checked<'a, Q: Question>(
    questions: &[Q],
    at: usize,
    what: &str,
    numbers: &'a [f32],
) -> Result<&'a [f32]> {
    let Some(odd) = numbers.iter().find(|x| !x.is_finite()) else { return Ok(numbers) };
    let example = match questions.get(at).and_then(Question::id) {
        Some(id) => format!("the example `{id}`"),
        None => format!("prompt {}", at + 1),
    };
    Err(Error::input(format!("{example} has no answer: {what} is {odd}, which is not a finite number")).help(
        "a weight of the model or of the adapter isn't a finite number, or what is computed from them overflows: \
         fetch the files again, or set `dtype = \"f32\"`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_no_answer() {
        let questions = [&[1u32][..], &[2]];
        assert_eq!(checked(&questions, 0, "a score", &[0.5, -1.0]).unwrap(), [0.5, -1.0]);
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let e = checked(&questions, 1, "a score", &[0.5, odd]).unwrap_err();
            assert!(e.message.contains("prompt 2") && e.message.contains("not a finite number"), "{e}");
        }
        let sample = Sample { id: "film 7".into(), prompt: vec![1], label: 0 };
        let e = checked(&[sample], 0, "a logit", &[f32::NAN]).unwrap_err();
        assert!(e.message.contains("`film 7`") && e.message.contains("a logit is NaN"), "{e}");
    }
}
