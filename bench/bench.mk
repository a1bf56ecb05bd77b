.PHONY: bench

BENCH_STAMP := $(VENV)/.bench

$(BENCH_STAMP): locks/bench.txt $(STAMP)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r locks/bench.txt
	@touch $@

bench: $(BENCH_STAMP) ## measure everything, or ONLY="render api", with built-in sources or VIDEO=path (ROUNDS=3, QUICK=1)
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(VIDEO),--video "$(VIDEO)") \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(QUICK),--quick)
