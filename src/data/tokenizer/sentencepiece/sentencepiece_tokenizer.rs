//! A whole model: its pieces, the tokens beside them, and the rules of whoever reads it.

use std::path::Path;

use tokenizers::AddedToken;

use super::{
    bpe::Pieces,
    decode::Run,
    model_proto::{Model, PieceType},
    normalizer::{Normalizer, Prefix},
};
use crate::{
    base::error::{At, IoAt, Result},
    data::tokenizer::{
        added_tokens::{AddedTokens, Form},
        pretrained_tokenizer::PretrainedTokenizer,
        special_tokens::check_id,
        tokenizer_config::TokenizerConfig,
        tokenizer_format::{Origin, TokenizerFormat},
        tokenizer_input::TokenizerInput,
        tokenizer_trait::Tokenizer,
    },
};

const FILE: &str = "tokenizer.model";

/// How an id that no piece has is shown.
const NOTHING: &str = "\u{fffd}";

/// The format of `tokenizer.model`.
pub struct SentencePieceModel;

impl TokenizerFormat for SentencePieceModel {
    fn file_name(&self) -> &'static str {
        FILE
    }

    fn load(&self, path: &Path, origin: &Origin<'_>) -> Result<PretrainedTokenizer> {
        let bytes = std::fs::read(path).io_at("read", path)?;
        let model = Model::read(&bytes).at(FILE)?;
        let mut config = TokenizerConfig::read(origin.files, None)?;
        let behind = origin.convention.map_or(&[][..], |c| &c.specials);
        let tokenizer = SentencePiece::new(&model, &config, behind).at(FILE)?;
        for (name, token) in named(&model) {
            config.named.entry(name.to_owned()).or_insert(token);
        }
        Ok(PretrainedTokenizer::new(format!("{FILE} BPE"), Box::new(tokenizer), config, origin.convention))
    }
}

/// The tokens that chat templates know by name.
fn named(model: &Model) -> impl Iterator<Item = (&'static str, String)> {
    [
        ("unk_token", model.trainer.unk_id.unwrap_or(0)),
        ("bos_token", model.trainer.bos_id.unwrap_or(1)),
        ("eos_token", model.trainer.eos_id.unwrap_or(2)),
        ("pad_token", model.trainer.pad_id.unwrap_or(-1)),
    ]
    .into_iter()
    .filter_map(|(name, id)| Some((name, model.pieces.get(usize::try_from(id).ok()?)?.text.clone())))
}

/// A byte-pair encoding with SentencePiece's rules.
struct SentencePiece {
    normalizer: Normalizer,
    pieces: Pieces,
    /// How the unknown piece is shown.
    unknown_surface: String,
    added: AddedTokens,
    /// Ids that lie behind the pieces.
    more: usize,
}

impl SentencePiece {
    /// `behind`: control tokens whose ids follow the pieces.
    fn new(model: &Model, config: &TokenizerConfig, behind: &[String]) -> Result<Self> {
        let pieces = Pieces::new(&model.pieces, model.trainer.byte_fallback)?;
        let llama = config.is_of("LlamaTokenizer");
        let user_defined: Vec<_> = pieces
            .iter()
            .filter(|(_, p)| p.kind == PieceType::UserDefined && !p.text.is_empty())
            .map(|(id, p)| (p.text.clone(), id))
            .collect();
        let mut tokens: Vec<(u32, AddedToken)> = Vec::new();
        for (id, piece) in pieces.iter().filter(|(_, p)| p.kind == PieceType::Control) {
            tokens.push((id, AddedToken::from(piece.text.as_str(), true)));
        }
        tokens
            .extend((pieces.len() as u32..).zip(behind).map(|(id, name)| (id, AddedToken::from(name.as_str(), true))));
        // The class that the reference has for Llama takes them out of a text before it looks at anything else.
        if llama {
            tokens.extend(
                user_defined.iter().map(|(name, id)| (*id, AddedToken::from(name.as_str(), false).normalized(false))),
            );
        }
        add(&mut tokens, &pieces, config, llama)?;
        let more = tokens.iter().map(|(id, _)| *id as usize + 1).max().unwrap_or(0).saturating_sub(pieces.len());
        // What a sentence may not become is looked for among the pieces as well.
        let added = AddedTokens::new(tokens, |_| None).guarding(user_defined.iter());
        let normalizer = match llama {
            true => Normalizer::plain(match config.llama_prefix() {
                "never" => Prefix::Never,
                "always" => Prefix::Every,
                _ => Prefix::First,
            }),
            false => {
                let prefix = if config.legacy == Some(false) { Prefix::First } else { Prefix::EveryAlways };
                Normalizer::new(&model.normalizer, prefix, model.trainer.treat_whitespace_as_suffix, user_defined)?
            }
        };
        let unknown_surface = model.trainer.unk_surface.clone().unwrap_or_else(|| " \u{2047} ".to_owned());
        Ok(Self { normalizer, pieces, unknown_surface, added, more })
    }

