variable "project" {
  description = "Id of the Google Cloud project that everything is made in."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project must be a project id: 6 to 30 lower-case letters, digits and hyphens."
  }
}

variable "suffix" {
  description = "End of the names that Google keeps for days after deletion. Chosen by up, once."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^[a-z0-9]{0,8}$", var.suffix))
    error_message = "suffix must be at most 8 lower-case letters and digits."
  }
}

variable "region" {
  description = "Where network, database, buckets and secrets are. Given at the first up, or never."
  type        = string
  default     = "europe-west1"
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a region such as europe-west1."
  }
}

variable "zone" {
  description = "Where the machines are; in the region. Null: the region's zone b."
  type        = string
  default     = null
  validation {
    condition     = var.zone == null || startswith(coalesce(var.zone, "-"), "${var.region}-")
    error_message = "zone must be one of the region's."
  }
}

variable "owner_password" {
  description = "The secret idrl-postgres-owner-password. Set by the script tf; never stored."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "owner_password_version" {
  description = "When that secret was made, as a number; another makes Terraform set it again."
  type        = number
  default     = 1
}

variable "allowed_ranges" {
  description = "Who may call the system."
  type        = list(string)
  default     = ["0.0.0.0/0"]
  validation {
    condition = length(var.allowed_ranges) > 0 && alltrue([
      for range in var.allowed_ranges : can(cidrnetmask(range))
    ])
    error_message = "allowed_ranges must be one or more IPv4 ranges such as 203.0.113.0/24."
  }
}

variable "tls" {
  description = "Serve HTTPS on port 443 with a certificate; false: plain HTTP on port 5050."
  type        = bool
  default     = true
  validation {
    # 0.0.0.0/1 and 128.0.0.0/1 together are every address too.
    condition = var.tls || alltrue([
      for range in var.allowed_ranges : try(tonumber(split("/", range)[1]) >= 8, true)
    ])
    error_message = "Without TLS, passwords cross the internet readable: name allowed_ranges."
  }
}

variable "domain" {
  description = "DNS name of the web machine, pointing at its address; empty: the bare address."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9-]+)+)?$", var.domain))
    error_message = "domain must be a DNS name such as clips.example.org."
  }
}

variable "alert_email" {
  description = "The mail address for alerts when the system does not answer; empty: nothing is sent."
  type        = string
  default     = ""
  validation {
    # As on the web machine, which asks for its certificate under this address.
    condition     = can(regex("^([A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+)?$", var.alert_email))
    error_message = "alert_email must be one mail address such as ops@example.org."
  }
}

variable "extra_workers" {
  description = "How many worker machines there are beside the first one."
  type        = number
  default     = 0
  validation {
    condition = (
      var.extra_workers >= 0 && var.extra_workers <= 50
      && floor(var.extra_workers) == var.extra_workers
    )
    error_message = "extra_workers must be a whole number from 0 to 50."
  }
}

variable "machine_types" {
  description = <<-END
    The size of each kind of machine. e2-small: 2 GiB, 2 vCPU of which 0.5 is sustained. Workers
    render, and need whole cores: e2-standard-2 has 2 sustained vCPU and 8 GiB.
  END
  type = object({
    web    = optional(string, "e2-small")
    worker = optional(string, "e2-standard-2")
    file   = optional(string, "e2-small")
  })
  default = {}
}

variable "image" {
  description = "The system of new machines: a Debian or Ubuntu with long-term support."
  type        = string
  default     = "debian-cloud/debian-12"
}

variable "boot_disk_gb" {
  description = "Size of each machine's own disk. Another size replaces the machines."
  type        = number
  default     = 20
  validation {
    condition     = var.boot_disk_gb >= 10 && floor(var.boot_disk_gb) == var.boot_disk_gb
    error_message = "boot_disk_gb must be a whole number, at least 10: the system's image needs that."
  }
}

variable "data_disk_gb" {
  description = "Size of the share's disk; it can be made larger later, never smaller."
  type        = number
  default     = 100
  validation {
    condition     = var.data_disk_gb >= 10 && floor(var.data_disk_gb) == var.data_disk_gb
    error_message = "data_disk_gb must be a whole number, at least 10."
  }
}

variable "snapshots_kept_days" {
  description = "How long the daily snapshots of the share's disk are kept."
  type        = number
  default     = 14
  validation {
    condition     = var.snapshots_kept_days >= 1 && floor(var.snapshots_kept_days) == var.snapshots_kept_days
    error_message = "snapshots_kept_days must be a whole number, at least 1."
  }
}

variable "database_tier" {
  description = "The size of the database. db-g1-small shares a core and has no SLA."
  type        = string
  default     = "db-g1-small"
}

variable "database_disk_limit_gb" {
  description = "How large the database's disk may grow by itself."
  type        = number
  default     = 50
  validation {
    condition     = var.database_disk_limit_gb >= 10 && floor(var.database_disk_limit_gb) == var.database_disk_limit_gb
    error_message = "database_disk_limit_gb must be a whole number, at least 10: 0 would be no limit."
  }
}

variable "database_availability" {
  description = "REGIONAL adds a standby in another zone, which doubles the price."
  type        = string
  default     = "ZONAL"
  validation {
    condition     = contains(["ZONAL", "REGIONAL"], var.database_availability)
    error_message = "database_availability must be ZONAL or REGIONAL."
  }
}

variable "deletion_protection" {
  description = "Refuse to delete the database and the machine with the share; false for a trial."
  type        = bool
  default     = true
}

variable "max_run_hours" {
  description = "Delete every machine after this many hours, so that a trial ends; 0: never."
  type        = number
  default     = 0
  validation {
    # Compute Engine takes 30 s to 120 days.
    condition = (
      var.max_run_hours == 0 || var.max_run_hours >= 0.01 && var.max_run_hours <= 2880
    )
    error_message = "max_run_hours must be 0, or 0.01 to 2880 (120 days)."
  }
}

variable "build_images" {
  description = "registry: Cloud Build builds them once a release; machine: each machine builds."
  type        = string
  default     = "registry"
  validation {
    condition     = contains(["registry", "machine"], var.build_images)
    error_message = "build_images must be registry or machine."
  }
}

variable "settings" {
  description = "Further settings of each role's services, as in the .env.example of its folder."
  type = object({
    web    = optional(map(string), {})
    worker = optional(map(string), {})
  })
  default = {}
  validation {
    # As on the machines, which would stop at such a setting.
    condition = alltrue(flatten([
      for role in [var.settings.web, var.settings.worker] : [
        for name, value in role : can(regex("^[A-Z][A-Z0-9_]*$", name))
        && !can(regex("['\"$`\\\\\\n\\r]|(^|[[:space:]])#", value))
      ]
    ]))
    error_message = "settings must be NAME = value, without quotes, dollars, backslashes, comments."
  }
}
