# Who reaches what, and who may do what. The cloud is mocked: these runs make nothing.

mock_provider "google" {
  # The instance proves itself by a certificate, of which the mock would know none.
  mock_resource "google_sql_database_instance" {
    defaults = {
      private_ip_address = "10.30.16.3"
      server_ca_cert     = [{ cert = "a certificate", common_name = "", create_time = "", expiration_time = "", sha1_fingerprint = "" }]
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
  project         = "a-project-of-tests"
  revision        = "0123abc"
  release_archive = "tests/release.txt"
  owner_password  = "not-a-password"
}

run "the_world_reaches_one_port" {
  assert {
    condition = (
      one(google_compute_firewall.web.allow).ports == tolist(["5050"]) && google_compute_firewall.web.source_ranges == toset(["0.0.0.0/0"])
      && google_compute_firewall.web.target_service_accounts == toset(["web@accounts"])
    )
    error_message = "Everybody may call port 5050 of the web machine."
  }
}

run "the_world_can_be_made_smaller" {
  variables {
    allowed_ranges = ["203.0.113.0/24"]
  }
  assert {
    condition     = google_compute_firewall.web.source_ranges == toset(["203.0.113.0/24"])
    error_message = "Only these may call."
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
    error_message = "Addresses give no right here."
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
    condition     = google_sql_database_instance.idrl.deletion_protection && google_sql_database_instance.idrl.settings[0].deletion_protection_enabled
    error_message = "It is not deleted by mistake."
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
    condition     = !google_sql_database_instance.idrl.deletion_protection && !google_compute_instance.role["file"].deletion_protection
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
    condition     = google_storage_bucket.releases.public_access_prevention == "enforced" && google_storage_bucket.releases.uniform_bucket_level_access
    error_message = "Releases are not for the world."
  }
}
