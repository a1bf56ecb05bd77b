# Worker machines beside the first one: the same without Redis and the sweeper.

resource "google_compute_instance_template" "extra_worker" {
  #checkov:skip=CKV_GCP_32:block-project-ssh-keys is set in the group's metadata (asserted in tests/)
  name_prefix  = "idrl-extra-worker-"
  machine_type = var.machine_types.worker

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

# A worker that stops answering is made again. Its services answer on their own address.
resource "google_compute_health_check" "worker" {
  name                = "idrl-worker"
  check_interval_sec  = 15
  timeout_sec         = 10
  unhealthy_threshold = 8
  http_health_check {
    port         = 5004
    request_path = "/health"
  }
}

resource "google_compute_instance_group_manager" "extra_workers" {
  name               = "idrl-extra-workers"
  base_instance_name = "idrl-extra-worker"
  zone               = local.zone
  target_size        = var.extra_workers

  version {
    instance_template = google_compute_instance_template.extra_worker.self_link_unique
  }

  # Here and not in the template, which Google cannot delete while a machine uses it.
  all_instances_config {
    metadata = merge(local.metadata.worker, { idrl-first-worker = "0" })
  }

  # One machine after the other, and each replaced only where a change cannot be made in place.
  update_policy {
    type                           = "PROACTIVE"
    minimal_action                 = "REFRESH"
    most_disruptive_allowed_action = "REPLACE"
    replacement_method             = "RECREATE"
    max_surge_fixed                = 0
    max_unavailable_fixed          = 1
  }

  auto_healing_policies {
    health_check = google_compute_health_check.worker.id
    # A first boot installs packages and builds the image.
    initial_delay_sec = 3600
  }

  instance_lifecycle_policy {
    # A machine that ends by its time limit is not made again.
    default_action_on_failure = var.max_run_hours > 0 ? "DO_NOTHING" : "REPAIR"
  }

  # The old template goes once no machine uses it.
  wait_for_instances        = true
  wait_for_instances_status = "UPDATED"
  timeouts {
    create = "60m"
    update = "180m"
  }

  depends_on = [
    google_secret_manager_secret_iam_member.reader,
    google_secret_manager_secret_iam_member.ca_reader,
    google_secret_manager_secret_version.ca,
    google_storage_bucket_iam_member.reader,
    google_compute_router_nat.idrl,
  ]
}
