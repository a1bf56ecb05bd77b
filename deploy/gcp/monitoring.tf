# Alerts when the system does not answer, and when a disk fills: one mail address, no cost.

locals {
  watched = toset(var.alert_email == "" ? [] : [var.alert_email])
  # Google checks from its own addresses: where those may not call, each check would fail.
  checked = toset(contains(var.allowed_ranges, "0.0.0.0/0") ? local.watched : [])
  check_id = {
    for email, check in google_monitoring_uptime_check_config.ready : email => check.uptime_check_id
  }
}

resource "google_monitoring_notification_channel" "email" {
  for_each     = local.watched
  display_name = "idrl: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }
}

resource "google_monitoring_uptime_check_config" "ready" {
  for_each     = local.checked
  display_name = "idrl: /ready"
  timeout      = "10s"
  period       = "300s"
  http_check {
    path         = "/ready"
    port         = var.tls ? 443 : 5050
    use_ssl      = var.tls
    validate_ssl = var.tls
  }
  monitored_resource {
    type   = "uptime_url"
    labels = { project_id = var.project, host = local.tls_name }
  }
}

resource "google_monitoring_alert_policy" "down" {
  for_each              = local.checked
  display_name          = "idrl does not answer"
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.email[each.key].name]
  conditions {
    display_name = "/ready fails from most places for ten minutes"
    condition_threshold {
      filter = join(" AND ", [
        "metric.type = \"monitoring.googleapis.com/uptime_check/check_passed\"",
        "resource.type = \"uptime_url\"",
        "metric.labels.check_id = \"${local.check_id[each.key]}\"",
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "600s"
      aggregations {
        alignment_period     = "600s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.host"]
      }
    }
  }
}

# Measured by the Ops Agent on the machines; Compute Engine itself does not see inside a disk.
resource "google_monitoring_alert_policy" "disk" {
  for_each              = local.watched
  display_name          = "idrl: a disk is almost full"
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.email[each.key].name]
  conditions {
    display_name = "more than 85 % of a disk is used"
    condition_threshold {
      filter = join(" AND ", [
        "metric.type = \"agent.googleapis.com/disk/percent_used\"",
        "resource.type = \"gce_instance\"",
        "metric.labels.state = \"used\"",
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = 85
      duration        = "600s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MEAN"
      }
    }
  }
}
