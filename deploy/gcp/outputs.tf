output "url" {
  description = "The address to call."
  value = (
    var.tls ? "https://${local.tls_name}" : "http://${google_compute_address.web.address}:5050"
  )
}

output "machines" {
  description = "The names of the machines, for gcloud compute ssh NAME --tunnel-through-iap."
  value       = { for role, machine in google_compute_instance.role : role => machine.name }
}

output "database" {
  description = "The name of the database's instance, for gcloud sql."
  value       = google_sql_database_instance.idrl.name
}

output "registry" {
  description = "Where the images are; empty where each machine builds its own."
  value = (
    var.build_images == "machine" ? "" : "${var.region}-docker.pkg.dev/${var.project}/idrl"
  )
}

output "zone" {
  description = "Where the machines are."
  value       = local.zone
}
