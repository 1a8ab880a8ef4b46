-- beat: renew the caller's lease, end the leases of the dead, mend what disagrees.
-- KEYS[1]  namespace prefix
-- ARGV[1]  worker
-- ARGV[2]  server run the caller believes in
-- ARGV[3]  1: the caller counts on being registered as idle
-- ARGV[4]  how many slots the caller holds
-- ARGV[5]  the sum of their tokens, each modulo 1000003
-- ARGV[6]  short tier: milliseconds of silence after which a worker without a mailbox connection is dead
-- ARGV[7]  number of queues whose length the caller has looked up; then two arguments for each: id, length
-- Returns  {'epoch'} | {'lost'} | {'ok', invited, resync, cursor, expired, mended}
--          invited   1: work is ready for the caller
--          resync    1: the slots the server knows are not those the caller holds; join again
--          cursor    where in its list of ids the caller looks up queue lengths next
--          expired   {worker, host, slots} for each lease that ended
--          mended    {id, tasks} for each id with tasks that nobody had announced

local worker, run, idle_here = ARGV[1], ARGV[2], ARGV[3] == '1'
local held_count, held_sum = tonumber(ARGV[4]), tonumber(ARGV[5])
local short_us, lengths = tonumber(ARGV[6]) * 1000, tonumber(ARGV[7])

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
  local id, length = ARGV[8 + i * 2], tonumber(ARGV[9 + i * 2])
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

return {'ok', invited, resync, cursor, expired, mended}
