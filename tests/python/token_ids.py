"""Small tokenizers of every kind, and the ids that the reference gives a conversation with them.

    python3 token_ids.py OUT [SEED [TEXTS]]

Writes OUT/NAME.json (and OUT/NAME.model) for each kind: a trained tokenizer, and variants of it, each with the files beside
it, its chat template, and for TEXTS messages of random characters (24, seed 0) the ids of the prompt; for two words the ids
of the answer behind the prompt. Needs tokenizers, transformers, sentencepiece and protobuf.
"""
import base64
import copy
import json
import pathlib
import random
import sys
import tempfile

import sentencepiece
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from sentencepiece import sentencepiece_model_pb2
from transformers import AutoTokenizer

SENTENCES = [
    "the quiet film is good and the loud film is not",
    "Positive or Negative? I can't say that they've won; it's 1234.50$ (really)!",
    "她今天很开心，我不知道为什么。 这部电影真好看",
    "Größe, naïve café, Ångström — “quoted” … ½",
    "привет мир, как дела? مرحبا بالعالم שלום",
    "user assistant system Sentiment of the sentence to Positive, Negative or Neutral",
    "def main():\n    return 0\n\n\n\tx = [1, 2]",
] * 4

SCRIPTS = [
    (0x20, 0x7E, 12),
    (0x61, 0x7A, 20),
    (0x30, 0x39, 3),
    (0xA0, 0x17F, 3),
    (0x300, 0x36F, 2),
    (0x400, 0x45F, 2),
    (0x5D0, 0x5EA, 1),
    (0x600, 0x66F, 2),
    (0x900, 0x97F, 1),
    (0x4E00, 0x9FA5, 4),
    (0x3040, 0x30FF, 1),
    (0xAC00, 0xD7A3, 1),
    (0xFF01, 0xFF5E, 1),
    (0x1F600, 0x1F64F, 2),
    (0x1F3FB, 0x1F3FF, 1),
    (0x2000, 0x200F, 2),
    (0x1, 0x1F, 2),
    (0x1100, 0x11FF, 1),
]
PIECES = [" ", "  ", "\n", "\t", "\u200d", "\ufe0f", "\u3000", "\u2581", "the ", " film", "good", "Positive", "'s", "开心", "\r\n", "\u0130", "e\u0301", "ﬁ"]

CHAT = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPACED = (
    "{{ bos_token }} {% for m in messages %} <|{{ m['role'] }}|>  {{ m['content'] }} \t<|end|> \n{% endfor %}"
    "{% if add_generation_prompt %}x<|assistant|> {% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] | trim }} [/INST]"
    "{% else %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)
PAIR = "[CLS] {{ messages[0].content }} [SEP]{% if messages|length > 1 %}{{ messages[1].content }}[SEP]{% endif %}"

MARKERS = ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>"]


def text(rng):
    """Anything but a marker."""
    out = ""
    for _ in range(rng.randrange(1, 25)):
        if rng.random() < 0.3:
            out += rng.choice(PIECES)
        else:
            low, high, _ = rng.choices(SCRIPTS, [weight for *_, weight in SCRIPTS])[0]
            out += chr(rng.randint(low, high))
    return out


def flags(content, **other):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True, **other}


def unspecial(content, **other):
    """As an older library wrote a control token: that it is one goes without saying."""
    return {key: value for key, value in flags(content, **other).items() if key != "special"}


def added(tokenizer, names, **other):
    """Added tokens behind the vocabulary."""
    vocab = tokenizer["model"]["vocab"]
    vocab = vocab if isinstance(vocab, dict) else {piece: i for i, (piece, _) in enumerate(vocab)}
    tokens, after = [], len(vocab)
    for name in names:
        known = vocab.get(name)
        tokens.append({"id": after if known is None else known, **flags(name, **(other if known is None else {}))})
        after += known is None
    return tokens


def config(**other):
    return {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", **other}


# ---- trained tokenizers ----------------------------------------------------------------------------------------------


def trained(tokenizer, trainer):
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return json.loads(tokenizer.to_str())


def byte_level():
    t = tokenizers.Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=380, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    return trained(t, trainer)


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def metaspace():
    t = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(vocab_size=560, special_tokens=["<unk>", "<s>", "</s>", *BYTES], limit_alphabet=90, show_progress=False)
    whole = trained(t, trainer)
    whole["added_tokens"] = [token for token in whole["added_tokens"] if not token["content"].startswith("<0x")]
    return whole


def word_piece():
    t = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return trained(t, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False))


def unigram():
    t = tokenizers.Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    t.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False)
    return trained(t, trainer)


# Full-width letters, a ligature, a sign of two characters, a space of another kind, and what is left out.
RULES = {"ＡＢ": "AB", "ﬁ": "fi", "½": "1/2", "\u3000": " ", "\t": " ", "\u200d": "", "e\u0301": "é", "…": "..."}


