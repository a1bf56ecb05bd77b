# What the images are made of (SBOM), what is known against it (audit), and their base images.

SUPPLY := .cache/supply
# A lock for each image, and the one of development.
SBOM_LOCKS := web-server worker-server psg certbot all
CLIENT := .cache/client
.PHONY: sbom audit raise-images test-supply wheels

wheels: $(STAMP) ## build the wheels of the client and the apps into dist/, the same bytes for the same commit
	@rm -rf dist
	@BIN=$(BIN) deploy/supply/build_wheels.sh dist
	@cd dist && sha256sum *.whl

# The command as a user installs it: its wheel alone, in an environment of its own.
$(CLIENT)/.installed: locks/all.txt clients/python/pyproject.toml $(wildcard clients/python/src/idrl_client/*.py) | $(STAMP)
	@rm -rf $(CLIENT)
	@$(BIN)/python -m venv --without-pip $(CLIENT)
	@BIN=$(BIN) deploy/supply/build_wheels.sh $(CLIENT)/wheels
	@$(BIN)/uv pip install --quiet --python $(CLIENT)/bin/python --constraint locks/all.txt $(CLIENT)/wheels/idrl_client-*.whl
	@touch $@

sbom: $(SUPPLY)/.installed ## write a CycloneDX file for each image's lock into sbom/
	@mkdir -p sbom
	@for lock in $(SBOM_LOCKS); do \
		$(SUPPLY)/bin/cyclonedx-py requirements locks/$$lock.txt --output-reproducible --validate --output-file sbom/$$lock.cdx.json || exit; \
		echo "wrote sbom/$$lock.cdx.json"; done

audit: $(SUPPLY)/.installed ## ask osv.dev for vulnerabilities of the locks (1: there are some; 3: osv.dev cannot be reached)
	@$(BIN)/python deploy/supply/audit.py $(SUPPLY)/bin/pip-audit $(SBOM_LOCKS:%=locks/%.txt) $(ARGS)

raise-images: ## pin the base images to the registry's newest of their tags (needs docker and the registry)
	@deploy/supply/raise_images.sh

test-supply: $(STAMP) sbom ## tests of the four above, without any network
	$(BIN)/pytest deploy/supply $(ARGS)

$(SUPPLY)/.installed: locks/supply.txt | $(STAMP)
	@test -x $(SUPPLY)/bin/python || $(BIN)/python -m venv --without-pip $(SUPPLY)
	@$(BIN)/uv pip sync --quiet --python $(SUPPLY)/bin/python --require-hashes $<
	@touch $@
