//! What training and evaluation will hold in memory: shapes from the model's table, lengths from the tokens where they are
//! in the store, else from the longest prompt that is allowed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use super::peak_memory::{Answering, ModelShape, Parts, Row};
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
        machine::peak_memory,
    },
    config::{ActionSpec, Spec},
    data::{Split, TOKENS_FILE, TOKENS_INFO_FILE},
    engine::{Artifact, Estimate, Footprint, Progress},
    models::{AdapterSpec, Dtype, device},
    packing::{TOKEN_BUDGET, TokenSet, most_in_row, shared_beginning},
};

/// Tokens of a written answer beyond those of the longest label: room for a sentence.
const ROOM: usize = 16;

/// Tokens of an answer where it isn't known yet: at most, and usually.
const ANSWER: usize = 16;
const USUAL_ANSWER: usize = 2;

/// More samples than any row holds.
const MANY: usize = 4096;

/// Artifacts by role.
type Inputs = BTreeMap<String, Vec<Artifact>>;

/// Lengths of a split's prompts and answers, in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lengths {
    /// The beginning that all prompts have in common.
    pub shared: usize,
    /// What follows it in each prompt, and the right answer; longest first.
    own: Vec<(usize, usize)>,
    /// All answers together.
    answers: usize,
    longest_answer: usize,
}

/// By artifact and split.
type Known = HashMap<(Digest, String), Arc<Lengths>>;

impl Lengths {
    /// The most that prompts of at most `max_tokens` can come to.
    fn bound(max_tokens: usize) -> Self {
        Self { shared: 0, own: vec![(max_tokens, ANSWER); MANY], answers: ANSWER, longest_answer: ANSWER }
    }

    pub fn of(tokens: &TokenSet, split: &str) -> Result<Self> {
        let samples = tokens.split(split)?;
        let prompts: Vec<&[u32]> = samples.iter().map(|s| s.prompt.as_slice()).collect();
        let shared = shared_beginning(&prompts);
        let answers: Vec<usize> = tokens.answers.labels.iter().map(Vec::len).collect();
        let mut own: Vec<_> = samples.iter().map(|s| (s.prompt.len() - shared, answers[s.label as usize])).collect();
        own.sort_unstable_by_key(|(prompt, answer)| std::cmp::Reverse(prompt + answer));
        let longest_answer = answers.iter().copied().max().unwrap_or(0);
        Ok(Self { shared, own, answers: answers.iter().sum(), longest_answer })
    }

