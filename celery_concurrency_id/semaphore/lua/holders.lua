-- holders: tell who holds the slots of an id, who has given one back for a while, and what waits first.
-- KEYS[1]  namespace prefix
-- ARGV[1]  concurrency id
-- ARGV[2]  how many of the waiting tasks to tell
-- Returns  {time in us, slots, head, away}
--          slots  {token, record, host, when its worker was last heard (us; empty: never), lane, units} per holder; the lane
--                 is the id in whose slot the task runs; units, how many slots of this id it has
--          head   waiting task, since when (us) and kind, one after the other
--          away   {token, record, host, when its worker was last heard (us; empty: never), since when its task waits to
--                 have it again (us; empty: it does not yet), how many tasks come before it then} per slot that is given
--                 back for a while: those that wait for theirs since before, and older ones that wait in the queue

local id, count = ARGV[1], tonumber(ARGV[2])

-- The host of a worker, and when it was last heard.
local function host_of(record)
  local worker = slot_worker(record)
  return redis.call('HGET', P .. 'worker:' .. worker, 'host') or '', redis.call('ZSCORE', P .. 'workers', worker) or ''
end

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
    local host, heard = host_of(record)
    of[token] = {token, record, host, heard, lane or id, 1}
    found[#found + 1] = of[token]
  end
end
local first = count > 0 and redis.call('ZRANGE', P .. 'waiting:' .. id, 0, count - 1, 'WITHSCORES') or {}
local head = {}
for i = 1, #first, 2 do
  for _, each in ipairs({first[i], first[i + 1], kind_of(id, first[i])}) do head[#head + 1] = each end
end

local given, away = redis.call('HGETALL', P .. 'away:' .. id), {}
for i = 1, #given, 2 do
  local token, record = given[i], given[i + 1]
  local host, heard = host_of(record)
  local wants, before = redis.call('ZSCORE', P .. 'back:' .. id, token), 0
  if wants then before = redis.call('ZRANK', P .. 'back:' .. id, token) + earlier(id, wants) end
  away[#away + 1] = {token, record, host, heard, wants or '', before}
end
return {now, found, head, away}
