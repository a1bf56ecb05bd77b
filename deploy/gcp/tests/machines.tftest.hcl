# What the machines are. The cloud is mocked: these runs make nothing.

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
}

variables {
  project        = "a-project-of-tests"
  suffix         = "x1"
  owner_password = "not-a-password"
}

run "machines_are_shielded" {
  assert {
    condition = alltrue([for machine in google_compute_instance.role : alltrue([
      machine.shielded_instance_config[0].enable_secure_boot,
      machine.shielded_instance_config[0].enable_vtpm,
      machine.shielded_instance_config[0].enable_integrity_monitoring,
    ])])
    error_message = "Every machine boots signed code only, and can prove it."
  }
  assert {
    condition = alltrue([
      google_compute_instance_template.extra_worker.shielded_instance_config[0].enable_secure_boot,
      google_compute_instance_template.extra_worker.shielded_instance_config[0].enable_vtpm,
      google_compute_instance_template.extra_worker.shielded_instance_config[0].enable_integrity_monitoring,
    ])
    error_message = "So does every further worker machine."
  }
}

run "machines_are_of_the_size_to_fit" {
  assert {
    condition     = keys(google_compute_instance.role) == ["file", "web", "worker"]
    error_message = "There is one machine a role."
  }
  assert {
    condition = alltrue([for machine in google_compute_instance.role :
      machine.boot_disk[0].initialize_params[0].size == 20
      && machine.boot_disk[0].initialize_params[0].image == "debian-cloud/debian-12"
    ])
    error_message = "20 GiB, Debian with long-term support."
  }
  assert {
    condition = { for role, machine in google_compute_instance.role : role => machine.machine_type } == {
      web = "e2-small", worker = "e2-standard-2", file = "e2-small"
    }
    error_message = "Renders get two whole cores and 8 GiB."
  }
  assert {
    condition     = google_compute_instance_template.extra_worker.machine_type == "e2-standard-2"
    error_message = "So do further workers."
  }
}

run "people_come_by_os_login" {
  assert {
    condition = alltrue([
      for machine in concat(
        values(google_compute_instance.role),
        google_compute_instance_group_manager.extra_workers.all_instances_config,
      ) :
      machine.metadata["enable-oslogin"] == "TRUE"
      && machine.metadata["block-project-ssh-keys"] == "TRUE"
      && machine.metadata["serial-port-enable"] == "FALSE"
    ])
    error_message = "No key of the project opens a machine; people log in with their Google account."
  }
}

run "only_the_web_machine_has_a_public_address" {
  assert {
    condition     = [for role, machine in google_compute_instance.role : role if length(machine.network_interface[0].access_config) > 0] == ["web"]
    error_message = "Only the web machine has a public address."
  }
  assert {
    condition     = length(google_compute_instance_template.extra_worker.network_interface[0].access_config) == 0
    error_message = "Further worker machines have none."
  }
}

run "machines_are_told_the_release_and_where_the_others_are" {
  assert {
    condition = alltrue([for role, machine in google_compute_instance.role :
      machine.metadata["idrl-role"] == role
      && machine.metadata["idrl-releases-url"]
      == "https://storage.googleapis.com/a-project-of-tests-idrl-releases"
      && length([for name in keys(machine.metadata) : name if strcontains(name, "revision")]) == 0
      && machine.metadata["startup-script"] == file("../provision/bootstrap")
    ])
    error_message = "The bucket says which release runs; a release changes no machine's definition."
  }
  assert {
    condition = (
      google_compute_instance.role["web"].metadata["idrl-tasks-host"] == "idrl-worker.europe-west1-b.c.a-project-of-tests.internal"
      && google_compute_instance.role["worker"].metadata["idrl-file-host"] == "idrl-file.europe-west1-b.c.a-project-of-tests.internal"
      && google_compute_instance.role["file"].metadata["idrl-worker-subnet"] == google_compute_subnetwork.role["worker"].ip_cidr_range
    )
    error_message = "They know each other by the network's own names."
  }
  assert {
    condition = (
      google_compute_instance.role["worker"].metadata["idrl-first-worker"] == "1"
      && google_compute_instance_group_manager.extra_workers.all_instances_config[0].metadata["idrl-first-worker"] == "0"
      && google_compute_instance_group_manager.extra_workers.all_instances_config[0].metadata["idrl-tasks-host"] == google_compute_instance.role["worker"].metadata["idrl-tasks-host"]
    )
    error_message = "There is one Redis, on the first worker machine."
  }
}

