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

-- Milliseconds until grants may go on after a recovery; 0 where none is under way.
local function recovery_ms()
  local left = field(P .. 'meta', 'recover_until') - now
  return left > 0 and math.ceil(left / 1000) or 0
end

-- What _lanes.lua does, by its names.
local lanes

-- Worker, state ('f' fetching or 'r' running; capital where it takes slots of other ids, too), since, task: the task comes
-- last, it may hold any character. Behind it, after a NUL, its name, which holds none; where there is no name, and no NUL
-- in the task, there is no NUL at all. A slot that is taken with that of another id, its lane, has state 'u', and that id
-- in place of the task.
local function pack_slot(worker, state, task, name)
  local tail = (name or '') ~= '' and '\0' .. name or string.find(task, '\0', 1, true) and '\0' or ''
  return worker .. '|' .. state .. '|' .. int(now) .. '|' .. task .. tail
end

-- State ('f', 'r' or 'u'), since, task and name of a slot.
local function unpack_slot(record)
  local state, since, rest = string.match(record, '^[^|]*|(%a)|(%d+)|(.*)$')
  if state == 'u' then return 'u', tonumber(since), '', '' end
  local task, name = string.match(rest or '', '^(.*)%z([^%z]*)$')
  return string.lower(state or ''), tonumber(since), task or rest or '', name or ''
end

local function slot_state(record)
  return string.lower(string.match(record, '^[^|]*|(%a)|'))
end

-- Whether a slot takes slots of other ids, too.
local function in_lane(record)
  return string.find(record, '^[^|]*|%u|') ~= nil
end

-- The record of a slot once a task runs in it.
local function running(record, worker, task, name)
  return pack_slot(worker, in_lane(record) and 'R' or 'r', task, name)
end

local function slot_worker(record)
  return string.match(record, '^([^|]*)|') or ''
end

-- The record of a held slot and the hash it is in: that of the id's slots, or, while its task has given it back for a
-- while, that of those which are away and count for nothing.
local function find(id, token)
  local key = P .. 'slots:' .. id
  local record = redis.call('HGET', key, token)
  if record then return record, key end
  key = P .. 'away:' .. id
  return redis.call('HGET', key, token), key
end

-- Tasks that wait and that no granted slot is already on its way to fetch.
local function claimable(id)
  local row = redis.call('HMGET', P .. 'id:' .. id, 'unseen', 'fetching')
  local waiting = redis.call('ZCARD', P .. 'waiting:' .. id)
  return waiting + (tonumber(row[1] or '0') or 0) - (tonumber(row[2] or '0') or 0)
end

-- What is left of an id's limit: nil where nobody has said it yet, math.huge where there is none, or one that only
-- watches. What an operator set stands over what the code says. The second value says whether the id is paused; the third
-- and fourth are what one of its tasks needs of other limits, and the weights of the tasks that need its own: both false
-- for most ids.
local function room(id)
  local row = redis.call('HMGET', P .. 'id:' .. id, 'limit', 'override', 'paused', 'needs', 'weights')
  local limit, paused = tonumber(row[2] or row[1] or nil), row[3]
  if not limit then return nil, paused, row[4], row[5] end
  if limit <= 0 then return math.huge, paused, row[4], row[5] end
  return limit - redis.call('HLEN', P .. 'slots:' .. id), paused, row[4], row[5]
end

-- Free slots of an id, nil as above. While it is paused, less than none: none is granted, and none is kept.
local function free_slots(id)
  local free, paused, needs, weights = room(id)
  if free and paused then return -1, needs, weights, paused end
  return free, needs, weights, paused
end

-- Whether a fleet serves an id: by its name, or by that of the family in which it was made for a call.
local function serves(fleet, id, family)
  local names = P .. 'serves:' .. fleet
  if redis.call('SISMEMBER', names, id) == 1 then return true end
  return family and redis.call('SISMEMBER', names, family) == 1
end

