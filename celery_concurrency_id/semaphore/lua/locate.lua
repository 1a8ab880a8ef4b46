-- locate: find a task among some ids: in a slot, in one that it has given back for a while, or waiting.
-- KEYS[1]  namespace prefix
-- ARGV[1]  task id
-- ARGV[2]  the highest number of retries to look for
-- ARGV[3..]  one argument for each id: the id
-- Returns  {slots, waiting}
--          slots    {id, token} per slot that the task is in, or has given back for a while
--          waiting  {id, retries, rank from 0, since when (us)} per place in which it waits

local task, highest = ARGV[1], tonumber(ARGV[2])

local slots, waiting = {}, {}
for i = 3, #ARGV do
  local id = ARGV[i]
  for _, key in ipairs({'slots:', 'away:'}) do
    local held = redis.call('HGETALL', P .. key .. id)
    for k = 1, #held, 2 do
      local _, _, its = unpack_slot(held[k + 1])
      if its == task then slots[#slots + 1] = {id, held[k]} end
    end
  end
  for retries = 0, highest do
    local member = task .. ':' .. retries
    local since = redis.call('ZSCORE', P .. 'waiting:' .. id, member)
    if since then
      waiting[#waiting + 1] = {id, retries, redis.call('ZRANK', P .. 'waiting:' .. id, member), since}
    end
  end
end
return {slots, waiting}
