# What is not allowed here is not allowed: a network denies every other way in by itself. Machines are identified by their
# service accounts, which only who may use those can give to a machine.

locals {
  iap_range = "35.235.240.0/20"
  # From whom, to whom, on which ports.
  allowed = {
    tasks  = { from = "web", to = "worker", ports = ["5004"] }
    worker = { from = "worker", to = "worker", ports = ["5004", "6379"] }
    share  = { from = "worker", to = "file", ports = ["2049"] }
  }
}

resource "google_compute_firewall" "web" {
  name                    = "idrl-web"
  description             = "The system's own door."
  network                 = google_compute_network.idrl.id
  source_ranges           = var.allowed_ranges
  target_service_accounts = [google_service_account.role["web"].email]
  allow {
    protocol = "tcp"
    ports    = ["5050"]
  }
}

resource "google_compute_firewall" "between" {
  for_each                = local.allowed
  name                    = "idrl-${each.key}"
  description             = "From ${each.value.from} to ${each.value.to} machines."
  network                 = google_compute_network.idrl.id
  source_service_accounts = [google_service_account.role[each.value.from].email]
  target_service_accounts = [google_service_account.role[each.value.to].email]
  allow {
    protocol = "tcp"
    ports    = each.value.ports
  }
}

resource "google_compute_firewall" "ssh" {
  name                    = "idrl-ssh"
  description             = "ssh, through Identity-Aware Proxy alone: gcloud compute ssh --tunnel-through-iap."
  network                 = google_compute_network.idrl.id
  source_ranges           = [local.iap_range]
  target_service_accounts = [for role in local.roles : google_service_account.role[role].email]
  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

# The database is in a network without rules of ours: who may not call it is kept from calling.
resource "google_compute_firewall" "no_database_for_file" {
  name                    = "idrl-no-database-for-file"
  description             = "The file machine has nothing to do with the database."
  network                 = google_compute_network.idrl.id
  direction               = "EGRESS"
  destination_ranges      = [local.database_range]
  target_service_accounts = [google_service_account.role["file"].email]
  deny {
    protocol = "all"
  }
}
