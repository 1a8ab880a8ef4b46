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

-- The fleets that have a worker. Most verbs ask for them several times: they are read once, and anew after a change.
local known_fleets

local function fleets()
  known_fleets = known_fleets or redis.call('SMEMBERS', P .. 'fleets')
  return known_fleets
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

-- The record of a slot that was given back, or taken again, just now.
local function from_now(record)
  return (string.gsub(record, '|%d+|', '|' .. int(now) .. '|', 1))
end

-- Tasks that wait and that no granted slot is already on its way to fetch; the family of an id that was made for a call;
-- and the id's announcements so far.
local function claimable(id)
  local row = redis.call('HMGET', P .. 'id:' .. id, 'unseen', 'fetching', 'family', 'seq')
  local waiting = redis.call('ZCARD', P .. 'waiting:' .. id)
  return waiting + (tonumber(row[1] or '0') or 0) - (tonumber(row[2] or '0') or 0), row[3], tonumber(row[4] or '0') or 0
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
  local ready, left, family = free ~= nil and free > 0, 0, nil
  if ready then left, family = claimable(id) end
  ready = left > 0
  for _, fleet in ipairs(fleets()) do
    if ready and serves(fleet, id, family) then
      redis.call('ZADD', P .. 'ready:' .. fleet, 'NX', int(now), id)
    else
      redis.call('ZREM', P .. 'ready:' .. fleet, id)
    end
  end
end

-- How many tasks in the queue come before one that waits to have its slot again since then.
local function earlier(id, since)
  local on_the_way = math.max(field(P .. 'id:' .. id, 'fetching'), 0)
  return math.max(redis.call('ZCOUNT', P .. 'waiting:' .. id, '-inf', '(' .. since) - on_the_way, 0)
end

-- Whether it comes before all of them.
local function before_all(id, since)
  return earlier(id, since) == 0
end

-- Whether a worker may still come for a slot of an id that is ready: for half a second. After that, none has a place for
-- a task of it: all of them may be kept by tasks that wait for this very slot.
local function wanted(id)
  local name = redis.call('HEXISTS', P .. 'id:' .. id, 'weights') == 1 and id .. ' 1' or id
  for _, fleet in ipairs(fleets()) do
    local since = redis.call('ZSCORE', P .. 'ready:' .. fleet, name)
    if since and now - tonumber(since) < 500000 then return true end
  end
  return false
end
