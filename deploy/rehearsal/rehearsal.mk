.PHONY: test-vms

test-vms: $(STAMP) ## real machines: every kernel its own, real NFS, set up as on GCP, then hurt (root; Debian packages get installed)
	deploy/rehearsal/rehearse.sh $(ARGS)
