-- overview: tell how some ids are.
-- KEYS[1]  namespace prefix
-- ARGV[1..]  one argument for each id: the id
-- Returns  {time in us, recovery in ms, rows}
--          rows  {fields, running, announced and waiting, since when the first of them (us; empty: none waits), live workers} per id
--          fields  limit, override, override_until, override_by, override_note, override_at, paused, paused_by,
--                  paused_note, paused_at, seq, unseen, needs: as keys.py says, each nil where there is none

if lapse() > 0 and recovery_ms() == 0 then wake() end

-- A worker is taken for alive if it was heard within three seconds, or listens still.
local alive = {}
for _, fleet in ipairs(fleets()) do
  alive[fleet] = 0
  for _, worker in ipairs(redis.call('SMEMBERS', P .. 'members:' .. fleet)) do
    local seen = tonumber(redis.call('ZSCORE', P .. 'workers', worker) or '0')
    if now - seen < 3000000 or redis.call('PUBLISH', P .. 'mail:' .. worker, 'ping') > 0 then
      alive[fleet] = alive[fleet] + 1
    end
  end
end

local rows = {}
for i = 1, #ARGV do
  local id, workers = ARGV[i], 0
  local family = redis.call('HGET', P .. 'id:' .. id, 'family')
  for fleet, count in pairs(alive) do
    if serves(fleet, id, family) then workers = workers + count end
  end
  rows[i] = {
    redis.call('HMGET', P .. 'id:' .. id, 'limit', 'override', 'override_until', 'override_by', 'override_note',
      'override_at', 'paused', 'paused_by', 'paused_note', 'paused_at', 'seq', 'unseen', 'needs'),
    redis.call('HLEN', P .. 'slots:' .. id),
    redis.call('ZCARD', P .. 'waiting:' .. id),
    redis.call('ZRANGE', P .. 'waiting:' .. id, 0, 0, 'WITHSCORES')[2] or '',
    workers,
  }
end
return {now, recovery_ms(), rows}
