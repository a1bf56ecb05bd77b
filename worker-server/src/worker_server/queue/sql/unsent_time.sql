-- Returns the seconds since :since in which no sender has run: pauses between attempts to reach the
-- webhook. Its deliveries have been due all the time, so that its senders pause for no other reason;
-- up to :pause_s, many other receivers may keep them busy.
SELECT coalesce(extract(epoch FROM sum(pause)), 0) FROM (
    SELECT attempted_at - lag(attempted_at, 1, CAST(:since AS timestamptz))
        OVER (ORDER BY attempted_at) AS pause
    FROM webhook_deliveries WHERE webhook_id = :webhook_id AND attempted_at >= :since
) AS pauses WHERE pause > make_interval(secs => :pause_s)