    /// Of a `tokens` artifact. Reads it once in the life of the program: many actions ask.
    pub fn read(tokens: &Artifact, split: &str) -> Result<Arc<Self>> {
        static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
        let key = |split: &str| (tokens.digest, split.to_owned());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lengths) = known.get(&key(split)) {
            return Ok(lengths.clone());
        }
        let set = TokenSet::read(tokens.file(TOKENS_FILE)?, tokens.file(TOKENS_INFO_FILE)?)?;
        for split in Split::ALL.map(Split::name) {
            // A split without examples is an error only for whoever asks for it.
            if let Ok(lengths) = Self::of(&set, split) {
                known.insert(key(split), Arc::new(lengths));
            }
        }
        known.get(&key(split)).cloned().map_or_else(|| Self::of(&set, split).map(Arc::new), Ok)
    }

    /// With prompts cut to `max_tokens`.
    fn cut(&self, max_tokens: usize) -> Self {
        let room = max_tokens.saturating_sub(self.shared);
        Self { own: self.own.iter().map(|(prompt, answer)| ((*prompt).min(room), *answer)).collect(), ..self.clone() }
    }

    pub fn samples(&self) -> usize {
        self.own.len()
    }

    /// Every token that answering all prompts reads, as one row; written answers are as long as the right ones.
    pub fn all_answered(&self, answering: Answering) -> Row {
        let answers = |right: usize| match answering {
            Answering::Scored => self.answers,
            Answering::Written => right,
        };
        let own = self.own.iter().map(|(prompt, right)| (prompt + answers(*right), answers(*right) + 1));
        let (tokens, predicting) =
            own.fold((self.shared, 0), |(t, p), (tokens, predicting)| (t + tokens, p + predicting));
        Row { tokens, predicting }
    }

    pub fn longest_prompt(&self) -> usize {
        self.shared + self.own.iter().map(|(prompt, _)| *prompt).max().unwrap_or(0)
    }

    /// Tokens of its own of the longest prompt with its answer.
    fn longest(&self) -> usize {
        self.own.iter().map(|(prompt, answer)| prompt + answer).max().unwrap_or(0)
    }

    /// The row that the longest `samples` of them make together in training.
    pub fn training_row(&self, samples: usize) -> Row {
        let longest = &self.own[..samples.min(self.own.len())];
        Row {
            tokens: self.shared + longest.iter().map(|(prompt, answer)| prompt + answer).sum::<usize>(),
            // The last token of the prompt, and all of the answer.
            predicting: longest.iter().map(|(_, answer)| answer + 1).sum(),
        }
    }

    /// Tokens that a written answer may have: `max_new_tokens` where the stage says so.
    pub fn room(&self, max_new_tokens: Option<usize>) -> usize {
        max_new_tokens.unwrap_or(self.longest_answer + ROOM)
    }

    /// The largest row of an evaluation with what is written, and the most prompts that one row holds.
    pub fn evaluation_row(&self, answering: Answering, max_new_tokens: Option<usize>) -> Row {
        let answer = match answering {
            Answering::Scored => self.answers,
            Answering::Written => self.room(max_new_tokens),
        };
        let all = self.shared + self.own.iter().map(|(prompt, _)| prompt + answer).sum::<usize>();
        let tokens = all.min(TOKEN_BUDGET).max(self.longest_prompt() + answer);
        let predicting = match answering {
            Answering::Scored => tokens,
            Answering::Written => {
                let mut left = tokens.saturating_sub(self.shared);
                let shortest = self.own.iter().rev().take_while(|(prompt, _)| {
                    let fits = prompt + answer <= left;
                    left = left.saturating_sub(prompt + answer);
                    fits
                });
                shortest.count().max(1)
            }
        };
        Row { tokens, predicting }
    }
}

/// Notes what was planned and what was taken, in bytes, where it can be compared afterwards.
pub fn measure_memory(planned: &Parts, device: &candle_core::Device, progress: &dyn Progress) {
    progress.measure("planned_memory_bytes", planned.total() as f64);
    if let Some(bytes) = peak_memory() {
        progress.measure("peak_memory_bytes", bytes as f64);
    }
    if let Some(peak) = device::peak(device) {
        progress.measure("peak_device_memory_bytes", peak.used as f64);
    }
}

