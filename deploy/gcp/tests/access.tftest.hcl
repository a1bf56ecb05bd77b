# Who reaches what, and who may do what. The cloud is mocked: these runs make nothing.

mock_provider "google" {
  # The instance proves itself by a certificate, of which the mock would know none.
  mock_resource "google_sql_database_instance" {
    defaults = {
      private_ip_address = "10.30.16.3"
      server_ca_cert = [
        for name in ["one", "two"] : {
          cert = name, common_name = "", create_time = "", expiration_time = "", sha1_fingerprint = ""
        }
      ]
    }
  }
  # Otherwise every account has a name of its own in each run, but one that says nothing.
  override_resource {
    target = google_service_account.role["web"]
    values = { email = "web@accounts", member = "serviceAccount:web@accounts" }
  }
  override_resource {
    target = google_service_account.role["worker"]
    values = { email = "worker@accounts", member = "serviceAccount:worker@accounts" }
  }
  override_resource {
    target = google_service_account.role["file"]
    values = { email = "file@accounts", member = "serviceAccount:file@accounts" }
  }
}

variables {
  project        = "a-project-of-tests"
  suffix         = "x1"
  owner_password = "not-a-password"
}

run "callers_reach_the_https_port" {
  assert {
    condition = (
      one(google_compute_firewall.web.allow).ports == tolist(["443"])
      && google_compute_firewall.web.source_ranges == toset(["0.0.0.0/0"])
      && google_compute_firewall.web.target_service_accounts == toset(["web@accounts"])
    )
    error_message = "Anyone may call port 443 of the web machine."
  }
  assert {
    condition = (
      one(google_compute_firewall.acme[0].allow).ports == tolist(["80"])
      && google_compute_firewall.acme[0].source_ranges == toset(["0.0.0.0/0"])
      && google_compute_firewall.acme[0].target_service_accounts == toset(["web@accounts"])
    )
    error_message = "The certificate's authority calls port 80 from anywhere."
  }
  assert {
    condition = (
      output.url == "https://${google_compute_address.web.address}"
      && google_compute_instance.role["web"].metadata["idrl-tls-name"]
      == google_compute_address.web.address
    )
    error_message = "Without a domain the certificate is for the address."
  }
}

run "a_domain_is_what_the_certificate_is_for" {
  variables {
    domain = "clips.example.org"
  }
  assert {
    condition = (
      output.url == "https://clips.example.org"
      && google_compute_instance.role["web"].metadata["idrl-tls-name"] == "clips.example.org"
    )
    error_message = "The domain is the name of the certificate."
  }
}

run "plain_http_is_for_named_ranges_only" {
  command = plan
  variables {
    tls = false
  }
  expect_failures = [var.tls]
}

run "plain_http_in_a_private_range" {
  variables {
    tls            = false
    allowed_ranges = ["203.0.113.0/24"]
  }
  assert {
    condition = (
      one(google_compute_firewall.web.allow).ports == tolist(["5050"])
      && google_compute_firewall.web.source_ranges == toset(["203.0.113.0/24"])
      && length(google_compute_firewall.acme) == 0
      && output.url == "http://${google_compute_address.web.address}:5050"
    )
    error_message = "Port 5050 is open to the named ranges, and port 80 to no address."
  }
}

run "a_range_that_is_none" {
  command = plan
  variables {
    allowed_ranges = ["everybody"]
  }
  expect_failures = [var.allowed_ranges]
}

run "machines_reach_what_they_need_of_each_other" {
  assert {
    condition = { for name, rule in google_compute_firewall.between : name => [rule.source_service_accounts, rule.target_service_accounts, one(rule.allow).ports] } == {
      tasks  = [toset(["web@accounts"]), toset(["worker@accounts"]), tolist(["5004"])]
      worker = [toset(["worker@accounts"]), toset(["worker@accounts"]), tolist(["5004", "6379"])]
      share  = [toset(["worker@accounts"]), toset(["file@accounts"]), tolist(["2049"])]
    }
    error_message = "web calls the workers' tasks service, workers each other's and Redis, and the share. Nothing else is allowed."
  }
  assert {
    condition     = alltrue([for rule in google_compute_firewall.between : length(coalesce(rule.source_ranges, [])) == 0])
    error_message = "No rule between machines names addresses."
  }
}

run "health_checks_reach_workers_alone" {
  assert {
    condition = (
      google_compute_firewall.probes.source_ranges == toset(["35.191.0.0/16", "130.211.0.0/22"])
      && google_compute_firewall.probes.target_service_accounts == toset(["worker@accounts"])
      && one(google_compute_firewall.probes.allow).ports == tolist(["5004"])
    )
    error_message = "Google's health checks call the tasks service of workers."
  }
}

