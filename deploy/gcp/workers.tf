# Worker machines beside the first one: the same, but for Redis and beat.

resource "google_compute_instance_template" "extra_worker" {
  #checkov:skip=CKV_GCP_32:block-project-ssh-keys is set, in a local that the check does not follow (asserted in tests/)
  name_prefix  = "idrl-extra-worker-"
  machine_type = var.machine_types.worker
  metadata     = merge(local.metadata.worker, { idrl-first-worker = "0" })

  disk {
    boot         = true
    auto_delete  = true
    source_image = var.image
    disk_size_gb = var.boot_disk_gb
    disk_type    = "pd-balanced"
  }

  network_interface {
    subnetwork = google_compute_subnetwork.role["worker"].id
  }

  service_account {
    email  = google_service_account.role["worker"].email
    scopes = ["cloud-platform"]
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  scheduling {
    automatic_restart           = true
    on_host_maintenance         = "MIGRATE"
    instance_termination_action = var.max_run_hours > 0 ? "DELETE" : null
    dynamic "max_run_duration" {
      for_each = local.run_limits
      content {
        seconds = max_run_duration.value
      }
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_instance_group_manager" "extra_workers" {
  name               = "idrl-extra-workers"
  base_instance_name = "idrl-extra-worker"
  zone               = var.zone
  target_size        = var.extra_workers

  version {
    instance_template = google_compute_instance_template.extra_worker.self_link_unique
  }

  # The script upgrade says when: after the database's schema.
  update_policy {
    type                           = "OPPORTUNISTIC"
    minimal_action                 = "REPLACE"
    most_disruptive_allowed_action = "REPLACE"
    max_surge_fixed                = 0
    max_unavailable_fixed          = 1
  }

  depends_on = [
    google_secret_manager_secret_iam_member.reader,
    google_secret_manager_secret_iam_member.ca_reader,
    google_secret_manager_secret_version.ca,
    google_storage_bucket_iam_member.reader,
  ]
}
