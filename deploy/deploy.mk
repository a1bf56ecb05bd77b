.PHONY: test-gcp

test-gcp: $(STAMP) ## deploy/gcp without a cloud: Terraform, policies, gcloud options
	@deploy/gcp/check
.PHONY: test-alerts

test-alerts: ## the rules and tests of deploy/monitoring by promtool (Debian's, unpacked into .cache)
	promtool=$$(deploy/monitoring/find_promtool.sh) && cd deploy/monitoring && $$promtool check rules alerts.yml \
		&& $$promtool check config --syntax-only prometheus.yml && $$promtool test rules alerts_test.yml
