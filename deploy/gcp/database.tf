locals {
  # What the services of the first three machines may open at once: web 32, tasks 16, Celery 10;
  # of each further worker 12. PostgreSQL and Cloud SQL keep about ten for themselves.
  connections_needed = 70 + 12 * var.extra_workers
  # In steps, because another value restarts the database.
  connections = [for step in [100, 200, 400, 800] : step if step >= local.connections_needed][0]
  shared_core = contains(["db-f1-micro", "db-g1-small"], var.database_tier)
}

resource "google_sql_database_instance" "idrl" {
  #checkov:skip=CKV_GCP_6:TLS only; clients log in by password, the server has a certificate
  #checkov:skip=CKV_GCP_79:17 is the version that the system is tested with
  #checkov:skip=CKV_GCP_109:the default, ERROR, is what the check asks for
  #checkov:skip=CKV_GCP_110:auditing each statement doubles the log; the services log theirs
  #checkov:skip=CKV_GCP_108:the addresses say which machine it is, without DNS lookups
  #checkov:skip=CKV2_GCP_13:the duration of each statement would be most of the log
  #checkov:skip=CKV_GCP_111:statements hold e-mail addresses
  name             = local.suffixed
  region           = var.region
  database_version = "POSTGRES_17"
  # Terraform's own guard would have to be applied away before a teardown. The API's, below, stops
  # console, gcloud and Terraform alike, and the script down takes it away with one call.
  deletion_protection = false

  settings {
    # The next edition costs three times as much, and has no small machines.
    edition                     = "ENTERPRISE"
    tier                        = var.database_tier
    availability_type           = var.database_availability
    disk_type                   = "PD_SSD"
    disk_size                   = 10
    disk_autoresize             = true
    disk_autoresize_limit       = var.database_disk_limit_gb
    deletion_protection_enabled = var.deletion_protection
    # The last backups outlive a protected instance; a trial leaves nothing behind.
    retain_backups_on_delete = var.deletion_protection
    user_labels              = { app = "idrl" }

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.idrl.id
      ssl_mode        = "ENCRYPTED_ONLY"
      # Clients check the certificate against this authority; it cannot be changed later.
      server_ca_mode = "GOOGLE_MANAGED_INTERNAL_CA"
    }

    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true
      start_time                     = "02:00"
      transaction_log_retention_days = 7
      backup_retention_settings {
        retained_backups = 14
      }
    }

    maintenance_window {
      day          = 7
      hour         = 3
      update_track = "stable"
    }

    database_flags {
      name  = "max_connections"
      value = local.connections
    }

    database_flags {
      name  = "log_checkpoints"
      value = "on"
    }

    database_flags {
      name  = "log_connections"
      value = "on"
    }

    database_flags {
      name  = "log_disconnections"
      value = "on"
    }

    database_flags {
      name  = "log_lock_waits"
      value = "on"
    }

    database_flags {
      name  = "log_min_duration_statement"
      value = "-1"
    }

    database_flags {
      name  = "log_temp_files"
      value = "0"
    }
  }

  lifecycle {
    # The disk grows by itself and never shrinks: a size that differs would replace the database.
    ignore_changes = [settings[0].disk_size]
    precondition {
      condition     = var.extra_workers <= 10 || !local.shared_core
      error_message = <<-END
        ${var.extra_workers} further workers need up to ${local.connections_needed} connections,
        more than ${var.database_tier} has memory for: set database_tier, such as db-custom-2-7680.
      END
    }
  }

  depends_on = [google_service_networking_connection.database]
}

resource "google_sql_database" "idrl" {
  name     = "idrl"
  instance = google_sql_database_instance.idrl.name
  # The API cannot drop a database whose tables belong to other roles: it goes with the instance.
  deletion_policy = "ABANDON"
}

# May create roles and tables; only the migration uses it. The password is stored in no file.
resource "google_sql_user" "owner" {
  name                = "idrl_owner"
  instance            = google_sql_database_instance.idrl.name
  password_wo         = var.owner_password
  password_wo_version = var.owner_password_version
  deletion_policy     = "ABANDON"
}
