.PHONY: chaos chaos-short test-chaos

chaos: $(STAMP) ## inject faults into a system under load, then audit it (MINUTES=10 SEED=1 KINDS="redis_killed")
	$(BIN)/python -m chaos --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1) $(if $(KINDS),--kinds $(KINDS))

chaos-short: ## a run of three minutes, with a fixed seed
	$(MAKE) chaos MINUTES=3 SEED=2

test-chaos: $(STAMP) ## each kind of fault alone, in the middle of work (ARGS="-k redis")
	$(BIN)/pytest chaos/tests $(ARGS)