-- Puts an id into, or out of, the ready set of every fleet that serves it; or into a limit's line, where several share one.
local function note_ready(id)
  local free, needs, weights, paused = free_slots(id)
  if needs or weights then
    -- Where it only shares its own limit, it stands in line for that, full or not.
    local may = free ~= nil and not paused and (free > 0 or not needs)
    lanes().stand(id, needs or id .. ' 1', may and claimable(id) > 0)
    if weights then lanes().review(id, weights) end
    return
  end
  local ready = free ~= nil and free > 0 and claimable(id) > 0
  local family = ready and redis.call('HGET', P .. 'id:' .. id, 'family')
  for _, fleet in ipairs(redis.call('SMEMBERS', P .. 'fleets')) do
    if ready and serves(fleet, id, family) then
      redis.call('ZADD', P .. 'ready:' .. fleet, 'NX', int(now), id)
    else
      redis.call('ZREM', P .. 'ready:' .. fleet, id)
    end
  end
end

-- Whether a task that waits to have its slot again since then came before everything that waits in the queue.
local function before_all(id, since)
  local on_the_way = int(math.max(field(P .. 'id:' .. id, 'fetching'), 0))
  local oldest = redis.call('ZRANGE', P .. 'waiting:' .. id, on_the_way, on_the_way, 'WITHSCORES')[2]
  return not oldest or tonumber(oldest) >= tonumber(since)
end

-- Whether a worker may still come for a slot of an id that is ready: for half a second. After that, none has a place for
-- a task of it: all of them may be kept by tasks that wait for this very slot.
local function wanted(id)
  local name = redis.call('HEXISTS', P .. 'id:' .. id, 'weights') == 1 and id .. ' 1' or id
  for _, fleet in ipairs(redis.call('SMEMBERS', P .. 'fleets')) do
    local since = redis.call('ZSCORE', P .. 'ready:' .. fleet, name)
    if since and now - tonumber(since) < 500000 then return true end
  end
  return false
end

-- What a limit that only watches would have done: tasks arrive there when they really start, run as long as they really
-- run, and stand in one line for that many slots. At any time this is known without a guess: what runs there has begun
-- there no earlier than it really did, so that its end there, if it is over, has really been seen.
local LONGEST_LINE = 1000

local function forget_trial(id)
  for _, each in ipairs({'observed:', 'trial:', 'queued:', 'ends:'}) do redis.call('DEL', P .. each .. id) end
end

local function trial_limit(id)
  local limit = field(P .. 'id:' .. id, 'limit')
  return limit < 0 and -limit or nil
end

local function raise_to(key, name, value)
  if value > field(key, name) then redis.call('HSET', key, name, int(value)) end
end

local function run_of(record, token)
  return token .. ':' .. (string.match(record, '^[^|]*|%a|(%d+)|') or '')
end

-- Lets the trial go on until now: whenever a slot there becomes free, the first in the line begins.
local function go_on(id)
  local observed, trial, line, ends = P .. 'observed:' .. id, P .. 'trial:' .. id, P .. 'queued:' .. id, P .. 'ends:' .. id
  local over = redis.call('ZRANGE', ends, 0, 0, 'WITHSCORES')
  while over[1] and tonumber(over[2]) <= now do
    redis.call('ZREM', ends, over[1])
    redis.call('HINCRBY', observed, 'busy', -1)
    local first = redis.call('ZPOPMIN', line)
    if first[1] then
      local waited, took = over[2] - first[2], redis.call('HGET', trial, first[1])
      redis.call('HINCRBY', observed, 'busy', 1)
      redis.call('HINCRBY', observed, 'begun', 1)
      redis.call('HINCRBY', observed, 'wait', int(waited))
      redis.call('HINCRBY', observed, 'over:' .. math.max(0, math.ceil(math.log(waited / 1000) / math.log(2))), 1)
      raise_to(observed, 'longest', waited)
      if took == '' then
        redis.call('HSET', trial, first[1], over[2])
      else
        redis.call('HDEL', trial, first[1])
        redis.call('ZADD', ends, int(over[2] + took), first[1])
      end
    end
    over = redis.call('ZRANGE', ends, 0, 0, 'WITHSCORES')
  end
end

