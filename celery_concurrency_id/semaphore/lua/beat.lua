-- beat: renew the caller's lease, end the leases of the dead, find and mend what disagrees.
-- KEYS[1]  namespace prefix
-- ARGV[1]  worker
-- ARGV[2]  server run the caller believes in
-- ARGV[3]  1: the caller counts on being registered as idle
-- ARGV[4]  how many slots the caller holds
-- ARGV[5]  the sum of their tokens, each modulo 1000003
-- ARGV[6]  short tier: milliseconds of silence after which a worker without a mailbox connection is dead
-- ARGV[7]  how many queues the caller can look up at a time
-- ARGV[8]  milliseconds of silence after which the caller forgets an id that was made for a call; 0: it forgets none
-- ARGV[9]  number of queues whose length the caller has looked up; then two arguments for each: id, length
-- Returns  {'epoch'} | {'lost'} | {'ok', invited, resync, cursor, expired, mended, lookups, silent, serve, repaired}
--          invited   1: work is ready for the caller
--          resync    1: the slots the server knows are not those the caller holds; join again
--          cursor    where in its list of ids the caller looks up queue lengths next
--          expired   {worker, host, slots} for each lease that ended
--          mended    {id, tasks} for each id with tasks that nobody had announced
--          lookups   {id, family} for each id made for a call whose queue length the caller looks up next
--          silent    {id, mark} for each such id whose queue the caller deletes, if it is empty, within two seconds
--          serve     1: limits of the fleet's ids are missing; say them again
--          repaired  how many entries were wrong and have been set right

local worker, run, idle_here = ARGV[1], ARGV[2], ARGV[3] == '1'
local held_count, held_sum = tonumber(ARGV[4]), tonumber(ARGV[5])
local short_us, lengths = tonumber(ARGV[6]) * 1000, tonumber(ARGV[9])
local batch, ttl_us = tonumber(ARGV[7]), tonumber(ARGV[8]) * 1000

local status, fleet = admit(worker, run)
if status ~= 'ok' then return {status} end

