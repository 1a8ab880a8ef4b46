-- observed: tell what a limit that only watches would have done.
-- KEYS[1]  namespace prefix
-- ARGV[1]  concurrency id
-- ARGV[2]  1: begin anew after that
-- Returns  {time in us, figures, running, in the line}
--          figures     names and numbers, one after the other: as keys.py says; none where nothing was observed
--          running     how many tasks really run
--          in the line how many of them would wait now

local id, anew = ARGV[1], ARGV[2] == '1'
local observed, line, slots = P .. 'observed:' .. id, P .. 'queued:' .. id, P .. 'slots:' .. id

-- What runs no more, and nobody saw end, since somebody deleted its slot, ends now.
local runs = redis.call('HGETALL', P .. 'trial:' .. id)
for i = 1, #runs, 2 do
  local record = redis.call('HGET', slots, string.match(runs[i], '^%d+'))
  local really = record and run_of(record, string.match(runs[i], '^%d+')) == runs[i]
  if not really and (runs[i + 1] == '' or not redis.call('ZSCORE', line, runs[i])) then trial_end(id, runs[i]) end
end
go_on(id)
local figures, waiting = redis.call('HGETALL', observed), redis.call('ZCARD', line)
if anew and trial_limit(id) then
  forget_trial(id)
  redis.call('HSET', observed, 'limit', trial_limit(id), 'since', int(now))
end
return {now, figures, redis.call('HLEN', slots) - field(P .. 'id:' .. id, 'fetching'), waiting}
