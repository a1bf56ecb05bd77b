.PHONY: env test-containers

env: ## write .env for docker-compose.yml: random passwords and a new key pair
	@containers/make_env.sh

test-containers: $(STAMP) ## the containers, machine by machine and all on one (root; installs Debian packages)
	$(BIN)/pytest containers -p no:cacheprovider $(ARGS)
