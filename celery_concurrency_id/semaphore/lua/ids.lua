-- ids: name every id that a live worker serves or that an operator has a hand in.
-- KEYS[1]  namespace prefix
-- Returns  the ids, some of them more than once

local ids = redis.call('ZRANGE', P .. 'controlled', 0, -1)
for _, fleet in ipairs(redis.call('SMEMBERS', P .. 'fleets')) do
  for _, id in ipairs(redis.call('SMEMBERS', P .. 'serves:' .. fleet)) do ids[#ids + 1] = id end
end
return ids
