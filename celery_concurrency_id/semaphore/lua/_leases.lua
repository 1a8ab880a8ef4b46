-- Shared by every verb: how a slot and a lease end, and who has one.

-- Frees one slot if the worker still holds it; returns its record, or false.
local function release(worker, id, token)
  local record, key = find(id, token)
  redis.call('HDEL', P .. 'held:' .. worker, token)
  if not record or slot_worker(record) ~= worker then return false end
  redis.call('HDEL', key, token)
  if key == P .. 'away:' .. id then redis.call('ZREM', P .. 'back:' .. id, token) end
  trial_end(id, run_of(record, token))
  if slot_state(record) == 'f' then redis.call('HINCRBY', P .. 'id:' .. id, 'fetching', -1) end
  if in_lane(record) then lanes().free_units(id, token) end
  return record, key == P .. 'away:' .. id
end

-- Ends a worker's lease: frees its slots and forgets it. Returns how many slots it held.
local function expire(worker)
  local fleet = redis.call('HGET', P .. 'worker:' .. worker, 'fleet')
  local held = redis.call('HGETALL', P .. 'held:' .. worker)
  redis.call('ZREM', P .. 'workers', worker)
  redis.call('DEL', P .. 'worker:' .. worker)
  -- Where somebody deleted its hash, it may have been of any fleet.
  for _, fleet in ipairs(fleet and {fleet} or fleets()) do
    redis.call('ZREM', P .. 'idle:' .. fleet, worker)
    redis.call('SREM', P .. 'members:' .. fleet, worker)
    if redis.call('SCARD', P .. 'members:' .. fleet) == 0 then
      redis.call('SREM', P .. 'fleets', fleet)
      known_fleets = nil
      redis.call('DEL', P .. 'serves:' .. fleet, P .. 'ready:' .. fleet, P .. 'idle:' .. fleet)
      lanes().forget_lines(fleet)
    end
  end
  for i = 1, #held, 2 do
    release(worker, held[i + 1], held[i])
    refresh(held[i + 1])
    -- What it ran may come back to the broker's queue a while later: the id must still be known by then.
    redis.call('ZADD', P .. 'dynamic', 'XX', int(now), held[i + 1])
  end
  redis.call('DEL', P .. 'held:' .. worker)
  return #held / 2
end

-- Longer than the time between two beats.
local SILENCE_US = 1500000

-- Where no worker at all was heard for longer than a beat, the silence was the server's or the network's: it must not
-- cost the workers their leases. Nothing was granted meanwhile, so what they hold still stands.
local function forgive()
  local newest = redis.call('ZRANGE', P .. 'workers', -1, -1, 'WITHSCORES')[2]
  if newest and now - tonumber(newest) > SILENCE_US then
    for _, worker in ipairs(redis.call('ZRANGE', P .. 'workers', 0, -1)) do
      redis.call('ZADD', P .. 'workers', int(now), worker)
    end
  end
end

-- 'ok' and the caller's fleet where it may act: the state belongs to this server run, and its lease stands; renews
-- that lease.
local function admit(worker, run)
  if redis.call('HGET', P .. 'meta', 'run') ~= run then return 'epoch' end
  local workers = P .. 'workers'
  local seen = tonumber(redis.call('ZSCORE', workers, worker) or nil)
  if not seen or now - seen > SILENCE_US then
    forgive()
    seen = tonumber(redis.call('ZSCORE', workers, worker) or nil)
  end
  if not seen then return 'lost' end
  local row = redis.call('HMGET', P .. 'worker:' .. worker, 'fleet', 'lease_us')
  -- Somebody deleted the hash: the caller joins again, and its slots are still there for it.
  if not row[1] or not row[2] then return 'lost' end
  if now - seen > tonumber(row[2]) then
    expire(worker)
    wake()
    return 'lost'
  end
  redis.call('ZADD', workers, int(now), worker)
  lapse()
  return 'ok', row[1]
end
