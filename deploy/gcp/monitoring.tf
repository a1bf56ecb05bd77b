# Alerts when the system does not answer, and when a disk fills: one mail address, no cost.

locals {
  watched = toset(var.alert_email == "" ? [] : [var.alert_email])
  # Google checks from its own addresses: where those may not call, each check would fail.
  checked = toset(contains(var.allowed_ranges, "0.0.0.0/0") ? local.watched : [])
  # What each alert is about: the time series, the value that is too much, and how values of ten
  # minutes become one.
  alerts = {
    down = {
      wanted    = local.checked
      title     = "idrl does not answer"
      condition = "/ready fails from most places for ten minutes"
      threshold = 1
      filter = concat([
        "metric.type = \"monitoring.googleapis.com/uptime_check/check_passed\"",
        "resource.type = \"uptime_url\"",
        ], [
        for check in google_monitoring_uptime_check_config.ready :
        "metric.labels.check_id = \"${check.uptime_check_id}\""
      ])
      period   = "600s"
      aligner  = "ALIGN_NEXT_OLDER"
      reducer  = "REDUCE_COUNT_FALSE"
      group_by = ["resource.label.host"]
    }
    # Measured by the Ops Agent on the machines; Compute Engine itself does not see inside a disk.
    disk = {
      wanted    = local.watched
      title     = "idrl: a disk is almost full"
      condition = "more than 85 % of a disk is used"
      threshold = 85
      filter = [
        "metric.type = \"agent.googleapis.com/disk/percent_used\"",
        "resource.type = \"gce_instance\"",
        "metric.labels.state = \"used\"",
        # Ubuntu's snaps are mounted from loop devices, which are always full.
        "metric.labels.device != monitoring.regex.full_match(\".*loop.*\")",
      ]
      period   = "300s"
      aligner  = "ALIGN_MEAN"
      reducer  = null
      group_by = null
    }
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

resource "google_monitoring_alert_policy" "alert" {
  for_each     = { for name, alert in local.alerts : name => alert if length(alert.wanted) > 0 }
  display_name = each.value.title
  combiner     = "OR"
  notification_channels = [
    for channel in google_monitoring_notification_channel.email : channel.name
  ]
  conditions {
    display_name = each.value.condition
    condition_threshold {
      filter          = join(" AND ", each.value.filter)
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = "600s"
      aggregations {
        alignment_period     = each.value.period
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
        group_by_fields      = each.value.group_by
      }
    }
  }
}
