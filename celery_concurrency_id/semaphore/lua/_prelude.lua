-- Shared by every verb: it is put in front of each script when the scripts are loaded.
-- KEYS[1] is the namespace's key prefix; every key below it has the same hash tag, so a cluster keeps them together.
-- Times are the server's, in microseconds. keys.py says what each key holds.

local P = KEYS[1]

local function now_us()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local now = now_us()

-- A Lua number of 16 digits must not be written as 1.7e+15.
local function int(number)
  return string.format('%.0f', number)
end

local function field(key, name)
  return tonumber(redis.call('HGET', key, name) or '0') or 0
end

-- Worker, state ('f' fetching or 'r' running), since, task: the task comes last, it may hold any character.
local function pack_slot(worker, state, task)
  return worker .. '|' .. state .. '|' .. int(now) .. '|' .. task
end

local function slot_state(record)
  return string.match(record, '^[^|]*|(%a)|')
end

local function slot_worker(record)
  return string.match(record, '^([^|]*)|') or ''
end

-- Tasks that wait and that no granted slot is already on its way to fetch.
local function claimable(id)
  local row = redis.call('HMGET', P .. 'id:' .. id, 'unseen', 'fetching')
  local waiting = redis.call('ZCARD', P .. 'waiting:' .. id)
  return waiting + (tonumber(row[1] or '0') or 0) - (tonumber(row[2] or '0') or 0)
end

-- Free slots of an id: nil where nobody has said its limit yet, math.huge where it has none.
local function free_slots(id)
  local limit = tonumber(redis.call('HGET', P .. 'id:' .. id, 'limit') or nil)
  if not limit then return nil end
  if limit == 0 then return math.huge end
  return limit - redis.call('HLEN', P .. 'slots:' .. id)
end

-- Puts an id into, or out of, the ready set of every fleet that serves it.
local function refresh(id)
  local free = free_slots(id)
  local ready = free ~= nil and free > 0 and claimable(id) > 0
  for _, fleet in ipairs(redis.call('SMEMBERS', P .. 'fleets')) do
    if ready and redis.call('SISMEMBER', P .. 'serves:' .. fleet, id) == 1 then
      redis.call('ZADD', P .. 'ready:' .. fleet, 'NX', int(now), id)
    else
      redis.call('ZREM', P .. 'ready:' .. fleet, id)
    end
  end
end

-- Where a fleet has ready ids and an idle worker, invites one. The invited worker's own turn invites the next.
local function wake()
  for _, fleet in ipairs(redis.call('SMEMBERS', P .. 'fleets')) do
    if redis.call('ZCARD', P .. 'ready:' .. fleet) > 0 then
      local idle = P .. 'idle:' .. fleet
      local worker = redis.call('ZRANGE', idle, 0, 0)[1]
      while worker do
        redis.call('ZREM', idle, worker)
        if redis.call('PUBLISH', P .. 'mail:' .. worker, 'invite') > 0 then break end
        worker = redis.call('ZRANGE', idle, 0, 0)[1]
      end
    end
  end
end

-- Frees one slot if the worker still holds it; returns its record, or false.
local function release(worker, id, token)
  local record = redis.call('HGET', P .. 'slots:' .. id, token)
  redis.call('HDEL', P .. 'held:' .. worker, token)
  if not record or slot_worker(record) ~= worker then return false end
  redis.call('HDEL', P .. 'slots:' .. id, token)
  if slot_state(record) == 'f' then redis.call('HINCRBY', P .. 'id:' .. id, 'fetching', -1) end
  return record
end

-- Ends a worker's lease: frees its slots and forgets it. Returns how many slots it held.
local function expire(worker)
  local fleet = redis.call('HGET', P .. 'worker:' .. worker, 'fleet')
  local held = redis.call('HGETALL', P .. 'held:' .. worker)
  redis.call('ZREM', P .. 'workers', worker)
  redis.call('DEL', P .. 'worker:' .. worker)
  -- Where somebody deleted its hash, it may have been of any fleet.
  for _, fleet in ipairs(fleet and {fleet} or redis.call('SMEMBERS', P .. 'fleets')) do
    redis.call('ZREM', P .. 'idle:' .. fleet, worker)
    redis.call('SREM', P .. 'members:' .. fleet, worker)
    if redis.call('SCARD', P .. 'members:' .. fleet) == 0 then
      redis.call('SREM', P .. 'fleets', fleet)
      redis.call('DEL', P .. 'serves:' .. fleet, P .. 'ready:' .. fleet, P .. 'idle:' .. fleet)
    end
  end
  for i = 1, #held, 2 do
    release(worker, held[i + 1], held[i])
    refresh(held[i + 1])
  end
  redis.call('DEL', P .. 'held:' .. worker)
  return #held / 2
end

-- Where no worker at all was heard for longer than a beat, the silence was the server's or the network's: it must not
-- cost the workers their leases. Nothing was granted meanwhile, so what they hold still stands.
local function forgive()
  local newest = redis.call('ZRANGE', P .. 'workers', -1, -1, 'WITHSCORES')[2]
  if newest and now - tonumber(newest) > 1500000 then
    for _, worker in ipairs(redis.call('ZRANGE', P .. 'workers', 0, -1)) do
      redis.call('ZADD', P .. 'workers', int(now), worker)
    end
  end
end

-- 'ok' and the caller's fleet where it may act: the state belongs to this server run, and its lease stands; renews
-- that lease.
local function admit(worker, run)
  if redis.call('HGET', P .. 'meta', 'run') ~= run then return 'epoch' end
  forgive()
  local seen = tonumber(redis.call('ZSCORE', P .. 'workers', worker) or nil)
  if not seen then return 'lost' end
  local row = redis.call('HMGET', P .. 'worker:' .. worker, 'fleet', 'lease_us')
  -- Somebody deleted the hash: the caller joins again, and its slots are still there for it.
  if not row[1] or not row[2] then return 'lost' end
  if now - seen > tonumber(row[2]) then
    expire(worker)
    wake()
    return 'lost'
  end
  redis.call('ZADD', P .. 'workers', int(now), worker)
  return 'ok', row[1]
end

-- Milliseconds until grants may go on after a recovery; 0 where none is under way.
local function recovery_ms()
  local left = field(P .. 'meta', 'recover_until') - now
  return left > 0 and math.ceil(left / 1000) or 0
end

-- How long a place in a bounded queue is kept for a task that is being published, in microseconds.
local RESERVED_US = 30000000

-- Tasks that may be in the broker's queue already although their announcement has not come: those for which a place
-- was taken in the last five seconds. After that, the producer died between the two, and others have to tell.
local function on_their_way(id)
  return redis.call('ZCOUNT', P .. 'reserved:' .. id, int(now - 5000000), int(now))
end

-- A waiting task has left the broker's queue.
local function no_longer_waiting(id, task, retries)
  if task ~= '' and redis.call('ZREM', P .. 'waiting:' .. id, task .. ':' .. retries) == 1 then return end
  if field(P .. 'id:' .. id, 'unseen') > 0 then
    redis.call('HINCRBY', P .. 'id:' .. id, 'unseen', -1)
  elseif task ~= '' then
    -- It was fetched before its announcement came: remember it, so that the announcement adds no ghost.
    redis.call('ZREMRANGEBYSCORE', P .. 'early', '-inf', int(now - 30000000))
    redis.call('ZADD', P .. 'early', int(now), task .. ':' .. retries)
  end
end
