-- join: begin or renew a worker's lease with the slots it holds; the first to join a new server run starts a recovery.
-- KEYS[1]  namespace prefix
-- ARGV[1]  worker
-- ARGV[2]  server run the caller is connected to
-- ARGV[3]  milliseconds that the server has been up
-- ARGV[4]  recovery: milliseconds that live workers get to say what they hold
-- ARGV[5]  host
-- ARGV[6]  fleet: names the set of ids that the worker serves
-- ARGV[7]  lease in milliseconds
-- ARGV[8]  number of slots held; then five arguments for each: id, token, task, what it was granted of other limits (as
--          announce has it), 1 if its task has given it back for a while
-- Returns  {1 if the fleet's ids have to be registered, recovery in ms, lost tokens, 1 if this join began a recovery}

local worker, run, uptime_us, window_us = ARGV[1], ARGV[2], tonumber(ARGV[3]) * 1000, tonumber(ARGV[4]) * 1000
local host, fleet, lease_us, count = ARGV[5], ARGV[6], tonumber(ARGV[7]) * 1000, tonumber(ARGV[8])
local meta, awaited = P .. 'meta', P .. 'awaited'

forgive()

local known_run, began = redis.call('HGET', meta, 'run'), 0
if known_run ~= run then
  -- Whatever the state says may be old, or gone. Live workers know better: each tells what it holds. They are those
  -- the state knows, or, where it is gone, those whose mailboxes are still connected. A server that has only just
  -- started gets a second: nobody may have come back to it yet.
  began = 1
  redis.call('DEL', awaited)
  if known_run then
    for _, other in ipairs(redis.call('ZRANGE', P .. 'workers', 0, -1)) do
      redis.call('SADD', awaited, other)
      expire(other)
    end
  else
    for _, mailbox in ipairs(redis.call('PUBSUB', 'CHANNELS', P .. 'mail:*')) do
      redis.call('SADD', awaited, string.sub(mailbox, #P + 6))
    end
    redis.call('PUBLISH', P .. 'all', 'rejoin')
  end
  -- Redis tells its uptime in whole seconds; two of them mean that the others have had one to come back.
  local floor = now + (uptime_us < 2000000 and 1000000 or 0)
  redis.call('HSET', meta, 'run', run, 'recover_floor', int(floor), 'recover_until', int(now + window_us))
end

redis.call('SREM', awaited, worker)
if recovery_ms() > 0 and redis.call('SCARD', awaited) == 0 then
  redis.call('HSET', meta, 'recover_until', int(math.max(now, field(meta, 'recover_floor'))))
  if recovery_ms() == 0 then redis.call('PUBLISH', P .. 'all', 'invite') end
end
local recovery = recovery_ms()

if redis.call('SADD', P .. 'fleets', fleet) == 1 then
  known_fleets = nil
  -- Its first member: what was said of it before is nobody's.
  redis.call('DEL', P .. 'serves:' .. fleet, P .. 'ready:' .. fleet)
  lanes().forget_lines(fleet)
end
redis.call('SADD', P .. 'members:' .. fleet, worker)
redis.call('HSET', P .. 'worker:' .. worker, 'host', host, 'fleet', fleet, 'lease_us', int(lease_us))
redis.call('ZADD', P .. 'workers', int(now), worker)
redis.call('ZREM', P .. 'idle:' .. fleet, worker)

local offered, lost, touched = {}, {}, {}
for i = 0, count - 1 do
  local at = 9 + i * 5
  local id, token, task, needs, away = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4] == '1'
  offered[token] = true
  local record, key = find(id, token)
  if away then
    -- It needs no room. Where Redis has not heard of it yet, it does now.
    if record and key ~= P .. 'away:' .. id then
      redis.call('HDEL', key, token)
      trial_end(id, run_of(record, token))
      record = from_now(record)
    end
    redis.call('HSET', P .. 'away:' .. id, token, record or pack_slot(worker, 'r', task))
    redis.call('HSET', P .. 'held:' .. worker, token, id)
    touched[id] = true
  elseif record then
    redis.call('HSET', P .. 'held:' .. worker, token, id)
    if slot_state(record) == 'f' and task ~= '' then
      redis.call('HINCRBY', P .. 'id:' .. id, 'fetching', -1)
      redis.call('HSET', key, token, running(record, worker, task))
      touched[id] = true
    end
  else
    local free = room(id)  -- paused or not: it runs already
    for limit, weight in lanes().each_need(needs) do
      local left = room(limit)
      if left and left < tonumber(weight) then free = 0 end
    end
    if recovery > 0 or began == 1 or free == nil or free > 0 then
      redis.call('HSET', P .. 'slots:' .. id, token, pack_slot(worker, needs ~= '' and 'R' or 'r', task))
      redis.call('HSET', P .. 'held:' .. worker, token, id)
      trial_start(id, token, pack_slot(worker, 'r', task))
      if needs ~= '' then lanes().take_units(worker, id, token, needs) end
      for limit in lanes().each_need(needs) do touched[limit] = true end
      touched[id] = true
    else
      redis.call('HDEL', P .. 'held:' .. worker, token)
      lost[#lost + 1] = token
    end
  end
end
local held = redis.call('HGETALL', P .. 'held:' .. worker)
for i = 1, #held, 2 do
  if not offered[held[i]] then
    release(worker, held[i + 1], held[i])
    touched[held[i + 1]] = true
  end
end
for id in pairs(touched) do refresh(id) end
if recovery == 0 then wake() end

return {1 - redis.call('EXISTS', P .. 'serves:' .. fleet), recovery, lost, began}