-- A task has really started in a slot.
local function trial_start(id, token, record)
  local limit = trial_limit(id)
  if not limit then return end
  local observed, line = P .. 'observed:' .. id, P .. 'queued:' .. id
  if field(observed, 'limit') ~= limit then
    forget_trial(id)
    redis.call('HSET', observed, 'limit', limit, 'since', int(now))
  end
  go_on(id)
  redis.call('HINCRBY', observed, 'tasks', 1)
  raise_to(observed, 'peak', redis.call('HLEN', P .. 'slots:' .. id) - field(P .. 'id:' .. id, 'fetching'))
  if field(observed, 'busy') < limit then
    redis.call('HINCRBY', observed, 'busy', 1)
    redis.call('HSET', P .. 'trial:' .. id, run_of(record, token), int(now))
  elseif redis.call('ZCARD', line) < LONGEST_LINE then
    redis.call('HINCRBY', observed, 'waited', 1)
    redis.call('HSET', P .. 'trial:' .. id, run_of(record, token), '')
    redis.call('ZADD', line, int(now), run_of(record, token))
    raise_to(observed, 'line', redis.call('ZCARD', line))
  else
    redis.call('HINCRBY', observed, 'beyond', 1)
  end
end

-- A task has really ended, or has given its slot back.
local function trial_end(id, run)
  local trial = P .. 'trial:' .. id
  if redis.call('HEXISTS', trial, run) == 0 then return end
  go_on(id)
  local began = redis.call('HGET', trial, run)
  local took = now - tonumber(string.match(run, ':(%d+)$'))
  if began == '' then
    redis.call('HSET', trial, run, int(took))
  elseif not redis.call('ZSCORE', P .. 'queued:' .. id, run) then
    redis.call('HDEL', trial, run)
    redis.call('ZADD', P .. 'ends:' .. id, int(began + took), run)
    go_on(id)
  end
end

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
      record = string.gsub(record, '|%d+|', '|' .. int(now) .. '|', 1)
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
  local record, key = find(id, token)
  redis.call('HDEL', P .. 'held:' .. worker, token)
  if not record or slot_worker(record) ~= worker then return false end
  redis.call('HDEL', key, token)
  if key == P .. 'away:' .. id then redis.call('ZREM', P .. 'back:' .. id, token) end
  trial_end(id, run_of(record, token))
  if slot_state(record) == 'f' then redis.call('HINCRBY', P .. 'id:' .. id, 'fetching', -1) end
  if in_lane(record) then lanes().free_units(id, token) end
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
  lapse()
  return 'ok', row[1]
end

-- How long a place in a bounded queue is kept for a task that is being published, in microseconds.
local RESERVED_US = 10000000

-- Tasks that may be in the broker's queue already although their announcement has not come: those for which a place
-- was taken in the last five seconds. After that, the producer died between the two, and others have to tell.
local function on_their_way(id)
  return redis.call('ZCOUNT', P .. 'reserved:' .. id, int(now - 5000000), int(now))
end

-- A kind is a priority, a blank and a task's name. Most ids have tasks of one kind: `kind` of its hash names it. Waiting
-- tasks of other kinds are in a sorted set of their own, too, so that it can be told how many of a kind are ahead of a
-- task. Kinds beyond so many count as the first one.
local MOST_KINDS = 16

local function kind_key(id, kind)
  return P .. 'kind:' .. id .. ' ' .. kind
end

local function forget_kinds(id)
  for _, kind in ipairs(redis.call('SMEMBERS', P .. 'kinds:' .. id)) do redis.call('DEL', kind_key(id, kind)) end
  redis.call('DEL', P .. 'kinds:' .. id)
end

local function add_waiting(id, member, score, kind)
  local waiting = P .. 'waiting:' .. id
  local usual = kind ~= '' and redis.call('HGET', P .. 'id:' .. id, 'kind')
  if kind ~= '' and kind ~= usual then
    local kinds = P .. 'kinds:' .. id
    if not usual or redis.call('EXISTS', waiting) == 0 then
      forget_kinds(id)
      redis.call('HSET', P .. 'id:' .. id, 'kind', kind)
    elseif redis.call('SISMEMBER', kinds, kind) == 1 or redis.call('SCARD', kinds) < MOST_KINDS then
      redis.call('SADD', kinds, kind)
      redis.call('ZADD', kind_key(id, kind), score, member)
    end
  end
  redis.call('ZADD', waiting, score, member)
end

local function kind_of(id, member)
  for _, kind in ipairs(redis.call('SMEMBERS', P .. 'kinds:' .. id)) do
    if redis.call('ZSCORE', kind_key(id, kind), member) then return kind end
  end
  return redis.call('HGET', P .. 'id:' .. id, 'kind') or ''
end

