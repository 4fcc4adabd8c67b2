//! Answers by generation: the most likely token, one after the other, until the end token.

use super::questions::{Question, checked, prompts};
use crate::packing::{TOKEN_BUDGET, groups, pack};
use crate::{
    base::error::Result,
    models::{Adapter, Backbone, free_unused_buffers, greedy, most_likely},
    packing::shared_beginning,
};

/// Token ids that follow each prompt, without `end`, at most `longest` of them. Prompts are worked off in rows that share
/// their common beginning; keys and values of what was read are kept. `done` hears how many prompts are finished and may
/// stop the work with an error.
///
/// # Errors
/// Those of the backbone and of `done`; and if a logit isn't a finite number.
pub fn generate<Q: Question>(
    backbone: &dyn Backbone,
    adapter: &dyn Adapter,
    questions: &[Q],
    end: u32,
    longest: usize,
    done: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<Vec<u32>>> {
    generate_in_rows(backbone, adapter, questions, (end, longest), TOKEN_BUDGET, done)
}

fn generate_in_rows<Q: Question>(
    backbone: &dyn Backbone,
    adapter: &dyn Adapter,
    questions: &[Q],
    (end, longest): (u32, usize),
    budget: usize,
    mut done: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<Vec<u32>>> {
    let prompts = &prompts(questions);
    let shared = shared_beginning(prompts);
    let mut answers = Vec::with_capacity(prompts.len());
    for group in groups(prompts, shared, longest, budget) {
        let (tree, leaves) = pack(&prompts[group], shared);
        let first = answers.len();
        let choose = |leaf: usize, logits: &[f32]| {
            checked(questions, first + leaf, "the logit of a token", logits).map(most_likely)
        };
        answers.extend(greedy(backbone, adapter, tree, &leaves, &[end], longest, choose)?);
        free_unused_buffers();
        done(answers.len())?;
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::models::{Decoder, adapters::Untrained, load_decoder, reference};

    fn backbone() -> Decoder {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama-tiny");
        let files = ["config.json", "model.safetensors"].map(|f| (f.to_owned(), folder.join(f)));
        load_decoder("llama", &files.into(), &Device::Cpu).unwrap()
    }

    fn prefix(backbone: &Decoder) -> Box<dyn Adapter> {
        let spec = serde_json::json!({ "kind": "ptuning2", "virtual_tokens": 3, "init_std": 0.5 });
        serde_json::from_value::<crate::models::AdapterSpec>(spec).unwrap().create(backbone, 5, None).unwrap()
    }

    fn prompts() -> Vec<Vec<u32>> {
        (0..40u32).map(|i| [1, 4, 6].into_iter().chain((0..=i % 9).map(|j| 10 + (i * 7 + j) % 200)).collect()).collect()
    }

    /// The definition: the whole text is read anew for every token, on the plain path.
    fn plain(backbone: &Decoder, adapter: &dyn Adapter, prompt: &[u32], end: u32, longest: usize) -> Vec<u32> {
        let mut text = prompt.to_vec();
        while text.len() < prompt.len() + longest {
            let row = |numbers: Vec<u32>| Tensor::new(vec![numbers], &Device::Cpu).unwrap();
            let batch = reference::Batch {
                ids: &row(text.clone()),
                mask: &row(vec![1; text.len()]).to_dtype(DType::I64).unwrap(),
                positions: &row((0..text.len() as u32).collect()).to_dtype(DType::I64).unwrap(),
            };
            let logits = reference::logits(backbone, adapter, &batch).unwrap().get(0).unwrap();
            let next = logits.get(text.len() - 1).unwrap().argmax(0).unwrap().to_scalar::<u32>().unwrap();
            if next == end {
                break;
            }
            text.push(next);
        }
        text.split_off(prompt.len())
    }

    #[test]
    fn equals_the_plain_path_step_by_step() {
        let backbone = backbone();
        let prompts = prompts();
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        for adapter in [&Untrained as &dyn Adapter, prefix(&backbone).as_ref()] {
            // An end token that does occur, so that some answers stop early.
            let end = plain(&backbone, adapter, prompts[0], u32::MAX, 3)[2];
            let answers = generate(&backbone, adapter, &prompts, end, 5, |_| Ok(())).unwrap();
            let expected: Vec<_> = prompts.iter().map(|p| plain(&backbone, adapter, p, end, 5)).collect();
            assert_eq!(answers, expected);
            assert!(answers.iter().any(|a| a.len() < 5) && answers.iter().any(|a| a.len() == 5), "{answers:?}");
        }
    }

    #[test]
    fn neither_rows_nor_threads_change_an_answer() {
        let backbone = backbone();
        let adapter = prefix(&backbone);
        let prompts = prompts();
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let answers = |budget: usize, threads: usize| {
            crate::models::test_models::with_threads(threads, || {
                generate_in_rows(&backbone, adapter.as_ref(), &prompts, (2, 6), budget, |_| Ok(())).unwrap()
            })
        };
        let one_by_one = answers(1, 1);
        assert_eq!(one_by_one.len(), prompts.len());
        for (budget, threads) in [(64, 1), (TOKEN_BUDGET, 1), (TOKEN_BUDGET, 3), (1, 3)] {
            assert_eq!(answers(budget, threads), one_by_one, "{budget} tokens on {threads} threads");
        }
    }

    #[test]
    fn the_context_is_the_end() {
        let backbone = backbone();
        let context = backbone.dims.max_positions;
        let prompt: Vec<u32> = (0..context as u32 - 3).map(|i| 10 + i % 200).collect();
        let answers = generate(&backbone, &Untrained, &[&prompt[..], &prompt[1..]], u32::MAX, 9, |_| Ok(())).unwrap();
        assert_eq!(answers.iter().map(Vec::len).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn the_work_stops_when_asked() {
        let stop = |_| Err(crate::base::error::Error::interrupted("stop"));
        assert!(generate(&backbone(), &Untrained, &[&[1u32, 2][..]], 2, 4, stop).is_err());
    }

    /// A real model: rows of sixteen sentences give the same texts as one sentence after the other. Run with `--nocapture`
    /// to see what they save.
    #[test]
    fn a_real_model_answers_the_same_in_rows() {
        use crate::data::{chat::Chat, prompt::Instruction, tokenizer::PretrainedTokenizer};
        let Some(path) = std::env::var_os("EMOPIPE_TEST_GGUF") else {
            eprintln!(
                "SKIPPED a_real_model_answers_the_same_in_rows: set EMOPIPE_TEST_GGUF to SmolLM2-135M-Instruct.Q4_1.gguf"
            );
            return;
        };
        let files = [("m.gguf".to_owned(), path.into())].into();
        let backbone = load_decoder("llama", &files, &Device::Cpu).unwrap();
        let model = PretrainedTokenizer::load(&files, None).unwrap();
        let chat = Chat::new(&model, None, None).unwrap();
        let words = ["Positive", "Negative", "Neutral"].map(str::to_owned);
        let instruction = Instruction::new(crate::data::prompt::INSTRUCTION, &words).unwrap();
        let subjects = ["film", "actor", "story", "music", "ending", "dinner", "weather", "trip"];
        let views = ["was wonderful from start to end", "bored me to tears", "is on again at nine", "could be worse"];
        let prompts: Vec<Vec<u32>> = subjects
            .iter()
            .flat_map(|s| views.iter().map(move |v| format!("the {s} {v} .")))
            .map(|sentence| chat.prompt(&instruction.prompt(&sentence)).unwrap())
            .collect();
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let shared = shared_beginning(&prompts);
        let sixteen = shared + prompts[..16].iter().map(|p| p.len() - shared + 12).sum::<usize>();
        let timed = |budget: usize| {
            let begun = std::time::Instant::now();
            let end = (chat.end(), 12);
            let answers = generate_in_rows(&backbone, &Untrained, &prompts, end, budget, |_| Ok(())).unwrap();
            (answers, begun.elapsed().as_secs_f64())
        };
        let (one, slow) = timed(1);
        let (many, fast) = timed(sixteen);
        println!(
            "32 answers: {slow:.2} s one by one, {fast:.2} s in rows of about 16, {:.1} times as fast",
            slow / fast
        );
        println!("{:?}", model.tokenizer.decode(&many[0]).unwrap());
        assert_eq!(one, many);
    }
    #[test]
    fn a_token_is_never_chosen_from_what_is_no_number() {
        let mut backbone = backbone();
        let nan = Tensor::full(f32::NAN, 1, &Device::Cpu).unwrap();
        backbone.head = backbone.head.slice_assign(&[7..8, 3..4], &nan.reshape((1, 1)).unwrap()).unwrap();
        let e = generate(&backbone, &Untrained, &[&[1u32, 2][..]], 2, 4, |_| Ok(())).unwrap_err();
        assert!(e.message.contains("prompt 1") && e.message.contains("NaN"), "{e}");
    }
}
