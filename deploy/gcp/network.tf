locals {
  roles = toset(["web", "worker", "file"])
  subnets = {
    web    = "10.30.1.0/24"
    worker = "10.30.2.0/24"
    file   = "10.30.3.0/24"
  }
  # The range that Google places the database in, peered with the network below.
  database_range = "10.30.16.0/24"
  # Google keeps a deleted network's connection to its database for up to four days, under the
  # network's name. With a suffix of its own, a system made again in the project never meets it.
  suffixed = var.suffix == "" ? "idrl" : "idrl-${var.suffix}"
}

resource "google_compute_network" "idrl" {
  name                    = local.suffixed
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "role" {
  for_each      = local.subnets
  name          = "idrl-${each.key}"
  network       = google_compute_network.idrl.id
  ip_cidr_range = each.value
  # Secret Manager and the release are reached without leaving Google's network.
  private_ip_google_access = true
  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_address" "web" {
  name = "idrl-web"
}

# Outbound traffic of machines without a public address: videos, packages, images.
resource "google_compute_router" "idrl" {
  name    = "idrl"
  network = google_compute_network.idrl.id
}

resource "google_compute_router_nat" "idrl" {
  name                               = "idrl"
  router                             = google_compute_router.idrl.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"
  # The default, 64 ports a machine with each held for two minutes, is used up by a few downloads
  # in parallel ranges from one host. One address carries 63 machines with 1024 ports each.
  min_ports_per_vm          = 1024
  tcp_time_wait_timeout_sec = 30
  dynamic "subnetwork" {
    for_each = toset(["worker", "file"])
    content {
      name                    = google_compute_subnetwork.role[subnetwork.key].id
      source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
    }
  }
  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

resource "google_compute_global_address" "database" {
  name          = "${local.suffixed}-database"
  network       = google_compute_network.idrl.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  address       = split("/", local.database_range)[0]
  prefix_length = tonumber(split("/", local.database_range)[1])
}

resource "google_service_networking_connection" "database" {
  network                 = google_compute_network.idrl.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.database.name]
  # Google refuses to delete the connection for days after the database; the script down removes
  # the peering itself.
  deletion_policy = "ABANDON"
  # A connection left by an interrupted run is brought to this range instead of refused.
  update_on_creation_fail = true
}
