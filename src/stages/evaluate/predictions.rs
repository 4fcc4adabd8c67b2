//! What a model answers for the examples of a split.

use polars::prelude::{NamedFrom, Series};

use super::evaluate_table::{AnswerMode, EvaluateParams, PREDICTIONS_FILE};
use crate::{
    base::error::{Error, Result},
    data::{
        frame,
        tokenizer::{Convention, PretrainedTokenizer},
    },
    engine::Context,
    estimate::Lengths,
    eval::{classify, generate, parse_answer::Parser, rank},
    models::{Adapter, Backbone},
    packing::{Sample, TokenSet},
};

/// The answers for all examples.
pub(super) struct Predictions {
    /// None: the answer names no label.
    pub labels: Vec<Option<u32>>,
    pub evidence: Evidence,
}

/// What the labels were read from.
pub(super) enum Evidence {
    /// Log-probabilities over the labels.
    Scores(Vec<Vec<f32>>),
    /// The model's text.
    Texts(Vec<String>),
}

/// Answers all samples.
///
/// # Errors
/// If the adapter can't answer so, and where the user asked to stop.
pub(super) fn predict(
    cx: &Context,
    params: &EvaluateParams,
    backbone: &dyn Backbone,
    adapter: &dyn Adapter,
    samples: &[Sample],
    tokens: &TokenSet,
) -> Result<Predictions> {
    let done = |done: usize| {
        cx.progress.step(done as u64, samples.len() as u64, "example", "");
        cx.checkpoint_reached()
    };
    match params.answer {
        AnswerMode::Rank => Ok(scored(&rank::rank(backbone, adapter, samples, &tokens.answers, done)?)),
        AnswerMode::Head => {
            let labels = tokens.answers.labels.len();
            match adapter.head() {
                Some(head) if head.labels() == labels => {
                    Ok(scored(&classify::classify(backbone, adapter, head, samples, done)?))
                }
                Some(head) => Err(Error::input(format!(
                    "the adapter's head knows {} labels, and the task has {labels}",
                    head.labels()
                ))
                .help("it was trained for another task")),
                None => Err(Error::input("the adapter has no classification head")),
            }
        }
        AnswerMode::Generate => {
            let tokenizer =
                PretrainedTokenizer::load(&cx.input("model")?.files, Convention::of(&params.backbone.family).as_ref())?
                    .tokenizer;
            let longest = Lengths::of(tokens, &params.split)?.room(params.max_new_tokens);
            let answers = generate::generate(backbone, adapter, samples, tokens.answers.end, longest, done)?;
            let texts = answers.iter().map(|ids| tokenizer.decode(ids)).collect::<Result<Vec<_>>>()?;
            let words: Vec<&str> = tokens.info.labels.iter().map(|l| l.words.as_str()).collect();
            let parser = Parser::new(&words);
            let labels = texts.iter().map(|text| parser.label(text).map(|label| label as u32)).collect();
            Ok(Predictions { labels, evidence: Evidence::Texts(texts) })
        }
    }
}

/// The best-scored label of each example.
fn scored(scores: &[Vec<f64>]) -> Predictions {
    Predictions {
        labels: scores.iter().map(|s| Some(rank::best(s) as u32)).collect(),
        evidence: Evidence::Scores(scores.iter().map(|s| rank::log_softmax(s)).collect()),
    }
}

/// Writes [`PREDICTIONS_FILE`].
///
/// # Errors
/// If it can't be written.
pub(super) fn write_predictions(cx: &Context, samples: &[Sample], predictions: &Predictions) -> Result<()> {
    let ids: Vec<&str> = samples.iter().map(|s| s.id.as_str()).collect();
    let gold: Vec<u32> = samples.iter().map(|s| s.label).collect();
    let evidence = match &predictions.evidence {
        Evidence::Scores(scores) => frame::f32_list_column("scores", scores),
        Evidence::Texts(texts) => frame::string_column("answer", texts),
    };
    frame::write_parquet(
        &cx.out.join(PREDICTIONS_FILE),
        vec![
            frame::string_column("id", &ids),
            frame::u32_column("label_id", &gold),
            Series::new("predicted_id".into(), &predictions.labels).into(),
            evidence,
        ],
    )
}