local function drop_waiting(id, member)
  for _, kind in ipairs(redis.call('SMEMBERS', P .. 'kinds:' .. id)) do
    if redis.call('ZREM', kind_key(id, kind), member) == 1 and redis.call('EXISTS', kind_key(id, kind)) == 0 then
      redis.call('SREM', P .. 'kinds:' .. id, kind)
    end
  end
  return redis.call('ZREM', P .. 'waiting:' .. id, member) == 1
end

-- Of ids that were made for calls there may be too many to look through: where a task of one is, for two days.
local WHERE_MS = 172800000

-- How long tasks of a name have lately been in their slots, for so many names: how many they were, mean and variance in
-- ms. Each new one counts for a tenth, or for more while they are few.
local MOST_NAMES = 1000

local function took(name, ms)
  local count, mean, variance = string.match(redis.call('HGET', P .. 'times', name) or '', '^(%S+) (%S+) (%S+)$')
  count, mean, variance = tonumber(count), tonumber(mean), tonumber(variance)
  if not (count and mean and variance) then
    count, mean, variance = 0, 0, 0
    if redis.call('HLEN', P .. 'times') >= MOST_NAMES then
      redis.call('HDEL', P .. 'times', redis.call('HRANDFIELD', P .. 'times'))
    end
  end
  local weight, off = math.max(1 / (count + 1), 0.1), ms - mean
  local told = string.format(
    '%d %.3f %.3f', math.min(count + 1, 1000000), mean + weight * off, (1 - weight) * (variance + weight * off * off)
  )
  redis.call('HSET', P .. 'times', name, told)
end

-- The task in a slot has ended by itself; the next one there may be known.
local function ended(id, record, following)
  local state, since, task, name = unpack_slot(record)
  if string.lower(state) ~= 'r' or task == following then return end
  if name ~= '' then took(name, math.max(now - since, 0) / 1000) end
  local retries = string.match(redis.call('GET', P .. 'where:' .. task) or '', '^(%d+)|')
  -- Its own retry may wait by now.
  if retries and not redis.call('ZSCORE', P .. 'waiting:' .. id, task .. ':' .. retries) then
    redis.call('DEL', P .. 'where:' .. task)
  end
end

-- A waiting task has left the broker's queue.
local function no_longer_waiting(id, task, retries)
  if task ~= '' and drop_waiting(id, task .. ':' .. retries) then return end
  if field(P .. 'id:' .. id, 'unseen') > 0 then
    redis.call('HINCRBY', P .. 'id:' .. id, 'unseen', -1)
  elseif task ~= '' then
    -- It was fetched before its announcement came: remember it, so that the announcement adds no ghost.
    redis.call('ZREMRANGEBYSCORE', P .. 'early', '-inf', int(now - 30000000))
    redis.call('ZADD', P .. 'early', int(now), task .. ':' .. retries)
  end
end

-- An id that was made for a call is in use: keep it in the directory, with its family, its limit and what its tasks need
-- of other limits.
local function know(id, family, limit, needs)
  local key = P .. 'id:' .. id
  local row = redis.call('HMGET', key, 'family', 'limit', 'needs')
  if not row[1] then
    for _, fleet in ipairs(redis.call('SMEMBERS', P .. 'fleets')) do
      -- Some task always has this id: its workers tell the limit, and nothing ever forgets it.
      if redis.call('SISMEMBER', P .. 'serves:' .. fleet, id) == 1 then return end
    end
    redis.call('ZADD', P .. 'lookups', int(now), id)
    redis.call('ZADD', P .. 'fresh', int(now), id)
  end
  if row[1] ~= family or row[2] ~= limit then
    redis.call('HSET', key, 'family', family, 'limit', limit)
    if tonumber(limit) >= 0 then forget_trial(id) end
  end
  if row[3] ~= (needs ~= '' and needs) then lanes().set_needs(id, needs) end
  redis.call('ZADD', P .. 'dynamic', int(now), id)
end

-- Whether an id has waiting or running tasks.
local function busy(id)
  local some = redis.call('EXISTS', P .. 'slots:' .. id, P .. 'away:' .. id, P .. 'waiting:' .. id, P .. 'reserved:' .. id)
  return some > 0 or field(P .. 'id:' .. id, 'unseen') > 0 or redis.call('ZSCORE', P .. 'controlled', id) ~= false
end