local expired = {}
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', '-inf', int(now - short_us), 'LIMIT', 0, 50)) do
  local row = redis.call('HMGET', P .. 'worker:' .. silent, 'host', 'lease_us')
  local seen = tonumber(redis.call('ZSCORE', P .. 'workers', silent))
  if now - seen > (tonumber(row[2] or '0') or 0) or redis.call('PUBLISH', P .. 'mail:' .. silent, 'ping') == 0 then
    expired[#expired + 1] = {silent, row[1] or '', expire(silent)}
  end
end

-- What the caller holds has two entries, one under its name and one under the id: both have to be there.
local held, tokens, sum = redis.call('HGETALL', P .. 'held:' .. worker), 0, 0
for i = 1, #held, 2 do
  local record = find(held[i + 1], held[i])
  if record and slot_worker(record) == worker then
    tokens, sum = tokens + 1, sum + (tonumber(held[i]) or 0) % 1000003
  end
end
local resync = (tokens ~= held_count or sum ~= held_sum or 2 * tokens ~= #held) and 1 or 0

local serve, repaired = 1 - redis.call('EXISTS', P .. 'serves:' .. fleet), 0
repaired = repaired + redis.call('SADD', P .. 'members:' .. fleet, worker) + redis.call('SADD', P .. 'fleets', fleet)
known_fleets = nil

-- Holds the slots of an id against those who are said to have them. A slot of nobody is free. One that its worker's own
-- list lacks is put there: that worker knows whether it holds it, and its next beat shows it the difference.
-- Returns how many slots it looked at.
local audited = {}
local function audit(id, most)
  local slots, away, back = P .. 'slots:' .. id, P .. 'away:' .. id, P .. 'back:' .. id
  local fetching, count = 0, 0
  audited[id] = true
  if redis.call('HLEN', slots) + redis.call('HLEN', away) > math.min(most, 1000) then return 0 end
  for _, key in ipairs({slots, away}) do
    local records = redis.call('HGETALL', key)
    count = count + #records / 2
    for i = 1, #records, 2 do
      local token, record, owner = records[i], records[i + 1], slot_worker(records[i + 1])
      local leased = redis.call('ZSCORE', P .. 'workers', owner)
      local lane = string.match(record, '^[^|]*|u|%d+|(.*)$')
      if lane then
        if redis.call('HEXISTS', P .. 'slots:' .. lane, string.match(token, '^[^.]*')) == 0 then
          repaired = repaired + redis.call('HDEL', key, token)
        end
      elseif not leased and redis.call('PUBLISH', P .. 'mail:' .. owner, 'rejoin') == 0 then
        redis.call('HDEL', key, token)
        redis.call('ZREM', back, token)
        redis.call('HDEL', P .. 'held:' .. owner, token)
        if in_lane(record) then lanes().free_units(id, token) end
        repaired = repaired + 1
      else
        if in_lane(record) then
          local needs = redis.call('HGET', P .. 'took:' .. id, token) or lanes().needs_of(id)
          repaired = repaired + math.min(lanes().take_units(owner, id, token, needs), 1)
        end
        if slot_state(record) == 'f' then fetching = fetching + 1 end
        if redis.call('HGET', P .. 'held:' .. owner, token) ~= id then
          redis.call('HSET', P .. 'held:' .. owner, token, id)
          repaired = repaired + 1
        end
      end
    end
  end
  if fetching ~= field(P .. 'id:' .. id, 'fetching') then
    redis.call('HSET', P .. 'id:' .. id, 'fetching', fetching)
    repaired = repaired + 1
  end
  refresh(id)
  -- What its tasks need of others may be served by nobody else.
  local needs = redis.call('HGET', P .. 'id:' .. id, 'needs')
  for limit, weight in lanes().each_need(needs or '') do
    if redis.call('HEXISTS', P .. 'id:' .. limit, 'limit') == 0 then serve = 1 end
    lanes().share(limit, weight)
    if not audited[limit] then audit(limit, most) end
  end
  return count
end

-- One worker of the fleet at a time does that, for some ids: the first to beat after a second. An id with more than 1000
-- slots is left alone, and no script looks at more than 5000; it begins with another id each time.
if recovery_ms() == 0 and now - field(P .. 'meta', 'audited:' .. fleet) > 1000000 then
  local at = redis.call('HGET', P .. 'meta', 'audit:' .. fleet) or '0'
  local scanned = redis.call('SSCAN', P .. 'serves:' .. fleet, at, 'COUNT', 20)
  redis.call('HSET', P .. 'meta', 'audited:' .. fleet, int(now), 'audit:' .. fleet, scanned[1])
  local ids, left, first = scanned[2], 5000, math.floor(now / 1000000)
  for i = 1, #ids do
    local id = ids[(first + i) % #ids + 1]
    if redis.call('HEXISTS', P .. 'meta', 'family:' .. id) == 0 then
      if redis.call('HEXISTS', P .. 'id:' .. id, 'limit') == 0 then serve = 1 end
      left = left - audit(id, left)
    end
  end
end

local mended = {}
for i = 0, lengths - 1 do
  local id, length = ARGV[10 + i * 2], tonumber(ARGV[11 + i * 2])
  local announced = redis.call('ZCARD', P .. 'waiting:' .. id) + on_their_way(id)
  local before = field(P .. 'id:' .. id, 'unseen')
  local unseen = math.max(length - announced, 0)
  if unseen ~= before then
    redis.call('HSET', P .. 'id:' .. id, 'unseen', unseen)
    refresh(id)
    if unseen > before then mended[#mended + 1] = {id, unseen} end
  end
end

if redis.call('EXISTS', P .. 'hungry') == 1 then lanes().end_grace() end

local invited = 0
local idle = P .. 'idle:' .. fleet
if not idle_here then
  redis.call('ZREM', idle, worker)
elseif not redis.call('ZSCORE', idle, worker) then
  if redis.call('ZCARD', P .. 'ready:' .. fleet) > 0 then
    invited = 1
  else
    redis.call('ZADD', idle, int(now), worker)
  end
end
if recovery_ms() == 0 then wake() end

-- One worker of the fleet at a time looks up queue lengths: the first to beat after two seconds.
local cursor = -1
if now - field(P .. 'meta', 'polled:' .. fleet) > 2000000 then
  redis.call('HSET', P .. 'meta', 'polled:' .. fleet, int(now))
  cursor = redis.call('HINCRBY', P .. 'meta', 'cursor:' .. fleet, 1)
end

-- Of the ids made for calls: new ones first, then those whose turn it is. What another fleet serves is left to it.
local lookups, silent, looked = {}, {}, {}
local function look_up(key, most)
  for _, id in ipairs(redis.call('ZRANGE', P .. key, 0, 4 * batch - 1)) do
    if #lookups >= most then return end
    local family = redis.call('HGET', P .. 'id:' .. id, 'family')
    local own, others = serves(fleet, id, family), false
    if not own then
      for _, each in ipairs(fleets()) do others = others or serves(each, id, family) end
    end
    if not others then
      redis.call('ZREM', P .. 'fresh', id)
      redis.call('ZADD', P .. 'lookups', 'XX', int(now), id)
    end
    if own and not looked[id] then
      lookups[#lookups + 1] = {id, family or ''}
      looked[id] = true
    end
  end
end

if cursor >= 0 and batch > 0 then
  look_up('fresh', math.ceil(batch / 2))
  look_up('lookups', batch)
  local left = recovery_ms() == 0 and 5000 or -1
  for _, lookup in ipairs(lookups) do left = left - audit(lookup[1], left) end
end
if cursor >= 0 and ttl_us > 0 and recovery_ms() == 0 then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'dynamic', '-inf', int(now - ttl_us), 'LIMIT', 0, batch)) do
    if busy(id) then
      redis.call('ZADD', P .. 'dynamic', int(now), id)
    else
      -- Offered again in half a minute, should nothing come of it.
      local mark = int(now - ttl_us + 30000000)
      redis.call('ZADD', P .. 'dynamic', mark, id)
      redis.call('HSET', P .. 'id:' .. id, 'retiring', int(now + 3000000))
      silent[#silent + 1] = {id, mark}
    end
  end
end

return {'ok', invited, resync, cursor, expired, mended, lookups, silent, serve, repaired}
