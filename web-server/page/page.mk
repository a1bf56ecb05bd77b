# The page at `/`: web-server/page/src, bundled into files that the web app serves.

PAGE := web-server/page
PAGE_ASSETS := web-server/src/web_server/page_assets
PAGE_TOOLS := .cache/page
ESBUILD = $(PAGE_TOOLS)/node_modules/.bin/esbuild
BUNDLE = NODE_PATH=$(PAGE_TOOLS)/node_modules $(ESBUILD) --bundle --minify --target=es2022 --legal-comments=none --log-level=warning
.PHONY: page bundle-page check-page types-page test-page bench-page pictures

page: $(PAGE_TOOLS)/.installed ## bundle the page (after a change in web-server/page/src)
	@$(MAKE) --no-print-directory bundle-page TO=$(PAGE_ASSETS)

bundle-page: $(PAGE_TOOLS)/.installed
	@mkdir -p $(TO)
	$(BUNDLE) --format=esm --outfile=$(TO)/app.js $(PAGE)/src/main.js
	$(BUNDLE) --outfile=$(TO)/app.css $(PAGE)/src/app.css
	@cp $(PAGE)/src/index.html $(PAGE)/src/icon.svg $(TO)

check-page: $(PAGE_TOOLS)/.installed ## check the page's types, and that the committed bundle is made of its source
	@cp $(PAGE)/tsconfig.json $(PAGE_TOOLS)
	$(PAGE_TOOLS)/node_modules/.bin/tsc --project $(PAGE_TOOLS)/tsconfig.json
	@$(MAKE) --no-print-directory bundle-page TO=$(PAGE_TOOLS)/bundle
	diff --recursive --brief $(PAGE_TOOLS)/bundle $(PAGE_ASSETS)

$(PAGE_TOOLS)/.installed: $(PAGE)/package.json $(PAGE)/package-lock.json
	@mkdir -p $(PAGE_TOOLS)
	@cp $^ $(PAGE_TOOLS)
	@cd $(PAGE_TOOLS) && npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

types: types-page

# In the environment of these tests, which alone has Playwright.
types-page: $(STAMP) $(PAGE_TOOLS)/venv/.synced
	@printf '$(PAGE): '
	@MYPYPATH=$(PAGE)/tests $(BIN)/mypy --python-executable $(PAGE_TOOLS)/venv/bin/python $(PAGE)/tests $(PAGE)/make_pictures.py

test-page: $(STAMP) $(PAGE_TOOLS)/.installed $(PAGE_TOOLS)/venv/.synced ## the page in Chromium, on a system of its own (ARGS="-k phone"; PICTURES=folder)
	@$(MAKE) --no-print-directory check-page
	$(LOCAL) with-system $(PAGE_TOOLS)/venv/bin/pytest $(PAGE)/tests -c $(PAGE)/tests/pytest.ini --rootdir $(CURDIR) -p no:cacheprovider $(ARGS)

bench-page: ## what a long video and a long list take in Chromium, held to limits: on a machine that does nothing else
	@HOLD_TIMES=1 $(MAKE) --no-print-directory test-page ARGS="-k 'long_video or long_list'"

$(PAGE_TOOLS)/venv/.synced: locks/page.txt | $(STAMP)
	@test -x $(PAGE_TOOLS)/venv/bin/python || $(BIN)/python -m venv --without-pip $(PAGE_TOOLS)/venv
	@$(BIN)/uv pip sync --quiet --python $(PAGE_TOOLS)/venv/bin/python --require-hashes locks/page.txt
	@touch $@

pictures: $(STAMP) $(PAGE_TOOLS)/.installed $(PAGE_TOOLS)/venv/.synced ## make the READMEs' pictures of the page
	$(LOCAL) with-system $(PAGE_TOOLS)/venv/bin/python $(PAGE)/make_pictures.py \
		"$$($(BIN)/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')"
