# A network denies all inbound traffic that no rule allows. Rules name service accounts instead of
# addresses, because only those who may use an account can give it to a machine.

locals {
  iap_range = "35.235.240.0/20"
  # Google's health checks.
  probe_ranges = ["35.191.0.0/16", "130.211.0.0/22"]
  # From whom, to whom, on which ports.
  allowed = {
    tasks  = { from = "web", to = "worker", ports = ["5004"] }
    worker = { from = "worker", to = "worker", ports = ["5004", "6379"] }
    share  = { from = "worker", to = "file", ports = ["2049"] }
  }
}

resource "google_compute_firewall" "web" {
  name                    = "idrl-web"
  description             = "Callers of the system."
  network                 = google_compute_network.idrl.id
  source_ranges           = var.allowed_ranges
  target_service_accounts = [google_service_account.role["web"].email]
  allow {
    protocol = "tcp"
    ports    = [var.tls ? "443" : "5050"]
  }
}

# The certificate's authority calls from addresses that it does not publish.
resource "google_compute_firewall" "acme" {
  #checkov:skip=CKV_GCP_106:the authority proves that the name is this machine's by calling port 80
  count                   = var.tls ? 1 : 0
  name                    = "idrl-acme"
  description             = "The authority that issues the certificate."
  network                 = google_compute_network.idrl.id
  source_ranges           = ["0.0.0.0/0"]
  target_service_accounts = [google_service_account.role["web"].email]
  allow {
    protocol = "tcp"
    ports    = ["80"]
  }
}

resource "google_compute_firewall" "probes" {
  name                    = "idrl-probes"
  description             = "Google's health checks of further workers."
  network                 = google_compute_network.idrl.id
  source_ranges           = local.probe_ranges
  target_service_accounts = [google_service_account.role["worker"].email]
  allow {
    protocol = "tcp"
    ports    = ["5004"]
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
  description             = "ssh through Identity-Aware Proxy alone."
  network                 = google_compute_network.idrl.id
  source_ranges           = [local.iap_range]
  target_service_accounts = [for role in local.roles : google_service_account.role[role].email]
  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

# The database is in Google's network, where no rule of ours applies: the rule is at the caller.
resource "google_compute_firewall" "no_database_for_file" {
  name                    = "idrl-no-database-for-file"
  description             = "The file machine does not use the database."
  network                 = google_compute_network.idrl.id
  direction               = "EGRESS"
  destination_ranges      = [local.database_range]
  target_service_accounts = [google_service_account.role["file"].email]
  deny {
    protocol = "all"
  }
}