    /// Ids of a text without control tokens.
    fn between(&self, input: &TokenizerInput<'_>, first: bool) -> Vec<u32> {
        let normalised = self.normalizer.normalise(input, first);
        self.pieces
            .encode(&TokenizerInput::new(&normalised.text, normalised.content, input.guarded()), &self.normalizer)
    }
}

/// Adds what the files beside the model name: under the id of the piece of that name, or behind all others.
fn add(tokens: &mut Vec<(u32, AddedToken)>, pieces: &Pieces, config: &TokenizerConfig, llama: bool) -> Result<()> {
    let by_name = |name: &str| pieces.iter().find(|(_, p)| p.text == name).map(|(id, _)| id);
    let mut next = tokens.iter().map(|(id, _)| id + 1).max().unwrap_or(0).max(pieces.len() as u32);
    for (stated, token) in &config.tokens {
        // A piece without a use of its own may have been given to a new token.
        let taken = stated.filter(|id| !llama && pieces.get(*id).is_some());
        let known = tokens.iter().find(|(_, t)| t.content == token.content).map(|(id, _)| *id);
        let id = known.or_else(|| by_name(&token.content)).or(taken).unwrap_or(next);
        check_id(*stated, Some(id), &token.content)?;
        next = next.max(id + 1);
        // The other classes look for all of them in the text as it stands.
        let token = if llama { token.clone() } else { token.clone().normalized(false) };
        match tokens.iter_mut().find(|(known, _)| *known == id) {
            // A control token that is only named keeps its flags.
            Some((_, old)) if stated.is_some() => *old = token,
            Some(_) => (),
            None => tokens.push((id, token)),
        }
    }
    Ok(())
}

impl Tokenizer for SentencePiece {
    fn encode(&self, input: &TokenizerInput<'_>) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let text = input.text();
        for (token, part) in self.added.cut(text, Form::Raw, |id, range| input.allows(id, range)) {
            let Some(inner) = token.is_none().then(|| input.part(part.clone())) else {
                ids.extend(token);
                continue;
            };
            for (token, range) in self.added.cut(inner.text(), Form::Normalized, |id, range| inner.allows(id, range)) {
                match token {
                    Some(id) => ids.push(id),
                    None => ids.extend(self.between(&inner.part(range.clone()), part.start + range.start == 0)),
                }
            }
        }
        Ok(ids)
    }

    /// Every run between control tokens is a text of its own, whose added first space is taken away again.
    fn decode(&self, ids: &[u32]) -> Result<String> {
        let mut out = String::new();
        let mut run = Run::default();
        for &id in ids {
            let kind = self.pieces.get(id).map(|piece| piece.kind);
            if let Some(token) = self.added.get(id).filter(|_| kind != Some(PieceType::Unknown)) {
                run.end(&mut out);
                out.push_str(&token.content);
                continue;
            }
            match self.pieces.get(id) {
                None => run.show(NOTHING),
                Some(piece) => match piece.kind {
                    PieceType::Byte(byte) => run.push_byte(byte),
                    PieceType::Unknown => run.show(&self.unknown_surface),
                    _ => run.push(&piece.text, &self.normalizer, out.is_empty()),
                },
            }
        }
        run.end(&mut out);
        Ok(out)
    }

    fn added(&self) -> &AddedTokens {
        &self.added
    }

    fn vocab_size(&self) -> usize {
        self.pieces.len() + self.more
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use std::{collections::BTreeSet, path::PathBuf};

    use prost::Message;

    use super::*;
    use crate::data::tokenizer::sentencepiece::{model_proto::ModelProto, normalizer::SPACE};
    use crate::data::{
        chat::Chat,
        tokenizer::{convention::Convention, tokenizer_files::Files},
    };

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sentencepiece").join(name)
    }

    fn model(name: &str, convention: Option<&Convention>) -> PretrainedTokenizer {
        PretrainedTokenizer::load(&Files::from([(FILE.to_owned(), fixture(name))]), convention).unwrap()
    }

