# The registry that machines pull the system's images from: built once for each release, by Cloud
# Build, under an account that may do nothing else.

resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:Google encrypts every image; keys of one's own could be lost
  count         = var.build_images == "registry" ? 1 : 0
  repository_id = "idrl"
  description   = "The container images of each release."
  format        = "DOCKER"
  location      = var.region
  # Of each image the newest ten stay, so that the current release and those before it can be pulled.
  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10
    }
  }
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "7776000s"
    }
  }
}

resource "google_artifact_registry_repository_iam_member" "reader" {
  for_each   = toset(var.build_images == "registry" ? ["web", "worker"] : [])
  location   = var.region
  repository = google_artifact_registry_repository.images[0].name
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.role[each.key].member
}

# Cloud Build's own accounts may often do more than this, or nothing, as an organization decides.
resource "google_service_account" "build" {
  count        = var.build_images == "registry" ? 1 : 0
  account_id   = "idrl-build"
  display_name = "idrl: builds the images"
}

resource "google_artifact_registry_repository_iam_member" "writer" {
  count      = var.build_images == "registry" ? 1 : 0
  location   = var.region
  repository = google_artifact_registry_repository.images[0].name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build[0].member
}

resource "google_storage_bucket_iam_member" "build" {
  count  = var.build_images == "registry" ? 1 : 0
  bucket = local.releases_bucket
  role   = "roles/storage.objectViewer"
  member = google_service_account.build[0].member
}

resource "google_project_iam_member" "build_log" {
  count   = var.build_images == "registry" ? 1 : 0
  project = var.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.build[0].member
}
