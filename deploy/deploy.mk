.PHONY: test-gcp

test-gcp: $(STAMP) ## what can be known of deploy/gcp without a cloud: Terraform, policies, gcloud's options
	@deploy/gcp/check
