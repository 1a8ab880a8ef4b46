-- holders: tell who holds the slots of an id, and what waits first.
-- KEYS[1]  namespace prefix
-- ARGV[1]  concurrency id
-- ARGV[2]  how many of the waiting tasks to tell
-- Returns  {time in us, slots, head}
--          slots  {token, record, host, when its worker was last heard (us; empty: never), lane, units} per holder; the lane
--                 is the id in whose slot the task runs; units, how many slots of this id it has
--          head   waiting task, since when (us) and kind, one after the other

local id, count = ARGV[1], tonumber(ARGV[2])

local slots, found, of = redis.call('HGETALL', P .. 'slots:' .. id), {}, {}
for i = 1, #slots, 2 do
  local token, record, lane = slots[i], slots[i + 1], string.match(slots[i + 1], '^[^|]*|u|%d+|(.*)$')
  if lane then
    token = string.match(token, '^[^.]*')
    record = redis.call('HGET', P .. 'slots:' .. lane, token) or record
  end
  if of[token] then
    of[token][6] = of[token][6] + 1
  else
    local worker = string.match(record, '^[^|]*')
    of[token] = {
      token, record,
      redis.call('HGET', P .. 'worker:' .. worker, 'host') or '',
      redis.call('ZSCORE', P .. 'workers', worker) or '',
      lane or id, 1,
    }
    found[#found + 1] = of[token]
  end
end
local first = count > 0 and redis.call('ZRANGE', P .. 'waiting:' .. id, 0, count - 1, 'WITHSCORES') or {}
local head = {}
for i = 1, #first, 2 do
  for _, each in ipairs({first[i], first[i + 1], kind_of(id, first[i])}) do head[#head + 1] = each end
end
return {now, found, head}
