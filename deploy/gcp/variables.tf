variable "project" {
  description = "Id of the Google Cloud project that everything is made in."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project must be the id of a project: 6 to 30 lower-case letters, digits and hyphens."
  }
}

variable "region" {
  description = "Where the network and the database are."
  type        = string
  default     = "europe-west1"
}

variable "zone" {
  description = "Where the machines are; in the region."
  type        = string
  default     = "europe-west1-b"
  validation {
    condition     = startswith(var.zone, "${var.region}-")
    error_message = "zone must be one of the region's."
  }
}

variable "revision" {
  description = "Git revision of the release, which names its images. Set by the script tf."
  type        = string
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", var.revision))
    error_message = "revision must be a git revision or another name of letters and digits."
  }
}

variable "release_archive" {
  description = "The release as a file: git archive --format=tar.gz. Set by the script tf."
  type        = string
  validation {
    condition     = fileexists(var.release_archive)
    error_message = "release_archive must be a file."
  }
}

variable "owner_password" {
  description = "Password of the database's owner, as in the secret idrl-postgres-owner-password. Set by the script tf; never stored."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "owner_password_version" {
  description = "Version of that secret; a new one makes Terraform set the password again. Set by the script tf."
  type        = number
  default     = 1
}

variable "allowed_ranges" {
  description = "Who may call the system on port 5050."
  type        = list(string)
  default     = ["0.0.0.0/0"]
  validation {
    condition     = length(var.allowed_ranges) > 0 && alltrue([for range in var.allowed_ranges : can(cidrhost(range, 0))])
    error_message = "allowed_ranges must be one or more address ranges such as 203.0.113.0/24."
  }
}

variable "extra_workers" {
  description = "How many worker machines there are beside the first one."
  type        = number
  default     = 0
  validation {
    condition     = var.extra_workers >= 0 && var.extra_workers <= 50 && floor(var.extra_workers) == var.extra_workers
    error_message = "extra_workers must be a whole number from 0 to 50."
  }
}

variable "machine_types" {
  description = "The size of each kind of machine; e2-small has 2 vCPU and 2 GiB."
  type = object({
    web    = optional(string, "e2-small")
    worker = optional(string, "e2-small")
    file   = optional(string, "e2-small")
  })
  default = {}
}

variable "image" {
  description = "The system of the machines: a Debian or Ubuntu with long-term support."
  type        = string
  default     = "debian-cloud/debian-12"
}

variable "boot_disk_gb" {
  description = "Size of each machine's own disk."
  type        = number
  default     = 20
}

variable "data_disk_gb" {
  description = "Size of the share's disk; it can be made larger later, never smaller."
  type        = number
  default     = 100
}

variable "snapshots_kept_days" {
  description = "How long the daily snapshots of the share's disk are kept."
  type        = number
  default     = 14
}

variable "database_tier" {
  description = "The size of the database."
  type        = string
  default     = "db-g1-small"
}

variable "database_availability" {
  description = "REGIONAL has a second machine in another zone, which takes over; it doubles the price."
  type        = string
  default     = "ZONAL"
  validation {
    condition     = contains(["ZONAL", "REGIONAL"], var.database_availability)
    error_message = "database_availability must be ZONAL or REGIONAL."
  }
}

variable "deletion_protection" {
  description = "Refuse to delete the database and the machine with the share's disk; false for a trial."
  type        = bool
  default     = true
}

variable "max_run_hours" {
  description = "Delete every machine after so many hours, so that a forgotten trial costs little; 0 for no limit."
  type        = number
  default     = 0
  validation {
    # Compute Engine takes 30 s to 120 days.
    condition     = var.max_run_hours >= 0 && var.max_run_hours <= 2880
    error_message = "max_run_hours must be at most 2880 (120 days)."
  }
}

variable "settings" {
  description = "Further settings of the services of each kind of machine, as in the .env.example of its folder."
  type = object({
    web    = optional(map(string), {})
    worker = optional(map(string), {})
  })
  default = {}
}
