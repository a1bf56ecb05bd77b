# Releases are in a bucket that the script up makes: each under its own name, never changed and
# never deleted, and `current`, which names the one that machines run. Terraform manages neither,
# so that an upgrade changes no machine's definition and teardown needs no release.

locals {
  releases_bucket = "${var.project}-idrl-releases"
}

resource "google_storage_bucket_iam_member" "reader" {
  for_each = local.roles
  bucket   = local.releases_bucket
  role     = "roles/storage.objectViewer"
  member   = google_service_account.role[each.key].member
}

# Up to 0.1.0 both were resources: they stay as they are, and leave the state.
removed {
  from = google_storage_bucket.releases
  lifecycle {
    destroy = false
  }
}

removed {
  from = google_storage_bucket_object.release
  lifecycle {
    destroy = false
  }
}
