# One service account for each role. In the project it may write logs and metrics and nothing else;
# it reads releases, and the secrets of its role.

locals {
  # Made by the script secrets before anything else; Terraform knows their names, not their values.
  secrets = {
    web = [
      "idrl-jwt-private-key", "idrl-jwt-public-key",
      "idrl-postgres-owner-password", "idrl-postgres-web-password", "idrl-postgres-worker-password",
    ]
    worker = ["idrl-jwt-public-key", "idrl-postgres-worker-password", "idrl-redis-password"]
  }
  secret_readers = merge([for role, names in local.secrets : {
    for name in names : "${role}/${name}" => { role = role, name = name }
  }]...)
  # For the Ops Agent and the guest agent.
  project_roles = ["roles/logging.logWriter", "roles/monitoring.metricWriter"]
}

resource "google_service_account" "role" {
  for_each     = local.roles
  account_id   = "idrl-${each.key}"
  display_name = "idrl: ${each.key} machines"
}

resource "google_project_iam_member" "telemetry" {
  for_each = { for pair in setproduct(local.roles, local.project_roles) : join(" ", pair) => pair }
  project  = var.project
  role     = each.value[1]
  member   = google_service_account.role[each.value[0]].member
}

# By name: reading the secrets as data would make destroy fail once they are deleted.
resource "google_secret_manager_secret_iam_member" "reader" {
  for_each  = local.secret_readers
  secret_id = "projects/${var.project}/secrets/${each.value.name}"
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.role[each.value.role].member
}

# Public, but distributed like the secrets: the authorities that the database's certificate is
# checked against. There are two while Google rotates them.
resource "google_secret_manager_secret" "ca" {
  secret_id = "idrl-postgres-ca"
  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
}

resource "google_secret_manager_secret_version" "ca" {
  secret      = google_secret_manager_secret.ca.id
  secret_data = join("\n", google_sql_database_instance.idrl.server_ca_cert[*].cert)
}

resource "google_secret_manager_secret_iam_member" "ca_reader" {
  for_each  = toset(["web", "worker"])
  secret_id = google_secret_manager_secret.ca.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.role[each.key].member
}
