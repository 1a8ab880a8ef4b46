-- Shared by every verb: the tasks that wait, by their kinds, and how long those of a name take.

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

-- The task in a slot has ended by itself; the next one there may be known. One that was without its slot then tells
-- nothing of how long such tasks are in theirs.
local function ended(id, record, following, away)
  local state, since, task, name = unpack_slot(record)
  if string.lower(state) ~= 'r' or task == following then return end
  if name ~= '' and not away then took(name, math.max(now - since, 0) / 1000) end
  local retries = string.match(redis.call('GET', P .. 'where:' .. task) or '', '^(%d+)|')
  -- Its own retry may wait by now.
  if retries and not redis.call('ZSCORE', P .. 'waiting:' .. id, task .. ':' .. retries) then
    redis.call('DEL', P .. 'where:' .. task)
  end
end

-- A waiting task has left the broker's queue; says whether it was counted among those that wait.
local function no_longer_waiting(id, task, retries)
  if task ~= '' and drop_waiting(id, task .. ':' .. retries) then return true end
  if field(P .. 'id:' .. id, 'unseen') > 0 then
    redis.call('HINCRBY', P .. 'id:' .. id, 'unseen', -1)
    return true
  elseif task ~= '' then
    -- It was fetched before its announcement came: remember it, so that the announcement adds no ghost.
    redis.call('ZREMRANGEBYSCORE', P .. 'early', '-inf', int(now - 30000000))
    redis.call('ZADD', P .. 'early', int(now), task .. ':' .. retries)
  end
  return false
end