def rules(folder):
    hexes = lambda text: " ".join(f"{ord(c):X}" for c in text)
    path = folder / "rules.tsv"
    path.write_text("".join(f"{hexes(old)}\t{hexes(new)}\n" for old, new in sorted(RULES.items())), encoding="utf-8")
    return {"normalization_rule_tsv": str(path)}


def charsmap():
    """The rules as models carry them."""
    with tempfile.TemporaryDirectory() as folder:
        model = sentence_piece(pathlib.Path(folder), "rules", **rules(pathlib.Path(folder)))
    return base64.b64encode(sentencepiece_model_pb2.ModelProto.FromString(model).normalizer_spec.precompiled_charsmap).decode()


def sentence_piece(folder, name, **options):
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(" ".join(s.split()) for s in SENTENCES), encoding="utf-8")
    settings = {
        "model_type": "bpe", "vocab_size": 480, "character_coverage": 1.0, "byte_fallback": True, "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False, "minloglevel": 2, "hard_vocab_limit": False, **options,
    }
    sentencepiece.SentencePieceTrainer.train(input=str(corpus), model_prefix=str(folder / name), **settings)
    return (folder / f"{name}.model").read_bytes()


# ---- variants --------------------------------------------------------------------------------------------------------


def variant(name, template=CHAT, set=None, files=None, family="llama", **config_keys):
    """`set`: parts of tokenizer.json to replace. `files`: others than tokenizer_config.json."""
    keys = config_keys.pop("config", None)
    keys = {**(config() if keys is None else keys), **config_keys, "chat_template": template}
    return {"name": name, "set": set or {}, "files": {"tokenizer_config.json": keys, "config.json": {"model_type": family}, **(files or {})}}


def flag_variants(base, markers=("<|user|>", "<|assistant|>", "<|end|>")):
    for template, layout in ((CHAT, ""), (SPACED, " spaced")):
        for name, flag in (("plain", {}), ("lstrip", {"lstrip": True}), ("rstrip", {"rstrip": True}), ("both", {"lstrip": True, "rstrip": True}),
                           ("single word", {"single_word": True}), ("normalized", {"normalized": True}), ("not special", {"special": False})):
            tokens = base["added_tokens"] + added(base, markers, **flag)
            yield variant(name + layout, template, {"added_tokens": tokens})


def byte_level_variants(base):
    yield from flag_variants(base)
    tokens = base["added_tokens"] + added(base, MARKERS[2:])
    prefixed = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    yield variant("prefix space", SPACED, {"added_tokens": tokens, "pre_tokenizer": prefixed})
    yield variant("whole words", set={"added_tokens": tokens, "model": {**base["model"], "ignore_merges": True}})
    yield variant("gpt2 with prefix space", SPACED, {"added_tokens": tokens}, tokenizer_class="GPT2Tokenizer", add_prefix_space=True)
    yield variant("gpt2 without prefix space", SPACED, {"added_tokens": tokens, "pre_tokenizer": prefixed}, tokenizer_class="GPT2TokenizerFast")
    lower = {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}
    shouted = base["added_tokens"] + added(base, ["<|USER|>", "<|end|>", "Film", "GOOD"], normalized=True, special=False)
    yield variant("normalized words", CHAT.replace("<|{{ m['role'] }}|>", "<|UsEr|>"), {"added_tokens": shouted, "normalizer": lower})
    blanks = base["added_tokens"] + added(base, MARKERS[2:]) + []
    after = max(token["id"] for token in blanks) + 1
    blanks += [{"id": after + i, **flags(" " * (3 - i), special=False, normalized=True)} for i in range(2)]
    yield variant("blanks", SPACED, {"added_tokens": blanks})
    digits = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, base["pre_tokenizer"]]}
    yield variant("digits", set={"added_tokens": tokens, "pre_tokenizer": digits})
    decoder = {str(token["id"]): {k: v for k, v in token.items() if k != "id"} for token in added(base, MARKERS, rstrip=True)}
    yield variant("flags in the configuration", set={"added_tokens": tokens}, added_tokens_decoder=decoder)
    yield variant("added by the configuration", added_tokens_decoder=decoder)
    yield variant("named in a map", files={"special_tokens_map.json": {
        "bos_token": flags("<s>"), "eos_token": flags("<|end|>", lstrip=True), "extra_special_tokens": ["<|user|>", unspecial("<|assistant|>", rstrip=True)]}})
    yield variant("added_tokens.json", files={"added_tokens.json": {token["content"]: token["id"] for token in added(base, MARKERS[2:])}},
                  additional_special_tokens=["<|user|>"])


