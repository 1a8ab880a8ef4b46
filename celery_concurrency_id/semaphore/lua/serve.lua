-- serve: say which ids a fleet serves, and the limit of each.
-- KEYS[1]  namespace prefix
-- ARGV[1]  fleet
-- ARGV[2..]  two arguments for each id: id, limit (0: no limit)
-- Returns  number of ids

local fleet = ARGV[1]

for i = 2, #ARGV, 2 do
  redis.call('SADD', P .. 'serves:' .. fleet, ARGV[i])
  redis.call('HSET', P .. 'id:' .. ARGV[i], 'limit', ARGV[i + 1])
  refresh(ARGV[i])
end
if recovery_ms() == 0 then wake() end
return (#ARGV - 1) / 2
