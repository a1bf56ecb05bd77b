locals {
  # The machines' names in the network's own DNS.
  host = {
    for name in ["worker", "file"] : name => "idrl-${name}.${local.zone}.c.${var.project}.internal"
  }
  tls_name = coalesce(var.domain, google_compute_address.web.address)

  # The same for every machine: who may log in, and what to run at each boot. The release is not
  # here: machines read its name in the bucket, which the script upgrade changes after the schema.
  common_metadata = {
    enable-oslogin         = "TRUE"
    block-project-ssh-keys = "TRUE"
    serial-port-enable     = "FALSE"
    VmDnsSetting           = "ZonalOnly"
    startup-script         = file("${path.module}/../provision/bootstrap")
    idrl-releases-url      = "https://storage.googleapis.com/${local.releases_bucket}"
    idrl-ops-agent         = "1"
  }
  database_metadata = {
    idrl-tasks-host       = local.host.worker
    idrl-database-host    = google_sql_database_instance.idrl.private_ip_address
    idrl-database-port    = "5432"
    idrl-database-name    = google_sql_database.idrl.name
    idrl-database-user    = google_sql_user.owner.name
    idrl-database-sslmode = "verify-ca"
  }
  metadata = {
    web = merge(local.common_metadata, local.database_metadata, {
      idrl-role      = "web"
      idrl-tls-name  = var.tls ? local.tls_name : ""
      idrl-tls-email = var.alert_email
      idrl-settings  = join("\n", [for name, value in var.settings.web : "${name}=${value}"])
    })
    worker = merge(local.common_metadata, local.database_metadata, {
      idrl-role         = "worker"
      idrl-first-worker = "1"
      idrl-file-host    = local.host.file
      idrl-settings     = join("\n", [for name, value in var.settings.worker : "${name}=${value}"])
    })
    file = merge(local.common_metadata, {
      idrl-role          = "file"
      idrl-worker-subnet = local.subnets.worker
      idrl-data-disk     = "/dev/disk/by-id/google-share"
    })
  }
  # One element or none, for a dynamic block: the time limit is optional.
  run_limits = var.max_run_hours > 0 ? [var.max_run_hours * 3600] : []
}

resource "google_compute_instance" "role" {
  #checkov:skip=CKV_GCP_32:block-project-ssh-keys is set in a local (asserted in tests/)
  #checkov:skip=CKV_GCP_38:Google encrypts every disk; keys of one's own could be lost
  #checkov:skip=CKV_GCP_40:the web machine alone has a public address (asserted in tests/)
  for_each                  = local.roles
  name                      = "idrl-${each.key}"
  zone                      = local.zone
  machine_type              = var.machine_types[each.key]
  allow_stopping_for_update = true
  # With a time limit (max_run_duration) Google deletes the machine: no deletion protection then.
  deletion_protection = each.key == "file" && var.deletion_protection && var.max_run_hours == 0
  metadata            = local.metadata[each.key]

  boot_disk {
    initialize_params {
      image = var.image
      size  = var.boot_disk_gb
      type  = "pd-balanced"
    }
  }

  dynamic "attached_disk" {
    for_each = each.key == "file" ? [google_compute_disk.share.id] : []
    content {
      source      = attached_disk.value
      device_name = "share"
    }
  }

  network_interface {
    subnetwork = google_compute_subnetwork.role[each.key].id
    dynamic "access_config" {
      for_each = each.key == "web" ? [google_compute_address.web.address] : []
      content {
        nat_ip = access_config.value
      }
    }
  }

  service_account {
    email = google_service_account.role[each.key].email
    # The widest scope, since the IAM roles of the service account decide what it may do.
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

  # A machine fetches the release and its secrets as soon as it boots.
  depends_on = [
    google_secret_manager_secret_iam_member.reader,
    google_secret_manager_secret_iam_member.ca_reader,
    google_secret_manager_secret_version.ca,
    google_storage_bucket_iam_member.reader,
    google_compute_router_nat.idrl,
  ]

  lifecycle {
    # A newer image of the same system is no reason to replace a machine.
    ignore_changes = [boot_disk[0].initialize_params[0].image]
  }
}

resource "google_compute_disk" "share" {
  #checkov:skip=CKV_GCP_37:Google encrypts every disk; keys of one's own could be lost
  name = "idrl-share"
  zone = local.zone
  type = "pd-balanced"
  size = var.data_disk_gb
  # A smaller size, or another zone, replaces the disk by an empty one. The script tf refuses such
  # a plan; and whatever deletes the disk, a snapshot of it stays.
  create_snapshot_before_destroy = true
}

resource "google_compute_resource_policy" "snapshots" {
  name = "idrl-share-daily"
  snapshot_schedule_policy {
    schedule {
      daily_schedule {
        days_in_cycle = 1
        start_time    = "03:00"
      }
    }
    retention_policy {
      max_retention_days    = var.snapshots_kept_days
      on_source_disk_delete = "KEEP_AUTO_SNAPSHOTS"
    }
  }
}

resource "google_compute_disk_resource_policy_attachment" "snapshots" {
  name = google_compute_resource_policy.snapshots.name
  disk = google_compute_disk.share.name
  zone = local.zone
}
