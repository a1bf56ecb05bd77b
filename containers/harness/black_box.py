"""Which of the black-box tests (e2e/) each layout of the system runs."""

# What passes from service to service, or leaves them. The other files check answers of the very
# images that containers/test_machines.py runs all of the tests against.
BETWEEN_SERVICES = (
    *("test_journey", "test_tasks", "test_delete", "test_uploads", "test_webhooks", "test_brands"),
    *("test_archives", "test_sharing", "test_source_servers", "test_client"),
)
