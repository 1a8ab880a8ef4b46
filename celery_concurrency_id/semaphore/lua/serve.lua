-- serve: say which ids and families of ids a fleet serves, and the limit of each id.
-- KEYS[1]  namespace prefix
-- ARGV[1]  fleet
-- ARGV[2..]  two arguments for each: id, limit (0: no limit, negative: it only watches); or the name of a family, and nothing
-- Returns  number of ids and families

local fleet = ARGV[1]

for i = 2, #ARGV, 2 do
  redis.call('SADD', P .. 'serves:' .. fleet, ARGV[i])
  if ARGV[i + 1] ~= '' then
    redis.call('HSET', P .. 'id:' .. ARGV[i], 'limit', ARGV[i + 1])
    if tonumber(ARGV[i + 1]) >= 0 then forget_trial(ARGV[i]) end
    if redis.call('HDEL', P .. 'id:' .. ARGV[i], 'family') == 1 then
      for _, each in ipairs({'dynamic', 'lookups', 'fresh'}) do redis.call('ZREM', P .. each, ARGV[i]) end
    end
    refresh(ARGV[i])
  else
    redis.call('HSET', P .. 'meta', 'family:' .. ARGV[i], 1)
  end
end
if recovery_ms() == 0 then wake() end
return (#ARGV - 1) / 2
