# Requests made of docs/openapi.yaml by schemathesis, valid and invalid, in an environment of its own.

SCHEMATHESIS := .cache/schemathesis
.PHONY: test-schemas

# The sources in these requests are random: no download may leave this machine (every network but 127.0.0.0/8).
FOREIGN_NETWORKS := 0.0.0.0/2,64.0.0.0/3,96.0.0.0/4,112.0.0.0/5,120.0.0.0/6,124.0.0.0/7,126.0.0.0/8,128.0.0.0/1,::/0
test-schemas: $(STAMP) $(SCHEMATHESIS)/.installed ## schemathesis against a system of its own, healthy and with Redis stopped (ARGS="--seed 3")
	FETCH_DENY_HOSTS=$(FOREIGN_NETWORKS) $(LOCAL) with-system \
		$(BIN)/python e2e/schemas/run.py $(SCHEMATHESIS)/bin/st $(ARGS)

$(SCHEMATHESIS)/.installed: locks/schemathesis.txt | $(STAMP)
	@test -x $(SCHEMATHESIS)/bin/python || $(BIN)/python -m venv --without-pip $(SCHEMATHESIS)
	@$(BIN)/uv pip sync --quiet --python $(SCHEMATHESIS)/bin/python --require-hashes $<
	@touch $@