def metaspace_variants(base):
    tokens = {"added_tokens": base["added_tokens"] + added(base, MARKERS[2:])}
    yield from flag_variants(base)
    for scheme in ("first", "always", "never"):
        for split in (False, True):
            part = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}
            for template, layout in ((CHAT, "chat"), (INST, "inst"), (SPACED, "spaced")):
                yield variant(f"{scheme} {split} {layout}", template, {**tokens, "pre_tokenizer": part})
    prepend = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    yield variant("prepend", SPACED, {**tokens, "normalizer": prepend, "pre_tokenizer": None})
    yield variant("prepend, normalized", SPACED, {
        "added_tokens": base["added_tokens"] + added(base, MARKERS[2:], normalized=True), "normalizer": prepend, "pre_tokenizer": None})
    for legacy in (True, False, None):
        keys = {} if legacy is None else {"legacy": legacy}
        for template, layout in ((INST, "inst"), (SPACED, "spaced")):
            yield variant(f"llama {legacy} {layout}", template, {**tokens, "normalizer": prepend, "pre_tokenizer": None}, tokenizer_class="LlamaTokenizerFast", **keys)
    yield variant("llama without prefix", INST, tokens, tokenizer_class="LlamaTokenizer", add_prefix_space=False)
    yield variant("no fallback", set={**tokens, "model": {**base["model"], "byte_fallback": False}})
    yield variant("no fallback, unknown apart", set={**tokens, "model": {**base["model"], "byte_fallback": False, "fuse_unk": False}})


def word_piece_variants(base):
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")))
    yield variant("generic", PAIR, config=names, tokenizer_class="PreTrainedTokenizerFast", family="llama")
    yield variant("bert", PAIR, config=names, family="bert")
    yield variant("bert cased", PAIR, config=names, do_lower_case=False, family="bert")
    yield variant("bert accents", PAIR, config=names, strip_accents=False, tokenize_chinese_chars=False, tokenizer_class="BertTokenizer", family="bert")
    yield variant("marks", PAIR + "<|end|>", {"added_tokens": base["added_tokens"] + added(base, ["<|end|>", "Film"], normalized=True, special=False)},
                  config=names, tokenizer_class="PreTrainedTokenizerFast", family="llama")


def vocab_txt_variants(base):
    after = len(base["model"]["vocab"])
    yield variant("vocab.txt", PAIR, config={}, family="bert")
    yield variant("vocab.txt cased", PAIR, config={"do_lower_case": False}, family="bert")
    yield variant("vocab.txt, added_tokens.json", "<u>" + PAIR + "<|end|>", config={}, files={"added_tokens.json": {"<u>": after, "<|end|>": after + 1, "Film": after + 2}}, family="bert")
    decoder = {str(i): flags(name) for i, name in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))}
    decoder[str(after)] = flags("<u>", rstrip=True)
    yield variant("vocab.txt, decoder", "<u>  " + PAIR, config={"tokenizer_class": "BertTokenizer", "added_tokens_decoder": decoder}, family="bert")
    yield variant("vocab.txt, map", "<u>  " + PAIR, config={}, files={"special_tokens_map.json": {"extra_special_tokens": [unspecial("<u>", lstrip=True)]}}, family="bert")


def unigram_variants(base):
    tokens = {"added_tokens": base["added_tokens"] + added(base, MARKERS[2:])}
    yield from flag_variants(base)
    for scheme in ("first", "never"):
        part = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": True}
        yield variant(f"{scheme}", INST, {**tokens, "pre_tokenizer": part})
    yield variant("no normalizer", SPACED, {**tokens, "normalizer": None})
    yield variant("rules", SPACED, {**tokens, "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap()}})
    split = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, base["pre_tokenizer"]]}
    yield variant("words", SPACED, {**tokens, "pre_tokenizer": split})


def sentence_piece_variants(size):
    markers = {str(size + i): flags(name) for i, name in enumerate(MARKERS[2:])}
    decoder = {"0": flags("<unk>"), "1": flags("<s>"), "2": flags("</s>"), **markers}
    stripped = {**decoder, str(size): flags("<|user|>", rstrip=True), str(size + 2): flags("<|end|>", lstrip=True, special=False)}
    for legacy in (True, False, None):
        keys = {} if legacy is None else {"legacy": legacy}
        for template, layout in ((CHAT, "chat"), (INST, "inst"), (SPACED, "spaced")):
            yield variant(f"llama {legacy} {layout}", template, tokenizer_class="LlamaTokenizer", added_tokens_decoder=decoder, **keys)
            yield variant(f"generic {legacy} {layout}", template, added_tokens_decoder=decoder, **keys)
    yield variant("llama flags", SPACED, tokenizer_class="LlamaTokenizer", added_tokens_decoder=stripped, legacy=True)
    yield variant("llama without prefix", INST, tokenizer_class="LlamaTokenizer", added_tokens_decoder=decoder, add_prefix_space=False)
    files = {"added_tokens.json": {name: size + i for i, name in enumerate(MARKERS[2:])},
             "special_tokens_map.json": {"eos_token": flags("<|end|>"), "additional_special_tokens": ["<|user|>"]}}
    yield variant("llama files", CHAT, files=files, tokenizer_class="LlamaTokenizer", legacy=False)
    yield variant("generic files", CHAT, files=files)


