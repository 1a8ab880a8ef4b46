-- retire: forget ids that beat said were silent, and whose queues are gone.
-- KEYS[1]  namespace prefix
-- ARGV[1..]  two arguments for each: id, mark (what beat returned with it; empty: its queue is not gone)
-- Returns  number of ids forgotten

local forgotten = 0
for i = 1, #ARGV, 2 do
  local id, mark = ARGV[i], tonumber(ARGV[i + 1])
  local score = tonumber(redis.call('ZSCORE', P .. 'dynamic', id) or nil)
  -- Another score: somebody has used it since.
  if score and score == mark and not busy(id) then
    redis.call('DEL', P .. 'id:' .. id, P .. 'took:' .. id)
    forget_trial(id)
    for _, each in ipairs({'dynamic', 'lookups', 'fresh'}) do redis.call('ZREM', P .. each, id) end
    for _, fleet in ipairs(fleets()) do redis.call('ZREM', P .. 'ready:' .. fleet, id) end
    forgotten = forgotten + 1
  else
    redis.call('HDEL', P .. 'id:' .. id, 'retiring')
  end
end
return forgotten