/// The most that any action of the stage behind the input `tokens` allows by `limit`.
fn most(spec: &Spec, action: &ActionSpec, limit: impl Fn(&ActionSpec) -> Option<i64>) -> Option<usize> {
    let stage = &action.inputs.iter().find(|i| i.role == "tokens")?.stages.first()?.stage;
    let limits = spec.stage(stage)?.actions.iter().map(|a| usize::try_from(limit(a)?).ok());
    limits.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// Where an action's tokens come from, as far as that is known.
#[derive(Debug, Clone)]
pub struct Prompts {
    pub split: String,
    /// The longest that is allowed.
    pub max_tokens: Option<usize>,
    /// The most examples that the task allows.
    pub examples: Option<usize>,
}

impl Prompts {
    /// Of the stage behind the input `tokens` of an action.
    pub fn of(spec: &Spec, action: &ActionSpec, split: &str) -> Self {
        let examples = |tokens: &ActionSpec| {
            let task = spec.definition("task", tokens.params.get("task")?.as_str()?, None).ok()?;
            task.get("limit")?.get(split)?.as_int()
        };
        Self {
            split: split.to_owned(),
            max_tokens: most(spec, action, |tokens| tokens.params.get("max_tokens")?.as_int()),
            examples: most(spec, action, examples),
        }
    }

    /// Lengths as they may well be: those of the data, or prompts half as long as they may be. `enough` says how many make
    /// no difference to more.
    ///
    /// # Errors
    /// If nobody knows how many there are.
    pub fn usual_lengths(&self, inputs: &Inputs, shape: &ModelShape, enough: Option<usize>) -> Result<Arc<Lengths>> {
        if inputs.get("tokens").is_some_and(|list| !list.is_empty()) {
            return Ok(self.lengths(inputs, shape)?.0);
        }
        let examples =
            self.examples.or(enough).ok_or_else(|| Error::internal("nobody knows how many examples there are"))?;
        let prompt = self.max_tokens.unwrap_or(shape.dims.max_positions) / 2;
        Ok(Arc::new(Lengths {
            shared: 0,
            own: vec![(prompt, USUAL_ANSWER); examples],
            answers: ANSWER,
            longest_answer: ANSWER,
        }))
    }

    /// Lengths, and whether they are those of the data.
    pub fn lengths(&self, inputs: &Inputs, shape: &ModelShape) -> Result<(Arc<Lengths>, bool)> {
        match inputs.get("tokens").and_then(|list| list.first()) {
            Some(tokens) => Ok((Lengths::read(tokens, &self.split)?, true)),
            None => Ok((Arc::new(Lengths::bound(self.max_tokens.unwrap_or(shape.dims.max_positions))), false)),
        }
    }
}

/// The largest of `candidates`, which become smaller, for which `need` stays within `budget`.
fn first_that_fits(
    candidates: impl Iterator<Item = usize>,
    budget: u64,
    need: impl Fn(usize) -> Parts,
) -> Option<usize> {
    candidates.into_iter().find(|c| need(*c).total() <= budget)
}

fn halves(from: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(from / 2), |n| Some(n / 2)).take_while(|n| *n > 0)
}

/// Of `train`.
#[derive(Debug, Clone)]
pub struct TrainingMemory {
    pub shape: ModelShape,
    /// Name of the model's and the method's table.
    pub model: String,
    pub method: String,
    pub adapter: AdapterSpec,
    pub batch_size: usize,
    pub gradient_accumulation_steps: usize,
    pub gradient_checkpointing: bool,
    pub prompts: Prompts,
}

impl TrainingMemory {
    /// The largest row that one step computes at once.
    pub fn row(&self, lengths: &Lengths) -> Row {
        let whole = lengths.training_row(self.batch_size.div_ceil(self.gradient_accumulation_steps.max(1)));
        let most = most_in_row(lengths.shared, self.shape.device.is_cpu());
        Row { tokens: whole.tokens.min(most.saturating_add(lengths.shared + lengths.longest())), ..whole }
    }

    pub fn parts(&self, lengths: &Lengths) -> Parts {
        self.shape.training(&self.adapter, self.row(lengths), self.gradient_checkpointing)
    }