# ---- ids -------------------------------------------------------------------------------------------------------------


def ids(tokenizer, messages, **options):
    return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **options)


def answer(tokenizer, words):
    """What stands behind the prompt, up to the first control token of the answer's end."""
    prompt = ids(tokenizer, [{"role": "user", "content": "x"}], add_generation_prompt=True)
    whole = ids(tokenizer, [{"role": "user", "content": "x"}, {"role": "assistant", "content": words}])
    if whole[: len(prompt)] != prompt:
        return None
    rest = whole[len(prompt) :]
    ends = [tokenizer.added_tokens_encoder.get(name) for name in ("<|end|>", "</s>", "[SEP]")]
    at = next((i for i, token in enumerate(rest) if token in ends), None)
    return None if at is None else rest[: at + 1]


def expected(variants, base, rng, count, same):
    """Writes each variant's folder and asks the reference."""
    for one in variants:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            base(folder, one["set"])
            for name, content in one["files"].items():
                (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
            tokenizer = AutoTokenizer.from_pretrained(folder)
            texts = []
            while len(texts) < count:
                one_more = text(rng)
                if same(tokenizer, one_more):
                    texts.append(one_more)
            cases = [[t, ids(tokenizer, [{"role": "user", "content": t}], add_generation_prompt=True)] for t in texts]
            yield {**one, "cases": cases, "answers": {words: answer(tokenizer, words) for words in ("Positive", "so good 开心")}}


def normalised_alike(model):
    """The library applies rules to whole clusters of characters, SentencePiece, which the model is of, to characters."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    def alike(tokenizer, t):
        return processor.normalize(t) == "▁" + tokenizer.backend_tokenizer.normalizer.normalize_str(t)
    return alike


def json_base(whole):
    def write(folder, replaced):
        (folder / "tokenizer.json").write_text(json.dumps({**copy.deepcopy(whole), **replaced}, ensure_ascii=False), encoding="utf-8")
    return write


def main():
    out = pathlib.Path(sys.argv[1])
    seed, count = (int(arg) for arg in (*sys.argv[2:], "0", "24")[:2]) if len(sys.argv) != 3 else (int(sys.argv[2]), 24)
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)

    def save(name, base, variants, same=lambda *_: True, **other):
        done = list(expected(variants, base, rng, count, same))
        lines = ",\n".join(json.dumps(one, ensure_ascii=True) for one in done)
        head = "".join(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=True)},\n" for key, value in other.items())
        (out / f"{name}.json").write_text(f"{{{head}\"variants\": [\n{lines}\n]}}\n", encoding="utf-8")
        print(f"{name}: {len(done)} variants", flush=True)

    for name, make, variants in (("byte-level", byte_level, byte_level_variants), ("metaspace", metaspace, metaspace_variants),
                                 ("word-piece", word_piece, word_piece_variants), ("unigram", unigram, unigram_variants)):
        whole = make()
        save(name, json_base(whole), variants(whole), tokenizer=whole)
        if name == "word-piece":
            vocab = "".join(f"{token}\n" for token, _ in sorted(whole["model"]["vocab"].items(), key=lambda item: item[1]))
            save("vocab", lambda folder, _, vocab=vocab: (folder / "vocab.txt").write_text(vocab, encoding="utf-8"), vocab_txt_variants(whole), vocab=vocab)
    for name, options in (("sentencepiece", {}), ("sentencepiece-rules", {"remove_extra_whitespaces": True}),
                          ("sentencepiece-user-defined", {"user_defined_symbols": ["<tool>", "film"]})):
        with tempfile.TemporaryDirectory() as folder:
            more = rules(pathlib.Path(folder)) if name == "sentencepiece-rules" else {}
            model = sentence_piece(pathlib.Path(folder), name, **options, **more)
        (out / f"{name}.model").write_bytes(model)
        size = sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size()
        variants = sentence_piece_variants(size)
        if name == "sentencepiece-rules":
            variants = (v for v in variants if v["name"].startswith("generic"))
        same = normalised_alike(model) if name == "sentencepiece-rules" else lambda *_: True
        save(name, lambda folder, _, model=model: (folder / "tokenizer.model").write_bytes(model), variants, same)


if __name__ == "__main__":
    main()