run "ssh_by_identity_aware_proxy_alone" {
  assert {
    condition     = one(google_compute_firewall.ssh.allow).ports == tolist(["22"]) && google_compute_firewall.ssh.source_ranges == toset(["35.235.240.0/20"])
    error_message = "ssh comes through Identity-Aware Proxy."
  }
}

run "the_file_machine_does_not_reach_the_database" {
  assert {
    condition = (
      google_compute_firewall.no_database_for_file.direction == "EGRESS"
      && google_compute_firewall.no_database_for_file.target_service_accounts == toset(["file@accounts"])
      && google_compute_firewall.no_database_for_file.destination_ranges == toset(["10.30.16.0/24"])
      && one(google_compute_firewall.no_database_for_file.deny).protocol == "all"
    )
    error_message = "Only web and workers talk to the database."
  }
}

run "the_database_is_private_encrypted_and_saved" {
  assert {
    condition = (
      google_sql_database_instance.idrl.settings[0].ip_configuration[0].ipv4_enabled == false
      && google_sql_database_instance.idrl.settings[0].ip_configuration[0].ssl_mode == "ENCRYPTED_ONLY"
      && length(google_sql_database_instance.idrl.settings[0].ip_configuration[0].authorized_networks) == 0
    )
    error_message = "No public address, no connection without TLS."
  }
  assert {
    condition = (
      google_sql_database_instance.idrl.settings[0].backup_configuration[0].enabled
      && google_sql_database_instance.idrl.settings[0].backup_configuration[0].point_in_time_recovery_enabled
    )
    error_message = "It can be brought back to any second of the last week."
  }
  assert {
    condition = (
      google_sql_database_instance.idrl.settings[0].deletion_protection_enabled
      && google_sql_database_instance.idrl.settings[0].retain_backups_on_delete
    )
    error_message = "The API refuses to delete it, and its backups would stay."
  }
  assert {
    condition     = !google_sql_database_instance.idrl.deletion_protection
    error_message = "A guard of Terraform's own would need an apply before a teardown."
  }
  assert {
    condition     = alltrue([for role in ["web", "worker"] : google_compute_instance.role[role].metadata["idrl-database-sslmode"] == "verify-ca"])
    error_message = "It has to prove itself to the machines."
  }
}

run "a_trial_can_be_deleted" {
  variables {
    deletion_protection = false
  }
  assert {
    condition = alltrue([
      !google_sql_database_instance.idrl.settings[0].deletion_protection_enabled,
      !google_sql_database_instance.idrl.settings[0].retain_backups_on_delete,
      !google_compute_instance.role["file"].deletion_protection,
    ])
    error_message = "Without protection everything goes."
  }
}

run "each_role_reads_its_own_secrets" {
  assert {
    condition = { for role in ["web", "worker", "file"] : role => join(" ", sort([
      for key, grant in google_secret_manager_secret_iam_member.reader : split("/", key)[1] if grant.member == "serviceAccount:${role}@accounts"
      ])) } == {
      web    = "idrl-jwt-private-key idrl-jwt-public-key idrl-postgres-owner-password idrl-postgres-web-password idrl-postgres-worker-password"
      worker = "idrl-jwt-public-key idrl-postgres-worker-password idrl-redis-password"
      file   = ""
    }
    error_message = "The key that signs is web's alone; the file machine reads no secret."
  }
  assert {
    condition     = alltrue([for grant in google_secret_manager_secret_iam_member.reader : grant.role == "roles/secretmanager.secretAccessor"])
    error_message = "Reading, and nothing else."
  }
}

run "each_machine_has_its_roles_account" {
  assert {
    condition     = alltrue([for role, machine in google_compute_instance.role : machine.service_account[0].email == "${role}@accounts"])
    error_message = "No machine has the project's default account."
  }
  assert {
    condition     = google_compute_instance_template.extra_worker.service_account[0].email == "worker@accounts"
    error_message = "Further worker machines have the workers'."
  }
  assert {
    condition     = alltrue([for grant in google_storage_bucket_iam_member.reader : grant.role == "roles/storage.objectViewer"])
    error_message = "Releases are read, never written, by machines."
  }
  assert {
    condition = { for grant in google_project_iam_member.telemetry : grant.member => grant.role... } == {
      for role in ["web", "worker", "file"] :
      "serviceAccount:${role}@accounts" => ["roles/logging.logWriter", "roles/monitoring.metricWriter"]
    }
    error_message = "In the project, machines write logs and metrics and nothing else."
  }
}

