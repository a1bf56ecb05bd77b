.PHONY: chaos test-chaos

chaos: $(STAMP) ## inject faults into a system under load, then audit it (MINUTES=10 SEED=1 KINDS="redis_killed")
	$(BIN)/python -m chaos --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1) $(if $(KINDS),--kinds $(KINDS))

test-chaos: $(STAMP) ## each kind of fault alone, in the middle of work (ARGS="-k redis")
	$(BIN)/pytest chaos/tests $(ARGS)
