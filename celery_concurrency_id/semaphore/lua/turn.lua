-- turn: report what happened to the caller's slots and, in the same step, acquire new ones or become idle.
-- KEYS[1]  namespace prefix
-- ARGV[1]  worker
-- ARGV[2]  server run the caller believes in
-- ARGV[3]  how many slots it wants
-- ARGV[4]  1: register it as idle if it gets fewer than it wants
-- ARGV[5]  number of reports; then six arguments for each:
--          kind, concurrency id, token, task, number, the task's name
--            start    the task started in the slot (number: its retries)
--            skip     the task left the queue without starting (number: its retries); the slot stays
--            park     the task left the queue, since it is not due for so many milliseconds, which stand in place of
--                     the token (number: its retries); the slot stays
--            resume   the task started in the slot, and was told of by skip before
--            back     the task went back to the head of its queue (number: its retries)
--            release  the slot is free
--            drop     the queue was empty and nothing was announced since (number: seq); the slot is free
-- Returns  {'epoch'} | {'lost'} | {'ok', verdicts, grants, recovery in ms, idle, ready}
--          verdicts  {token, keep, claimable} per start or resume
--          grants    {id, token, seq, claimable, keep, family, needs} per slot acquired; family and needs: as announce has
--                    them
--          keep      what to do when the task ends: 0 give the slot back | 1 keep it | 2 keep it, and the next message may
--                    be fetched ahead, since every slot of the id is taken | -1 the slot is no longer held
--          idle      1 if the caller is now registered as idle
--          ready     ids that are ready for the caller's fleet beyond those granted; 0 where it wanted none

local worker, run, want, may_idle, count = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1', tonumber(ARGV[5])

local status, fleet = admit(worker, run)
if status ~= 'ok' then return {status} end

local ready, idle = P .. 'ready:' .. fleet, P .. 'idle:' .. fleet
local started, touched = {}, {}

local report = {}

function report.start(id, token, task, number, name)
  local was_known = no_longer_waiting(id, task, number)
  -- One task less waits, and none is on its way to the slot any more: as many as before are left for others.
  return report.resume(id, token, task, number, name) and was_known
end

-- Says whether the slot was new, and takes no other ones.
function report.resume(id, token, task, number, name)
  local record, key = find(id, token)
  local new = record and slot_state(record) == 'f'
  if record then
    ended(id, record, task)  -- the one before, if there was one
    trial_end(id, run_of(record, token))
    if new then redis.call('HINCRBY', P .. 'id:' .. id, 'fetching', -1) end
    redis.call('HSET', key, token, running(record, worker, task, name))
    if key == P .. 'slots:' .. id then trial_start(id, token, pack_slot(worker, 'r', task)) end
  end
  started[#started + 1] = {id, token, record}
  return new and not in_lane(record)
end

function report.skip(id, token, task, number)
  no_longer_waiting(id, task, number)
end

function report.park(id, milliseconds, task, number)
  no_longer_waiting(id, task, number)
  -- It waits all the same: it keeps its place in a bounded queue until it is announced anew, or should have been.
  local reserved, left_us = P .. 'reserved:' .. id, tonumber(milliseconds) * 1000
  redis.call('ZADD', reserved, int(now + left_us), task .. ':' .. number)
  local ttl = math.max((left_us + RESERVED_US) / 1000, redis.call('PTTL', reserved))
  redis.call('PEXPIRE', reserved, int(ttl))
end

function report.back(id, token, task, number, name)
  local waiting = P .. 'waiting:' .. id
  local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2]
  add_waiting(id, task .. ':' .. number, int((tonumber(first) or now) - 1), name ~= '' and ' ' .. name or '')
  redis.call('HINCRBY', P .. 'id:' .. id, 'seq', 1)
end

function report.release(id, token)
  local record, away = release(worker, id, token)
  if record then ended(id, record, nil, away) end
end

function report.drop(id, token, task, number)
  if field(P .. 'id:' .. id, 'seq') == tonumber(number) then
    forget_kinds(id)
    redis.call('DEL', P .. 'waiting:' .. id)
    redis.call('HSET', P .. 'id:' .. id, 'unseen', 0)
  end
  report.release(id, token)
end

for i = 0, count - 1 do
  local at = 6 + i * 6
  local id = ARGV[at + 1]
  local same = report[ARGV[at]](id, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5])
  touched[id] = touched[id] or ARGV[at] ~= 'start' or not same
end
for id, changed in pairs(touched) do
  if changed then refresh(id) end
end

local grants = {}
local recovery, moves = recovery_ms(), 0

-- Takes a slot of an id, and with it what its task needs of others.
local function grant(id, others)
  local fence = math.max(field(P .. 'meta', 'fence') + 1, now)
  local token = int(fence)
  redis.call('HSET', P .. 'meta', 'fence', token)
  redis.call('HSET', P .. 'slots:' .. id, token, pack_slot(worker, others and 'F' or 'f', ''))
  if others then lanes().take_units(worker, id, token, others) end
  redis.call('HSET', P .. 'held:' .. worker, token, id)
  redis.call('HINCRBY', P .. 'id:' .. id, 'fetching', 1)
  for _, each in ipairs(fleets()) do redis.call('ZREM', P .. 'ready:' .. each, id) end
  refresh(id)
  if others then
    for limit in lanes().each_need(others) do refresh(limit) end
  end
  local left, family, seq = claimable(id)
  grants[#grants + 1] = {id, token, seq, left, 0, family or '', others or ''}
end

while #grants < want and recovery == 0 and moves < 100 do
  local id = redis.call('ZRANGE', ready, 0, 0)[1]
  if not id then break end
  if not string.find(id, ' ', 1, true) then
    grant(id)
  else
    local lane, needs = lanes().next_in_line(fleet, id)
    if lane then
      lanes().serve_lane(lane, needs, #grants)
      grant(lane, needs ~= lane .. ' 1' and needs)
    else
      moves = moves + 1
    end
  end
end

if want > 0 and recovery == 0 then
  if may_idle and #grants < want then
    redis.call('ZADD', idle, 'NX', int(now), worker)
  else
    redis.call('ZREM', idle, worker)
  end
end
wake()
local now_idle = redis.call('ZSCORE', idle, worker) and 1 or 0

local first = redis.call('ZRANGE', ready, 0, 1)

-- A slot goes back where another id is ready for this fleet, the id is paused, more are held than the limit allows, or a
-- task waits to have one again: whose turn it is must be seen here; where it takes others with it; and where somebody else
-- waits for a slot of its id.
local function keep(id, others)
  if #first > 1 then return 0 end
  local free, needs, weights = free_slots(id)
  if free == nil or free < 0 or redis.call('EXISTS', P .. 'back:' .. id) == 1 then return 0 end
  if others or (weights and lanes().contended(id, weights)) then return 0 end
  if #first == 1 and first[1] ~= (weights and id .. ' 1' or id) then return 0 end
  return free == 0 and 2 or 1
end

local verdicts = {}
for i, start in ipairs(started) do
  verdicts[i] = {start[2], start[3] and keep(start[1], in_lane(start[3])) or -1, (claimable(start[1]))}
end
for _, grant in ipairs(grants) do grant[5] = keep(grant[1], grant[7] ~= '') end

return {'ok', verdicts, grants, recovery, now_idle, want > 0 and redis.call('ZCARD', ready) or 0}
