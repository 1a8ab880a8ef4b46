-- Shared by every verb: observe mode.

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
