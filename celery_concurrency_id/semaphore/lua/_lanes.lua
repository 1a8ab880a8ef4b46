-- Shared by every verb, behind the prelude: tasks that need several slots at once, or share a limit with such tasks.
-- An id whose tasks need slots of other ids, or several of one, is a lane: a queue of its own, and what one task needs
-- ('gpu 2 openai 1'). Lanes that need a limit, and the id of that limit itself, stand in line for it: one line for each
-- fleet and weight, the longest waiting first. The line is in the fleet's ready set, by the name 'LIMIT WEIGHT', while its
-- first may have so many. Who is first gets every slot it needs, or none, and then goes to the line of one that it lacks.
-- Most calls need none of this: it is made when first asked for.

local made

function lanes()
  if made then return made end

-- Times that a lane is passed over before the younger ones have to leave it what it needs.
local PATIENCE = 3
-- Microseconds for which that is left free although the lane could start: its workers may be busy with other things.
local GRACE_US = 1000000

-- Each limit that a task needs, and how many slots of it.
local function each_need(needs)
  return string.gmatch(needs, '(%S+) (%d+)')
end

local function line_of(fleet, limit, weight)
  return P .. 'line:' .. fleet .. ':' .. weight .. ':' .. limit
end

local function needs_of(id)
  return redis.call('HGET', P .. 'id:' .. id, 'needs') or id .. ' 1'
end

local function weight_of(needs, limit)
  for each, weight in each_need(needs) do
    if each == limit then return weight end
  end
end

-- The lane for which younger ones leave slots of a limit free: its name, since when it waits, and how many.
local function hungry_for(limit)
  local first = redis.call('ZRANGE', P .. 'hungry:' .. limit, 0, 0, 'WITHSCORES')
  if not first[1] then return nil end
  return first[1], tonumber(first[2]), tonumber(weight_of(needs_of(first[1]), limit) or '0')
end

-- How many slots of a limit a lane may have that waits since then, whose every slot comes from here.
local function available(limit, lane, since)
  local free, paused = room(limit)
  if not free or paused then return 0 end
  local hungry, hungry_since, weight = hungry_for(limit)
  if not hungry or hungry == lane then return free end
  local older = hungry_since < since or (hungry_since == since and hungry < lane)
  return older and free - weight or free
end

-- Puts each line of a limit into, or out of, the ready set of its fleet.
local function mark(limit, weights)
  for _, fleet in ipairs(fleets()) do
    for weight in string.gmatch(weights, '%d+') do
      local first = redis.call('ZRANGE', line_of(fleet, limit, weight), 0, 0, 'WITHSCORES')
      if first[1] and available(limit, first[1], tonumber(first[2])) >= tonumber(weight) then
        redis.call('ZADD', P .. 'ready:' .. fleet, first[2], limit .. ' ' .. weight)
      else
        redis.call('ZREM', P .. 'ready:' .. fleet, limit .. ' ' .. weight)
      end
    end
  end
end

-- A limit is needed with this weight: its own id stands in line for it from now on. Returns its weights.
local function share(limit, weight)
  local weights = redis.call('HGET', P .. 'id:' .. limit, 'weights')
  if weights and string.find(' ' .. weights .. ' ', ' ' .. weight .. ' ', 1, true) then return weights end
  if not weights then
    for _, fleet in ipairs(fleets()) do redis.call('ZREM', P .. 'ready:' .. fleet, limit) end
  end
  local more = weights or '1'
  if weight ~= '1' then more = more .. ' ' .. weight end
  redis.call('HSET', P .. 'id:' .. limit, 'weights', more)
  if not weights then note_ready(limit) end
  return more
end

-- A lane's patience is not over any more.
local function sate(lane, needs)
  redis.call('HDEL', P .. 'id:' .. lane, 'passed', 'fits')
  if redis.call('ZREM', P .. 'hungry', lane) == 0 then return end
  for limit, weight in each_need(needs) do
    redis.call('ZREM', P .. 'hungry:' .. limit, lane)
    mark(limit, share(limit, weight))
  end
end

