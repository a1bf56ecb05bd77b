.PHONY: test-vms

test-vms: $(STAMP) ## the deployment on virtual machines: real NFS, systemd, injected faults (root; installs Debian packages)
	deploy/staging/test_vms.sh $(ARGS)
