-- cancel: give back a place that was reserved for a task whose publish has failed.
-- KEYS[1]  namespace prefix
-- ARGV[1]  concurrency id
-- ARGV[2]  task id
-- ARGV[3]  the task's number of retries
-- Returns  1 if it was still reserved

local id, task, retries = ARGV[1], ARGV[2], ARGV[3]

return redis.call('ZREM', P .. 'reserved:' .. id, task .. ':' .. retries)