-- Whether each limit is such that a lane can start some time, and whether each has room for it now.
local function prospects(needs)
  local able, fits = true, true
  for limit, weight in each_need(needs) do
    local free, paused = room(limit)
    local most = free and free + redis.call('HLEN', P .. 'slots:' .. limit) or 0
    able = able and not paused and most >= tonumber(weight)
    fits = fits and free ~= nil and free >= tonumber(weight)
  end
  return able, fits
end

-- A lane's patience is over, or things have changed since: see whether slots are to be left free for it.
local function reconsider(lane)
  local key, needs = P .. 'id:' .. lane, needs_of(lane)
  local since = redis.call('HGET', key, 'since')
  local able, fits = prospects(needs)
  local served, family = false, redis.call('HGET', key, 'family')
  for _, fleet in ipairs(fleets()) do served = served or serves(fleet, lane, family) end
  if not since or not able or not served then return sate(lane, needs) end
  if fits then redis.call('HSETNX', key, 'fits', int(now)) else redis.call('HDEL', key, 'fits') end
  if redis.call('ZADD', P .. 'hungry', since, lane) == 0 then return end
  for limit, weight in each_need(needs) do
    redis.call('ZADD', P .. 'hungry:' .. limit, since, lane)
    mark(limit, share(limit, weight))
  end
end

-- Slots are left free for lanes that could have started long since: their workers are busy with other things.
local function end_grace()
  for _, lane in ipairs(redis.call('ZRANGE', P .. 'hungry', 0, -1)) do
    local fits = redis.call('HGET', P .. 'id:' .. lane, 'fits')
    if fits and now - tonumber(fits) > GRACE_US then sate(lane, needs_of(lane)) end
  end
end

-- Younger ones went before a lane, since it did not fit.
local function pass_over(lane)
  if redis.call('HINCRBY', P .. 'id:' .. lane, 'passed', 1) >= PATIENCE then reconsider(lane) end
end

-- A limit has changed, or some of its slots were taken or freed.
local function review(limit, weights)
  for _, lane in ipairs(redis.call('ZRANGE', P .. 'hungry:' .. limit, 0, -1)) do reconsider(lane) end
  mark(limit, weights)
end

local function line_up(lane, limit, weight, since)
  local family = redis.call('HGET', P .. 'id:' .. lane, 'family')
  for _, fleet in ipairs(fleets()) do
    if since and serves(fleet, lane, family) then
      redis.call('ZADD', line_of(fleet, limit, weight), since, lane)
      redis.call('SADD', P .. 'lines:' .. fleet, limit .. ' ' .. weight)
    else
      redis.call('ZREM', line_of(fleet, limit, weight), lane)
    end
  end
  mark(limit, share(limit, weight))
end

-- Has a lane stand in line while it has work, and may have more of its own slots.
local function stand(lane, needs, waits)
  local key = P .. 'id:' .. lane
  local row = redis.call('HMGET', key, 'since', 'stands')
  local since, limit = row[1], row[2]
  if not waits and not since then return end
  if not limit or not weight_of(needs, limit) then limit = string.match(needs, '%S+') end
  if waits then
    if not since then
      since = int(now)
      redis.call('HSET', key, 'since', since, 'stands', limit)
    end
    line_up(lane, limit, weight_of(needs, limit), since)
  else
    redis.call('HDEL', key, 'since', 'stands')
    line_up(lane, limit, weight_of(needs, limit), false)
    sate(lane, needs)
  end
end

-- Says what a task of an id needs of other limits; empty: nothing.
local function set_needs(id, needs)
  local key = P .. 'id:' .. id
  local before = redis.call('HGET', key, 'needs')
  if before and before ~= needs then stand(id, before, false) end
  if needs == '' then
    redis.call('HDEL', key, 'needs')
  else
    for _, fleet in ipairs(fleets()) do redis.call('ZREM', P .. 'ready:' .. fleet, id) end
    redis.call('HSET', key, 'needs', needs)
    for limit, weight in each_need(needs) do share(limit, weight) end
  end
end

