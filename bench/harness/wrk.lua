-- The summary of wrk with all digits. Defines none of the functions that wrk would call for each
-- request, so it costs nothing while wrk runs.
function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\nJSON {"duration_us": %d, "requests": %d, "bytes": %d, "p99_us": %d, ' ..
    '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
    summary.duration, summary.requests, summary.bytes, latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
