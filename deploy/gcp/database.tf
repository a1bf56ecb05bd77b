resource "google_sql_database_instance" "idrl" {
  #checkov:skip=CKV_GCP_6:no connection without TLS; clients prove themselves by password, the server by its certificate
  #checkov:skip=CKV_GCP_79:17 is the version that the system is tested with; a newer one is a migration of its own
  #checkov:skip=CKV_GCP_109:the default, ERROR, is what the check asks for
  #checkov:skip=CKV_GCP_110:auditing each statement doubles the log; accounts and tasks are logged by the services
  #checkov:skip=CKV_GCP_108:finding the name of each caller takes a question to the name server; the addresses say which machine it is
  #checkov:skip=CKV2_GCP_13:the duration of each statement would be most of the log; slow ones can be looked for when needed
  #checkov:skip=CKV_GCP_111:logging each statement would put e-mail addresses into the log
  name                = "idrl"
  database_version    = "POSTGRES_17"
  deletion_protection = var.deletion_protection

  settings {
    # The next edition costs three times as much, and has no small machines.
    edition                     = "ENTERPRISE"
    tier                        = var.database_tier
    availability_type           = var.database_availability
    disk_type                   = "PD_SSD"
    disk_size                   = 10
    disk_autoresize             = true
    deletion_protection_enabled = var.deletion_protection

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.idrl.id
      ssl_mode        = "ENCRYPTED_ONLY"
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

  depends_on = [google_service_networking_connection.database]
}

resource "google_sql_database" "idrl" {
  name     = "idrl"
  instance = google_sql_database_instance.idrl.name
  # What the owner made in it cannot be taken apart by Google's way: it goes with the instance.
  deletion_policy = "ABANDON"
}

# May create roles and tables; used by the migration alone. The password goes to the cloud and into no file.
resource "google_sql_user" "owner" {
  name                = "idrl_owner"
  instance            = google_sql_database_instance.idrl.name
  password_wo         = var.owner_password
  password_wo_version = var.owner_password_version
  deletion_policy     = "ABANDON"
}