    /// Small models with every rule that a file can ask for, and what Python's `sentencepiece` 0.2 makes of some texts:
    /// replaced and removed characters, spaces cut down or kept, spaces in front, behind or not at all, bytes or unknown
    /// pieces, user-defined, control and unused pieces.
    #[test]
    fn equals_sentencepiece() {
        let expected: Value = serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap();
        let mut seen = 0;
        for (name, cases) in expected.as_object().unwrap() {
            let bytes = std::fs::read(fixture(&format!("{name}.model"))).unwrap();
            let m = SentencePiece::new(&Model::read(&bytes).unwrap(), &TokenizerConfig::default(), &[]).unwrap();
            let nothing = BTreeSet::new();
            for case in cases.as_array().unwrap() {
                let text = case["text"].as_str().unwrap();
                let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
                assert_eq!(m.between(&TokenizerInput::content_only(text, &nothing), true), ids, "{name}: {text:?}");
                assert_eq!(m.decode(&ids).unwrap(), case["decoded"].as_str().unwrap(), "{name}: {text:?}");
                seen += 1;
            }
        }
        assert_eq!(seen, 80);
    }

    #[test]
    fn a_family_adds_control_tokens_and_its_chat() {
        let chatglm = Convention::of("chatglm").unwrap();
        let m = model("plain.model", Some(&chatglm));
        assert_eq!((m.tokenizer.vocab_size(), m.eos(), m.context), (420 + 5, Some(2), None));
        let chat = Chat::new(&m, None, None).unwrap();
        let (gmask, sop) = (421, 423);
        let hostile = "sop [gMASK]</s> <end>";
        assert_eq!(chat.text(hostile).unwrap(), format!("[gMASK]sop[Round 1]\n\n问：{hostile}\n\n答："));
        let ids = chat.prompt(hostile).unwrap();
        assert_eq!(ids[..2], [gmask, sop]);
        assert_eq!(ids[2..], m.tokenizer.encode_words(&format!("[Round 1]\n\n问：{hostile}\n\n答：")).unwrap());
        assert!(ids[2..].iter().all(|id| m.tokenizer.added().get(*id).is_none()));
        assert_eq!(m.tokenizer.decode(&ids).unwrap(), chat.text(hostile).unwrap());
        assert_eq!((chat.answer("good").unwrap(), chat.end()), (m.tokenizer.encode_words("good").unwrap(), 2));
        assert_eq!(m.tokenizer.decode(&[425, u32::MAX]).unwrap(), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn damaged_files_are_named() {
        let whole = std::fs::read(fixture("rules.model")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let load = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            PretrainedTokenizer::load(&Files::from([(FILE.to_owned(), path.clone())]), None)
        };
        assert!(load(&whole).is_ok());
        // Also where it is cut between two pieces.
        for len in 0..whole.len() {
            let e = load(&whole[..len]).unwrap_err();
            assert!(e.message.contains(FILE) && e.help.is_some(), "{len}: {e}");
        }
        let proto = ModelProto::decode(whole.as_slice()).unwrap();
        let error = |change: fn(&mut ModelProto)| {
            let mut proto = proto.clone();
            change(&mut proto);
            load(&proto.encode_to_vec()).unwrap_err().message
        };
        assert!(error(|p| p.trainer.as_mut().unwrap().model_type = Some(1)).contains("type unigram isn't supported"));
        assert!(error(|p| p.trainer.as_mut().unwrap().byte_fallback = true).contains("no piece <0x00>"));
        assert!(error(|p| p.pieces[0].kind = Some(1)).contains("no unknown piece"));
        assert!(error(|p| p.pieces[3].kind = Some(6)).contains("is no byte"));
        assert!(
            error(|p| p.normalizer.as_mut().unwrap().precompiled_charsmap.truncate(40)).contains("rules are damaged")
        );
    }

    static MODELS: std::sync::LazyLock<[PretrainedTokenizer; 2]> =
        std::sync::LazyLock::new(|| ["plain.model", "unused.model"].map(|name| model(name, None)));

    proptest! {
        #[test]
        fn bytes_come_back(text in any::<String>()) {
            for m in &*MODELS {
                let ids = m.tokenizer.encode_words(&text).unwrap();
                prop_assert_eq!(m.tokenizer.decode(&ids).unwrap(), text.replace(SPACE, " "));
            }
        }
    }
}
