-- adopt: a family is served anew: see which of the ids in the directory are ready now.
-- KEYS[1]  namespace prefix
-- ARGV[1]  where to go on: 0, then what the last call returned
-- ARGV[2]  about how many ids to look at
-- Returns  where to go on, '0' at the end

local cursor, count = ARGV[1], ARGV[2]

local reply = redis.call('ZSCAN', P .. 'dynamic', cursor, 'COUNT', count)
for i = 1, #reply[2], 2 do refresh(reply[2][i]) end
if recovery_ms() == 0 then wake() end
return reply[1]
