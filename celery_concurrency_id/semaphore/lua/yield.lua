-- yield: a task gives its slot back for a while; its worker goes on to answer for the task.
-- KEYS[1]  namespace prefix
-- ARGV[1]  worker
-- ARGV[2]  concurrency id
-- ARGV[3]  token
-- Returns  1 if the slot is given back, 0 if the worker is not known to hold it, -1 if it takes slots of other ids with
--          it: such a one is not given back

local worker, id, token = ARGV[1], ARGV[2], ARGV[3]

local record, key = find(id, token)
if not record or slot_worker(record) ~= worker then return 0 end
if in_lane(record) then return -1 end
redis.call('HDEL', key, token)
trial_end(id, run_of(record, token))
-- Told a second time, it is away since the first.
local away = P .. 'away:' .. id
redis.call('HSET', away, token, key == away and record or from_now(record))
redis.call('ZREM', P .. 'back:' .. id, token)
-- The worker must not use it for another task, nor keep what it fetched ahead for it.
redis.call('PUBLISH', P .. 'mail:' .. worker, 'recall ' .. id)
refresh(id)
if recovery_ms() == 0 then wake() end
return 1
