.PHONY: test-gcp

test-gcp: $(STAMP) ## deploy/gcp without a cloud: Terraform, policies, gcloud options
	@deploy/gcp/check
