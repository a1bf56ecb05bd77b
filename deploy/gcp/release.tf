# The release, which machines fetch with their own token when they start.

resource "google_storage_bucket" "releases" {
  #checkov:skip=CKV_GCP_62:who fetched a release is in the machines' own logs
  #checkov:skip=CKV_GCP_78:an object is named after its content and never changes
  name                        = "${var.project}-idrl-releases"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  # Whatever is in it can be made again from git.
  force_destroy = true
}

resource "google_storage_bucket_object" "release" {
  name   = "${var.revision}-${substr(local.release_sha256, 0, 12)}.tar.gz"
  bucket = google_storage_bucket.releases.name
  source = var.release_archive
}

resource "google_storage_bucket_iam_member" "reader" {
  for_each = local.roles
  bucket   = google_storage_bucket.releases.name
  role     = "roles/storage.objectViewer"
  member   = google_service_account.role[each.key].member
}

locals {
  release_sha256 = filesha256(var.release_archive)
  release_url    = "https://storage.googleapis.com/${google_storage_bucket.releases.name}/${google_storage_bucket_object.release.name}"
}
