-- ids: name every id that a live worker serves, that was made for a call, or that an operator has a hand in.
-- KEYS[1]  namespace prefix
-- ARGV[1]  0: leave out those that were made for a call
-- Returns  the ids, some of them more than once

local made = ARGV[1]

local ids = redis.call('ZRANGE', P .. 'controlled', 0, -1)
for _, fleet in ipairs(fleets()) do
  for _, id in ipairs(redis.call('SMEMBERS', P .. 'serves:' .. fleet)) do
    -- A family is served too, and is no id.
    if redis.call('EXISTS', P .. 'id:' .. id) == 1 then ids[#ids + 1] = id end
  end
end
if made == '1' then
  for _, id in ipairs(redis.call('ZRANGE', P .. 'dynamic', 0, -1)) do ids[#ids + 1] = id end
end
return ids
