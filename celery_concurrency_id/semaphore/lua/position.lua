-- position: tell where some tasks are in the line of an id, and what their start depends on.
-- KEYS[1]  namespace prefix
-- ARGV[1]  concurrency id
-- ARGV[2]  the highest number of retries to look for
-- ARGV[3..]  one argument for each task: its id
-- Returns  {time in us, id, kinds, slots, times, tasks}
--          id     {limit (0: none; empty: nobody said), 1 if paused, waiting tasks that were not announced, announced
--                 ones, since when the first of these (us; empty: none), slots taken, 1 if a live worker serves it,
--                 recovery in ms}
--          kinds  {kind, how many wait} for each kind, the usual one first
--          slots  {state, since when (us), the task's name} for each slot; empty where there are more than 200
--          times  {name, number, mean and variance in ms, as one text} for each name of the above that is known
--          tasks  {} for one that is nowhere | {'r', since when (us), name} for one that runs |
--                 {'a', since when (us), name} for one that runs without its slot, which it has given back for a while |
--                 {'w', retries, number of its kind from 0, its rank, how many of each kind are ahead} for one that waits

local id, highest = ARGV[1], tonumber(ARGV[2])
local waiting = P .. 'waiting:' .. id

local alive, family = 0, redis.call('HGET', P .. 'id:' .. id, 'family')
for _, fleet in ipairs(fleets()) do
  if alive == 0 and serves(fleet, id, family) then
    for _, worker in ipairs(redis.call('SMEMBERS', P .. 'members:' .. fleet)) do
      if now - tonumber(redis.call('ZSCORE', P .. 'workers', worker) or '0') < 3000000 then
        alive = 1
        break
      end
    end
  end
end

local names, times = {}, {}
local function need(name)
  if name == '' or names[name] then return end
  names[name] = true
  local told = redis.call('HGET', P .. 'times', name)
  if told then times[#times + 1] = {name, told} end
end

local total = redis.call('ZCARD', waiting)
local row = redis.call('HMGET', P .. 'id:' .. id, 'limit', 'override', 'paused', 'unseen', 'kind', 'needs')
local kinds = {{row[5] or '', total}}
for _, kind in ipairs(redis.call('SMEMBERS', P .. 'kinds:' .. id)) do
  local count = redis.call('ZCARD', kind_key(id, kind))
  kinds[#kinds + 1] = {kind, count}
  kinds[1][2] = math.max(kinds[1][2] - count, 0)
end
for _, kind in ipairs(kinds) do need(string.match(kind[1], ' (.*)$') or '') end

local records, slots, running = redis.call('HVALS', P .. 'slots:' .. id), {}, {}
for _, record in ipairs(records) do
  local state, since, task, name = unpack_slot(record)
  if string.lower(state) == 'r' then running[task] = {'r', int(since), name} end
  if #records <= 200 then
    slots[#slots + 1] = {state == 'u' and 'r' or state, int(since), name}
    need(name)
  end
end

-- A task that has given its slot back for a while runs, too.
for _, record in ipairs(redis.call('HVALS', P .. 'away:' .. id)) do
  local _, since, task, name = unpack_slot(record)
  running[task] = {'a', int(since), name}
end

local tasks = {}
for i = 3, #ARGV do
  local found = running[ARGV[i]] or {}
  if found[1] == 'r' then need(found[3]) end
  for retries = 0, found[1] and -1 or highest do
    local member = ARGV[i] .. ':' .. retries
    local score = redis.call('ZSCORE', waiting, member)
    if score then
      local rank, own, ahead = redis.call('ZRANK', waiting, member), 0, {}
      ahead[1] = rank
      for k = 2, #kinds do
        local key = kind_key(id, kinds[k][1])
        ahead[k] = redis.call('ZCOUNT', key, '-inf', '(' .. score)
        ahead[1] = math.max(ahead[1] - ahead[k], 0)
        if redis.call('ZSCORE', key, member) then own = k - 1 end
      end
      found = {'w', retries, own, rank, ahead}
      break
    end
  end
  tasks[#tasks + 1] = found
end

local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2] or ''
local code = row[1] and int(math.max(tonumber(row[1]), 0))  -- one that only watches is none
-- Where other limits count, too, this one says little.
local limit = row[6] and '' or row[2] or code or ''
local told = {limit, row[3] and 1 or 0, tonumber(row[4] or '0') or 0, total, first, #records, alive,
  recovery_ms()}
return {now, told, kinds, slots, times, tasks}
