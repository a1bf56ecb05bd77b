# shellcheck shell=sh
# Logs and metrics in Google Cloud: the Ops Agent, which also reads the containers' logs.

agent_url=${IDRL_AGENT_URL:-https://dl.google.com/cloudagents/add-google-cloud-ops-agent-repo.sh}
agent_config=${IDRL_AGENT_CONFIG:-/etc/google-cloud-ops-agent/config.yaml}

# Install the agent where idrl-ops-agent is 1. Without it the system works as well: what fails here
# is logged and tried again at the next run.
install_ops_agent() {
	[ "$(setting idrl-ops-agent 0)" = 1 ] || return 0
	write_file "$agent_config" 644 <<'END'
# Written by deploy/provision at every run.
logging:
  receivers:
    containers:
      type: files
      include_paths: [/var/lib/docker/containers/*/*-json.log]
  processors:
    docker:
      type: parse_json
      time_key: time
      time_format: "%Y-%m-%dT%H:%M:%S.%L%z"
  service:
    pipelines:
      containers: {receivers: [containers], processors: [docker]}
END
	if ! [ -e /etc/systemd/system/google-cloud-ops-agent.service ] &&
		! [ -e /lib/systemd/system/google-cloud-ops-agent.service ]; then
		say "installing the Ops Agent"
		agent_script=$IDRL_OPT/add-ops-agent.sh
		{ curl --silent --show-error --fail --max-time 60 --output "$agent_script" "$agent_url" &&
			bash "$agent_script" --also-install >"$IDRL_OPT/ops-agent.log" 2>&1; } ||
			say "the Ops Agent is not installed: logs stay on this machine ($IDRL_OPT/ops-agent.log)"
	fi
}