    /// Every setting that alone brings the peak within the budget.
    fn fitting(&self, lengths: &Lengths, budget: u64) -> Vec<String> {
        let mut found = Vec::new();
        let method = &self.method;
        let accumulations = std::iter::successors(Some(2), |n| Some(n * 2)).take_while(|n| *n <= self.batch_size);
        let with = |change: &dyn Fn(&mut Self)| {
            let mut other = self.clone();
            change(&mut other);
            other.parts(lengths)
        };
        if with(&|t| t.gradient_checkpointing = true).total() <= budget {
            found.push(format!("method.{method}.gradient_checkpointing=true (the same bytes, more slowly)"));
        }
        if let Some(n) = first_that_fits(accumulations, budget, |n| with(&|t| t.gradient_accumulation_steps = n)) {
            found.push(format!("method.{method}.gradient_accumulation_steps={n} (the same gradients, more slowly)"));
        }
        if let Some(n) = first_that_fits(halves(self.batch_size), budget, |n| with(&|t| t.batch_size = n)) {
            found.push(format!("method.{method}.batch_size={n}"));
        }
        let longest = lengths.longest_prompt();
        let shorter =
            (1..).map(|i| (longest / 16 * 16).saturating_sub(16 * (i - 1))).take_while(|n| *n > lengths.shared + 16);
        if let Some(n) = first_that_fits(shorter, budget, |n| self.parts(&lengths.cut(n))) {
            found.push(format!("a `max_tokens` of {n} (cuts longer sentences)"));
        }
        if let Some((key, size)) = self.adapter.size() {
            let need = |n| with(&|t| t.adapter = t.adapter.with_size(n));
            let fits = first_that_fits(halves(size), budget, need);
            found.extend(fits.map(|n| format!("method.{method}.adapter.{key}={n}")));
        }
        found.extend(half_precision(&self.shape, &self.model, budget, |shape| with(&|t| t.shape = shape.clone())));
        found
    }
}

/// Weights in half the bytes, where they aren't and that suffices.
fn half_precision(shape: &ModelShape, model: &str, budget: u64, need: impl Fn(&ModelShape) -> Parts) -> Option<String> {
    let mut smaller = shape.clone();
    smaller.dtype = Dtype::Bf16;
    (shape.dtype == Dtype::F32 && need(&smaller).total() <= budget).then(|| format!("model.{model}.dtype=bf16"))
}

impl Estimate for TrainingMemory {
    fn footprint(&self, inputs: &Inputs) -> Result<Footprint> {
        let (lengths, exact) = self.prompts.lengths(inputs, &self.shape)?;
        Ok(Footprint { device: self.shape.device, parts: self.parts(&lengths).0, exact })
    }

    fn remedies(&self, inputs: &Inputs, budget: u64) -> Vec<String> {
        self.prompts.lengths(inputs, &self.shape).map(|(l, _)| self.fitting(&l, budget)).unwrap_or_default()
    }
}

/// Of `evaluate`.
#[derive(Debug, Clone)]
pub struct EvaluationMemory {
    pub shape: ModelShape,
    /// Name of the model's table.
    pub model: String,
    pub adapter: AdapterSpec,
    pub answering: Answering,
    pub max_new_tokens: Option<usize>,
    pub prompts: Prompts,
}

impl EvaluationMemory {
    pub fn parts(&self, lengths: &Lengths) -> Parts {
        let row = lengths.evaluation_row(self.answering, self.max_new_tokens);
        self.shape.evaluation(&self.adapter, row, self.answering)
    }
}

impl Estimate for EvaluationMemory {
    fn footprint(&self, inputs: &Inputs) -> Result<Footprint> {
        let (lengths, exact) = self.prompts.lengths(inputs, &self.shape)?;
        Ok(Footprint { device: self.shape.device, parts: self.parts(&lengths).0, exact })
    }

