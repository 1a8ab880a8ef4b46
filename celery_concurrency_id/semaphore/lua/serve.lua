-- serve: say which ids and families of ids a fleet serves, and the limit of each id.
-- KEYS[1]  namespace prefix
-- ARGV[1]  fleet
-- ARGV[2..]  three arguments for each: id, limit (0: no limit, negative: it only watches), what its tasks need of other
--            limits (as announce has it; '-': the id is not served, but served ones need it); or the name of a family, and
--            nothing twice
-- Returns  number of ids and families

local fleet = ARGV[1]

for i = 2, #ARGV, 3 do
  local needs = ARGV[i + 2]
  if needs ~= '-' then redis.call('SADD', P .. 'serves:' .. fleet, ARGV[i]) end
  if ARGV[i + 1] ~= '' then
    redis.call('HSET', P .. 'id:' .. ARGV[i], 'limit', ARGV[i + 1])
    if tonumber(ARGV[i + 1]) >= 0 then forget_trial(ARGV[i]) end
    if redis.call('HDEL', P .. 'id:' .. ARGV[i], 'family') == 1 then
      for _, each in ipairs({'dynamic', 'lookups', 'fresh'}) do redis.call('ZREM', P .. each, ARGV[i]) end
    end
    if needs ~= '-' and needs ~= (redis.call('HGET', P .. 'id:' .. ARGV[i], 'needs') or '') then lanes().set_needs(ARGV[i], needs) end
    refresh(ARGV[i])
  else
    redis.call('HSET', P .. 'meta', 'family:' .. ARGV[i], 1)
  end
end
if recovery_ms() == 0 then wake() end
return (#ARGV - 1) / 3
