-- blocked: the holder of a slot waits for other tasks; tell whether these can only run once it ends.
-- KEYS[1]  namespace prefix
-- ARGV[1]  worker
-- ARGV[2]  concurrency id
-- ARGV[3]  token
-- ARGV[4]  1: it waits for as long as it takes
-- ARGV[5..]  one argument for each task: its id
-- Returns  {state, task, holders}
--          state    0 none of them waits under this id | 1 one does, and a slot may become free | 2 one does, and every
--                   slot is held by a task that waits, for as long as it takes, for one that waits here
--          task     the task that waits here
--          holders  how many slots are held

local worker, id, token, endless = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local slots, blocked, waiting = P .. 'slots:' .. id, P .. 'blocked:' .. id, P .. 'waiting:' .. id

local record = redis.call('HGET', slots, token)
if not record or slot_worker(record) ~= worker then return {0, '', 0} end

local found, member
for i = 5, #ARGV do
  for retries = 0, 9 do
    if not found and redis.call('ZSCORE', waiting, ARGV[i] .. ':' .. retries) then
      found, member = ARGV[i], ARGV[i] .. ':' .. retries
    end
  end
end
if not found then
  redis.call('HDEL', blocked, token)
  return {0, '', 0}
end
if endless then
  redis.call('HSET', blocked, token, int(now) .. '|' .. member)
  redis.call('PEXPIRE', blocked, 10000)
end

-- What is paused, or recovers, goes on by itself; so does what has a free slot.
local free, paused = room(id)
if free == nil or free > 0 or paused or recovery_ms() > 0 then return {1, found, redis.call('HLEN', slots)} end
for _, other in ipairs(redis.call('HKEYS', slots)) do
  local said = redis.call('HGET', blocked, other)
  local at, its = string.match(said or '', '^(%d+)|(.*)$')
  -- A holder that waits says so every second.
  if other ~= token and not (at and now - tonumber(at) < 3000000 and redis.call('ZSCORE', waiting, its)) then
    return {1, found, redis.call('HLEN', slots)}
  end
end
return {2, found, redis.call('HLEN', slots)}
