# One service account a role, with no right in the project: each may read the release and the secrets of its role.

locals {
  # Made by the script secrets before anything else; Terraform sees their names and never their values.
  secrets = {
    web = [
      "idrl-jwt-private-key", "idrl-jwt-public-key",
      "idrl-postgres-owner-password", "idrl-postgres-web-password", "idrl-postgres-worker-password",
    ]
    worker = ["idrl-jwt-public-key", "idrl-postgres-worker-password", "idrl-redis-password"]
  }
  secret_names   = toset(flatten(values(local.secrets)))
  secret_readers = merge([for role, names in local.secrets : { for name in names : "${role}/${name}" => { role = role, name = name } }]...)
}

resource "google_service_account" "role" {
  for_each     = local.roles
  account_id   = "idrl-${each.key}"
  display_name = "idrl: ${each.key} machines"
}

data "google_secret_manager_secret" "made" {
  for_each  = local.secret_names
  secret_id = each.key
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each  = local.secret_readers
  secret_id = data.google_secret_manager_secret.made[each.value.name].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.role[each.value.role].member
}

# No secret, but the same way to the machines: the certificate that the database proves itself with.
resource "google_secret_manager_secret" "ca" {
  secret_id = "idrl-postgres-ca"
  replication {
    auto {}
  }
}

resource "google_secret_manager_secret_version" "ca" {
  secret      = google_secret_manager_secret.ca.id
  secret_data = google_sql_database_instance.idrl.server_ca_cert[0].cert
}

resource "google_secret_manager_secret_iam_member" "ca_reader" {
  for_each  = toset(["web", "worker"])
  secret_id = google_secret_manager_secret.ca.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.role[each.key].member
}
