-- forget: the queue of an id was purged; what was announced before that waits no more.
-- KEYS[1]  namespace prefix
-- ARGV[1]  concurrency id
-- ARGV[2]  the server's time before the purge, in microseconds
-- Returns  number of waiting tasks forgotten

local id, before = ARGV[1], ARGV[2]

for _, kind in ipairs(redis.call('SMEMBERS', P .. 'kinds:' .. id)) do
  redis.call('ZREMRANGEBYSCORE', kind_key(id, kind), '-inf', before)
  if redis.call('EXISTS', kind_key(id, kind)) == 0 then redis.call('SREM', P .. 'kinds:' .. id, kind) end
end
local forgotten = redis.call('ZREMRANGEBYSCORE', P .. 'waiting:' .. id, '-inf', before)
forgotten = forgotten + field(P .. 'id:' .. id, 'unseen')
redis.call('HDEL', P .. 'id:' .. id, 'unseen')
refresh(id)
return forgotten
