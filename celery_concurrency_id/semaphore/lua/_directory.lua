-- Shared by every verb: ids that were made for calls.

-- An id that was made for a call is in use: keep it in the directory, with its family, its limit and what its tasks need
-- of other limits.
local function know(id, family, limit, needs)
  local key = P .. 'id:' .. id
  local row = redis.call('HMGET', key, 'family', 'limit', 'needs')
  if not row[1] then
    for _, fleet in ipairs(fleets()) do
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
