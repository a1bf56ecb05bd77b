# Clients that public generators make of docs/openapi.yaml, compiled and used; clients of tus.

CLIENTS := .cache/clients
.PHONY: test-clients

test-clients: $(STAMP) $(CLIENTS)/.installed ## generated Python and TypeScript clients make the whole journey, tus clients send files, on systems of their own (ARGS="-m slow" for large files)
	@rm -rf $(CLIENTS)/idrl_generated
	PATH="$(CURDIR)/$(CLIENTS)/venv/bin:$$PATH" openapi-python-client generate --path docs/openapi.yaml \
		--config e2e/generated/openapi-python-client.yml --meta none --fail-on-warning --output-path $(CLIENTS)/idrl_generated
	@cp e2e/generated/journey.ts e2e/generated/tsconfig.json $(CLIENTS)
	cd $(CLIENTS) && node_modules/.bin/openapi-typescript ../../docs/openapi.yaml -o api.d.ts && node_modules/.bin/tsc
	$(LOCAL) with-system sh -c 'PYTHONPATH=$(CLIENTS) $(CLIENTS)/venv/bin/python e2e/generated/journey.py && node $(CLIENTS)/journey.js'
	@cp e2e/tus_clients/send_by_tus_js.js $(CLIENTS)
	CLIENTS="$(CURDIR)/$(CLIENTS)" $(LOCAL) with-system $(BIN)/pytest e2e/tus_clients $(or $(ARGS),-m "not slow")

$(CLIENTS)/.installed: locks/clients.txt e2e/generated/package.json e2e/generated/package-lock.json | $(STAMP)
	@mkdir -p $(CLIENTS)
	@cp e2e/generated/package.json e2e/generated/package-lock.json $(CLIENTS)
	@test -x $(CLIENTS)/venv/bin/python || $(BIN)/python -m venv --without-pip $(CLIENTS)/venv
	@$(BIN)/uv pip sync --quiet --python $(CLIENTS)/venv/bin/python --require-hashes locks/clients.txt
	@cd $(CLIENTS) && npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@