run "nothing_secret_is_in_the_metadata" {
  assert {
    condition = alltrue([
      for machine in concat(
        values(google_compute_instance.role),
        google_compute_instance_group_manager.extra_workers.all_instances_config,
      ) :
      length(setsubtract(keys(machine.metadata), [
        "enable-oslogin", "block-project-ssh-keys", "serial-port-enable", "VmDnsSetting",
        "startup-script", "idrl-role", "idrl-releases-url", "idrl-tasks-host", "idrl-file-host",
        "idrl-database-host", "idrl-database-port", "idrl-database-name", "idrl-database-user",
        "idrl-database-sslmode", "idrl-first-worker", "idrl-worker-subnet", "idrl-data-disk",
        "idrl-tls-name", "idrl-tls-email", "idrl-ops-agent", "idrl-settings",
      ])) == 0
    ])
    error_message = "Metadata has settings only: everybody who may see the machine can read it."
  }
}

run "no_further_workers_unless_wanted" {
  assert {
    condition     = google_compute_instance_group_manager.extra_workers.target_size == 0
    error_message = "One worker machine is the start."
  }
}

run "further_workers_are_a_number" {
  variables {
    extra_workers = 3
  }
  assert {
    condition     = google_compute_instance_group_manager.extra_workers.target_size == 3
    error_message = "extra_workers is the number of further worker machines."
  }
}

run "a_number_of_workers_that_is_none" {
  command = plan
  variables {
    extra_workers = -1
  }
  expect_failures = [var.extra_workers]
}

run "no_time_limit_unless_wanted" {
  assert {
    condition     = alltrue([for machine in google_compute_instance.role : length(machine.scheduling[0].max_run_duration) == 0])
    error_message = "Machines stay."
  }
  assert {
    condition     = google_compute_instance.role["file"].deletion_protection
    error_message = "The machine with the share is not deleted by mistake."
  }
}

run "a_trial_ends_by_itself" {
  variables {
    max_run_hours = 3
  }
  assert {
    condition = alltrue([for machine in concat(values(google_compute_instance.role), [google_compute_instance_template.extra_worker]) :
      machine.scheduling[0].max_run_duration[0].seconds == 10800 && machine.scheduling[0].instance_termination_action == "DELETE"
      && !try(machine.deletion_protection, false)
    ])
    error_message = "Every machine is deleted after three hours."
  }
  assert {
    condition = (
      google_compute_instance_group_manager.extra_workers.instance_lifecycle_policy[0].default_action_on_failure
      == "DO_NOTHING"
    )
    error_message = "The group makes no worker again that its time limit deleted."
  }
}

run "services_get_their_further_settings" {
  variables {
    settings = { web = { AUTH_RATE = "9r/s", AUTH_BURST = "90" } }
  }
  assert {
    condition     = google_compute_instance.role["web"].metadata["idrl-settings"] == "AUTH_BURST=90\nAUTH_RATE=9r/s"
    error_message = "One NAME=value a line."
  }
}

run "the_share_has_its_own_disk_and_snapshots" {
  assert {
    condition     = google_compute_instance.role["file"].attached_disk[0].device_name == "share" && google_compute_instance.role["file"].metadata["idrl-data-disk"] == "/dev/disk/by-id/google-share"
    error_message = "The file machine finds the disk by its name."
  }
  assert {
    condition     = google_compute_disk_resource_policy_attachment.snapshots.disk == google_compute_disk.share.name && google_compute_resource_policy.snapshots.snapshot_schedule_policy[0].retention_policy[0].max_retention_days == 14
    error_message = "It is saved every day, for two weeks."
  }
}

run "further_workers_change_one_at_a_time" {
  variables {
    extra_workers = 2
  }
  assert {
    condition = (
      google_compute_instance_group_manager.extra_workers.update_policy[0].max_unavailable_fixed == 1
      && google_compute_instance_group_manager.extra_workers.update_policy[0].max_surge_fixed == 0
      && google_compute_instance_group_manager.extra_workers.update_policy[0].minimal_action == "REFRESH"
      && google_compute_instance_group_manager.extra_workers.wait_for_instances
    )
    error_message = "One machine at a time, in place where that is possible."
  }
  assert {
    condition     = length(coalesce(google_compute_instance_template.extra_worker.metadata, {})) == 0
    error_message = "Settings in the template would make another one for each change."
  }
  assert {
    condition = (
      google_compute_instance_group_manager.extra_workers.auto_healing_policies[0].initial_delay_sec
      == 3600
      && google_compute_health_check.worker.http_health_check[0].port == 5004
      && google_compute_instance_group_manager.extra_workers.instance_lifecycle_policy[0].default_action_on_failure
      == "REPAIR"
    )
    error_message = "A worker that does not answer is made again."
  }
}

run "the_share_leaves_a_snapshot" {
  assert {
    condition     = google_compute_disk.share.create_snapshot_before_destroy
    error_message = "Whatever deletes the share's disk, a snapshot of it stays."
  }
}