-- A fleet has no worker left.
local function forget_lines(fleet)
  for _, name in ipairs(redis.call('SMEMBERS', P .. 'lines:' .. fleet)) do
    local limit, weight = string.match(name, '^(%S+) (%d+)$')
    redis.call('DEL', line_of(fleet, limit, weight))
  end
  redis.call('DEL', P .. 'lines:' .. fleet)
  for _, lane in ipairs(redis.call('ZRANGE', P .. 'hungry', 0, -1)) do reconsider(lane) end
end

local function unit_names(token, weight)
  local names = {}
  for number = 1, tonumber(weight) do names[number] = token .. '.' .. number end
  return names
end

-- Takes the slots of other ids that a lane's slot needs; returns how many of them were not taken yet.
local function take_units(worker, lane, token, needs)
  local new = redis.call('HSET', P .. 'took:' .. lane, token, needs)
  for limit, weight in each_need(needs) do
    for _, name in ipairs(unit_names(token, weight)) do
      new = new + redis.call('HSET', P .. 'slots:' .. limit, name, pack_slot(worker, 'u', lane))
    end
  end
  return new
end

-- Frees what was taken with a lane's slot; refresh has to come after that.
local function free_units(lane, token)
  local took = P .. 'took:' .. lane
  local needs = redis.call('HGET', took, token) or needs_of(lane)
  redis.call('HDEL', took, token)
  for limit, weight in each_need(needs) do
    redis.call('HDEL', P .. 'slots:' .. limit, unpack(unit_names(token, weight)))
    stale[limit] = true
  end
end

-- A lane gets its slots: those that waited longer and would have needed more than is left were passed over. It goes to the
-- end of its line.
local function serve_lane(lane, needs, turn)
  local key, passed = P .. 'id:' .. lane, {}
  local since = tonumber(redis.call('HGET', key, 'since'))
  for limit, weight in each_need(needs) do
    local free = room(limit)
    for other in string.gmatch(share(limit, weight), '%d+') do
      for _, fleet in ipairs(free < tonumber(other) and fleets() or {}) do
        local first = redis.call('ZRANGE', line_of(fleet, limit, other), 0, 0, 'WITHSCORES')
        if first[1] and first[1] ~= lane and tonumber(first[2]) < since then passed[first[1]] = true end
      end
    end
  end
  for other in pairs(passed) do pass_over(other) end
  stand(lane, needs, false)
  redis.call('HSET', key, 'since', int(now + turn), 'stands', string.match(needs, '%S+'))
end

-- Returns the lane that gets slots next by a line that is ready, and what it needs; or nothing, after its first went to
-- another line.
local function next_in_line(fleet, name)
  local limit, weight = string.match(name, '^(%S+) (%d+)$')
  local first = redis.call('ZRANGE', line_of(fleet, limit, weight), 0, 0, 'WITHSCORES')
  local lane, since = first[1], first[2]
  if not lane then
    redis.call('ZREM', P .. 'ready:' .. fleet, name)
    return
  end
  local needs = needs_of(lane)
  for lacking, count in each_need(needs) do
    if available(lacking, lane, tonumber(since)) < tonumber(count) then
      if lacking == limit then
        mark(limit, share(limit, weight))
      else
        line_up(lane, limit, weight, false)
        redis.call('HSET', P .. 'id:' .. lane, 'stands', lacking)
        line_up(lane, lacking, count, since)
        pass_over(lane)
      end
      return
    end
  end
  return lane, needs
end

-- Whether others wait for a limit, so that nobody keeps a slot of it.
local function contended(limit, weights)
  if redis.call('EXISTS', P .. 'hungry:' .. limit) == 1 then return true end
  for _, fleet in ipairs(fleets()) do
    for weight in string.gmatch(weights, '%d+') do
      for _, lane in ipairs(redis.call('ZRANGE', line_of(fleet, limit, weight), 0, 1)) do
        if lane ~= limit then return true end
      end
    end
  end
  return false
end

made = {
  available = available,
  each_need = each_need,
  needs_of = needs_of,
  share = share,
  end_grace = end_grace,
  review = review,
  stand = stand,
  set_needs = set_needs,
  forget_lines = forget_lines,
  take_units = take_units,
  free_units = free_units,
  serve_lane = serve_lane,
  next_in_line = next_in_line,
  contended = contended,
}
return made
end
