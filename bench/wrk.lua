-- What wrk sends and what it says: WRK_METHOD and WRK_BODY, to each path of the file WRK_PATHS in its turn.
-- %d in the body is the number of the request.
local method, body, paths, count = os.getenv("WRK_METHOD") or "GET", os.getenv("WRK_BODY"), {}, 0

function init()
   for line in io.lines(os.getenv("WRK_PATHS")) do paths[#paths + 1] = line end
   if body then wrk.headers["Content-Type"] = "application/json" end
end

function request()
   count = count + 1
   return wrk.format(method, paths[(count - 1) % #paths + 1], nil, body and body:gsub("%%d", count))
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "seconds": %f, "failed": %d, "p50_ms": %f, "p90_ms": %f, "p99_ms": %f}\n',
      summary.requests, summary.duration / 1e6,
      errors.status + errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3))
end
