terraform {
  # Write-only arguments and ephemeral variables, which keep the owner's password out of the state.
  required_version = ">= 1.11"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
  zone    = local.zone
  # User credentials belong to no project, and some Google APIs demand one for their quota.
  billing_project       = var.project
  user_project_override = true
  default_labels = {
    app = "idrl"
  }
}

locals {
  zone = coalesce(var.zone, "${var.region}-b")
}