run "images_are_built_once_and_read_by_who_runs_them" {
  assert {
    condition = (
      google_artifact_registry_repository.images[0].location == "europe-west1"
      && output.registry == "europe-west1-docker.pkg.dev/a-project-of-tests/idrl"
      && { for role, grant in google_artifact_registry_repository_iam_member.reader : role => grant.member }
      == { web = "serviceAccount:web@accounts", worker = "serviceAccount:worker@accounts" }
      && google_artifact_registry_repository_iam_member.writer[0].member
      == google_service_account.build[0].member
    )
    error_message = "Web and workers read images; only the account that builds writes them."
  }
}

run "images_can_be_built_on_the_machines" {
  variables {
    build_images = "machine"
  }
  assert {
    condition = (
      length(google_artifact_registry_repository.images) == 0
      && length(google_service_account.build) == 0
      && output.registry == ""
    )
    error_message = "Without the registry nothing is there that builds."
  }
}

run "the_database_fits_its_clients" {
  assert {
    condition = one([
      for flag in google_sql_database_instance.idrl.settings[0].database_flags :
      flag.value if flag.name == "max_connections"
    ]) == "100"
    error_message = "The first three machines may open 58 connections; the default allows 50."
  }
  assert {
    condition = (
      google_sql_database_instance.idrl.settings[0].disk_autoresize_limit == 50
      && google_sql_database_instance.idrl.settings[0].ip_configuration[0].server_ca_mode
      == "GOOGLE_MANAGED_INTERNAL_CA"
    )
    error_message = "Its disk grows to a limit, and its authority is named."
  }
  assert {
    condition     = google_secret_manager_secret_version.ca.secret_data == "one\ntwo"
    error_message = "While the authority is rotated, machines trust both."
  }
}

run "more_workers_raise_the_databases_limit" {
  variables {
    extra_workers = 5
  }
  assert {
    condition = one([
      for flag in google_sql_database_instance.idrl.settings[0].database_flags :
      flag.value if flag.name == "max_connections"
    ]) == "200"
    error_message = "70 + 5 * 12 connections need the next step."
  }
}

run "many_workers_need_a_larger_database" {
  command = plan
  variables {
    extra_workers = 11
  }
  expect_failures = [google_sql_database_instance.idrl]
}

run "names_that_google_keeps_are_this_installations_own" {
  assert {
    condition = (
      google_compute_network.idrl.name == "idrl-x1"
      && google_sql_database_instance.idrl.name == "idrl-x1"
      && google_compute_global_address.database.name == "idrl-x1-database"
      && google_service_networking_connection.database.update_on_creation_fail
    )
    error_message = "A second life in the project never meets what is left of the first."
  }
}

run "names_of_an_installation_by_0_1_0_stay" {
  variables {
    suffix = ""
  }
  assert {
    condition = (
      google_compute_network.idrl.name == "idrl"
      && google_sql_database_instance.idrl.name == "idrl"
    )
    error_message = "Without a suffix the names are the old ones."
  }
}

run "nat_has_ports_for_parallel_downloads" {
  assert {
    condition = (
      google_compute_router_nat.idrl.min_ports_per_vm == 1024
      && google_compute_router_nat.idrl.tcp_time_wait_timeout_sec == 30
    )
    error_message = "64 ports a machine, held for 120 s each, run out."
  }
}

run "nobody_is_told_unless_wanted" {
  assert {
    condition     = length(google_monitoring_alert_policy.alert) == 0
    error_message = "No mail without an address."
  }
}

run "one_address_is_told" {
  variables {
    alert_email = "ops@example.org"
  }
  assert {
    condition = (
      keys(google_monitoring_alert_policy.alert) == ["disk", "down"]
      # Ubuntu's snaps are mounted from loop devices, which are always full.
      && strcontains(
        google_monitoring_alert_policy.alert["disk"].conditions[0].condition_threshold[0].filter,
        "metric.labels.device != monitoring.regex.full_match(\".*loop.*\")",
      )
      && strcontains(
        google_monitoring_alert_policy.alert["down"].conditions[0].condition_threshold[0].filter,
        one([for check in google_monitoring_uptime_check_config.ready : check.uptime_check_id]),
      )
      && one([for check in google_monitoring_uptime_check_config.ready : check.http_check[0].port]) == 443
      && one([for check in google_monitoring_uptime_check_config.ready : check.http_check[0].validate_ssl])
      && one([for channel in google_monitoring_notification_channel.email : channel.labels.email_address])
      == "ops@example.org"
    )
    error_message = "The address hears of an outage and of a full disk."
  }
}

run "google_is_not_asked_to_check_what_it_may_not_call" {
  variables {
    alert_email    = "ops@example.org"
    allowed_ranges = ["203.0.113.0/24"]
  }
  assert {
    condition = (
      length(google_monitoring_uptime_check_config.ready) == 0
      && keys(google_monitoring_alert_policy.alert) == ["disk"]
    )
    error_message = "The uptime check comes from Google's addresses."
  }
}
