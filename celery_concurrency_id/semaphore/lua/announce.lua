-- announce: a task was published to an id's queue; invite an idle worker if a slot is free.
-- KEYS[1]  namespace prefix
-- ARGV[1]  concurrency id
-- ARGV[2]  task id
-- ARGV[3]  the task's number of retries
-- ARGV[4]  family of an id that was made for a call; empty where the task always has this id
-- ARGV[5]  limit of such an id (0: no limit, negative: it only watches)
-- ARGV[6]  kind: the message's priority, or nothing, a blank and the task's name; empty where neither is known
-- ARGV[7]  what a task of such an id needs of other limits: 'LIMIT WEIGHT LIMIT WEIGHT ...'; empty: nothing
-- Returns  1

local id, task, retries, family, limit, kind, needs = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]

if family ~= '' then know(id, family, limit, needs) end

-- A task that retries is published anew under its own id: the number of retries tells the two apart.
local member = task .. ':' .. retries

redis.call('ZREM', P .. 'reserved:' .. id, member)
if redis.call('ZREM', P .. 'early', member) == 0 then
  redis.call('HINCRBY', P .. 'id:' .. id, 'seq', 1)
  add_waiting(id, member, int(now), kind)
  if family ~= '' then redis.call('SET', P .. 'where:' .. task, retries .. '|' .. id, 'PX', WHERE_MS) end
end
refresh(id)
wake()
return 1
