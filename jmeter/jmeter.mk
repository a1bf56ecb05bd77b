.PHONY: load-test test-jmeter

JMETER := $(if $(JMETER_HOME),,.cache/jmeter/home)
LOAD_TEST := $(BIN)/python jmeter/load_test.py $(or $(PLAN),journey)

load-test: $(STAMP) $(JMETER) ## load PLAN=journey (or all) of jmeter/ against BASE_URL, or a system of its own
	$(if $(BASE_URL),,$(LOCAL) with-system) $(LOAD_TEST)

test-jmeter: $(STAMP) ## the tests of the load tests: limits and refusals, without Java
	$(BIN)/pytest -c jmeter/pytest.ini jmeter/tests $(ARGS)

.cache/jmeter/home:
	@PYTHON=$(PYTHON) jmeter/get_jmeter.sh $@
