-- beat: renew the caller's lease, end the leases of the dead, mend what disagrees.
-- KEYS[1]  namespace prefix
-- ARGV[1]  worker
-- ARGV[2]  server run the caller believes in
-- ARGV[3]  1: the caller counts on being registered as idle
-- ARGV[4]  how many slots the caller holds
-- ARGV[5]  the sum of their tokens, each modulo 1000003
-- ARGV[6]  short tier: milliseconds of silence after which a worker without a mailbox connection is dead
-- ARGV[7]  how many queues the caller can look up at a time
-- ARGV[8]  milliseconds of silence after which the caller forgets an id that was made for a call; 0: it forgets none
-- ARGV[9]  number of queues whose length the caller has looked up; then two arguments for each: id, length
-- Returns  {'epoch'} | {'lost'} | {'ok', invited, resync, cursor, expired, mended, lookups, silent}
--          invited   1: work is ready for the caller
--          resync    1: the slots the server knows are not those the caller holds; join again
--          cursor    where in its list of ids the caller looks up queue lengths next
--          expired   {worker, host, slots} for each lease that ended
--          mended    {id, tasks} for each id with tasks that nobody had announced
--          lookups   {id, family} for each id made for a call whose queue length the caller looks up next
--          silent    {id, mark} for each such id whose queue the caller deletes, if it is empty, within two seconds

local worker, run, idle_here = ARGV[1], ARGV[2], ARGV[3] == '1'
local held_count, held_sum = tonumber(ARGV[4]), tonumber(ARGV[5])
local short_us, lengths = tonumber(ARGV[6]) * 1000, tonumber(ARGV[9])
local batch, ttl_us = tonumber(ARGV[7]), tonumber(ARGV[8]) * 1000

local status = admit(worker, run)
if status ~= 'ok' then return {status} end

local fleet = redis.call('HGET', P .. 'worker:' .. worker, 'fleet')

local expired = {}
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', '-inf', int(now - short_us), 'LIMIT', 0, 50)) do
  local row = redis.call('HMGET', P .. 'worker:' .. silent, 'host', 'lease_us')
  local seen = tonumber(redis.call('ZSCORE', P .. 'workers', silent))
  if now - seen > (tonumber(row[2] or '0') or 0) or redis.call('PUBLISH', P .. 'mail:' .. silent, 'ping') == 0 then
    expired[#expired + 1] = {silent, row[1] or '', expire(silent)}
  end
end

local tokens, sum = redis.call('HKEYS', P .. 'held:' .. worker), 0
for _, token in ipairs(tokens) do sum = sum + tonumber(token) % 1000003 end
local resync = (#tokens ~= held_count or sum ~= held_sum) and 1 or 0

local mended = {}
for i = 0, lengths - 1 do
  local id, length = ARGV[10 + i * 2], tonumber(ARGV[11 + i * 2])
  local announced = redis.call('ZCARD', P .. 'waiting:' .. id) + on_their_way(id)
  local before = field(P .. 'id:' .. id, 'unseen')
  local unseen = math.max(length - announced, 0)
  if unseen ~= before then
    redis.call('HSET', P .. 'id:' .. id, 'unseen', unseen)
    refresh(id)
    if unseen > before then mended[#mended + 1] = {id, unseen} end
  end
end

local invited = 0
local idle = P .. 'idle:' .. fleet
if not idle_here then
  redis.call('ZREM', idle, worker)
elseif not redis.call('ZSCORE', idle, worker) then
  if redis.call('ZCARD', P .. 'ready:' .. fleet) > 0 then
    invited = 1
  else
    redis.call('ZADD', idle, int(now), worker)
  end
end
if recovery_ms() == 0 then wake() end

-- One worker of the fleet at a time looks up queue lengths: the first to beat after two seconds.
local cursor = -1
if now - field(P .. 'meta', 'polled:' .. fleet) > 2000000 then
  redis.call('HSET', P .. 'meta', 'polled:' .. fleet, int(now))
  cursor = redis.call('HINCRBY', P .. 'meta', 'cursor:' .. fleet, 1)
end

-- Of the ids made for calls: new ones first, then those whose turn it is. What another fleet serves is left to it.
local lookups, silent = {}, {}
local function look_up(key, most)
  for _, id in ipairs(redis.call('ZRANGE', P .. key, 0, 4 * batch - 1)) do
    if #lookups >= most then return end
    local family = redis.call('HGET', P .. 'id:' .. id, 'family')
    local own, others = serves(fleet, id, family), false
    if not own then
      for _, each in ipairs(redis.call('SMEMBERS', P .. 'fleets')) do others = others or serves(each, id, family) end
    end
    if not others then
      redis.call('ZREM', P .. 'fresh', id)
      redis.call('ZADD', P .. 'lookups', 'XX', int(now), id)
    end
    if own then lookups[#lookups + 1] = {id, family or ''} end
  end
end

if cursor >= 0 and batch > 0 then
  look_up('fresh', math.ceil(batch / 2))
  look_up('lookups', batch)
end
if cursor >= 0 and ttl_us > 0 and recovery_ms() == 0 then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'dynamic', '-inf', int(now - ttl_us), 'LIMIT', 0, batch)) do
    if busy(id) then
      redis.call('ZADD', P .. 'dynamic', int(now), id)
    else
      -- Offered again in half a minute, should nothing come of it.
      local mark = int(now - ttl_us + 30000000)
      redis.call('ZADD', P .. 'dynamic', mark, id)
      redis.call('HSET', P .. 'id:' .. id, 'retiring', int(now + 3000000))
      silent[#silent + 1] = {id, mark}
    end
  end
end

return {'ok', invited, resync, cursor, expired, mended, lookups, silent}
