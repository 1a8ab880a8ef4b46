-- reserve: take a place among the waiting tasks of an id before a task is published, if there is one.
-- KEYS[1]  namespace prefix
-- ARGV[1]  concurrency id
-- ARGV[2]  task id
-- ARGV[3]  the task's number of retries
-- ARGV[4]  how many tasks of the id may wait
-- Returns  {1 if there was a place, how many others wait}

local id, task, retries, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local reserved, member = P .. 'reserved:' .. id, task .. ':' .. retries

-- Whoever died before its task was announced.
redis.call('ZREMRANGEBYSCORE', reserved, '-inf', int(now - RESERVED_US))
redis.call('ZREM', reserved, member)

local waiting = redis.call('ZCARD', P .. 'waiting:' .. id) + field(P .. 'id:' .. id, 'unseen')
local size = waiting + redis.call('ZCARD', reserved)
if size >= most then return {0, size} end
redis.call('ZADD', reserved, int(now), member)
redis.call('PEXPIRE', reserved, int(math.max(RESERVED_US / 1000, redis.call('PTTL', reserved))))
return {1, size}
