# What the images are made of (SBOM), what is known against it (audit), and their base images.

SUPPLY := .cache/supply
# A lock for each image, and the one of development.
SBOM_LOCKS := web-server worker-server psg certbot all
.PHONY: sbom audit raise-images test-supply

sbom: $(SUPPLY)/.installed ## write a CycloneDX file for each image's lock into sbom/
	@mkdir -p sbom
	@for lock in $(SBOM_LOCKS); do \
		$(SUPPLY)/bin/cyclonedx-py requirements locks/$$lock.txt --output-reproducible --validate --output-file sbom/$$lock.cdx.json || exit; \
		echo "wrote sbom/$$lock.cdx.json"; done

audit: $(SUPPLY)/.installed ## ask osv.dev for vulnerabilities of the locks (1: there are some; 3: osv.dev cannot be reached)
	@$(BIN)/python deploy/supply/audit.py $(SUPPLY)/bin/pip-audit $(SBOM_LOCKS:%=locks/%.txt) $(ARGS)

raise-images: ## pin the base images to the registry's newest of their tags (needs docker and the registry)
	@deploy/supply/raise_images.sh

test-supply: $(STAMP) sbom ## tests of the three above, without any network
	$(BIN)/pytest deploy/supply $(ARGS)

$(SUPPLY)/.installed: locks/supply.txt | $(STAMP)
	@test -x $(SUPPLY)/bin/python || $(BIN)/python -m venv --without-pip $(SUPPLY)
	@$(BIN)/uv pip sync --quiet --python $(SUPPLY)/bin/python --require-hashes $<
	@touch $@
