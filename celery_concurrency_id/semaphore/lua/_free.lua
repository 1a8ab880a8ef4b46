-- Shared by every verb: what becomes of free slots, and of what an operator said.

-- Free slots that a task may have which waits since then to have its slot again: none of those that are left free for a
-- lane that waits longer.
local function spare(id, since)
  local free, _, weights = free_slots(id)
  if weights and free and free > 0 then return lanes().available(id, id, tonumber(since)) end
  return free or 0
end

-- Gives free slots to the tasks that wait to have theirs again, in turn; says whether it gave any.
local function hand_back(id)
  local back, handed = P .. 'back:' .. id, false
  local first = redis.call('ZRANGE', back, 0, 0, 'WITHSCORES')
  while first[1] and recovery_ms() == 0 and spare(id, first[2]) > 0 and (before_all(id, first[2]) or not wanted(id)) do
    local record = redis.call('HGET', P .. 'away:' .. id, first[1])
    redis.call('ZREM', back, first[1])
    redis.call('HDEL', P .. 'away:' .. id, first[1])
    if record then
      record = from_now(record)
      redis.call('HSET', P .. 'slots:' .. id, first[1], record)
      if slot_state(record) == 'r' then trial_start(id, first[1], record) end
      redis.call('RPUSH', P .. 'came:' .. first[1], 1)
      redis.call('PEXPIRE', P .. 'came:' .. first[1], 10000)
      handed = true
    end
    first = redis.call('ZRANGE', back, 0, 0, 'WITHSCORES')
  end
  return handed
end

-- Limits of which slots were freed with those of a lane, and that nobody has looked at since.
local stale = {}

-- Looks what becomes of an id's free slots, after anything that concerns them.
local function refresh(id)
  local limit = next(stale)
  while limit do
    stale[limit] = nil
    note_ready(limit)
    if hand_back(limit) then note_ready(limit) end
    limit = next(stale)
  end
  note_ready(id)
  if hand_back(id) then note_ready(id) end
end

-- Tells the holders of an id's slots to keep none of them when their tasks end.
local function recall(id)
  local slots, told = redis.call('HGETALL', P .. 'slots:' .. id), {}
  for i = 2, #slots, 2 do
    local worker = slot_worker(slots[i])
    if not told[worker] then
      told[worker] = true
      redis.call('PUBLISH', P .. 'mail:' .. worker, 'recall ' .. id)
    end
  end
end

-- An operator changed what an id may do, or that has ended: where more slots are held than it may have, their holders are
-- told to keep none of them when their tasks end.
local function revise(id)
  local free = free_slots(id)
  if free and free < 0 then recall(id) end
  refresh(id)
end

-- Notes whether an operator has a hand in an id, and when that ends by itself.
local function note_control(id)
  local row = redis.call('HMGET', P .. 'id:' .. id, 'override', 'override_until', 'paused')
  if row[1] and row[2] then
    redis.call('ZADD', P .. 'controlled', row[2], id)
  elseif row[1] or row[3] then
    redis.call('ZADD', P .. 'controlled', '+inf', id)
  else
    redis.call('ZREM', P .. 'controlled', id)
  end
end

local function end_override(id)
  redis.call('HDEL', P .. 'id:' .. id, 'override', 'override_until', 'override_by', 'override_note', 'override_at')
end

-- Ends the overrides whose time is over; returns how many. Every call that grants does this first.
local function lapse()
  local over = redis.call('ZRANGEBYSCORE', P .. 'controlled', '-inf', int(now), 'LIMIT', 0, 50)
  for _, id in ipairs(over) do
    end_override(id)
    note_control(id)
    revise(id)
  end
  return #over
end

-- Where a fleet has ready ids and an idle worker, invites one. The invited worker's own turn invites the next.
local function wake()
  for _, fleet in ipairs(fleets()) do
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