    fn remedies(&self, inputs: &Inputs, budget: u64) -> Vec<String> {
        let Ok((lengths, _)) = self.prompts.lengths(inputs, &self.shape) else { return Vec::new() };
        let with = |shape: &ModelShape| Self { shape: shape.clone(), ..self.clone() }.parts(&lengths);
        half_precision(&self.shape, &self.model, budget, with).into_iter().collect()
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;
    use crate::{base::machine::Device, models::BackboneSpec};

    /// SmolLM2-135M in f32 on a CPU.
    pub fn smollm2() -> ModelShape {
        let model: BackboneSpec = serde_json::from_value(json!({
            "family": "llama", "dtype": "f32", "config": {
                "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
                "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
                "max_position_embeddings": 8192, "tie_word_embeddings": true,
            },
        }))
        .unwrap();
        ModelShape::of(&model, Device::Cpu).unwrap().unwrap()
    }

    fn training() -> TrainingMemory {
        TrainingMemory {
            shape: smollm2(),
            model: "small".to_owned(),
            method: "lora".to_owned(),
            adapter: serde_json::from_value(
                json!({ "kind": "lora", "rank": 8, "alpha": 32.0, "target_modules": ["q_proj"] }),
            )
            .unwrap(),
            batch_size: 16,
            gradient_accumulation_steps: 1,
            gradient_checkpointing: false,
            prompts: Prompts { split: "train".to_owned(), max_tokens: Some(128), examples: None },
        }
    }

    #[test]
    fn without_tokens_the_longest_prompt_is_the_bound() {
        let training = training();
        let bound = Lengths::bound(128);
        // More than a CPU's row, by one prompt at most.
        assert_eq!(training.row(&bound), Row { tokens: 640 + 128 + ANSWER, predicting: 16 * (ANSWER + 1) });
        let estimate = training.footprint(&Inputs::new()).unwrap();
        assert!(!estimate.exact);
        assert_eq!(estimate.parts, training.parts(&bound).0);
        let parts = TrainingMemory { gradient_accumulation_steps: 4, ..training };
        assert_eq!(parts.row(&bound).tokens, 4 * (128 + ANSWER));
        let mut on_a_gpu = TrainingMemory { gradient_accumulation_steps: 1, ..parts };
        on_a_gpu.shape.device = Device::Cuda;
        assert_eq!(on_a_gpu.row(&bound).tokens, 16 * (128 + ANSWER));
    }

    #[test]
    fn the_longest_prompts_make_the_largest_row() {
        let lengths = Lengths { shared: 10, own: vec![(30, 2), (20, 3), (4, 1)], answers: 6, longest_answer: 3 };
        assert_eq!(lengths.training_row(2), Row { tokens: 10 + 32 + 23, predicting: 3 + 4 });
        assert_eq!(lengths.training_row(9), Row { tokens: 10 + 32 + 23 + 5, predicting: 3 + 4 + 2 });
        assert_eq!((lengths.longest_prompt(), lengths.cut(25).longest_prompt()), (40, 25));
        // All three fit into one row, with all answers behind each.
        assert_eq!(lengths.evaluation_row(Answering::Scored, None).tokens, 10 + 54 + 3 * 6);
        let written = |longest| lengths.evaluation_row(Answering::Written, longest);
        assert_eq!(written(Some(2)), Row { tokens: 10 + 54 + 3 * 2, predicting: 3 });
        assert_eq!(written(None).tokens, 10 + 54 + 3 * (3 + ROOM));
        assert_eq!(written(Some(500)), Row { tokens: 1024, predicting: 1 });
        let long = Lengths { shared: 0, own: vec![(5000, 1)], answers: 6, longest_answer: 3 };
        assert_eq!(long.evaluation_row(Answering::Scored, None).tokens, 5006);
    }

    #[test]
    fn each_remedy_alone_fits_and_nothing_weaker_does() {
        let mut training = training();
        training.shape.device = Device::Cuda;
        let budget = 1850 << 20;
        let remedies = training.remedies(&Inputs::new(), budget);
        assert_eq!(
            remedies,
            [
                "method.lora.gradient_checkpointing=true (the same bytes, more slowly)",
                "method.lora.gradient_accumulation_steps=4 (the same gradients, more slowly)",
                "method.lora.batch_size=4",
                "a `max_tokens` of 32 (cuts longer sentences)",
            ]
        );
        let with = |gradient_accumulation_steps| {
            TrainingMemory { gradient_accumulation_steps, ..training.clone() }.footprint(&Inputs::new()).unwrap()
        };
        assert!(with(4).total() <= budget && with(2).total() > budget);
        // Weights alone are more than this.
        assert!(training.remedies(&Inputs::new(), 100 << 20).is_empty());
    }
}
