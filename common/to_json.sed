# Turns the log lines of Redis, nginx and PostgreSQL into JSON, for `sed -u -E`. The caller puts the
# service's name in place of @SERVICE@. Times must be UTC (TZ=UTC). Queries may hold secrets: no
# request is logged with its query, nor with the token of a share link.
/^[[:space:]]*$/d
s/(request|upstream|referrer)(: "[^?"]*)\?[^" ]*/\1\2/g
s/(\/s\/)[^\/" ]{20,}/\1-/g
s/eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*/-/g
s/\\/\\\\/g
s/"/\\"/g
s/[[:cntrl:]]/ /g
# `t` would branch for any of the substitutions so far: this one clears its flag.
t clear
:clear
# Redis: 12:M 27 Nov 2026 06:43:25.206 * message
s/^([0-9]+:[A-Z] [0-9]{2}) Jan /\1 01 /
s/^([0-9]+:[A-Z] [0-9]{2}) Feb /\1 02 /
s/^([0-9]+:[A-Z] [0-9]{2}) Mar /\1 03 /
s/^([0-9]+:[A-Z] [0-9]{2}) Apr /\1 04 /
s/^([0-9]+:[A-Z] [0-9]{2}) May /\1 05 /
s/^([0-9]+:[A-Z] [0-9]{2}) Jun /\1 06 /
s/^([0-9]+:[A-Z] [0-9]{2}) Jul /\1 07 /
s/^([0-9]+:[A-Z] [0-9]{2}) Aug /\1 08 /
s/^([0-9]+:[A-Z] [0-9]{2}) Sep /\1 09 /
s/^([0-9]+:[A-Z] [0-9]{2}) Oct /\1 10 /
s/^([0-9]+:[A-Z] [0-9]{2}) Nov /\1 11 /
s/^([0-9]+:[A-Z] [0-9]{2}) Dec /\1 12 /
t month
:month
s/^([0-9]+):[A-Z] ([0-9]{2}) ([0-9]{2}) ([0-9]{4}) ([0-9:.]+) ([-.*#]) (.*)$/{"time":"\4-\3-\2T\5Z","level":"@\6","service":"@SERVICE@","pid":\1,"message":"\7"}/
t level
# nginx: 2026/11/27 06:43:25 [error] 12#12: *3 message
s/^([0-9]{4})\/([0-9]{2})\/([0-9]{2}) ([0-9:]{8}) \[([a-z]+)\] ([0-9]+)#[0-9]+: (.*)$/{"time":"\1-\2-\3T\4Z","level":"@\5","service":"@SERVICE@","pid":\6,"message":"\7"}/
t level
# PostgreSQL, before it logs as JSON: 2026-11-27 06:43:25.172 UTC [12] LOG:  message
s/^([0-9-]{10}) ([0-9:.]+) [A-Z]+ \[([0-9]+)\] ([A-Z]+[0-9]?): +(.*)$/{"time":"\1T\2Z","level":"@\4","service":"@SERVICE@","pid":\3,"message":"\5"}/
t level
s/^(.*)$/{"level":"INFO","service":"@SERVICE@","message":"\1"}/
b end
:level
s/"level":"@(\*|notice|info|LOG|HINT|DETAIL|NOTICE|INFO|STATEMENT)"/"level":"INFO"/
s/"level":"@(#|warn|WARNING)"/"level":"WARNING"/
s/"level":"@(error|ERROR)"/"level":"ERROR"/
s/"level":"@(emerg|alert|crit|FATAL|PANIC)"/"level":"CRITICAL"/
s/"level":"@[^"]*"/"level":"DEBUG"/
:end
