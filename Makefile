# make reproduce   build, run the pipeline, render the tables into reports/
# make test        run every test
# make install     put `emopipe` on the PATH of this user (~/.cargo/bin)
# make parity      the figures of PyTorch and PEFT, and the ids of SentencePiece, against ours
# make bench       the engine's overhead, then training and evaluation beside PyTorch and PEFT (EMOPIPE_PEER=python)
# make bench-cuda  where a GPU is: the tests that need one, then training beside PyTorch and PEFT (EMOPIPE=program built elsewhere)
# make lint        clippy and rustfmt, as CI does
PIPELINE ?= pipelines/paper.toml
PROFILE  ?=
MIRROR   ?=
DATA     ?=
ARGS     ?=

BIN     := target/release/emopipe
SOURCES := Cargo.toml Cargo.lock rust-toolchain.toml $(shell find build src -type f)

.PHONY: build reproduce plan install test parity bench bench-cuda lint

build: $(BIN)

$(BIN): $(SOURCES)
	cargo build --release --locked
	@touch $@

reproduce: $(BIN)
	@$(BIN) run $(PIPELINE) $(if $(PROFILE),--profile $(PROFILE)) $(if $(MIRROR),--mirror $(MIRROR)) $(if $(DATA),--data $(DATA)) $(ARGS)

plan: $(BIN)
	@$(BIN) plan $(PIPELINE) $(if $(PROFILE),--profile $(PROFILE)) $(if $(MIRROR),--mirror $(MIRROR)) $(if $(DATA),--data $(DATA)) $(ARGS)

install:
	cargo install --path . --locked

test:
	cargo test --release --locked

parity:
	$(if $(MIRROR),EMOPIPE_MIRROR=$(abspath $(MIRROR))) cargo test --release --locked --test parity --test parity_encoder --test tokenizer -- --nocapture

bench: $(BIN)
	sh scripts/bench/engine.sh
	python3 scripts/bench/compare.py $(ARGS)

bench-cuda:
	python3 scripts/bench/cuda.py $(ARGS)

lint:
	cargo clippy --release --locked --all-targets -- -D warnings
	cargo fmt --check
